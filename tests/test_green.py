"""Sockets that wait in an event loop of their own, such as those of eventlet and gevent.

The libraries patch the whole process, so each scenario with a library runs in a child.
"""

import errno
import itertools
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

import green_program
import pytest
from conftest import child_environment, closing, raises_errno
from test_faults import Poll
from test_signals import high  # noqa: F401
from test_transfer import same_file

import fdpass


class Green(object):
    """A socket like eventlet's: it waits in most calls, but not in sendmsg and recvmsg."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.fd, self.timeout = sock, None

    def __getattr__(self, name):
        return getattr(self.fd, name)

    def gettimeout(self):
        return self.timeout

    def settimeout(self, timeout):
        self.timeout = timeout


@pytest.fixture
def green(stream):
    return Green(stream[0]), stream[1]


def without_poll(monkeypatch):
    """Patch select as eventlet does; return the list of the timeouts that it is called with."""
    timeouts, real = [], select.select

    def counting(readable, writable, exceptional, timeout=None):
        timeouts.append(timeout)
        return real(readable, writable, exceptional, timeout)

    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(select, "select", counting)
    return timeouts


@pytest.fixture(params=["poll", "select"])
def waits(request, monkeypatch):
    return without_poll(monkeypatch) if request.param == "select" else None


def fill(sock):
    size = 0
    with raises_errno(errno.EAGAIN):
        while True:
            size += sock.send(b"x" * 4096, socket.MSG_DONTWAIT)
    return size


class Later(threading.Thread):
    """A thread that makes a call a little later. Its join() raises the call's error."""

    def __init__(self, call, *arguments):
        threading.Thread.__init__(self)
        self.call, self.arguments, self.error = call, arguments, None
        self.start()

    def run(self):
        time.sleep(0.05)
        try:
            self.call(*self.arguments)
        except Exception as error:
            self.error = error

    def join(self):
        threading.Thread.join(self)
        assert self.error is None


def empty(sock, size):
    while size:
        size -= len(sock.recv(min(size, 65536)))


@pytest.mark.rule(22)
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("name", ["recv_fds", "recvmsg", "Channel.recv"])
def test_a_green_socket_waits_to_receive(green, null, waits, timeout, name):
    left, right = green
    left.settimeout(timeout)
    if name == "Channel.recv":
        channel = fdpass.Channel(left)
        other = fdpass.Channel(right)
        later = Later(other.send, b"x", [null])
        with channel.recv() as message:
            assert same_file(message.fds[0].fileno(), null)
    else:
        later = Later(fdpass.send_fds, right, b"x", [null])
        if name == "recv_fds":
            fds = fdpass.recv_fds(left, 1, 1).fds
        else:
            fds = fdpass.fds_from_ancdata(fdpass.recvmsg(left, 1, 100)[1])
        with closing(*fds):
            assert same_file(fds[0], null)
    later.join()
    assert all((seconds is None) == (timeout is None) for seconds in waits or [])


SENDS = {
    "send_fds": lambda sock, fd: fdpass.send_fds(sock, b"x", [fd]),
    "sendall_fds": lambda sock, fd: fdpass.sendall_fds(sock, b"x", [fd]),
    "sendmsg": lambda sock, fd: fdpass.sendmsg(sock, [b"x"], fdpass.rights([fd])),
}


@pytest.mark.rule(22)
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("name", sorted(SENDS))
def test_a_green_socket_waits_for_room(green, null, waits, timeout, name):
    left, right = green
    left.settimeout(timeout)
    later = Later(empty, right, fill(left))
    SENDS[name](left, null)
    later.join()
    with closing(*fdpass.recv_fds(right, 10, 1).fds) as fds:
        assert same_file(fds[0], null)


@pytest.mark.rule(22)
@pytest.mark.parametrize("name", ["recv_fds", "recvmsg", "Channel.recv"] + sorted(SENDS))
def test_the_timeout_of_a_green_socket(green, null, waits, name):
    left, right = green
    left.settimeout(0.2)
    if name in SENDS:
        fill(left)
        call = lambda: SENDS[name](left, null)  # noqa: E731
    elif name == "Channel.recv":
        call = fdpass.Channel(left).recv
    else:
        call = lambda: getattr(fdpass, name)(left, 1, 1)  # noqa: E731
    start = time.time()
    with pytest.raises(socket.timeout):
        call()
    assert 0.19 < time.time() - start < 2
    assert waits is None or waits  # by select, if there is no poll


