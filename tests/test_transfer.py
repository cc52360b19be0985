"""send_fds, sendall_fds and recv_fds: one suite for every Python, socket type and mode."""

import array
import errno
import fcntl
import gc
import itertools
import mmap
import os
import socket
import struct
import sys
import threading
import warnings

import pytest
import six
from conftest import closing, open_descriptors

import fdpass


class Holder(object):
    """No socket object: an object with fileno()."""

    def __init__(self, thing):
        self.thing = thing

    def fileno(self):
        return self.thing.fileno()


FORMS = {"object": lambda sock: sock, "int": lambda sock: sock.fileno(), "fileno": Holder}


@pytest.fixture(params=sorted(FORMS))
def form(request):
    """The ways to name a socket."""
    return FORMS[request.param]


def same_file(one, other):
    return os.path.sameopenfile(one, other)


def is_close_on_exec(fd):
    return bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)


def mode(fd):
    return fcntl.fcntl(fd, fcntl.F_GETFL)


@pytest.mark.rule(1)
def test_a_descriptor_arrives_with_its_payload(pair, form, pipe):
    left, right = pair
    modes = mode(left.fileno()), mode(right.fileno())
    assert fdpass.send_fds(form(left), b"payload", [pipe[0]]) == 7
    data, fds, flags, address = fdpass.recv_fds(form(right), 100, 1)
    with closing(*fds):
        assert (data, flags, address) == (b"payload", 0, None)
        assert type(fds) is list
        assert type(fds[0]) is int
        assert type(flags) is int
        assert len(fds) == 1
        assert same_file(fds[0], pipe[0])
        assert is_close_on_exec(fds[0])
    assert (mode(left.fileno()), mode(right.fileno())) == modes


@pytest.mark.rule(9)
@pytest.mark.parametrize("count", [0, 1, 2, 64, 252, 253])
def test_every_count_up_to_the_limit(pair, form, null, count):
    left, right = pair
    fdpass.send_fds(form(left), b"x", [null] * count)
    received = fdpass.recv_fds(form(right), 1, count)
    with closing(*received.fds):
        assert len(received.fds) == count
        assert len(set(received.fds)) == count
        assert all(same_file(fd, null) and is_close_on_exec(fd) for fd in received.fds)


def test_the_limit():
    assert fdpass.MAX_FDS == 253


@pytest.mark.rule(9)
def test_one_descriptor_more_than_the_limit(pair, null):
    left, right = pair
    with pytest.raises(ValueError, match="253"):
        fdpass.send_fds(left, b"x", [null] * 254)
    nothing_arrived(right)


def test_an_endless_iterable_of_descriptors(pair, null):
    taken = itertools.count()

    def endless():
        for _ in taken:
            yield null

    with pytest.raises(ValueError, match="253"):
        fdpass.send_fds(pair[0], b"x", endless())
    assert next(taken) == 254  # one too many says it all


def nothing_arrived(sock):
    sock.setblocking(False)
    with pytest.raises(socket.error) as caught:
        sock.recv(1)
    assert caught.value.errno in (11, 35)


@pytest.mark.rule(8)
def test_an_empty_payload(pair, kind, null):
    left, right = pair
    if kind == socket.SOCK_STREAM:
        for empty in (b"", [], [b"", bytearray()], memoryview(b"")):
            with pytest.raises(ValueError, match="at least one byte"):
                fdpass.send_fds(left, empty, [null])
        nothing_arrived(right)
    else:
        assert fdpass.send_fds(left, b"", [null]) == 0
        data, fds, flags, address = fdpass.recv_fds(right, 10, 1)
        with closing(*fds):
            assert (data, len(fds)) == (b"", 1)


def test_an_empty_payload_without_descriptors(stream):
    assert fdpass.send_fds(stream[0], b"", []) == 0
    nothing_arrived(stream[1])


class Mapped(object):
    def __new__(cls):
        mapped = mmap.mmap(-1, 4)
        mapped[:] = b"abcd"
        return mapped


