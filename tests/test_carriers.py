"""Send and receive on the sockets of other libraries, and refuse them for a Channel.

The classes here imitate the libraries' sockets. test_aio_sockets.py tests the real sockets.
"""

import errno
import gc
import multiprocessing
import os
import platform
import socket
import sys
import warnings

import pytest
import six
from conftest import closing, raises_errno
from test_sigpipe import aio
from test_transfer import is_close_on_exec, mode, nothing_arrived, same_file

import fdpass
from fdpass.compat import fdsend, passfd, socketfromfd

PYPY = platform.python_implementation() != "CPython"

if sys.version_info >= (3, 5):
    # in a string, because 2.7 and 3.4 cannot read its syntax
    COROUTINES = {}
    six.exec_("async def coroutine(*arguments): raise AssertionError('called')", COROUTINES)
    coroutine = COROUTINES["coroutine"]
else:  # no library has coroutines there

    def coroutine(*arguments):
        raise AssertionError("called")


class LikeTrio(object):
    """A socket like trio's: the methods that wait are coroutines, and there is no timeout."""

    sendmsg = recvmsg = send = recv = coroutine

    def __init__(self, sock):
        sock.setblocking(False)
        self._sock = sock
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto
        for name in ("close", "fileno", "getsockname", "getsockopt", "setsockopt", "listen"):
            setattr(self, name, getattr(sock, name))


class LikeCurio(object):
    """A socket like curio's: its timeout is None, and its other attributes are the socket's."""

    sendmsg = recvmsg = send = recv = coroutine

    def __init__(self, sock):
        sock.setblocking(False)
        self._socket = sock

    def __getattr__(self, name):
        return getattr(self._socket, name)

    def gettimeout(self):
        return None

    def settimeout(self, timeout):
        raise RuntimeError("Use timeout_after() to set a timeout")


class LikeTransport(object):
    """A socket like that of an asyncio transport, which never blocks."""

    def __init__(self, sock):
        sock.setblocking(False)
        self._sock = sock
        for name in ("fileno", "getsockname", "getsockopt", "setsockopt"):
            setattr(self, name, getattr(sock, name))

    def gettimeout(self):
        return 0

    def settimeout(self, timeout):
        if timeout:
            raise ValueError("settimeout(): only 0 timeout is allowed on transport sockets")


class LikeTransport38(LikeTransport):
    """From 3.8 to 3.10, its other methods warn."""

    def sendmsg(self, *arguments):
        warnings.warn("Using sendmsg() method will be prohibited", DeprecationWarning)

    recvmsg = close = sendmsg


class LikeUvloop(LikeTransport):
    def sendmsg(self):
        raise TypeError("transport sockets do not support sendmsg() method")

    def recvmsg(self, *arguments):
        raise TypeError("transport sockets do not support recvmsg() method")

    close = recvmsg


LikeTransport.__name__ = LikeTransport38.__name__ = "TransportSocket"
LikeUvloop.__name__ = "PseudoSocket"


class Returning(object):
    """An object of a user's class, which has no timeout and is not to be called."""

    def __init__(self, sock):
        self.fileno, self.getsockopt, self.close = sock.fileno, sock.getsockopt, sock.close

    def sendmsg(self, *arguments):
        raise AssertionError("called")

    recvmsg = sendmsg


class Behind(object):
    """A wrapper of an object whose methods are coroutines."""

    def __init__(self, sock):
        self.wrapped = LikeCurio(sock)

    def __getattr__(self, name):
        return getattr(self.wrapped, name)


class AsyncSocket(socket.socket):
    """A subclass whose methods are coroutines."""

    sendmsg = recvmsg = coroutine


def as_subclass(sock):
    sock.setblocking(False)
    other = AsyncSocket(sock.family, sock.type, 0, fileno=os.dup(sock.fileno()))
    sock.close()
    other.setblocking(False)  # PyPy's constructor has made it blocking
    return other


def with_fileno(sock):
    sock.setblocking(False)
    return fdpass.FileDescriptor(os.dup(sock.fileno()))


SHAPES = {
    "trio": LikeTrio,
    "asyncio": LikeTransport,
    "asyncio, 3.8": LikeTransport38,
    "uvloop": LikeUvloop,
    "a class": Returning,
    "FileDescriptor": with_fileno,
}
if sys.version_info >= (3, 5):
    SHAPES.update({"curio": LikeCurio, "a subclass": as_subclass, "a wrapper": Behind})


@pytest.fixture(params=sorted(SHAPES))
def carrier(request, stream):
    """Another library's object on one end of a stream, whose other end is stream[1]."""
    stream[0].setblocking(False)
    made = SHAPES[request.param](stream[0])
    yield made
    gc.collect()  # a coroutine that was never awaited warns now
    if request.param in ("FileDescriptor", "a subclass"):
        made.close()


