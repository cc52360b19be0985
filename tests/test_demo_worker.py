"""The demo's worker, and the front's handle of it."""

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time

import pytest
from conftest import closing

import fdpass
from fdpass import send_fds
from fdpass.__main__ import main
from fdpass._command import demo as _demo
from fdpass._command import demo_http as _demo_http
from fdpass._command import demo_worker as _demo_worker

DEADLINE = 120  # seconds, for what takes one on an idle machine
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Children look for the package in the current folder first: that is the one under test."""
    monkeypatch.chdir(ROOT)


@pytest.fixture(params=[None, socket.SOCK_RDM], ids=["seqpacket", "datagram"])
def channels(request, monkeypatch):
    """With seqpacket sockets, and as on a system that has none."""
    if request.param:
        monkeypatch.setattr(socket, "SOCK_SEQPACKET", request.param)


@pytest.fixture
def channel(channels):
    """The front's end of a channel, with the worker's loop in a thread at the other."""
    front, end = _demo_worker.channel_pair()
    front.settimeout(DEADLINE)
    thread = threading.Thread(target=_demo_worker.serve_worker, args=(end,))
    thread.start()
    with closing(end, front):
        assert json.loads(front.recv(4096).decode("ascii"))["pid"] == os.getpid()
        yield front
        front.send(b"")
        thread.join()


@pytest.fixture
def tcp():
    """Two ends of a TCP connection."""
    with closing(_demo.listen(0)) as (listener,):
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        listener.settimeout(DEADLINE)
        served, _ = listener.accept()
    with closing(client, served):
        yield client, served


def everything(client):
    """All that comes until the other end closes."""
    content = b""
    while True:
        chunk = client.recv(65536)
        if not chunk:
            return content
        content += chunk


def test_the_worker_answers_what_it_is_handed(channel, tcp):
    client, served = tcp
    read = b"POST /report/x HTTP/1.1\r\nContent-Length: 7\r\n\r\nabc"
    send_fds(channel, read, [served])
    assert channel.recv(4096) == b"taken"
    served.close()
    client.sendall(b"defg")
    text = client.recv(65536).decode("ascii")
    assert text.startswith("HTTP/1.1 200 OK\r\n") and "POST /report/x by the worker" in text
    assert text.endswith("the front had read %d bytes and the worker read 4\n" % len(read))


def test_the_worker_says_when_a_message_is_not_as_it_has_to_be(channel, tcp):
    client, served = tcp
    read = b"GET /report/x HTTP/1.1\r\n\r\n"
    send_fds(channel, read, [served, served])
    assert b"2 descriptors arrived" in channel.recv(4096)
    send_fds(channel, read, [served])
    assert channel.recv(4096) == b"taken"


def test_the_worker_at_its_limit_of_descriptors(channel, tcp, monkeypatch):
    client, served = tcp
    real, failing = _demo_worker.socket_from_fd, [True]

    def once(fd):
        if failing.pop():
            raise socket.error(errno.EMFILE, "none left")
        return real(fd)

    monkeypatch.setattr(_demo_worker, "socket_from_fd", once)
    read = b"GET /report/x HTTP/1.1\r\n\r\n"
    send_fds(channel, read, [served])
    assert b"none left" in channel.recv(4096)
    failing.append(False)
    send_fds(channel, read, [served])
    assert channel.recv(4096) == b"taken"


@pytest.mark.parametrize("received", [b"", b"ab"])
def test_the_worker_gives_up_a_client_that_has_gone(tcp, received):
    client, served = tcp
    client.sendall(received)
    client.close()
    read = b"POST /report/x HTTP/1.1\r\nContent-Length: 7\r\n\r\n"
    _demo_worker.answer_report(served, read)
    with pytest.raises((socket.error, ValueError)):
        os.fstat(served.fileno())


def test_the_worker_gives_up_a_client_that_is_silent(tcp, monkeypatch):
    monkeypatch.setattr(_demo_worker, "PATIENCE", 0.05)
    _demo_worker.answer_report(tcp[1], b"POST /report/x HTTP/1.1\r\nContent-Length: 7\r\n\r\n")
    assert everything(tcp[0]) == b""


def test_the_whole_body_is_read(tcp):
    client, served = tcp
    thread = threading.Thread(target=client.sendall, args=(b"x" * 99998 + b"more",))
    thread.start()
    head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\nab"
    assert _demo_http.read_body(served, head) == 99998
    thread.join()
    assert served.recv(5) == b"more"


def test_the_worker_ends_with_its_answers_given(tcp, monkeypatch):
    answered = []

    def slow(connection, read):
        time.sleep(0.2)
        answered.append(read)
        connection.close()

    monkeypatch.setattr(_demo_worker, "answer_report", slow)
    front, end = _demo_worker.channel_pair()
    with closing(front, end):
        send_fds(front, b"the head", [tcp[1]])
        front.send(b"")
        _demo_worker.serve_worker(end)
    assert answered == [b"the head"]


def test_the_worker_ends_when_it_is_orphaned(monkeypatch):
    parents = [7, 7, 1]
    monkeypatch.setattr(os, "getppid", lambda: parents.pop(0))
    front, end = _demo_worker.channel_pair()
    with closing(front, end):
        _demo_worker.serve_worker(end)
    assert not parents


def test_the_worker_ends_when_the_front_has_gone():
    front, end = _demo_worker.channel_pair()
    front.close()
    with closing(end):
        _demo_worker.serve_worker(end)


def test_the_worker_does_not_hide_what_it_does_not_expect():
    unconnected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(unconnected), pytest.raises(socket.error) as caught:
        _demo_worker.serve_worker(unconnected)
    assert caught.value.errno == errno.ENOTCONN


def test_what_the_worker_process_runs(channels):
    """It takes its channel from descriptor 0, and brings its stderr where its stdout is."""
    front, end = _demo_worker.channel_pair()
    kept = [os.dup(number) for number in (0, 2)]
    with closing(front, end, *kept):
        try:
            os.dup2(end.fileno(), 0)
            front.send(b"")
            _demo_worker.run_worker()
            assert os.fstat(1) == os.fstat(2)
            os.fstat(0)  # it stays in use: no connection becomes standard input
        finally:
            os.dup2(kept[0], 0)
            os.dup2(kept[1], 2)


# The front's side of the worker.


@pytest.fixture
def worker(channels):
    with closing(_demo_worker.Worker(sys.executable)) as (worker,):
        yield worker


def test_a_worker_leaves_by_itself(worker):
    worker.close()
    assert worker.process.returncode == 0


def test_another_interpreter_has_a_package_of_its_own(tmpdir, monkeypatch):
    """What is installed there goes before this copy, and the current folder does not count."""
    for folder in ("here", "there"):
        package = tmpdir.mkdir(folder).mkdir("both")
        package.join("__init__.py").write("raise ImportError(%r)" % folder)
    monkeypatch.chdir(tmpdir.join("here"))
    monkeypatch.setenv("PYTHONPATH", str(tmpdir.join("there")))
    monkeypatch.setattr(_demo_worker, "PACKAGE", "both")
    for python, found in ((sys.executable, "here"), (str(tmpdir.join("python")), "there")):
        if found == "there":
            os.symlink(sys.executable, python)
        with pytest.raises(_demo.DemoError) as caught:
            _demo_worker.Worker(python)
        assert str(caught.value).endswith("ImportError: " + found)


def test_a_worker_finds_this_copy_and_inherits_nothing_but_its_channel(tmpdir, monkeypatch):
    monkeypatch.chdir(tmpdir)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with closing(socket.socket()) as (other,):
        fcntl.fcntl(other, fcntl.F_SETFD, 0)
        with closing(_demo_worker.Worker(sys.executable)) as (worker,):
            table = "/proc/%d/fd/" % worker.pid
            links = {os.readlink(table + name) for name in os.listdir(table)}
            assert os.readlink("/proc/self/fd/%d" % other.fileno()) not in links
            # Ctrl-C reaches the whole process group; what it means is for the front to say.
            os.kill(worker.pid, signal.SIGINT)
            worker.close()
            assert worker.process.returncode == 0


def test_a_worker_that_does_not_answer_is_given_up(worker, tcp, monkeypatch):
    os.kill(worker.pid, signal.SIGSTOP)
    monkeypatch.setattr(_demo_worker, "PATIENCE", 0.05)
    assert worker.hand_over(tcp[1], b"GET /report/x HTTP/1.1\r\n\r\n") is None
    assert worker.hand_over(tcp[1], b"GET /report/x HTTP/1.1\r\n\r\n") is None
    assert worker.channel is None
    worker.close(0)
    assert worker.process.returncode == -signal.SIGKILL


def test_a_worker_that_has_gone_is_noticed(worker, tcp, capsys):
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    assert worker.hand_over(tcp[1], b"GET /report/x HTTP/1.1\r\n\r\n") is None
    assert "the worker did not take the connection" in capsys.readouterr()[0]


def test_a_worker_that_refuses_one_connection_takes_the_next(tcp, capsys):
    worker = _demo_worker.Worker.__new__(_demo_worker.Worker)
    worker.lock = threading.Lock()
    worker.channel, end = _demo_worker.channel_pair()
    with closing(worker.channel, end):
        end.send(b"too many descriptors")
        end.send(b"taken")
        assert worker.hand_over(tcp[1], b"x") is None
        assert worker.hand_over(tcp[1], b"x") > 0
    assert capsys.readouterr()[0].endswith("connection: too many descriptors\n")


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot start {}: No such file or directory"),
        ("", "cannot start {}: Permission denied"),
        ("#!/bin/sh\nexit 3", "no worker came up on {}: it ended with status 3; is it a Python? "),
        (
            "#!/bin/sh\necho one >&2; echo ImportError: two >&2; exit 1",
            "no worker came up on {}: it ended with status 1; ImportError: two",
        ),
        (
            "#!/bin/sh\nprintf 'ImportError: J\\303\\266rg' >&2; exit 1",
            "no worker came up on {}: it ended with status 1; ImportError: J??rg",
        ),
        (
            "#!/bin/sh\necho 7 >&0",
            "what came up on {} is no worker: it says %r" % b"7\n",
        ),
    ],
)
def test_an_interpreter_that_is_none(channels, tmpdir, capsys, content, message):
    path = tmpdir.join("python")
    if content is not None:
        path.write(content)
        path.chmod(0o755 if content else 0o644)
    assert main(["demo", "--python", str(path)]) == 1
    assert capsys.readouterr() == ("", "fdpass demo: " + message.format(path) + "\n")


def test_an_interpreter_that_says_nothing(tmpdir, capsys, monkeypatch):
    path = tmpdir.join("python")
    path.write("#!/bin/sh\nexec cat /dev/zero >/dev/null")
    path.chmod(0o755)
    monkeypatch.setattr(_demo_worker, "START_PATIENCE", 0.1)
    monkeypatch.setattr(_demo_worker, "ended", lambda process, seconds: process.poll() is not None)
    assert main(["demo", "--python", str(path)]) == 1
    assert "keeps running and says nothing" in capsys.readouterr()[1]


def test_the_worker_tells_how_to_build_the_binding(tmpdir, capsys, monkeypatch):
    broken = tmpdir.mkdir("broken").join("__init__.py")
    broken.write("raise ImportError('this builds it: python x')")
    monkeypatch.setattr(_demo_worker, "PACKAGE", "broken")
    monkeypatch.setattr(_demo_worker, "ROOT", str(tmpdir))
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("Error: this builds it: python x\n") and err.count("\n") == 1


def test_a_channel_has_room_for_the_longest_head(monkeypatch):
    """Whatever a system gives a datagram of itself."""
    small = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in small:
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 4096)
    monkeypatch.setattr(socket, "socketpair", lambda *arguments: small)
    with closing(*_demo_worker.channel_pair()) as ends:
        for end in ends:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                assert end.getsockopt(socket.SOL_SOCKET, option) >= 2 * _demo_http.HEAD_LIMIT


class Living(object):
    """A child process that does not end."""

    looks = 0

    def poll(self):
        self.looks += 1


def test_waiting_for_a_child_leaves_the_processor_to_others():
    child = Living()
    assert not _demo_worker.ended(child, 0.1)
    assert 2 <= child.looks <= 0.1 / _demo_worker.TICK + 2