PAYLOADS = {
    "bytes": (lambda: b"abcd", b"abcd"),
    "bytearray": (lambda: bytearray(b"abcd"), b"abcd"),
    "memoryview": (lambda: memoryview(b"abcd"), b"abcd"),
    "array": (lambda: array.array("i", [1, 2]), struct.pack("2i", 1, 2)),
    "mmap": (Mapped, b"abcd"),
    "list": (lambda: [b"ab", bytearray(b"c"), memoryview(b"d")], b"abcd"),
    "tuple": (lambda: (b"ab", b"cd"), b"abcd"),
    "generator": (lambda: (part for part in (b"ab", array.array("b", [1]))), b"ab\1"),
    "many": (lambda: [b"x"] * 3000, b"x" * 3000),
}
if six.PY3:  # a memoryview of 2.7 has no steps
    PAYLOADS["gaps"] = (lambda: memoryview(b"abcd")[::2], b"ac")
else:
    PAYLOADS["buffer"] = (lambda: buffer(b"xabcd", 1), b"abcd")  # noqa: F821


@pytest.mark.parametrize("name", sorted(PAYLOADS))
@pytest.mark.parametrize("function", [fdpass.send_fds, fdpass.sendall_fds])
def test_what_a_payload_may_be(kind, null, name, function):
    make, expected = PAYLOADS[name]
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with closing(left, right):
        given = make()
        result = function(left, given, [null])
        assert result == (len(expected) if function is fdpass.send_fds else None)
        received = fdpass.recv_fds(right, 5000, 1)
        with closing(*received.fds):
            assert received.data == expected
        if name == "mmap":
            given.close()


@pytest.mark.parametrize("data", [b"x", bytearray(b"x")], ids=repr)
def test_what_a_closed_socket_says(null, data):
    closed = os.dup(null)
    os.close(closed)
    with pytest.raises(
        socket.error, match="while passing descriptors, the socket is closed"
    ) as caught:
        fdpass.send_fds(closed, data, [null])
    assert caught.value.errno == errno.EBADF


def test_what_fds_may_be(pair, pipe, null):
    left, right = pair
    with open(os.devnull) as opened, fdpass.FileDescriptor(os.dup(null)) as owned:
        for fds in (
            (pipe[0], opened, owned, left),
            iter([pipe[0], opened, owned, left]),
            array.array("i", [pipe[0], opened.fileno(), owned.fileno(), left.fileno()]),
        ):
            fdpass.send_fds(left, b"x", fds)
            received = fdpass.recv_fds(right, 1, 4).fds
            with closing(*received):
                sources = [pipe[0], opened.fileno(), owned.fileno(), left.fileno()]
                assert all(map(same_file, received, sources))


def test_descriptor_0_is_one_like_others(pair):
    fdpass.send_fds(pair[0], b"x", [sys.__stdin__, 0])
    received = fdpass.recv_fds(pair[1], 1, 2).fds
    with closing(*received):
        assert all(same_file(fd, 0) for fd in received)


def test_the_objects_of_a_generator_live_until_they_are_sent(pair):
    numbers = []

    def opened():
        for _ in range(3):
            numbers.append(os.open(os.devnull, os.O_RDONLY))
            yield fdpass.FileDescriptor(numbers[-1])

    # They are forgotten, and warn; but Python 2 not twice of the same number at the same line.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fdpass.send_fds(pair[0], b"x", opened())
        gc.collect()
        gc.collect()  # PyPy, which runs what the first one found at its leisure
    assert not set(numbers) & set(open_descriptors())
    received = fdpass.recv_fds(pair[1], 1, 3)
    with closing(*received.fds):
        assert all(os.fstat(fd).st_rdev for fd in received.fds)


def test_positions_of_the_arguments_are_those_of_the_socket_module(kind):
    with closing(*socket.socketpair(socket.AF_UNIX, kind)) as (left, right):
        assert fdpass.send_fds(left, [b"x"], [], 0, None) == 1
        assert fdpass.recv_fds(right, 1, 1, 0) == (b"x", [], 0, None)


@pytest.mark.rule(19)
def test_flags_are_honoured(pair, null):
    left, right = pair
    fdpass.send_fds(left, b"xy", [null], socket.MSG_DONTWAIT)
    with closing(*fdpass.recv_fds(right, 2, 1, socket.MSG_PEEK).fds):
        pass
    received = fdpass.recv_fds(right, 2, 1, socket.MSG_DONTWAIT)
    with closing(*received.fds):
        assert received.data == b"xy"
        assert len(received.fds) == 1


def test_dontwait_on_a_blocking_socket(kind):
    with closing(*socket.socketpair(socket.AF_UNIX, kind)) as (left, _):
        with pytest.raises(socket.error) as caught:
            fdpass.recv_fds(left, 1, 1, socket.MSG_DONTWAIT)
        assert caught.value.errno in (11, 35)