SENDS = {
    "send_fds": lambda sock, fd: fdpass.send_fds(sock, b"x", [fd]),
    "send_fds, buffers": lambda sock, fd: fdpass.send_fds(sock, [b"", b"x"], [fd]),
    "sendmsg": lambda sock, fd: fdpass.sendmsg(sock, [b"x"], fdpass.rights([fd])),
    "fdsend": lambda sock, fd: fdsend.sendfds(sock, b"x", fds=[fd]),
    "passfd": lambda sock, fd: passfd.sendfd(sock, fd, b"x"),
}
RECEIVES = {
    "recv_fds": lambda sock: fdpass.recv_fds(sock, 1, 1).fds,
    "recvmsg": lambda sock: fdpass.fds_from_ancdata(fdpass.recvmsg(sock, 1, 100)[1]),
    "fdsend": lambda sock: fdsend.recvfds(sock, 1)[1],
    "passfd": lambda sock: passfd.recvfd(sock)[:1],
}


@pytest.mark.parametrize("way", sorted(SENDS))
def test_a_carrier_sends(carrier, stream, null, way):
    assert SENDS[way](carrier, null) == 1
    received = fdpass.recv_fds(stream[1], 10, 1)
    with closing(*received.fds) as fds:
        assert received.data == b"x"
        assert same_file(fds[0], null)


def test_a_carrier_sends_without_descriptors(carrier, stream):
    assert fdpass.send_fds(carrier, b"x", []) == 1
    assert stream[1].recv(2) == b"x"


@pytest.mark.parametrize("way", sorted(RECEIVES))
def test_a_carrier_receives(carrier, stream, null, way):
    fdpass.send_fds(stream[1], b"x", [null])
    with closing(*RECEIVES[way](carrier)) as fds:
        assert len(fds) == 1 and same_file(fds[0], null)
    with raises_errno(errno.EAGAIN, (socket.error, OSError)):
        RECEIVES[way](carrier)


def test_what_a_bare_descriptor_refuses(carrier, stream, null):
    with pytest.raises(ValueError, match="sendall_fds needs a socket that blocks"):
        fdpass.sendall_fds(carrier, b"x", [null])
    with pytest.raises(ValueError, match="bufsize must be at least 1 on a stream"):
        fdpass.recv_fds(carrier, 0, 1)
    with pytest.raises(ValueError, match="at least one byte"):
        fdpass.send_fds(carrier, b"", [null])
    with raises_errno(errno.EAGAIN):
        while True:
            fdpass.send_fds(carrier, b"x" * 4096, [])
    with raises_errno(errno.EAGAIN):
        fdpass.send_fds(carrier, b"x" * 4096, [null])


def test_sendall_fds_where_the_descriptor_blocks(stream, null):
    for shape in (LikeTrio, LikeTransport, LikeUvloop):
        carrier = shape(stream[0])
        stream[0].setblocking(True)
        fdpass.sendall_fds(carrier, b"x", [null])
        with closing(*fdpass.recv_fds(stream[1], 10, 1).fds) as fds:
            assert same_file(fds[0], null)


def test_credentials_and_a_socket_of_a_carrier(carrier, stream):
    assert fdpass.peer_credentials(carrier) == (os.getpid(), os.getuid(), os.getgid())
    before = mode(carrier.fileno())
    sockets = fdpass.socket_from_fd(carrier, dup=True), socketfromfd.fromfd(carrier)
    with closing(*sockets):
        for sock in sockets:
            assert same_file(sock.fileno(), carrier.fileno())
            assert sock.gettimeout() == 0
    assert mode(carrier.fileno()) == before


def test_a_carrier_is_passed(carrier, null):
    with closing(*socket.socketpair()) as (left, right):
        fdpass.send_fds(left, b"x", [carrier])
        with closing(*fdpass.recv_fds(right, 1, 1).fds) as fds:
            assert same_file(fds[0], carrier.fileno())


def test_a_channel_wants_a_plain_socket(carrier, stream):
    before = mode(carrier.fileno())
    advice = "to_socket" if isinstance(carrier, fdpass.FileDescriptor) else "socket_from_fd"
    makers = [fdpass.Channel, fdpass.Listener.from_socket]
    for make in makers + ([] if aio is None else [aio.Channel, aio.Listener.from_socket]):
        with pytest.raises(TypeError, match="needs a plain socket object, not .*: .* " + advice):
            make(carrier)
    assert mode(carrier.fileno()) == before
    with closing(fdpass.socket_from_fd(carrier, dup=True)) as (plain,):  # as the error advises
        plain.setblocking(True)
        other = fdpass.socket_from_fd(stream[1], dup=True)
        with closing(fdpass.Channel(plain), fdpass.Channel(other)) as (left, right):
            left.send(b"x")
            assert right.recv().data == b"x"


