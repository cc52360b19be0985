"""Wrong arguments: a clear error, nothing sent or received, nothing lost."""

import array
import errno
import os
import socket
import struct

import pytest
import six
from conftest import closing, raises_errno, repr_without_address
from test_transfer import FORMS, nothing_arrived

import fdpass

pytestmark = pytest.mark.rule(19)
HUGE = 1 << 80


class Liar(object):
    """An object whose fileno() gives what a descriptor cannot be."""

    def __init__(self, number):
        self.number = number

    def __repr__(self):
        return "Liar(%r)" % (self.number,)

    def fileno(self):
        return self.number


@pytest.fixture(params=["send_fds", "sendall_fds"])
def send(request):
    return getattr(fdpass, request.param)


TEXT, DIGIT = six.u("text"), six.u("1")
WRONG_DATA = [TEXT, [TEXT], [b"x", TEXT], None, 5, 5.0, [5], [None], object(), {1: 2}]


@pytest.mark.parametrize("data", WRONG_DATA, ids=repr_without_address)
@pytest.mark.parametrize("with_descriptor", [True, False])
def test_data_of_a_wrong_type(stream, null, send, data, with_descriptor):
    with pytest.raises(TypeError, match="bytes-like"):
        send(stream[0], data, [null] if with_descriptor else [])
    nothing_arrived(stream[1])


def test_an_iterable_of_data_that_fails_by_itself(stream, null, send):
    def failing():
        yield b"x"
        raise TypeError("the caller's own")

    with pytest.raises(TypeError, match="the caller's own"):
        send(stream[0], failing(), [null])
    nothing_arrived(stream[1])


WRONG_FDS = [b"\0\1", bytearray(b"\1"), TEXT, memoryview(b"\1"), 1, None, 1.5, object()]


@pytest.mark.parametrize("fds", WRONG_FDS, ids=repr_without_address)
def test_fds_that_is_no_iterable_of_descriptors(stream, send, fds):
    with pytest.raises(TypeError, match="fds must be an iterable"):
        send(stream[0], b"x", fds)
    nothing_arrived(stream[1])


def test_fds_that_is_one_open_file_or_socket(stream, send):
    with open(os.devnull) as opened:
        for single in (opened, stream[1]):
            with pytest.raises(TypeError, match="put a single one into a list"):
                send(stream[0], b"x", single)
    nothing_arrived(stream[1])


def test_an_iterable_of_fds_that_fails_by_itself(stream, null, send):
    def failing():
        yield null
        raise TypeError("the caller's own")

    with pytest.raises(TypeError, match="the caller's own"):
        send(stream[0], b"x", failing())
    nothing_arrived(stream[1])


@pytest.mark.parametrize(
    "fd",
    [True, False, 1.0, DIGIT, b"1", None, object(), Liar("1"), Liar(None), Liar(True)],
    ids=repr_without_address,
)
def test_one_of_fds_of_a_wrong_type(stream, null, send, fd):
    with pytest.raises(TypeError, match="descriptor|fileno"):
        send(stream[0], b"x", [null, fd])
    nothing_arrived(stream[1])


@pytest.mark.parametrize("fd", [-1, -5, 1 << 31, HUGE, -HUGE])
def test_one_of_fds_out_of_range(stream, null, send, fd):
    with pytest.raises(ValueError, match="not a descriptor"):
        send(stream[0], b"x", [null, fd])
    nothing_arrived(stream[1])


def closed_socket():
    sock = socket.socket()
    sock.close()
    return sock


def a_closed_number():
    with closing(os.open(os.devnull, os.O_RDONLY)) as (fd,):
        return fd


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("make", [closed_socket, a_closed_number, lambda: Liar(-1)])
def test_one_of_fds_that_is_closed(stream, null, send, make, form):
    """Where sock is a number, Python 3 needs one for itself: it must not become this one."""
    with raises_errno(errno.EBADF):
        send(FORMS[form](stream[0]), b"x", [null, make()])
    with raises_errno(errno.EBADF):
        send(FORMS[form](stream[0]), b"x", [make()])
    nothing_arrived(stream[1])


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("make", [a_closed_number, lambda: -1])
def test_a_closed_one_in_a_raw_message(stream, form, make):
    rights = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, array.array("i", [make()]))
    with raises_errno(errno.EBADF):
        fdpass.sendmsg(FORMS[form](stream[0]), [b"x"], [rights])
    nothing_arrived(stream[1])


