"""The demo within this process, where coverage sees it; test_demo_processes has whole runs.

Front, Worker and serve_channel are private. They are used where a fault of a socket or of the other
side has to come at a certain moment, and where the worker's part is to run in this process.
"""

import errno
import os
import re
import signal
import socket
import struct
import sys
import threading
import time

import pytest
from conftest import closing, lowered

import fdpass
from fdpass import Channel
from fdpass.__main__ import main
from fdpass._command import demo, demo_http, demo_worker

DEADLINE = 30  # seconds, for what takes one on an idle machine
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
REPORT = b"POST /report/x HTTP/1.1\r\nContent-Length: 7\r\n\r\nabc"


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Children look for the package in the current folder first: that is the one under test."""
    monkeypatch.chdir(ROOT)


class NoWorker(object):
    def hand_over(self, connection, read):
        return None


@pytest.fixture
def front():
    """The address of a front that serves in a thread, and has no worker."""
    finished = []
    with closing(demo.listen(0)) as (listener,):
        serving = demo.Front(listener, NoWorker()).serve
        thread = threading.Thread(target=serving, args=(lambda: finished,))
        thread.start()
        yield listener.getsockname()
        finished.append(True)
        thread.join()


@pytest.fixture
def tcp():
    """Two ends of a TCP connection."""
    with closing(demo.listen(0)) as (listener,):
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        listener.settimeout(DEADLINE)
        served, _ = listener.accept()
    with closing(client, served):
        yield client, served


class Impatient(object):
    """A connection whose time limits are over soon."""

    def __init__(self, connection):
        self.connection = connection

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def settimeout(self, seconds):
        assert seconds in (1, 10)
        self.connection.settimeout(0.05)


def read_all(client):
    return b"".join(iter(lambda: client.recv(65536), b""))


def status_of(address, request):
    with closing(socket.create_connection(address, DEADLINE)) as (client,):
        client.sendall(request)
        return int(client.recv(65536).split(b" ")[1])


# The front.


@pytest.mark.parametrize(
    "request_head, status",
    [
        (b"GET / HTTP/1.1\r\n\r\n", 200),
        (b"GET /?a=b HTTP/1.0\r\nHost: x\r\n\r\n", 200),
        (b"GET /report/x HTTP/1.1\r\n\r\n", 503),
        (b"GET /report HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET /a\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100000, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 23) + b"\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 22) + b"\r\n\r\n", 431),
    ],
)
def test_what_the_front_answers_itself(front, request_head, status, capsys):
    assert status_of(front, request_head) == status
    out = capsys.readouterr()[0]
    assert ("there is no such page" in out) == (status == 404)
    assert ("answered here" in out) == (status == 200)


@pytest.mark.parametrize("path", [b"/", b"/nowhere"])
def test_head_has_no_body(front, path):
    with closing(socket.create_connection(front, DEADLINE)) as (client,):
        client.sendall(b"HEAD " + path + b" HTTP/1.1\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(b"\r\n\r\n")


def test_the_front_answers_where_nobody_reads_its_output(front, monkeypatch):
    class Lost(object):
        def write(self, text):
            raise IOError(errno.EPIPE, "nobody reads")

    monkeypatch.setattr(sys, "stdout", Lost())
    assert status_of(front, b"GET / HTTP/1.1\r\n\r\n") == 200


def test_a_silent_client_gets_an_answer(tcp):
    client, served = tcp
    client.sendall(b"GET / HTT")
    demo.Front(None, None).handle_connection(Impatient(served))
    assert read_all(client).startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_a_client_that_reads_slowly_gets_one_answer(tcp, capsys):
    client, served = tcp
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    demo.Front(None, None).handle_connection(Impatient(served))
    assert read_all(client).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("begun", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost:"])
def test_a_client_that_closes_its_end_first_gets_no_answer(front, begun):
    with closing(socket.create_connection(front, DEADLINE)) as (client,):
        client.sendall(begun)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""


def test_a_client_that_resets_its_connection_does_no_harm(tcp):
    client, served = tcp
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    demo.Front(None, None).handle_connection(served)


def test_a_client_that_sends_without_end_is_closed():
    class Endless(object):
        received = 0

        def settimeout(self, seconds):
            assert seconds == 1

        def sendall(self, content):
            pass

        def recv(self, size):
            self.received += size
            return b"x" * size

    connection = Endless()
    demo_http.send_answer(connection, "200 OK", "")
    assert connection.received == 4 << 20


class Accepting(object):
    """A listener that has nothing but errors to give."""

    def __init__(self, *numbers):
        self.errors = [socket.error(number, os.strerror(number)) for number in numbers]
        self.times = []

    def accept(self):
        self.times.append(time.time())
        raise self.errors.pop(0)


def test_accept_fails_for_a_while_or_for_good():
    """In between, the processor is for others."""
    listener = Accepting(errno.EINTR, errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.EBADF)
    with pytest.raises(socket.error) as caught:
        demo.Front(listener, None).serve(lambda: False)
    assert caught.value.errno == errno.EBADF and not listener.errors
    assert listener.times[-1] - listener.times[0] >= 0.3


def test_the_front_finishes_answers_that_have_begun(tcp, capsys):
    client, served = tcp

    class Once(object):
        def accept(self):
            return served, None

    accepted = []
    thread = threading.Timer(0.2, client.sendall, [b"GET / HTTP/1.1\r\n\r\n"])
    thread.start()
    demo.Front(Once(), None).serve(lambda: accepted or accepted.append(True))
    thread.join()
    assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")
    client.close()
    demo_http.join_threads(DEADLINE)


def test_its_port_is_free_again_at_once():
    with closing(demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
        client = socket.create_connection((demo_http.HOST, number))
        listener.accept()[0].close()  # first, and so this end's waits for stray packets; tcp(7)
        client.close()
    demo.listen(number).close()


# The worker's part.


@pytest.fixture
def channel():
    """The front's end of a channel, with the worker's loop in a thread at the other."""
    front, end = Channel.pair()
    front.settimeout(DEADLINE)
    thread = threading.Thread(target=demo_worker.serve_channel, args=(end,))
    thread.start()
    with closing(front):
        assert front.recv().data.startswith(str(os.getpid()).encode() + b" ")
        yield front
    thread.join()


def test_the_worker_answers_what_it_is_handed(channel, tcp):
    client, served = tcp
    channel.send(REPORT, [served])
    channel.recv()
    served.close()
    client.sendall(b"defg")
    text = client.recv(65536).decode("ascii")
    assert text.startswith("HTTP/1.1 200 OK\r\n") and "POST /report/x by the worker" in text
    assert text.endswith("the front had read %d bytes and the worker read 4\n" % len(REPORT))
    client.close()
    demo_http.join_threads(DEADLINE)


def test_the_worker_at_its_limit_of_descriptors(tcp, capsys):
    """The front notices the end of the channel, and answers."""
    front, end = Channel.pair()
    front.settimeout(DEADLINE)
    with closing(front):
        front.send(REPORT, [tcp[1]])
        with lowered(0):
            demo_worker.serve_channel(end)
        front.recv()
        with pytest.raises((EOFError, socket.error)):
            front.recv()
    assert "worker  takes no more connections: " in capsys.readouterr()[0]


def test_without_a_receipt_the_worker_does_not_answer(tcp, capsys):
    """The front has given up before the worker came to the message."""
    client, served = tcp
    front, end = Channel.pair()
    front.send(REPORT, [served])
    end.settimeout(DEADLINE)

    class Late(object):
        def __init__(self):
            self.sent = 0

        def send(self, data):
            self.sent += 1
            if self.sent > 1:
                front.close()
                end.send(data)

        def __iter__(self):
            return iter(end)

        def __enter__(self):
            return self

        def __exit__(self, *exc_info):
            end.close()

    demo_worker.serve_channel(Late())
    served.close()
    assert read_all(client) == b""
    assert "takes no more connections" in capsys.readouterr()[0]


@pytest.mark.parametrize("received", [b"", b"ab"])
def test_the_worker_closes_the_connection_of_a_client_that_has_gone(tcp, received):
    client, served = tcp
    client.sendall(received)
    client.close()
    demo_worker.answer_report(served, REPORT)
    with pytest.raises((socket.error, ValueError)):
        os.fstat(served.fileno())


def test_the_worker_closes_the_connection_of_a_silent_client(tcp):
    demo_worker.answer_report(Impatient(tcp[1]), REPORT)
    assert read_all(tcp[0]) == b""


def test_the_whole_body_is_read_and_no_more(tcp):
    client, served = tcp
    thread = threading.Thread(target=client.sendall, args=(b"x" * 99998 + b"more",))
    thread.start()
    head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\nab"
    assert demo_http.read_body(served, head) == 99998
    thread.join()
    assert served.recv(5) == b"more"


def test_what_the_worker_process_runs():
    """It takes its channel from descriptor 0, and brings its stderr where its stdout is."""
    front, end = Channel.pair()
    kept = [os.dup(number) for number in (0, 2)]
    with closing(front, *kept):
        with closing(end):
            os.dup2(end.fileno(), 0)
        try:
            thread = threading.Thread(target=demo_worker.run_worker)
            thread.start()
            front.recv()
            os.fstat(0)  # it stays in use: no connection becomes standard input
            assert os.fstat(1) == os.fstat(2)
            front.close()
            thread.join()
        finally:
            os.dup2(kept[0], 0)
            os.dup2(kept[1], 2)


# The command.


def test_the_whole_demo(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["demo"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    out = capsys.readouterr()[0]
    assert out.count("status 200") == 3 and out.count("by the worker") == 2
    times = [float(one) for one in re.findall("([0-9.]+) ms", out)]
    assert len(times) == 5 and 0 < max(times) < 1000 * DEADLINE
    assert int(re.search("http://127.0.0.1:([0-9]+)", out).group(1)) > 1023  # any that is free


@pytest.mark.parametrize("arguments, number", [([], signal.SIGTERM), (["--serve"], signal.SIGINT)])
def test_a_signal_ends_it(capsys, arguments, number):
    """The signal comes as soon as the front handles it."""
    before = signal.getsignal(number)
    done = threading.Event()

    def kill_when_handled():
        while not done.is_set():
            if signal.getsignal(number) != before:
                os.kill(os.getpid(), number)
                return

    thread = threading.Thread(target=kill_when_handled)
    thread.start()
    status = main(["demo"] + arguments)
    done.set()
    thread.join()
    out, err = capsys.readouterr()
    assert status == (0 if arguments else 1)
    assert (out if arguments else err).endswith("ended by signal %d\n" % number)


def test_a_worker_that_is_killed(tcp, capsys):
    with closing(demo_worker.Worker(sys.executable)) as (worker,):
        assert worker.hand_over(tcp[1], REPORT) > 0
        os.kill(int(worker.pid), signal.SIGKILL)
        worker.process.wait()
        assert worker.hand_over(tcp[1], REPORT) is None
        assert worker.hand_over(tcp[1], REPORT) is None
    assert capsys.readouterr()[0].count("the worker did not take the connection") == 1


def test_a_worker_that_does_not_end_is_killed():
    worker = demo_worker.Worker(sys.executable)
    os.kill(int(worker.pid), signal.SIGSTOP)
    worker.close(0.1)
    assert worker.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot start {}: No such file or directory"),
        ("", "cannot start {}: Permission denied"),
        ("exit 3", "no worker came up on {}: it ended with status 3; is it a Python? "),
        (
            "printf 'one\\nImportError: J\\303\\266rg' >&2; exit 1",
            "no worker came up on {}: it ended with status 1; ImportError: J??rg",
        ),
        ("echo 7 >&0", "what came up on {} is no worker: "),
        (
            "exec sleep 60 <&-",
            "no worker came up on {}: it keeps running and says nothing; is it a Python?",
        ),
        ("sleep 0.3; kill -INT $PPID; exec sleep 60", "interrupted"),
    ],
)
def test_an_interpreter_that_is_none(tmpdir, capsys, content, message):
    path = tmpdir.join("python")
    if content is not None:
        path.write(content and "#!/bin/sh\n" + content)
        path.chmod(0o755 if content else 0o644)
    assert main(["demo", "--python", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("fdpass demo: " + message.format(path))
    assert err.count("\n") == 1


def test_a_port_in_use(capsys):
    with closing(demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
        assert main(["demo", "--port", str(number)]) == 1
    message = "fdpass demo: cannot listen on 127.0.0.1:%d: Address already in use\n" % number
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("number", ["-1", "65536", "http"])
def test_a_port_that_is_none(capsys, number):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--port=" + number])
    assert caught.value.code == 2 and number in capsys.readouterr()[1]


def test_the_client_reports_a_failure_and_a_refusal(front, capsys):
    with closing(demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
    assert demo_http.run_client(str(number)) == 1
    assert "client: GET / failed" in capsys.readouterr()[1]
    assert demo_http.run_client(str(front[1])) == 1
    out = capsys.readouterr()[0]
    assert (out.count("status 200"), out.count("status 503")) == (1, 2)