def test_a_datagram_cut_short_says_so(pair, kind, null):
    left, right = pair
    fdpass.send_fds(left, b"abcdef", [null])
    received = fdpass.recv_fds(right, 3, 1)
    with closing(*received.fds):
        assert received.data == b"abc"
        assert len(received.fds) == 1
        assert received.flags == (0 if kind == socket.SOCK_STREAM else socket.MSG_TRUNC)


def test_the_data_is_bytes(pair, form):
    for size in (1, 4000, 70000):
        pair[0].send(b"x")
        assert type(fdpass.recv_fds(form(pair[1]), size, 1).data) is bytes


@pytest.mark.rule(7)
def test_an_empty_datagram_is_not_the_end(datagram):
    for data in (b"", b"after it"):
        fdpass.send_fds(datagram[0], data, [])
    for data in (b"", b"after it"):
        assert fdpass.recv_fds(datagram[1], 10, 1) == (data, [], 0, None)


@pytest.mark.rule(7)
def test_bufsize_0(pair, kind, null):
    left, right = pair
    fdpass.send_fds(left, b"abc", [null])
    if kind == socket.SOCK_STREAM:
        with pytest.raises(ValueError, match="bufsize"):
            fdpass.recv_fds(right, 0, 1)
        received = fdpass.recv_fds(right, 3, 1)
    else:
        received = fdpass.recv_fds(right, 0, 1)
        assert received.data == b""
    with closing(*received.fds):
        assert len(received.fds) == 1


def test_the_end_of_a_stream(pair, kind):
    left, right = pair
    if kind == socket.SOCK_DGRAM:
        return  # a datagram socket knows no end
    left.close()
    assert fdpass.recv_fds(right, 10, 1) == (b"", [], 0, None)


def test_a_read_is_not_a_message_on_a_stream(stream, null):
    left, right = stream
    left.sendall(b"AAA")
    fdpass.send_fds(left, b"BBB", [null])
    received = fdpass.recv_fds(right, 100, 1)
    with closing(*received.fds):
        assert received.data == b"AAABBB"


@pytest.mark.parametrize("size", [1, 8191, 8192, 8193, 65536, 1 << 20])
def test_payload_sizes(stream, size):
    left, right = stream
    data = os.urandom(size)
    sender = threading.Thread(target=fdpass.sendall_fds, args=(left, data, []))
    sender.start()
    received = b""
    while len(received) < size:
        received += fdpass.recv_fds(right, size, 0).data
    sender.join()
    assert received == data


def named(path, kind=socket.SOCK_DGRAM):
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(path)
    return sock


@pytest.mark.rule(19)
def test_addresses(tmpdir, null, form):
    path, sender = str(tmpdir.join("to")), str(tmpdir.join("from"))
    with closing(named(path), named(sender)) as (right, left):
        fdpass.send_fds(form(left), b"x", [null], 0, path)
        received = fdpass.recv_fds(form(right), 1, 1)
        with closing(*received.fds):
            assert received.address == sender
        fdpass.send_fds(form(left), b"y", [], 0, path)
        assert fdpass.recv_fds(form(right), 1, 1).address == sender


def test_abstract_addresses(null):
    name = ("\0fdpass-test-%d" % os.getpid()).encode()
    with closing(named(name), named(name + b"-2")) as (right, left):
        fdpass.send_fds(left, b"x", [null], 0, name)
        received = fdpass.recv_fds(right, 1, 1)
        left.sendto(b"z", name)
        with closing(*received.fds):
            assert received.address == right.recvfrom(1)[1] == name + b"-2"


def test_an_address_on_a_connected_stream(stream, null, tmpdir):
    with pytest.raises(socket.error):
        fdpass.send_fds(stream[0], b"x", [null], 0, str(tmpdir.join("other")))


@pytest.mark.rule(8)
def test_without_descriptors_any_socket_may_send(form):
    right = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    left = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(left, right):
        right.bind(("127.0.0.1", 0))
        left.bind(("127.0.0.1", 0))
        fdpass.send_fds(form(left), b"x", [], 0, right.getsockname())
        assert fdpass.recv_fds(form(right), 9, 5) == (b"x", [], 0, left.getsockname())