def test_one_of_fds_that_says_itself_that_it_is_closed(stream, null, send):
    closed_file = open(os.devnull)
    closed_file.close()
    closed_owner = fdpass.FileDescriptor(os.dup(null))
    closed_owner.close()
    for thing in (closed_file, closed_owner):
        with pytest.raises(ValueError, match="closed"):
            send(stream[0], b"x", [null, thing])
    nothing_arrived(stream[1])


WAYS = {
    "send_fds": lambda sock: fdpass.send_fds(sock, b"x", [0]),
    "send_fds, none": lambda sock: fdpass.send_fds(sock, b"x", []),
    "sendall_fds": lambda sock: fdpass.sendall_fds(sock, b"x", [0]),
    "recv_fds": lambda sock: fdpass.recv_fds(sock, 1, 1),
    "recv_fds, 0": lambda sock: fdpass.recv_fds(sock, 0, 1),
    "sendmsg": lambda sock: fdpass.sendmsg(sock, [b"x"]),
    "recvmsg": lambda sock: fdpass.recvmsg(sock, 1),
    "peer_credentials": fdpass.peer_credentials,
    "socket_from_fd": lambda sock: fdpass.socket_from_fd(sock, dup=True),
}


@pytest.fixture(params=sorted(WAYS))
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("sock", [True, 1.5, DIGIT, b"1", None, object()], ids=repr_without_address)
def test_a_sock_of_a_wrong_type(way, sock):
    with pytest.raises(TypeError, match="descriptor"):
        way(sock)


@pytest.mark.parametrize("sock", [-1, HUGE])
def test_a_sock_out_of_range(way, sock):
    with pytest.raises(ValueError, match="not a descriptor"):
        way(sock)


@pytest.mark.parametrize("make", [closed_socket, a_closed_number, lambda: Liar(-1)])
def test_a_sock_that_is_closed(way, make):
    with raises_errno(errno.EBADF):
        way(make())


def test_a_sock_that_is_a_closed_unix_socket(way):
    left, right = socket.socketpair()
    right.close()
    left.close()
    with raises_errno(errno.EBADF):
        way(left)


def test_a_sock_that_is_no_socket(way, null):
    with raises_errno(errno.ENOTSOCK):
        way(null)


@pytest.mark.parametrize("flags", [DIGIT, 1.0, None, 0.0, "", []], ids=repr)
def test_flags_of_a_wrong_type(stream, null, flags):
    calls = (
        lambda: fdpass.send_fds(stream[0], b"x", [null], flags),
        lambda: fdpass.sendall_fds(stream[0], b"x", [null], flags),
        lambda: fdpass.recv_fds(stream[0], 1, 1, flags),
        lambda: fdpass.sendmsg(stream[0], [b"x"], (), flags),
        lambda: fdpass.recvmsg(stream[0], 1, 1, flags),
    )
    for call in calls:
        with pytest.raises(TypeError, match="flags"):
            call()
    nothing_arrived(stream[1])


def test_flags_out_of_range(stream):
    with pytest.raises(ValueError, match="flags"):
        fdpass.send_fds(stream[0], b"x", [], HUGE)
    nothing_arrived(stream[1])


@pytest.mark.rule(7)
def test_trunc_is_no_flag_to_receive_with(datagram):
    datagram[0].send(b"abc")
    for call in (
        lambda: fdpass.recv_fds(datagram[1], 1, 1, socket.MSG_TRUNC),
        lambda: fdpass.recvmsg(datagram[1], 1, 0, socket.MSG_TRUNC),
    ):
        with pytest.raises(ValueError, match="MSG_TRUNC"):
            call()
    assert datagram[1].recv(9) == b"abc"


