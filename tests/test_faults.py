"""System calls that fail where they hardly ever do, through the seam."""

import errno
import fcntl
import gc
import importlib
import os
import re
import select
import socket
import subprocess
import sys
import types

import pytest
import six
from conftest import child_environment, closing, open_descriptors
from seam import copy_of_fdpass, numbers
from test_seam import NO_DOMAIN

import fdpass

python = sys.modules["fdpass._system"].python
of_python2 = pytest.mark.skipif(six.PY3, reason="what fails is Python 2's binding")


class Library(object):
    """The binding, with some of its functions replaced."""

    def __init__(self, **changes):
        self.__dict__.update(changes)

    def __getattr__(self, name):
        return getattr(python.lib, name)


@of_python2
@pytest.mark.parametrize("name", ["fdpass_dummy", "fdpass_dup_over"])
@pytest.mark.parametrize("dup", [True, False])
def test_a_socket_that_cannot_be_made(stream, name, dup):
    broken = copy_of_fdpass(here={"lib": Library(**{name: lambda *given: -errno.EMFILE})})
    number = stream[0].fileno()
    with pytest.raises(socket.error) as caught:
        broken.socket_from_fd(number, dup=dup)
    assert caught.value.errno == errno.EMFILE
    os.fstat(number)


@of_python2
def test_a_receive_that_has_nothing_yet_gives_its_message_back(stream):
    """What a message is received into is kept for the next, waited for or not."""
    spare = sys.modules["fdpass._python2_fast"].spare
    stream[1].settimeout(0.01)
    for _ in range(2):
        with pytest.raises(socket.timeout):
            fdpass.recv_fds(stream[1], 1, 1)
        kept = list(spare)
        assert len(kept) >= 1
    with pytest.raises(socket.timeout):
        fdpass.recv_fds(stream[1], 1, 1)
    assert [id(mine) for mine in spare] == [id(mine) for mine in kept]


@of_python2
def test_an_exception_as_a_receive_returns(stream, null):
    """2.7 runs a signal handler before what the call returned is stored anywhere."""
    usual = sys.modules["fdpass._python2_fast"]

    def interrupted(*arguments):
        assert python.lib.fdpass_recv(*arguments) == 1
        raise KeyboardInterrupt

    receive = usual.receiver(
        fdpass.recv_fds, None, fdpass.Received, fdpass.MSG_CMSG_CLOEXEC, None, receive=interrupted
    )
    for _ in range(2):
        fdpass.send_fds(stream[0], b"x", [null, null])
        before = open_descriptors()
        with pytest.raises(KeyboardInterrupt):
            receive(stream[1], 1, 2)
        assert open_descriptors() == before


@of_python2
def test_an_exception_before_a_receive_closes_nothing(stream, null):
    """The message that is received into has still what came the time before."""
    usual = sys.modules["fdpass._python2_fast"]

    def interrupted(*arguments):
        raise KeyboardInterrupt

    receive = usual.receiver(
        fdpass.recv_fds, None, fdpass.Received, fdpass.MSG_CMSG_CLOEXEC, None, receive=interrupted
    )
    fdpass.send_fds(stream[0], b"x", [null, null])
    with closing(*fdpass.recv_fds(stream[1], 1, 2).fds):
        before = open_descriptors()
        with pytest.raises(KeyboardInterrupt):
            receive(stream[1], 1, 2)
        assert open_descriptors() == before


@of_python2
def test_a_socket_object_that_cannot_be_made(stream, monkeypatch):
    def failing(*given, **named):
        raise MemoryError

    monkeypatch.setattr(python._socket, "fromfd", failing)
    with pytest.raises(MemoryError):
        fdpass.socket_from_fd(stream[0].fileno())
    os.fstat(stream[0].fileno())


def test_what_fails_leaves_the_number_open(stream, monkeypatch):
    if six.PY2:
        return

    side = sys.modules["fdpass._python3"]
    control = side.control

    def failing(fd, command, *more):
        if command == fcntl.F_GETFD:
            raise KeyboardInterrupt
        return control(fd, command, *more)

    monkeypatch.setattr(side, "control", failing)
    with pytest.raises(KeyboardInterrupt):
        fdpass.socket_from_fd(stream[0].fileno())
    gc.collect()
    os.fstat(stream[0].fileno())


