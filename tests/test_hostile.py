"""Peers that send what was not asked for, limits that are reached, and a kernel that says no."""

import ctypes
import errno
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys

import pytest
import six
from conftest import closing, lowered, open_descriptors, raises_errno
from seam import copy_of_fdpass
from test_signals import check_tables, interrupted_at_every_line
from test_transfer import FORMS, named, nothing_arrived, same_file

import fdpass

SYS_IO_URING_SETUP = 425  # on each architecture but alpha
SO_PASSPIDFD, SO_PASSRIGHTS = 76, 83  # Linux 6.5 and 6.16; no Python here names them


@pytest.mark.rule(5)
@pytest.mark.parametrize("sent, maxfds", [(1, 0), (2, 1), (253, 252), (253, 0)])
def test_more_than_maxfds(pair, null, sent, maxfds):
    fdpass.send_fds(pair[0], b"payload", [null] * sent)
    before = open_descriptors()
    with pytest.raises(fdpass.TooManyFdsError, match="%d descriptors arrived" % sent) as caught:
        fdpass.recv_fds(pair[1], 100, maxfds)
    assert open_descriptors() == before
    assert caught.value.data == b"payload"
    assert caught.value.received == sent
    assert caught.value.flags == 0
    assert isinstance(caught.value, fdpass.FdPassError)


def test_an_error_names_the_sender(path, null):
    with closing(named(path), named(path + "2")) as (right, left):
        fdpass.send_fds(left, b"payload", [null], 0, path)
        with pytest.raises(fdpass.TooManyFdsError) as caught:
            fdpass.recv_fds(right, 3, 0)
    assert caught.value.address == path + "2"
    assert (caught.value.data, caught.value.flags) == (b"pay", socket.MSG_TRUNC)
    assert not isinstance(caught.value, EnvironmentError)


@pytest.mark.rule(4)
def test_the_room_of_two_descriptors_in_one(stream, null):
    # On 64-bit systems, CMSG_SPACE of one int has room for two. So fdpass has to count.
    assert (fdpass.CMSG_SPACE(4) >= fdpass.CMSG_LEN(8)) == (struct.calcsize("P") == 8)
    fdpass.send_fds(stream[0], b"x", [null, null])
    with pytest.raises(fdpass.TooManyFdsError):
        fdpass.recv_fds(stream[1], 1, 1)


def test_the_errors_can_be_pickled():
    for kind in (fdpass.LostFdsError, fdpass.TooManyFdsError, fdpass.ProtocolError):
        copy = pickle.loads(pickle.dumps(kind("what", b"data", 1, "address", 3)))
        assert type(copy) is kind
        assert str(copy) == "what"
        assert (copy.data, copy.flags, copy.address, copy.received) == (b"data", 1, "address", 3)
    assert fdpass.FdPassError("what").args == ("what", b"", 0, None, 0)


@pytest.mark.rule(4)
@pytest.mark.rule(6)
def test_credentials_come_before_the_descriptors(pair, null):
    pair[1].setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, 1)
    fdpass.send_fds(pair[0], b"x", [null] * 253)
    received = fdpass.recv_fds(pair[1], 1, 253)
    with closing(*received.fds):
        assert len(received.fds) == 253
        assert received.flags == 0


def has_option(option):
    left, right = socket.socketpair()
    with closing(left, right):
        try:
            # Set it too, to the same value, because an emulator may only be able to read it.
            value = left.getsockopt(socket.SOL_SOCKET, option)
            left.setsockopt(socket.SOL_SOCKET, option, value)
        except socket.error as error:
            assert error.errno == errno.ENOPROTOOPT
            return False
        return True


needs_pidfd = pytest.mark.skipif(
    not has_option(SO_PASSPIDFD), reason="SO_PASSPIDFD needs Linux 6.5"
)
needs_passrights = pytest.mark.skipif(
    not has_option(SO_PASSRIGHTS), reason="SO_PASSRIGHTS needs Linux 6.16"
)