SIZES = {
    "bufsize": lambda sock, size: fdpass.recv_fds(sock, size, 1),
    "maxfds": lambda sock, size: fdpass.recv_fds(sock, 1, size),
    "raw bufsize": lambda sock, size: fdpass.recvmsg(sock, size),
    "ancbufsize": lambda sock, size: fdpass.recvmsg(sock, 1, size),
}


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("size", [1.0, "1", None, b"1"], ids=repr)
def test_a_size_of_a_wrong_type(stream, null, name, size):
    fdpass.send_fds(stream[0], b"x", [null])
    with pytest.raises(TypeError, match=name.split()[-1]):
        SIZES[name](stream[1], size)
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert len(fds) == 1


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_negative_size(stream, null, name):
    fdpass.send_fds(stream[0], b"x", [null])
    with pytest.raises(ValueError, match=name.split()[-1]):
        SIZES[name](stream[1], -1)
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert len(fds) == 1


@pytest.mark.parametrize("name", ["bufsize", "raw bufsize", "ancbufsize"])
def test_a_size_beyond_all_memory(stream, null, name):
    fdpass.send_fds(stream[0], b"x", [null])
    with pytest.raises(ValueError, match=name.split()[-1]):
        SIZES[name](stream[1], HUGE)
    # Below the limit of the type the allocator or the kernel says no.
    with pytest.raises((MemoryError, OverflowError, ValueError, socket.error)):
        SIZES[name](stream[1], (1 << 63) - 1)
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert len(fds) == 1


@pytest.mark.rule(5)
@pytest.mark.parametrize("maxfds", [253, 254, 100000, (1 << 63) - 1])
def test_a_maxfds_above_the_limit_is_the_limit(stream, null, maxfds):
    fdpass.send_fds(stream[0], b"x", [null] * 253)
    with closing(*fdpass.recv_fds(stream[1], 1, maxfds).fds) as fds:
        assert len(fds) == 253


def test_an_address_of_a_wrong_type(datagram, null):
    for address in (5, 5.0, object()):
        with pytest.raises(TypeError):
            fdpass.send_fds(datagram[0], b"x", [null], 0, address)
    nothing_arrived(datagram[1])


def test_an_address_too_long(datagram, null):
    with pytest.raises(socket.error):
        fdpass.send_fds(datagram[0], b"x", [null], 0, "x" * 200)
    nothing_arrived(datagram[1])


def test_numbers_of_an_enum_and_a_long_are_ints(stream, null):
    fd = six.integer_types[-1](null)
    fdpass.send_fds(stream[0], b"x", [fd], socket.MSG_DONTWAIT)
    received = fdpass.recv_fds(stream[1], six.integer_types[-1](1), six.integer_types[-1](1))
    with closing(*received.fds):
        assert len(received.fds) == 1


def test_out_of_band_data_carries_no_descriptors(stream, null):
    for send in (fdpass.send_fds, fdpass.sendall_fds):
        with pytest.raises(ValueError, match="MSG_OOB"):
            send(stream[0], b"xy", [null], socket.MSG_OOB)
    nothing_arrived(stream[1])


class Lying(bytes):
    """Bytes that say to be longer than they are."""

    def __len__(self):
        return 1 << 30


def test_bytes_that_lie(stream, null):
    rights = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, Lying(struct.pack("i", null)))
    assert fdpass.sendmsg(stream[0], [Lying(b"one")], [rights]) == 3
    received = fdpass.recv_fds(stream[1], 9, 1)
    with closing(*received.fds):
        assert received.data == b"one"
    fdpass.sendall_fds(stream[0], Lying(b"two"), [])
    assert fdpass.recv_fds(stream[1], 9, 1).data == b"two"


def test_flags_that_only_equal_an_int(stream, null):
    """Where there is a quicker way for MSG_DONTWAIT, too."""
    flags = float(socket.MSG_DONTWAIT)
    with pytest.raises(TypeError, match="flags"):
        fdpass.send_fds(stream[0], b"x", [null], flags)
    with pytest.raises(TypeError, match="flags"):
        fdpass.recv_fds(stream[1], 1, 1, flags)
