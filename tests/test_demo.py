"""``python -m fdpass demo``: in this process, where coverage sees it, and as users run it."""

import collections
import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from conftest import closing, lowered

import fdpass
from fdpass import Channel
from fdpass.__main__ import main
from fdpass._command import demo_http

DEADLINE = 30  # seconds, for what takes one on an idle machine
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
REPORT = b"POST /report/x HTTP/1.1\r\nContent-Length: 7\r\n\r\nabc"
PYTHONS = [path for path in os.environ.get("FDPASS_PYTHONS", "").split(os.pathsep) if path]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Children look for the package in the current folder first: that is the one under test."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PYTHONPATH", False)  # another interpreter has its own fdpass
    yield
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(DEADLINE)


class Output(object):
    """A standard output that calls a function when a line contains the words."""

    def __init__(self, words, function, error=None):
        self.words, self.function, self.error, self.text = words, function, error, ""

    def write(self, text):
        self.text += text
        if self.words in text:
            self.function()
        if self.error:
            raise self.error

    def flush(self):
        pass


@pytest.fixture
def serve(monkeypatch):
    """A function that runs a scenario against a demo that serves; it returns result and output."""

    def run(scenario, error=None):
        results = []

        def follow():
            try:
                results.append(scenario(*find_port_and_worker(output.text)))
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        output = Output("Ctrl-C", threading.Thread(target=follow).start, error)
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["demo", "--serve"]) == 0
        assert output.text.endswith("ended by signal %d\n" % signal.SIGTERM)
        return results[0], output.text

    return run


def find_port_and_worker(output):
    return map(int, re.search(r":([0-9]+)\nworker  pid ([0-9]+)", output).groups())


def read_all(client):
    return b"".join(iter(lambda: client.recv(65536), b""))


def connect(port):
    return socket.create_connection(("127.0.0.1", port), DEADLINE)


def exchange(port, request):
    with closing(connect(port)) as (client,):
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def get(port, path, method=b"GET"):
    return exchange(port, method + b" " + path + b" HTTP/1.1\r\n\r\n")


# The front.

ANSWERS = [
    (b"GET / HTTP/1.1\r\n\r\n", 200),
    (b"GET /?a=b HTTP/1.0\r\nHost: x\r\n\r\n", 200),
    (b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000, 200),
    (b"GET /report/x HTTP/1.1\r\n\r\n", 200),
    (b"GET /report HTTP/1.1\r\n\r\n", 404),
    (b"GET / HTTP/2\r\n\r\n", 400),
    (b"GET /a\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
    (b"\r\n\r\n", 400),
    (b"GET / HTT", 400),
    (b"GET / HTTP/1.1\r\nHost:", 400),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * 100000, 431),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 23) + b"\r\n\r\n", 200),
    (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 22) + b"\r\n\r\n", 431),
]


def test_the_status_of_each_request(serve):
    def scenario(port, worker):
        answers = [exchange(port, request) for request, _ in ANSWERS]
        heads = [get(port, path, b"HEAD") for path in (b"/", b"/no")]
        return [int(answer.split(b" ")[1]) for answer in answers], heads

    (statuses, heads), out = serve(scenario)
    assert statuses == [status for _, status in ANSWERS]
    assert all(head.endswith(b"\r\n\r\n") for head in heads)
    assert (out.count("answered here"), out.count("there is no such page")) == (5, 2)


def test_the_front_answers_where_nobody_reads_its_output(serve):
    error = IOError(errno.EPIPE, "nobody reads")
    assert b"200 OK" in serve(lambda port, worker: get(port, b"/"), error)[0]


def test_the_client_and_then_a_worker_that_is_killed(serve):
    """A client that resets its connection does no harm."""

    def scenario(port, worker):
        with closing(connect(port)) as (client,):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        before = demo_http.run_client(str(port))
        os.kill(worker, signal.SIGKILL)
        return before, demo_http.run_client(str(port))

    statuses, out = serve(scenario)
    assert statuses == (0, 1)
    assert (out.count("status 200"), out.count("status 503")) == (4, 2)
    assert out.count("the worker did not take the connection") == 2


def test_a_silent_client_and_a_worker_that_is_stopped(serve):
    """Each gets an answer after the time limit, and the worker does not answer later."""

    def scenario(port, worker):
        os.kill(worker, signal.SIGSTOP)
        with closing(connect(port), connect(port)) as (silent, report):
            silent.sendall(b"GET / HTT")
            report.sendall(REPORT)
            answers = silent.recv(99), report.recv(99)
            os.kill(worker, signal.SIGCONT)
            report.shutdown(socket.SHUT_WR)
            return answers + (read_all(report), exchange(port, REPORT))

    (silent, report, rest, later), out = serve(scenario)
    assert silent.startswith(b"HTTP/1.1 408 ")
    assert report.startswith(b"HTTP/1.1 503 ") and later.startswith(b"HTTP/1.1 503 ")
    assert b"HTTP/1.1" not in rest and "the connection: timed out" in out