class Stream(object):
    """A stream of another library, which has no fileno()."""

    def __init__(self, name):
        setattr(self, name, None)


STREAMS = {
    "get_extra_info": r"its get_extra_info\('socket'\)",  # asyncio's StreamWriter and transports
    "extra": r"its extra\(SocketAttribute.raw_socket\)",  # anyio's
    "socket": "its socket",  # trio's
    "sockets": "one of its sockets",  # asyncio's Server
}


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_a_stream_says_how_to_get_its_socket(stream, name):
    given = Stream(name)
    for way in SENDS:
        with pytest.raises(TypeError, match="an object with fileno.* give " + STREAMS[name]):
            SENDS[way](given, 0)
        with pytest.raises(TypeError, match="an object with fileno.* give " + STREAMS[name]):
            SENDS[way](stream[0], given)
    for way in RECEIVES:
        with pytest.raises(TypeError, match="an object with fileno.* give " + STREAMS[name]):
            RECEIVES[way](given)
    for way in (fdpass.peer_credentials, lambda sock: fdpass.socket_from_fd(sock, dup=True)):
        with pytest.raises(TypeError, match="an object with fileno.* give " + STREAMS[name]):
            way(given)
    for way in (fdpass.Channel, fdpass.Listener.from_socket):
        with pytest.raises(TypeError, match=r"socket_from_fd\(%s, dup=True\)" % STREAMS[name]):
            way(given)
    nothing_arrived(stream[1])


