"""The demo's front and the command, in this process; whole runs are in test_demo_processes."""

import errno
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest
from conftest import closing

import fdpass
from fdpass.__main__ import main
from fdpass._command import demo as _demo
from fdpass._command import demo_http as _demo_http

DEADLINE = 120  # seconds, for what takes one on an idle machine
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Children look for the package in the current folder first: that is the one under test."""
    monkeypatch.chdir(ROOT)


class StoppedWorker(object):
    """Takes no connection."""

    def hand_over(self, connection, read):
        return None


@pytest.fixture
def front():
    """The port of a front that serves in a thread, and has no worker."""
    finished = []
    with closing(_demo.listen(0)) as (listener,):
        front = _demo.Front(listener, StoppedWorker())
        thread = threading.Thread(target=front.serve, args=(lambda: finished,))
        thread.start()
        yield listener.getsockname()
        finished.append(True)
        thread.join()


def asked(address, request):
    with closing(socket.create_connection(address, DEADLINE)) as (client,):
        client.sendall(request)
        answer = client.recv(65536)
        return int(answer.split(b" ")[1]) if answer else None


# The front.


@pytest.mark.parametrize(
    "request_head, status",
    [
        (b"GET / HTTP/1.1\r\n\r\n", 200),
        (b"GET /?a=b HTTP/1.0\r\nHost: x\r\n\r\n", 200),
        (b"GET /report/x HTTP/1.1\r\n\r\n", 503),
        (b"GET /report HTTP/1.1\r\n\r\n", 404),
        (b"GET /favicon.ico HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET /a\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100000, 431),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 23) + b"\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * (64 * 1024 - 22) + b"\r\n\r\n", 431),
    ],
)
def test_what_the_front_answers_itself(front, request_head, status, capsys):
    assert asked(front, request_head) == status
    out = capsys.readouterr()[0]
    assert ("there is no such page" in out) == (status == 404)
    assert ("answered here" in out) == (status == 200)


@pytest.mark.parametrize("path", [b"/", b"/nowhere"])
def test_head_has_no_body(front, path):
    with closing(socket.create_connection(front, DEADLINE)) as (client,):
        client.sendall(b"HEAD " + path + b" HTTP/1.1\r\n\r\n")
        told = b""
        while not told.endswith(b"\r\n\r\n"):
            told += client.recv(65536)
        client.settimeout(0.1)
        with pytest.raises(socket.timeout):
            client.recv(1)


def test_the_front_answers_where_nobody_reads_what_it_says(front, monkeypatch):
    class Lost(object):
        def write(self, text):
            raise IOError(errno.EPIPE, "nobody reads")

    monkeypatch.setattr(sys, "stdout", Lost())
    assert asked(front, b"GET / HTTP/1.1\r\n\r\n") == 200


def test_a_silent_client_is_told_so(front, monkeypatch):
    monkeypatch.setattr(_demo, "PATIENCE", 0.05)
    assert asked(front, b"GET / HTT") == 408


@pytest.mark.parametrize("begun", [b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost:"])
def test_a_client_that_closes_its_end_first_gets_no_answer(front, begun):
    with closing(socket.create_connection(front, DEADLINE)) as (client,):
        client.sendall(begun)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""


def test_a_client_that_resets_its_connection_does_no_harm():
    with closing(_demo.listen(0)) as (listener,):
        client = socket.create_connection(listener.getsockname(), DEADLINE)
        listener.settimeout(DEADLINE)
        served, _ = listener.accept()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    _demo.Front(None, StoppedWorker()).attend(served)
    with pytest.raises((socket.error, ValueError)):
        os.fstat(served.fileno())


def test_what_it_says_is_there_to_be_read_at_once(monkeypatch):
    calls = []

    class Kept(object):
        write = staticmethod(lambda text: calls.append("write"))
        flush = staticmethod(lambda: calls.append("flush"))

    monkeypatch.setattr(sys, "stdout", Kept())
    _demo_http.say("front", "something")
    assert calls[-1] == "flush" and "write" in calls


class Accepting(object):
    """A listener that has nothing but errors to give."""

    def __init__(self, *numbers):
        self.errors = [socket.error(number, os.strerror(number)) for number in numbers]

    def accept(self):
        raise self.errors.pop(0)


def test_accept_fails_for_a_while_or_for_good():
    listener = Accepting(errno.EINTR, errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.EBADF)
    with pytest.raises(socket.error) as caught:
        _demo.Front(listener, None).serve(lambda: False)
    assert caught.value.errno == errno.EBADF and not listener.errors


def test_those_under_way_are_waited_for():
    """By whatever ends: for so long, and for no more at the end of the process."""
    done = []

    class Slow(_demo.Front):
        def attend(self, connection):
            time.sleep(0.2)
            done.append(connection)

    class Once(object):
        def accept(self):
            return "connection", None

    front = Slow(Once(), None)
    front.serve(lambda: front.conversations.threads)
    assert done == ["connection"]
    assert front.conversations.threads[0].daemon


def test_its_port_can_be_had_again_at_once():
    with closing(_demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
        client = socket.create_connection((_demo.HOST, number))
        listener.accept()[0].close()  # first, and so this end's waits for stray packets; tcp(7)
        client.close()
    _demo.listen(number).close()


def test_while_accept_fails_the_processor_is_for_others():
    """One pass in each TICK."""
    tries = []
    _demo.Front(Accepting(*[errno.EMFILE] * 1000), None).serve(
        lambda: tries.append(time.time()) or tries[-1] - tries[0] > 3 * _demo.TICK
    )
    assert len(tries) <= 5


# The command.


@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_RDM])
def test_the_whole_demo(capsys, monkeypatch, kind):
    monkeypatch.setattr(socket, "SOCK_SEQPACKET", kind)  # there is no RDM: as where there is none
    before = signal.getsignal(signal.SIGTERM)
    assert main(["demo"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    out = capsys.readouterr()[0]
    assert out.count("status 200") == 3 and out.count("by the worker") == 2
    times = [float(one) for one in re.findall("([0-9.]+) ms", out)]
    assert len(times) == 5 and 0 < max(times) < 1000 * DEADLINE
    assert int(re.search("http://127.0.0.1:([0-9]+)", out).group(1)) > 1023  # any that is free


def test_a_client_without_all_its_answers(capsys, monkeypatch):
    monkeypatch.setattr(_demo.Worker, "hand_over", lambda worker, connection, read: None)
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert out.count("status 503") == 2
    assert err == "fdpass demo: the client did not get every answer\n"


def test_a_signal_ends_the_front_and_its_client(capsys, monkeypatch):
    kill = lambda *arguments: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    monkeypatch.setattr(_demo.Front, "serve", lambda front, finished: kill() or finished())
    assert main(["demo"]) == 1
    assert capsys.readouterr()[1] == "fdpass demo: ended by signal %d\n" % signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_serving(capsys, monkeypatch, number):
    say = _demo.say

    def say_and_kill(role, text):
        say(role, text)
        if "Ctrl-C" in text:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(_demo, "say", say_and_kill)
    assert main(["demo", "--serve"]) == 0
    out = capsys.readouterr()[0]
    assert out.endswith("ended by signal %d\n" % number)
    url = re.search("http://[0-9.:]+", out).group()
    for path in ("/\n", "/report/2026\n", "/report/2026 --data-binary @FILE\n"):
        assert "curl " + url + path in out


def test_interrupted_before_the_worker_is_there(capsys, monkeypatch):
    def interrupted(worker):
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo.Worker, "meet", interrupted)
    assert main(["demo"]) == 1
    assert capsys.readouterr()[1] == "fdpass demo: interrupted\n"


def test_a_port_in_use(capsys):
    with closing(_demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
        assert main(["demo", "--port", str(number)]) == 1
    message = "fdpass demo: cannot listen on 127.0.0.1:%d: Address already in use\n" % number
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("number", ["-1", "65536", "http"])
def test_a_port_that_is_none(capsys, number):
    with pytest.raises(SystemExit) as caught:
        main(["demo", "--port=" + number])
    assert caught.value.code == 2 and number in capsys.readouterr()[1]


def test_the_client_says_what_went_wrong(capsys):
    with closing(_demo.listen(0)) as (listener,):
        number = listener.getsockname()[1]
    assert _demo_http.run_client(str(number)) == 1
    assert "client: GET / failed" in capsys.readouterr()[1]


def test_the_client_closes_after_an_answer_that_is_none(monkeypatch, capsys):
    made, real = [], _demo_http.http.HTTPConnection

    def recorded(*arguments, **more):
        made.append(real(*arguments, **more))
        return made[-1]

    def nonsense():
        with closing(listener.accept()[0]) as (connection,):
            assert connection.recv(4096)  # unread, it would reset the connection
            connection.sendall(b"HTTP/1.1 nonsense\r\n\r\n")

    monkeypatch.setattr(_demo_http.http, "HTTPConnection", recorded)
    with closing(_demo.listen(0)) as (listener,):
        listener.settimeout(30)
        thread = threading.Thread(target=nonsense)
        thread.start()
        assert _demo_http.run_client(str(listener.getsockname()[1])) == 1
        thread.join()
    assert [connection.sock for connection in made] == [None]


def test_the_client_tells_a_refusal_from_an_answer(front, capsys):
    assert _demo_http.run_client(str(front[1])) == 1
    out = capsys.readouterr()[0]
    assert (out.count("status 200"), out.count("status 503")) == (1, 2)


def test_a_client_that_goes_on_sending_is_heard_only_so_long():
    class Endless(object):
        received = 0
        timeouts = []
        settimeout = timeouts.append
        sendall = staticmethod(lambda argument: None)

        def recv(self, size):
            self.received += size
            return b"x" * size

    connection = Endless()
    _demo_http.answer(connection, 200, "")
    assert connection.received == 4 << 20
    assert connection.timeouts == [1]  # and waited for no longer than that


def test_it_ends_a_client_that_does_not_end(monkeypatch):
    started = []

    def start(*arguments, **streams):
        started.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        return started[0]

    monkeypatch.setattr(_demo, "start", start)
    monkeypatch.setattr(_demo.Front, "serve", lambda front, finished: None)
    with pytest.raises(_demo.DemoError):
        _demo.ask(_demo.Front(None, None), 1, [signal.SIGTERM])
    assert started[0].returncode == -signal.SIGKILL
    started[0].stdin.close()