@pytest.mark.rule(6)
@needs_pidfd
def test_a_pidfd_that_nobody_asked_us_for_is_closed(pair, null):
    pair[1].setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    fdpass.send_fds(pair[0], b"x", [null])
    received = fdpass.recv_fds(pair[1], 1, 1)
    with closing(*received.fds):
        assert len(received.fds) == 1
    # And beside an error.
    fdpass.send_fds(pair[0], b"x", [null, null])
    with pytest.raises(fdpass.TooManyFdsError):
        fdpass.recv_fds(pair[1], 1, 1)


@pytest.mark.rule(12)
@needs_passrights
def test_a_receiver_that_refuses_descriptors(stream, null):
    stream[1].setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    with pytest.raises(socket.error, match="SO_PASSRIGHTS") as caught:
        fdpass.send_fds(stream[0], b"x", [null])
    assert caught.value.errno == errno.EPERM
    assert type(caught.value) is type(socket.error(errno.EPERM, "x"))
    nothing_arrived(stream[1])


@pytest.mark.rule(12)
def test_what_cannot_be_passed(stream):
    """io_uring_setup(2), unix(7): the kernel has no other word for it than EINVAL."""
    ring = ctypes.CDLL(None).syscall(SYS_IO_URING_SETUP, 1, ctypes.create_string_buffer(120))
    if ring < 0:
        pytest.skip("this kernel lets nobody make an io_uring")
    with closing(ring), pytest.raises(socket.error, match="as an io_uring") as caught:
        fdpass.send_fds(stream[0], b"x", [ring])
    assert caught.value.errno == errno.EINVAL
    nothing_arrived(stream[1])


@pytest.mark.rule(3)
@pytest.mark.parametrize("room", [0, 2, 4])
def test_the_limit_reached_while_receiving(pair, null, room):
    fdpass.send_fds(pair[0], b"payload", [null] * 5)
    with lowered(room):
        with pytest.raises(fdpass.LostFdsError, match="RLIMIT_NOFILE") as caught:
            fdpass.recv_fds(pair[1], 100, 5)
    assert caught.value.data == b"payload"
    assert caught.value.received == room
    assert caught.value.flags & socket.MSG_CTRUNC


@needs_pidfd
@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_raises_closes_a_pidfd_too(stream, null, untraced, form):
    """An exception before any line that runs when it has arrived."""
    # Without Python 2's fast path: its take_message() loses what arrived before its last line.
    receiver = copy_of_fdpass(fast_path=None)
    sock, before = FORMS[form](stream[1]), open_descriptors()
    stream[1].setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)

    def receive():
        trace, _ = sys.gettrace(), sys.settrace(None)
        fdpass.send_fds(stream[0], b"x", [null, null])
        sys.settrace(trace)
        return receiver.recv_fds(sock, 10, 5)

    for received in interrupted_at_every_line(receive):
        for fd in received.fds if received else ():
            os.close(fd)
        check_tables(before, null)


@needs_pidfd
@pytest.mark.skipif(six.PY3, reason="what fails is Python 2's binding")
@pytest.mark.parametrize("form", sorted(FORMS))
def test_control_messages_that_cannot_be_read_are_closed(stream, null, form):
    def failing(*given):
        raise MemoryError

    # By the seam: nothing else comes between the message and the memory for its list.
    broken = copy_of_fdpass(here={"ancdata_in": failing})
    stream[1].setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    fdpass.send_fds(stream[0], b"x", [null, null])
    with pytest.raises(MemoryError):
        broken.recv_fds(FORMS[form](stream[1]), 10, 5)


@needs_pidfd
def test_the_limit_reached_with_a_pidfd_that_is_an_errno(stream, null):
    stream[1].setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    fdpass.send_fds(stream[0], b"payload", [null])
    with lowered(0):
        with pytest.raises(fdpass.LostFdsError):
            fdpass.recv_fds(stream[1], 100, 5)


def test_a_peer_that_dies_in_the_middle_of_a_message(stream, null):
    left, right = stream
    child = os.fork()
    if not child:
        try:
            right.close()
            fdpass.send_fds(left, b"half of it", [null])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    left.close()
    os.waitpid(child, 0)
    received = fdpass.recv_fds(right, 100, 1)
    with closing(*received.fds):
        assert received.data == b"half of it"
        assert same_file(received.fds[0], null)
    assert fdpass.recv_fds(right, 100, 1) == (b"", [], 0, None)


