"""System calls that fail, or return, where they hardly ever do."""

import errno
import fcntl
import functools
import gc
import importlib
import itertools
import os
import re
import select
import socket
import subprocess
import sys
import types

import inside
import pytest
import six
from conftest import child_environment, closing, open_descriptors, raises_errno
from seam import copy_of_fdpass

import fdpass

of_python2 = pytest.mark.skipif(six.PY3, reason="what fails is Python 2's binding")


class Library(object):
    """The binding; each of its calls that receive goes through this function."""

    def __init__(self, receive):
        self.receive = receive

    def __getattr__(self, name):
        call = getattr(inside.system.python.lib, name)
        return functools.partial(self.receive, call) if name.startswith("fdpass_recv") else call


@of_python2
@pytest.mark.parametrize("received", [True, False])
def test_an_exception_as_a_receive_returns(stream, null, received):
    """2.7 runs a signal handler before what the call returned is stored anywhere.

    One that runs before the call closes nothing: what is received into has the numbers of the
    message before.
    """
    kept = []

    def interrupted(call, *arguments):
        size = call(*arguments) if received or not kept else None
        if kept:
            raise KeyboardInterrupt
        return size

    # On PyPy a second copy has a binding of its own, whose types the calls of the first refuse.
    ffi = inside.system.python.ffi
    broken = copy_of_fdpass(here={"ffi": ffi, "lib": Library(interrupted)})
    for _ in range(3):
        fdpass.send_fds(stream[0], b"x", [null, null])
    kept += broken.recv_fds(stream[1], 1, 2).fds
    with closing(*kept):
        before = open_descriptors()
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                broken.recv_fds(stream[1], 1, 2)
            assert open_descriptors() == before


def interrupted(*given):
    raise KeyboardInterrupt


class Interrupted(socket.socket):
    """A socket object that cannot be made."""

    __init__ = interrupted


@pytest.mark.skipif(six.PY2, reason="what is looked at is Python 3's side")
@pytest.mark.parametrize("name", ["call_fcntl", "Socket"])
def test_what_fails_leaves_the_number_open(stream, name):
    """An exception while the socket object of a number is made, or is told that it is its own."""

    def control(fd, command, *more):
        return interrupted() if command == fcntl.F_GETFD else fcntl.fcntl(fd, command, *more)

    # By the seam: fcntl's own function is taken from the module before a test can replace it.
    broken = copy_of_fdpass(here={name: Interrupted if name == "Socket" else control})
    with pytest.raises(KeyboardInterrupt):
        broken.socket_from_fd(stream[0].fileno())
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


UNBUILT_TWICE = """
import sys
sys.modules["fdpass._binding"] = None
for _ in range(2):
    try:
        import fdpass
    except ImportError as error:
        assert "_ffi_build.py" in str(error), error
    else:
        raise AssertionError("imported")
"""


@of_python2
def test_the_binding_that_is_missing(monkeypatch):
    name = "fdpass_unbuilt"
    package = types.ModuleType(name)
    package.__path__ = [os.path.dirname(fdpass.__file__)]
    monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setitem(sys.modules, name + "._binding", None)
    for _ in range(2):  # a second import raises the same error
        with pytest.raises(ImportError, match=re.escape(sys.executable) + " .*_ffi_build.py"):
            importlib.import_module(name + "._system")


@of_python2
def test_importing_twice_without_the_binding():
    """The second import raises the same error, though the first import has loaded modules."""
    command = [sys.executable, "-W", "error", "-c", UNBUILT_TWICE]
    subprocess.check_call(command, env=child_environment())


@of_python2
@pytest.mark.parametrize("name", ["fdpass_dummy", "fdpass_dup_over"])
@pytest.mark.parametrize("dup", [True, False])
def test_a_socket_that_cannot_be_made(stream, name, dup):
    library = Library(lambda call, *arguments: call(*arguments))
    setattr(library, name, lambda *arguments: -errno.EMFILE)
    broken = copy_of_fdpass(here={"lib": library})
    number = stream[0].fileno()
    with raises_errno(errno.EMFILE):
        broken.socket_from_fd(number, dup=dup)
    os.fstat(number)


@pytest.mark.skipif(six.PY2, reason="what is looked at is Python 3's side")
def test_a_duplicate_over_a_dummy_that_cannot_be_made(stream, monkeypatch):
    """Where there is no SOCK_NONBLOCK, as on macOS."""

    def failing(*arguments):
        raise OSError(errno.EIO, "no")

    monkeypatch.delattr(socket, "SOCK_NONBLOCK")
    mac = copy_of_fdpass()
    with monkeypatch.context() as patch:  # pytest itself calls dup2 at the end
        patch.setattr(os, "dup2", failing)
        with raises_errno(errno.EIO):
            mac.socket_from_fd(stream[0], dup=True)


class Poll(object):
    """A poll that gives these answers: it fails with an errno, or calls and says ready."""

    def __init__(self, answers):
        self.answers = iter(answers)

    def register(self, fd, event):
        pass

    def poll(self, milliseconds):
        answer = next(self.answers)
        if isinstance(answer, int):
            raise (select.error if six.PY2 else OSError)(answer, "poll")
        answer()
        return [(0, 0)]


def test_waiting_that_fails_or_ends_too_early(monkeypatch):
    left, right = fdpass.Channel.pair()
    answers = iter([errno.EINTR, int, int, lambda: left.send(b"x"), errno.EBADF])
    monkeypatch.setattr(select, "poll", lambda: Poll(answers))
    with left, right:
        assert right.recv().data == b"x"
        with pytest.raises(socket.error) as caught:
            right.recv()
        assert caught.value.args[0] == errno.EBADF


def test_waiting_again_is_under_the_first_deadline(stream, monkeypatch):
    """Where there is something, and another has taken it when it is asked for."""
    monkeypatch.setattr(select, "poll", lambda: Poll(itertools.repeat(int)))
    channel = fdpass.Channel(stream[0])
    channel.settimeout(0.05)
    stream[1].settimeout(0.05)
    for call in (
        channel.recv,
        lambda: fdpass.recv_fds(stream[1], 1, 1),
        lambda: fdpass.recvmsg(stream[1], 1),
    ):
        with pytest.raises(socket.timeout):
            call()