# The worker's part.


@pytest.fixture
def tcp():
    """Two ends of a TCP connection."""
    with closing(socket.socket()) as (listener,):
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = connect(listener.getsockname()[1])
        served, _ = listener.accept()
    with closing(client, served):
        yield client, served


@pytest.fixture
def worker():
    """The front's end of a channel, and a function that returns what the worker's part returned."""
    front, end = Channel.pair()
    results = []
    thread = threading.Thread(target=lambda: results.append(demo_http.run_worker()))

    def ended():
        thread.join(DEADLINE)
        return results[0]

    kept = os.dup(0)
    with closing(front, kept):
        os.dup2(end.fileno(), 0)
        end.close()
        thread.start()
        front.settimeout(DEADLINE)
        assert front.recv().data.startswith(("pid %d, " % os.getpid()).encode())
        yield front, ended
        os.dup2(kept, 0)


def test_the_worker_reads_the_body_and_answers(worker, tcp):
    (front, ended), (client, served) = worker, tcp
    front.send(REPORT, [served])
    assert front.recv().data == b"taken"
    served.close()
    client.sendall(b"defg and more")
    text = client.recv(65536).decode("ascii")
    assert text.startswith("HTTP/1.1 200 OK\r\n") and "POST /report/x by the worker" in text
    assert text.endswith("the front had read %d bytes and the worker read 4\n" % len(REPORT))
    client.close()
    front.close()
    assert ended() == 0


def test_the_worker_at_its_limit_of_descriptors(worker, tcp):
    front, ended = worker
    with lowered(0):
        front.send(REPORT, [tcp[1]])
        assert ended().startswith("worker  takes no more connections: ")


def test_the_worker_closes_the_connection_of_a_client_that_has_gone(tcp):
    client, served = tcp
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    demo_http.answer_report(served, REPORT)
    with pytest.raises((socket.error, ValueError)):
        os.fstat(served.fileno())


# The command.


@pytest.mark.parametrize("python", [None, sys.executable] + PYTHONS)
def test_all_three_roles_and_what_they_say(python, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["demo"] + (["--python", python] if python else [])) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    out = capsys.readouterr()[0]
    pids = dict(re.findall(r"(\w+) +pid ([0-9]+), \w+ [23]\.[0-9]+", out))
    assert set(pids) == {"front", "worker", "client"} and len(set(pids.values())) == 3
    assert pids["front"] == str(os.getpid()) and out.count("status 200") == 3
    served = r"GET / by the front, pid %(front)s, .*GET /report/2026 by the worker, pid %(worker)s,"
    assert re.search(served % pids, out, re.DOTALL), out
    assert re.findall("front   ([A-Z]+) /report/2026 .* send to receipt: ", out) == ["GET", "POST"]
    counts = re.findall("had read ([0-9]+) bytes and the worker read ([0-9]+)", out)[1]
    assert sum(map(int, counts)) > 300000
    times = [float(each) for each in re.findall("([0-9.]+) ms", out)]
    assert len(times) == 5 and 0 < max(times) < 1000 * DEADLINE


@pytest.mark.parametrize(
    "number, victim, message",
    [
        (signal.SIGINT, "front", "ended by signal 2"),
        (signal.SIGTERM, "front", "ended by signal 15"),
        (signal.SIGKILL, "worker", "the client did not get every answer"),
    ],
)
def test_a_signal_before_the_client_has_its_answers(monkeypatch, capsys, number, victim, message):
    def kill():
        os.kill(int(re.search(victim + " +pid ([0-9]+)", output.text).group(1)), number)

    output = Output("worker", kill)
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["demo"]) == 1
    assert capsys.readouterr()[1] == "fdpass demo: %s\n" % message


def make_python(tmpdir, content):
    """An interpreter that is a script of the shell."""
    python = tmpdir.join("python")
    python.write(content and "#!/bin/sh\n" + content)
    python.chmod(0o755 if content else 0o644)
    return str(python)


NO_WORKER = "no worker came up on {}; is it a Python that has fdpass?"


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot start {}: No such file or directory"),
        ("", "cannot start {}: Permission denied"),
        ("exit 3", NO_WORKER),
        ("echo 7 >&0", NO_WORKER),
        ("exec sleep 60 <&-", NO_WORKER),
        ("sleep 0.3; kill -INT $PPID; exec sleep 60", "ended by signal 2"),
    ],
)
def test_an_interpreter_that_is_none(tmpdir, capsys, content, message):
    path = "/nowhere" if content is None else make_python(tmpdir, content)
    assert main(["demo", "--python", path]) == 1
    assert capsys.readouterr() == ("", "fdpass demo: %s\n" % message.format(path))