def test_a_peer_that_is_gone(stream, null):
    stream[1].close()
    with raises_errno(errno.EPIPE):
        fdpass.send_fds(stream[0], b"x", [null])


def in_child(function):
    """What function returns (a short str) in a forked child of its own."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writable, function().encode())
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as result:
        told = result.read().decode()
    os.waitpid(child, 0)
    return told


@pytest.mark.rule(12)
def test_too_many_in_flight_from_an_unprivileged_sender(other_user, null):
    def flood():
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        keep = socket.socketpair()
        try:
            for _ in range(1000):
                fdpass.send_fds(keep[0], b"x", [null] * 50)
        except socket.error as error:
            return "%s %d %s" % (type(error).__name__, error.errno, error)
        return "never refused"

    told = in_child(flood)
    name = type(socket.error(errno.ETOOMANYREFS, "x")).__name__
    assert told.startswith("%s %d" % (name, errno.ETOOMANYREFS))
    assert "RLIMIT_NOFILE" in told


def test_sending_at_the_limit_of_descriptors(pair, null):
    with lowered(0):
        sent = fdpass.send_fds(pair[0], b"x", [null]), fdpass.sendmsg(pair[0], [b"y"])
    assert sent == (1, 1)
    with closing(*fdpass.recv_fds(pair[1], 1, 1).fds):
        pass


AT_THE_LIMIT = """
import os, socket, sys
import fdpass
left, right = socket.socketpair()
fdpass.send_fds(left, b"payload", [0] * 5)
opened = []
try:
    while True:
        opened.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    fdpass.recv_fds(right, 10, 5)
except fdpass.LostFdsError as error:
    print("lost", error.data.decode(), error.received, "is 400 open" in str(error))
"""


@pytest.mark.rule(3)
def test_descriptors_lost_where_not_one_is_left():
    """The error is made with no descriptor to read a module with: in a fresh process."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
    told = subprocess.check_output(
        ["/bin/sh", "-c", 'ulimit -n 400; exec "$0" -c "$1"', sys.executable, AT_THE_LIMIT],
        cwd=root,
        stderr=subprocess.STDOUT,
    )
    expected = "('lost', u'payload', 0, True)" if six.PY2 else "lost payload 0 True"
    assert told.decode().strip() == expected


@pytest.mark.rule(12)
def test_what_is_unusual_in_an_error_is_kept(stream, null):
    with pytest.raises(socket.error) as caught:
        fdpass.send_fds(stream[0], b"x", [1 << 20])
    assert caught.value.errno == errno.EBADF
    assert str(caught.value).endswith("while passing descriptors, fds[0] is closed")
    # EPIPE has no meaning of ours: the system's own words.
    stream[1].close()
    with pytest.raises(socket.error) as caught:
        fdpass.send_fds(stream[0], b"x", [null])
    assert str(caught.value) == str(socket.error(errno.EPIPE, os.strerror(errno.EPIPE)))


def test_two_messages_of_descriptors_stay_apart(stream, null, pipe):
    fdpass.send_fds(stream[0], b"A", [null])
    fdpass.send_fds(stream[0], b"B", [pipe[0], pipe[1]])
    first, second = fdpass.recv_fds(stream[1], 9, 9), fdpass.recv_fds(stream[1], 9, 9)
    with closing(*(first.fds + second.fds)):
        assert (first.data, len(first.fds)) == (b"A", 1)
        assert (second.data, len(second.fds)) == (b"B", 2)


@pytest.mark.rule(6)
def test_a_peer_that_sends_credentials_of_its_own(stream, null):
    stream[1].setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, 1)
    mine = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    ancdata = [
        (socket.SOL_SOCKET, fdpass.SCM_CREDENTIALS, mine),
        (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, struct.pack("i", null)),
    ]
    fdpass.sendmsg(stream[0], [b"x"], ancdata)
    received = fdpass.recv_fds(stream[1], 9, 9)
    with closing(*received.fds):
        assert same_file(received.fds[0], null)