class LikeZeroMQ(object):
    """A socket like pyzmq's: its descriptor is no socket, and its getsockopt takes one argument."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd

    def getsockopt(self, option):
        raise AssertionError("called")

    send_multipart = recv_multipart = getsockopt


def test_a_socket_of_zeromq(stream, null):
    given = LikeZeroMQ(null)
    ways = [lambda sock, way=way: SENDS[way](sock, 0) for way in SENDS]
    ways += [lambda sock, way=way: SENDS[way](stream[0], sock) for way in SENDS]
    ways += list(RECEIVES.values())
    ways += [
        fdpass.peer_credentials,
        lambda sock: fdpass.socket_from_fd(sock, dup=True),
        lambda sock: fdpass.sendall_fds(sock, b"x", [0]),
    ]
    for way in ways:
        with pytest.raises(TypeError, match="LikeZeroMQ is a ZeroMQ socket.* a plain Unix socket"):
            way(given)
    for way in (fdpass.Channel, fdpass.Listener.from_socket):
        with pytest.raises(TypeError, match="LikeZeroMQ is a ZeroMQ socket"):
            way(given)
    nothing_arrived(stream[1])
    assert fdpass.send_fds(stream[0], b"x", [given.fileno()]) == 1


def test_a_connection_of_multiprocessing(null):
    left, right = multiprocessing.Pipe()
    with closing(left, right):
        for way in SENDS:
            assert SENDS[way](left, null) == 1
            with closing(*fdpass.recv_fds(right, 1, 1).fds) as fds:
                assert same_file(fds[0], null)
        for way in RECEIVES:
            fdpass.sendall_fds(right, b"x", [left])
            with closing(*RECEIVES[way](left)) as fds:
                assert same_file(fds[0], left.fileno()) and len(fds) == 1
        assert fdpass.peer_credentials(left).pid == os.getpid()
        for make in (fdpass.Channel, fdpass.Listener.from_socket):
            with pytest.raises(TypeError, match=r"not .*Connection: .*socket_from_fd\(it"):
                make(left)


class Wrapper(object):
    """An object of a user's class with a socket's methods, which are called."""

    def __init__(self, sock):
        self.sock, self.calls = sock, []
        self.close, self.fileno = sock.close, sock.fileno
        self.gettimeout, self.settimeout = sock.gettimeout, sock.settimeout

    def getsockopt(self, *arguments):
        self.calls.append("getsockopt")
        return self.sock.getsockopt(*arguments)

    def send(self, *arguments):
        return self.sock.send(*arguments)

    if six.PY3:

        def sendmsg(self, *arguments):
            self.calls.append("sendmsg")
            return self.sock.sendmsg(*arguments)

        def recvmsg(self, *arguments):
            self.calls.append("recvmsg")
            return self.sock.recvmsg(*arguments)


def test_a_wrapper_is_called(stream, null):
    wrappers = [Wrapper(end) for end in stream]
    fdpass.sendall_fds(wrappers[0], b"x", [null])
    assert wrappers[0].calls[0] == "getsockopt"
    assert wrappers[0].calls[-1:] == (["sendmsg"] if six.PY3 else ["getsockopt"])
    with closing(*fdpass.recv_fds(wrappers[1], 1, 1).fds) as fds:
        assert same_file(fds[0], null) and is_close_on_exec(fds[0])
    assert wrappers[1].calls == (["recvmsg"] if six.PY3 else [])
    wrappers[1].settimeout(0.01)
    with pytest.raises(socket.timeout):
        fdpass.recv_fds(wrappers[1], 1, 1)
    fdpass.send_fds(wrappers[0], b"x", [], 0, None)
    with closing(*map(fdpass.Channel, wrappers)) as (left, right):
        assert stream[1].recv(1) == b"x"
        left.send(b"y", [null])
        with right.recv() as message:
            assert message.data == b"y"


def test_an_address_goes_to_a_wrapper(path):
    with closing(*[socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in "12"]) as ends:
        ends[1].bind(path)
        assert fdpass.send_fds(Wrapper(ends[0]), b"x", [0], 0, path) == 1
        with closing(*fdpass.recv_fds(ends[1], 1, 1).fds) as fds:
            assert len(fds) == 1


class NoFileno(object):
    """An object of a user's class with a socket's methods, but without fileno and gettimeout."""

    def __init__(self, sock):
        self.sendmsg = self.recvmsg = None
        self.getsockopt = sock.getsockopt
        if six.PY3:
            self.sendmsg, self.recvmsg = sock.sendmsg, sock.recvmsg


@pytest.mark.skipif(six.PY2, reason="2.7's sockets have no sendmsg, so fdpass calls none")
def test_an_object_without_fileno_is_called(stream, null):
    left, right = map(NoFileno, stream)
    assert fdpass.send_fds(left, b"x", [null]) == 1
    with closing(*fdpass.recv_fds(right, 1, 1).fds) as fds:
        assert same_file(fds[0], null)


class Careless(object):
    """A wrapper that raises KeyError for an attribute which it does not know."""

    def __init__(self, sock):
        names = ["fileno", "getsockopt", "gettimeout", "sendmsg", "recvmsg"]
        self.attributes = {name: getattr(sock, name, None) for name in names}

    def __getattr__(self, name):
        return self.attributes[name]


@pytest.mark.skipif(six.PY2, reason="2.7's sockets have no sendmsg, so fdpass calls none")
def test_a_wrapper_that_raises_another_error_for_a_missing_attribute(stream, null):
    left, right = map(Careless, stream)
    assert fdpass.send_fds(left, b"x", [left, null]) == 1
    with closing(*fdpass.recv_fds(right, 1, 2).fds) as fds:
        assert len(fds) == 2


class Subclass(socket.socket):
    """A subclass that changes nothing."""


def subclass_of(sock):
    if six.PY2:
        return Subclass(_sock=sock)
    return Subclass(fileno=os.dup(sock.fileno()))


def test_a_subclass_is_a_socket_object(stream, null):
    with closing(*map(subclass_of, stream)) as (left, right):
        left.settimeout(0.01)
        right.settimeout(0.01)
        for data in (b"x", bytearray(b"x")):
            assert fdpass.send_fds(left, data, [null, left]) == 1
            with closing(*fdpass.recv_fds(right, 1, 2).fds) as fds:
                assert same_file(fds[0], null)
        assert fdpass.peer_credentials(left).pid == os.getpid()
        with pytest.raises(socket.timeout):
            fdpass.recv_fds(right, 1, 1)


class Limited(socket.socket):
    """A subclass whose own method raises EAGAIN, although the socket has a timeout."""

    calls = 0

    def recvmsg(self, *arguments):
        self.calls += 1
        raise socket.error(errno.EAGAIN, "not now")

    sendmsg = recvmsg


@pytest.mark.skipif(six.PY2, reason="2.7's sockets have no sendmsg, so fdpass calls none")
@pytest.mark.skipif(
    PYPY or sys.version_info < (3, 5),
    reason="on PyPy, fdpass waits in the place of all sockets",
)
def test_a_subclass_may_refuse_to_wait(stream, null):
    limited = Limited(fileno=os.dup(stream[0].fileno()))
    with closing(limited):
        limited.settimeout(5)
        with raises_errno(errno.EAGAIN):
            fdpass.recv_fds(limited, 1, 1)
        with raises_errno(errno.EAGAIN):
            fdpass.send_fds(limited, b"x", [null])
    assert limited.calls == 2


def test_many_classes_of_carriers(stream, null):
    """fdpass remembers each class, but does not keep all of them."""
    for number in range(1100):
        made = type("Made%d" % number, (object,), {"fileno": stream[0].fileno})()
        assert fdpass.send_fds(made, b"x", []) == 1
        assert stream[1].recv(2) == b"x"
    assert fdpass.send_fds(stream[0], b"x", [null]) == 1