@pytest.mark.rule(22)
@pytest.mark.parametrize("timeout, flags", [(0, 0), (0.0, 0), (None, socket.MSG_DONTWAIT)])
def test_a_green_socket_that_must_not_wait(green, null, timeout, flags):
    left, right = green
    left.settimeout(timeout)
    for call in (
        lambda: fdpass.recv_fds(left, 1, 1, flags),
        lambda: fdpass.recvmsg(left, 1, 0, flags),
        lambda: fill(left) and fdpass.send_fds(left, b"x", [null], flags),
    ):
        with raises_errno(errno.EAGAIN):
            call()


def test_waiting_again_is_under_the_first_deadline(green, monkeypatch):
    """Data is announced, but another reader has taken it before the call."""
    monkeypatch.setattr(select, "poll", lambda: Poll(itertools.repeat(int)))
    green[0].settimeout(0.05)
    for call in (lambda: fdpass.recv_fds(green[0], 1, 1), lambda: fdpass.recvmsg(green[0], 1)):
        with pytest.raises(socket.timeout):
            call()


def test_a_blocking_socket_in_a_wrapper_has_waited_already(green, null):
    """SO_RCVTIMEO: the kernel says EAGAIN after its own wait."""
    left, _ = green
    left.setblocking(True)
    left.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20000))
    with raises_errno(errno.EAGAIN):
        fdpass.recv_fds(left, 1, 1)


@pytest.mark.rule(22)
def test_a_descriptor_that_select_does_not_take(high, monkeypatch):  # noqa: F811
    without_poll(monkeypatch)
    high[0].settimeout(30)
    with closing(fdpass.Channel(high[0])) as (channel,):
        with pytest.raises(
            ValueError, match=r"select\.poll is missing.* above 1,023, such as 1\d\d\d"
        ):
            channel.recv()


def is_installed(library):
    """Return True if the library is there. (An import would open descriptors in this process.)"""
    folders = [folder for folder in sys.path if os.path.isdir(os.path.join(folder, library))]
    return bool(folders)


@pytest.mark.rule(22)
@pytest.mark.parametrize("first", ["fdpass first", "library first"])
@pytest.mark.parametrize("scenario", sorted(green_program.SCENARIOS))
@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_a_library(library, scenario, first):
    """The scenario runs on the library's own sockets, in a process that it has patched."""
    if not is_installed(library):
        pytest.skip(library + " is not installed")
    command = [sys.executable, "-W", "ignore", green_program.__file__, library, scenario, first]
    child = subprocess.Popen(
        command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = child.communicate()[0].decode()
    assert (child.returncode, output) == (0, "")


UNPATCHED = """
import sys
if sys.argv[1] == "eventlet":
    import eventlet as library
    from eventlet.green import socket
else:
    import gevent as library
    from gevent import socket
import fdpass

ticks = []


def tick():
    while True:
        ticks.append(None)
        library.sleep(0.01)


def answer():
    library.sleep(0.1)
    fdpass.send_fds(right, b"x", [0])


left, right = socket.socketpair()
left.settimeout(30)
library.spawn(tick)
library.spawn(answer)
assert len(fdpass.recv_fds(left, 1, 1).fds) == 1
assert len(ticks) > 5, ticks
left.settimeout(0.1)
try:
    fdpass.recv_fds(left, 1, 1)
    raise AssertionError("received")
except socket.timeout:
    assert len(ticks) > 10, ticks
"""


@pytest.mark.rule(22)
@pytest.mark.parametrize("library", ["eventlet", "gevent"])
def test_a_green_socket_in_a_process_that_is_not_patched(library):
    pytest.importorskip(library, reason="%s is not installed" % library)
    command = [sys.executable, "-W", "ignore", "-c", UNPATCHED, library]
    subprocess.check_call(command, env=child_environment())


@pytest.mark.rule(22)
def test_the_library_of_a_green_socket_waits(green, monkeypatch):
    """Its select is used, so that its other green threads run."""
    waits, module = [], type(select)("eventlet.green.select")

    def wait_green(readable, writable, exceptional, timeout):
        waits.append(timeout)
        return [], [], []

    module.select = wait_green
    monkeypatch.setattr(Green, "__module__", "eventlet.greenio.base")
    for name in ("eventlet", "eventlet.green"):
        monkeypatch.setitem(sys.modules, name, type(select)(name))
    monkeypatch.setitem(sys.modules, "eventlet.green.select", module)
    green[0].settimeout(0.01)
    with pytest.raises(socket.timeout):
        fdpass.recv_fds(green[0], 1, 1)
    assert waits