@pytest.mark.rule(8)
def test_descriptors_over_another_family(null, form):
    right = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    left = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(left, right):
        right.bind(("127.0.0.1", 0))
        left.connect(right.getsockname())
        with pytest.raises(ValueError, match="AF_UNIX"):
            fdpass.send_fds(form(left), b"x", [null])
        nothing_arrived(right)


def test_a_socket_object_that_takes_itself_for_inet_is_not_believed(stream, null):
    lying = socket.fromfd(stream[0].fileno(), socket.AF_INET, socket.SOCK_STREAM)
    with closing(lying):
        fdpass.send_fds(lying, b"x", [null])
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert len(fds) == 1


def test_a_non_blocking_socket_with_nothing_to_read(kind, form):
    with closing(*socket.socketpair(socket.AF_UNIX, kind)) as (left, _):
        left.setblocking(False)
        with pytest.raises(socket.error) as caught:
            fdpass.recv_fds(form(left), 1, 1)
        assert caught.value.errno in (11, 35)


def test_a_non_blocking_socket_that_is_full(stream, null):
    left, right = stream
    left.setblocking(False)
    with pytest.raises(socket.error) as caught:
        while True:
            fdpass.send_fds(left, b"x" * 65536, [])
    assert caught.value.errno in (11, 35)


# sendall_fds


@pytest.mark.rule(10)
@pytest.mark.parametrize("timeout", [None, 30])
def test_all_of_a_large_payload_and_the_descriptors_once(stream, null, timeout):
    left, right = stream
    left.settimeout(timeout)
    data = os.urandom(1 << 16) * 64
    sender = threading.Thread(
        target=fdpass.sendall_fds, args=(left, [data[:9], bytearray(data[9:])], [null, null])
    )
    sender.start()
    first = fdpass.recv_fds(right, 1, 9)
    chunks, fds = [first.data], first.fds
    while sum(map(len, chunks)) < len(data):
        received = fdpass.recv_fds(right, 1 << 16, 0)
        chunks.append(received.data)
    sender.join()
    with closing(*fds):
        assert len(fds) == 2
        assert b"".join(chunks) == data


@pytest.mark.parametrize("timeout", [None, 30])
def test_the_descriptor_of_a_socket_serves_sendall_fds_as_it_is(stream, timeout):
    left, right = stream
    left.settimeout(timeout)
    if timeout is None:
        fdpass.sendall_fds(left.fileno(), b"abc", [])
        assert right.recv(9) == b"abc"
    else:  # its descriptor is non-blocking, and the timeout is the object's alone
        with pytest.raises(ValueError, match="blocks"):
            fdpass.sendall_fds(left.fileno(), b"abc", [])
        nothing_arrived(right)


@pytest.mark.rule(10)
def test_sendall_fds_on_a_non_blocking_socket(stream):
    stream[0].setblocking(False)
    with pytest.raises(ValueError, match="settimeout"):
        fdpass.sendall_fds(stream[0], b"abc", [])


def test_sendall_fds_with_dontwait(stream):
    with pytest.raises(ValueError, match="MSG_DONTWAIT"):
        fdpass.sendall_fds(stream[0], b"abc", [], socket.MSG_DONTWAIT)
    nothing_arrived(stream[1])


def test_sendall_fds_as_one_datagram(kind, null):
    if kind == socket.SOCK_STREAM:
        return
    with closing(*socket.socketpair(socket.AF_UNIX, kind)) as (left, right):
        fdpass.sendall_fds(left, [b"ab", b"cd"], [null])
        received = fdpass.recv_fds(right, 9, 1)
        with closing(*received.fds):
            assert received.data == b"abcd"


@pytest.mark.skipif(six.PY2, reason="2.7's sockets have no sendmsg, so fdpass calls none")
@pytest.mark.parametrize("data", [b"x", [b"x"]], ids=["bytes", "list"])
def test_an_object_with_sendmsg_alone_sends_by_it(stream, null, data):
    class Tunnel(Holder):
        sent = b""

        def sendmsg(self, buffers, *arguments):
            self.sent += b"".join(map(bytes, buffers))
            return self.thing.sendmsg(buffers, *arguments)

    tunnel = Tunnel(stream[0])
    assert fdpass.send_fds(tunnel, data, [null]) == 1
    assert tunnel.sent == b"x"
    with closing(*fdpass.recv_fds(stream[1], 10, 1).fds) as fds:
        assert same_file(fds[0], null)