@pytest.mark.parametrize("own", [True, False])
def test_another_interpreter_uses_its_own_package(tmpdir, monkeypatch, capfd, own):
    """The fdpass that it has goes before the front's, and the current folder does not count."""
    shutil.copytree(os.path.join(ROOT, "fdpass"), str(tmpdir.mkdir("here").join("fdpass")))
    monkeypatch.chdir(str(tmpdir.join("here")))
    there = tmpdir.mkdir("there")
    there.mkdir("fdpass").join("__init__.py").write("raise ImportError('this builds it: x')")
    monkeypatch.setenv("PYTHONPATH", str(there))
    python = sys.executable if own else make_python(tmpdir, 'exec "%s" "$@"' % sys.executable)
    assert main(["demo", "--python", python]) == (0 if own else 1)
    message = "ImportError: this builds it: x\nfdpass demo: %s\n" % NO_WORKER.format(python)
    assert capfd.readouterr()[1] == ("" if own else message)


def test_a_port_in_use_and_none(capsys):
    with closing(socket.socket()) as (listener,):
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        number = listener.getsockname()[1]
        for port, reason in ((number, "Address already in use"), (65536, "0-65535")):
            assert main(["demo", "--port=%d" % port]) == 1
            start = "fdpass demo: cannot listen on 127.0.0.1:%d: " % port
            assert re.match(start + ".*" + reason + ".*\n$", capsys.readouterr()[1])


# Processes of its own, which are really killed.


@contextlib.contextmanager
def demo(*arguments, **options):
    """The command, in a process group of its own."""
    process = subprocess.Popen(
        (sys.executable, "-m", options.get("module", "fdpass"), "demo") + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=options.get("cwd"),
        close_fds=True,
        preexec_fn=os.setsid,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def read_until(process, words):
    output = ""
    while words not in output:
        line = process.stdout.readline().decode("ascii")
        assert line, output
        output += line
    return output


def ended(process, number=0):
    """Signal all; return the status and the rest of the output when all processes have gone."""
    os.killpg(process.pid, number)
    output = process.stdout.read().decode("ascii")  # Whoever still lives holds the other end.
    return process.wait(), output


def test_a_vendored_copy_is_the_one_that_its_worker_runs(tmpdir):
    tmpdir.ensure("other", "__init__.py")
    package = tmpdir.ensure("other", "_vendor", "__init__.py").dirpath("fdpass")
    without = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(os.path.join(ROOT, "fdpass"), str(package), ignore=without)
    with demo(module="other._vendor.fdpass", cwd=str(tmpdir)) as process:
        status, output = ended(process)
    if sys.version_info[0] == 2:  # its binding, which carries the package's name, is not built
        assert status == 1 and "fdpass/_ffi_build.py" in output
    else:
        assert status == 0 and "POST /report/2026 by the worker" in output


def test_ctrl_c_while_the_worker_starts(tmpdir):
    python = make_python(tmpdir, "echo starts; exec sleep 60")
    with demo("--python", python) as process:
        read_until(process, "starts")
        assert ended(process, signal.SIGINT) == (1, "fdpass demo: ended by signal 2\n")


def test_clients_that_are_slow_and_ctrl_c():
    """Nobody waits for them, neither other clients nor the user."""
    with demo("--serve") as process:
        port, worker = find_port_and_worker(read_until(process, "Ctrl-C"))
        connections = [connect(port) for _ in range(20)]
        with closing(*connections):
            connections[-1].sendall(b"POST /report/x HTTP/1.1\r\nContent-Length: 9\r\n\r\n123")
            read_until(process, "POST /report/x handed")
            for path, pid in ((b"/", process.pid), (b"/report/y", worker)):
                assert ("pid %d," % pid).encode() in get(port, path)
            connections[-1].sendall(b"456789")
            assert connections[-1].recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            status, output = ended(process, signal.SIGINT)
    assert status == 0 and output.endswith("ended by signal 2\n") and "Traceback" not in output


@pytest.mark.parametrize("arguments", [["--serve"], []])
def test_a_killed_front_leaves_no_process(arguments):
    with demo(*arguments) as process:
        read_until(process, "Ctrl-C" if arguments else "worker  pid")
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL


def descriptors_of(pid):
    """What the descriptors of a process refer to, with how many do."""
    command = "ls -l /proc/%d/fd 2>/dev/null || true"  # which a closed one in between makes false
    output = subprocess.check_output(command % pid, shell=True)
    return collections.Counter(re.findall("-> (.+)", output.decode()))


def test_each_process_holds_what_it_has_to_and_gives_it_back():
    with closing(socket.socket()) as (inheritable,):
        fcntl.fcntl(inheritable, fcntl.F_SETFD, 0)
        with demo("--serve") as process:
            port, worker = find_port_and_worker(read_until(process, "Ctrl-C"))
            before = [descriptors_of(pid) for pid in (process.pid, worker)]
            mine = {link for link in before[1] if link.startswith("socket:")}
            assert len(mine) == 1 and not mine & set(before[0])
            for path in (b"/", b"/report/x", b"/nothing"):
                get(port, path)
            deadline = time.time() + DEADLINE
            while [descriptors_of(pid) for pid in (process.pid, worker)] != before:
                assert time.time() < deadline
            assert ended(process, signal.SIGTERM)[0] == 0