WITHOUT_0 = """
import os, socket
import fdpass
from fdpass.compat import fdsend
left, right = socket.socketpair()
os.close(0)
fdpass.socket_from_fd(left, dup=True).close()
os.close(os.open(os.devnull, os.O_RDONLY))
for here, there in ((left, right), (left.fileno(), right.fileno())):
    fdpass.send_fds(here, b"x", [1])
    for fd in fdpass.recv_fds(there, 1, 1).fds:
        os.close(fd)
try:
    right.setsockopt(socket.SOL_SOCKET, 76, 1)
except socket.error:
    pass  # SO_PASSPIDFD came with Linux 6.5
fdsend.sendfds(left, b"x")
assert fdsend.recvfds(right, 1) == (b"x", ())
assert os.open(os.devnull, os.O_RDONLY) == 0, os.listdir("/dev/fd")
"""


def test_where_descriptor_0_is_free():
    """The next that is opened gets that number, which is as good as another."""
    command = [sys.executable, "-W", "error", "-c", WITHOUT_0]
    subprocess.check_call(command, env=child_environment())


@of_python2
def test_the_binding_that_is_missing():
    name = "fdpass_unbuilt_%d" % next(numbers)
    package = types.ModuleType(name)
    package.__path__ = [os.path.dirname(fdpass.__file__)]
    sys.modules[name] = package
    sys.modules[name + "._binding"] = None
    with pytest.raises(ImportError, match=re.escape(sys.executable) + " .*_ffi_build.py"):
        importlib.import_module(name + "._system")


@pytest.mark.parametrize("missing", ["AF_UNIX", "SCM_RIGHTS"])
def test_a_system_that_passes_no_descriptors(monkeypatch, missing):
    if missing == "SCM_RIGHTS" and six.PY2:
        return  # there it is the binding's, and the binding is not built without
    monkeypatch.delattr(socket, missing)
    with pytest.raises(ImportError, match="this Python or system lacks"):
        copy_of_fdpass()


def test_what_is_no_socket_has_no_family(null):
    other = copy_of_fdpass(here=NO_DOMAIN)
    with pytest.raises(socket.error) as caught:
        other.send_fds(null, b"x", [null])
    assert caught.value.errno == errno.ENOTSOCK


class Poll(object):
    """A poll that says ready too early, or fails."""

    def __init__(self, answers):
        self.answers = answers

    def register(self, fd, event):
        pass

    def poll(self, timeout):
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise (select.error if six.PY2 else OSError)(answer, "poll")
        answer()
        return [(0, 0)]


def test_waiting_that_fails_or_ends_too_early(stream, monkeypatch):
    waiting = sys.modules["fdpass._waiting"]
    answers = [errno.EINTR, lambda: None, errno.EBADF]
    monkeypatch.setattr(select, "poll", lambda: Poll(answers))
    waiting.wait(0, 1, waiting.FOREVER, python.monotonic)
    with pytest.raises(socket.error) as caught:
        waiting.wait(0, 1, waiting.FOREVER, python.monotonic)
    assert caught.value.args[0] == errno.EBADF
    if six.PY2:
        stream[1].settimeout(30)
        answers[:] = [lambda: None, lambda: None, lambda: stream[0].send(b"x")]
        assert fdpass.recv_fds(stream[1], 1, 1).data == b"x"
        assert answers == []


def test_a_duplicate_that_cannot_be_made(stream, monkeypatch):
    """At the limit of open descriptors, what was there stays as it was."""
    if six.PY2:
        return  # the binding needs none

    def failing(*given):
        raise OSError(errno.EMFILE, "none left")

    monkeypatch.setattr(python, "dup_over", failing)
    with pytest.raises(OSError):
        fdpass.socket_from_fd(stream[0].fileno(), dup=True)
    os.fstat(stream[0].fileno())


def test_a_socket_whose_constructor_fails(stream, monkeypatch):
    if six.PY2:
        return  # tested above

    class Failing(socket.socket):
        __slots__ = ()

        def __init__(self, *given):
            raise MemoryError

    monkeypatch.setattr(python, "Socket", Failing)
    with pytest.raises(MemoryError):
        fdpass.socket_from_fd(stream[0].fileno())
    with closing(os.dup(stream[0].fileno())):
        pass
