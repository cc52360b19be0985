"""``python -m fdpass demo`` as its users run it: real processes, which are really killed."""

import collections
import contextlib
import fcntl
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from six.moves import http_client

import fdpass

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
DEADLINE = 120  # seconds, for what takes one on an idle machine
MODULE = ("-m", "fdpass")


class Demo(object):
    """The command and all that it starts: who of them still lives holds the pipe that we read."""

    def __init__(self, *arguments, **options):
        environment = dict(os.environ, **options.get("environment", {}))
        if "environment" not in options:
            environment.pop("PYTHONPATH", None)  # another interpreter has its own fdpass
        self.process = subprocess.Popen(
            [sys.executable] + list(options.get("how", MODULE) + ("demo",) + arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=options.get("root", ROOT),
            env=environment,
            close_fds=True,
        )
        self.output = ""

    def read_until(self, pattern):
        """Read until a line has it; without a pattern, until everybody has ended."""
        while pattern is None or not re.search(pattern + ".*\n", self.output):
            pipe = self.process.stdout
            assert select.select([pipe], [], [], DEADLINE)[0], "no end of: " + self.output
            chunk = os.read(pipe.fileno(), 65536).decode("ascii")
            if not chunk:
                assert pattern is None, self.output
                return None
            self.output += chunk
        return re.search(pattern, self.output)

    def ended(self):
        """The exit status, when all processes have gone."""
        self.read_until(None)
        return self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def demo(*arguments, **options):
    with contextlib.closing(Demo(*arguments, **options)) as command:
        yield command


@contextlib.contextmanager
def serving(*arguments, **options):
    """A demo that serves: with its port, and the worker's pid."""
    with demo("--serve", *arguments, **options) as command:
        command.read_until("Ctrl-C")
        command.port = int(command.read_until("http://127.0.0.1:([0-9]+)").group(1))
        command.worker = int(command.read_until("worker  pid ([0-9]+)").group(1))
        yield command


def fetch(port, path, body=None):
    connection = http_client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        return response.status, response.read().decode("ascii")


def pythons():
    return [sys.executable] + [
        path for path in os.environ.get("FDPASS_PYTHONS", "").split(os.pathsep) if path
    ]


@pytest.mark.parametrize("python", [None] + pythons())
def test_all_three_roles_and_what_they_say(python):
    with demo(*(["--python", python] if python else [])) as command:
        assert command.ended() == 0, command.output
    pids = dict(re.findall(r"(\w+) +pid ([0-9]+), \w+ [23]\.[0-9]+", command.output))
    assert set(pids) == {"front", "worker", "client"} and len(set(pids.values())) == 3
    assert pids["front"] == str(command.process.pid)
    served = r"GET / by the front, pid %(front)s, .*GET /report/2026 by the worker, pid %(worker)s,"
    assert re.search(served % pids, command.output, re.DOTALL), command.output
    hand_over = r"front   (GET|POST) /report/2026 .* send to receipt: [0-9.]+ ms"
    assert re.findall(hand_over, command.output) == ["GET", "POST"]
    counts = re.search("had read ([0-9]+) bytes and the worker read ([1-9][0-9]+)", command.output)
    assert sum(map(int, counts.groups())) > 300000


def test_a_vendored_copy_is_the_one_that_its_worker_runs(tmpdir):
    package = tmpdir.mkdir("other").mkdir("_vendor")
    for folder in ("other", "other/_vendor"):
        tmpdir.join(folder, "__init__.py").write("")
    without = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(os.path.join(ROOT, "fdpass"), str(package.join("fdpass")), ignore=without)
    options = {"root": str(tmpdir), "how": ("-m", "other._vendor.fdpass")}
    with demo("--python", sys.executable, **options) as command:
        status = command.ended()
    if sys.version_info[0] == 2:  # its binding, which carries the package's name, is not built
        assert status == 1 and "fdpass/_ffi_build.py" in command.output
    else:
        assert status == 0 and "POST /report/2026 by the worker" in command.output


@pytest.mark.parametrize("own", [True, False])
def test_another_interpreter_uses_its_own_package(tmpdir, own):
    """The fdpass that it has goes before the front's, and the current folder does not count."""
    shutil.copytree(os.path.join(ROOT, "fdpass"), str(tmpdir.mkdir("here").join("fdpass")))
    there = tmpdir.mkdir("there")
    there.mkdir("fdpass").join("__init__.py").write("raise ImportError('this builds it: x')")
    python = str(tmpdir.join("python"))
    with open(python, "w") as script:
        script.write('#!/bin/sh\nexec "%s" "$@"\n' % sys.executable)
    os.chmod(python, 0o700)
    options = {"root": str(tmpdir.join("here")), "environment": {"PYTHONPATH": str(there)}}
    with demo("--python", sys.executable if own else python, **options) as command:
        assert command.ended() == (0 if own else 1), command.output
    if not own:
        assert command.output.endswith("Error: this builds it: x\n")
        assert command.output.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_comes(number):
    with serving("--port", "0") as command:
        status, text = fetch(command.port, "/")
        assert (status, "pid %d," % command.process.pid in text) == (200, True)
        for path, body in (("/report/a", None), ("/report/b", b"x" * 200000)):
            status, text = fetch(command.port, path, body)
            assert (status, "pid %d," % command.worker in text) == (200, True)
        command.process.send_signal(number)
        assert command.ended() == 0, command.output
    assert command.output.endswith("ended by signal %d\n" % number)


def test_clients_that_ask_for_nothing_keep_nobody_waiting():
    with serving() as command:
        address = ("127.0.0.1", command.port)
        idle = [socket.create_connection(address, DEADLINE) for _ in range(20)]
        begun = socket.create_connection(address, DEADLINE)
        try:
            begun.sendall(b"POST /report/x HTTP/1.1\r\nContent-Length: 9\r\n\r\n123")
            command.read_until("POST /report/x handed")
            assert fetch(command.port, "/report/y")[0] == 200
            begun.sendall(b"456789")
            assert begun.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            command.process.send_signal(signal.SIGTERM)
            assert command.ended() == 0
        finally:
            for connection in idle + [begun]:
                connection.close()


def test_a_killed_worker_leaves_an_answer_and_no_process():
    with serving() as command:
        os.kill(command.worker, signal.SIGKILL)
        assert fetch(command.port, "/report/x")[0] == 503
        assert fetch(command.port, "/report/x")[0] == 503
        assert fetch(command.port, "/")[0] == 200
        command.process.send_signal(signal.SIGTERM)
        assert command.ended() == 0
    assert command.output.count("did not take the connection") == 1


def test_a_stopped_worker_does_not_answer_late():
    """The front answers after its time limit; then it has closed the channel."""
    with serving() as command:
        os.kill(command.worker, signal.SIGSTOP)
        assert fetch(command.port, "/report/x")[0] == 503
        os.kill(command.worker, signal.SIGCONT)
        assert fetch(command.port, "/report/x")[0] == 503
        command.process.send_signal(signal.SIGTERM)
        assert command.ended() == 0
    assert "did not take the connection: timed out" in command.output


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit(2) is Python 3.4's")
def test_a_worker_without_room_for_a_descriptor_leaves_an_answer():
    with serving() as command:
        resource.prlimit(command.worker, resource.RLIMIT_NOFILE, (3, 3))
        assert fetch(command.port, "/report/x")[0] == 503
        assert fetch(command.port, "/")[0] == 200
        command.process.send_signal(signal.SIGTERM)
        assert command.ended() == 0
    assert "takes no more connections" in command.output


def test_a_killed_front_leaves_no_process():
    with serving() as command:
        assert fetch(command.port, "/report/x")[0] == 200
        command.process.kill()
        assert command.ended() == -signal.SIGKILL


def test_a_killed_front_leaves_no_client_either():
    with demo() as command:
        command.read_until("worker  pid")
        command.process.kill()
        assert command.ended() == -signal.SIGKILL


def test_ended_before_the_client_got_its_answers():
    with demo() as command:
        command.read_until("worker  pid")
        command.process.send_signal(signal.SIGTERM)
        status = command.ended()
    # The client may have been quicker than the signal.
    assert (status, "ended by signal" in command.output) in ((1, True), (0, False))


def descriptors_of(pid):
    """What the descriptors of a process refer to, with how many do."""
    table = "/proc/%d/fd" % pid
    links = [os.readlink(os.path.join(table, name)) for name in sorted(os.listdir(table))]
    return collections.Counter(links)


def test_each_process_holds_what_it_has_to_and_gives_it_back():
    with contextlib.closing(socket.socket()) as other:
        fcntl.fcntl(other, fcntl.F_SETFD, 0)
        with serving() as command:
            front, worker = descriptors_of(command.process.pid), descriptors_of(command.worker)
            mine = {link for link in worker if link.startswith("socket:")}
            assert len(mine) == 1 and not mine & set(front)
            for path in ("/", "/report/x", "/nothing"):
                fetch(command.port, path)
            deadline = time.time() + DEADLINE
            while time.time() < deadline:
                try:
                    now = descriptors_of(command.process.pid), descriptors_of(command.worker)
                except OSError:  # closed while we looked
                    continue
                if now == (front, worker):
                    break
            assert now == (front, worker)
            command.process.send_signal(signal.SIGTERM)
            assert command.ended() == 0
