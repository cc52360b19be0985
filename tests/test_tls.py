"""A TLS socket has keys beside its descriptor, and they cannot be passed."""

import socket
import ssl

import pytest
import six
from conftest import closing
from test_sigpipe import aio, async_way

import fdpass
from fdpass.compat import fdsend, passfd


def wrap(sock):
    """Return an SSLSocket on a duplicate. Until its handshake nothing is read or sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if six.PY3 else ssl.PROTOCOL_SSLv23)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    plain = fdpass.socket_from_fd(sock, dup=True)  # 2.7's socketpair returns no socket.socket
    return context.wrap_socket(plain, do_handshake_on_connect=False)


class LikePyOpenSSL(object):
    """As OpenSSL.SSL.Connection: what it does not have itself, its socket has."""

    def __init__(self, sock):
        self._socket = sock

    def get_peer_certificate(self):
        return None

    def __getattr__(self, name):
        return getattr(self._socket, name)


class Delegating(object):
    def __init__(self, sock):
        self._sock = sock

    def __getattr__(self, name):
        return getattr(self._sock, name)


class WithFileno(object):
    def __init__(self, sock):
        self.fileno = sock.fileno


TLS = {
    "ssl": wrap,
    "ssl, a subclass": lambda sock: set_class(wrap(sock)),
    "ssl, behind an object": lambda sock: Delegating(wrap(sock)),
    "pyOpenSSL": LikePyOpenSSL,
}
PLAIN = {
    "socket": lambda sock: sock,
    "int": lambda sock: sock.fileno(),
    "fileno": WithFileno,
    "behind an object": Delegating,
}
WAYS = {
    "send_fds": lambda sock, thing: fdpass.send_fds(sock, b"x", [thing]),
    "send_fds, tuple": lambda sock, thing: fdpass.send_fds(sock, b"x", (thing,)),
    "send_fds, second": lambda sock, thing: fdpass.send_fds(sock, b"x", [0, thing]),
    "send_fds, generator": lambda sock, thing: fdpass.send_fds(sock, b"x", iter([thing])),
    "sendall_fds": lambda sock, thing: fdpass.sendall_fds(sock, b"x", [thing]),
    "Channel.send": lambda sock, thing: fdpass.Channel(sock).send(b"x", [thing]),
    "fdsend": lambda sock, thing: fdsend.sendfds(sock, b"x", fds=[thing]),
    "passfd": lambda sock, thing: passfd.sendfd(sock, thing),
}

if aio is not None:
    WAYS["aio.send_fds"] = async_way(lambda sock, thing: aio.send_fds(sock, b"x", [thing]))
    WAYS["aio.Channel.send"] = async_way(lambda sock, thing: aio.Channel(sock).send(b"x", [thing]))


def set_class(sock):
    sock.__class__ = type("Sub", (type(sock),), {})
    return sock


@pytest.fixture
def given():
    """A socket to pass, and its other end, whose process is this one too."""
    with closing(*socket.socketpair()) as ends:
        yield ends[0]


@pytest.fixture(params=sorted(TLS))
def tls(request, given):
    made = TLS[request.param](given)
    with closing(made):
        yield made


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_tls_socket_is_not_passed(stream, tls, way):
    with pytest.raises(TypeError, match="is a TLS socket, whose keys stay in this process: pass"):
        WAYS[way](stream[0], tls)
    stream[1].setblocking(False)
    with pytest.raises(socket.error):  # EAGAIN: nothing was sent
        stream[1].recv(1)


def test_a_closed_one_and_one_that_is_not_connected_are_refused_too(stream):
    with closing(socket.socket()) as (sock,):
        unconnected = wrap(sock)
    with closing(unconnected):
        with pytest.raises(TypeError, match="TLS"):
            fdpass.send_fds(stream[0], b"x", [unconnected])
        assert fdpass.send_fds(stream[0], b"x", [unconnected.fileno()]) == 1
    with pytest.raises(TypeError, match="TLS"):
        fdpass.send_fds(stream[0], b"x", [unconnected])


@pytest.mark.parametrize("form", sorted(PLAIN))
@pytest.mark.parametrize("way", sorted(WAYS))
def test_others_with_a_descriptor_are_passed(stream, given, form, way):
    WAYS[way](stream[0], PLAIN[form](given))
    received = fdpass.recv_fds(stream[1], 100, 253)
    with closing(*received.fds) as fds:
        assert len(fds) in (1, 2)


@pytest.mark.parametrize("timeout", [None, 0.0, 30.0])
def test_a_channel_needs_a_plain_socket(tls, timeout):
    tls.settimeout(timeout)
    for channel in [fdpass.Channel] + ([] if aio is None else [aio.Channel]):
        with pytest.raises(TypeError, match="a Channel needs a plain socket, not .*TLS"):
            channel(tls)
    assert tls.fileno() >= 0 and tls.gettimeout() == timeout


@pytest.mark.parametrize("kind", sorted(TLS))
def test_a_listener_needs_a_plain_socket(path, kind):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as (sock,):
        sock.bind(path)
        sock.listen(1)
        with closing(TLS[kind](sock)) as (listening,):
            with pytest.raises(TypeError, match="a Listener needs a plain socket, not .*TLS"):
                fdpass.Listener.from_socket(listening)
            assert listening.fileno() >= 0


CARRIED = {
    "send_fds": lambda sock: fdpass.send_fds(sock, b"x", [0]),
    "send_fds, none": lambda sock: fdpass.send_fds(sock, b"x", []),
    "send_fds, buffers": lambda sock: fdpass.send_fds(sock, [b"x"], [0]),
    "sendall_fds": lambda sock: fdpass.sendall_fds(sock, b"x", [0]),
    "sendmsg": lambda sock: fdpass.sendmsg(sock, [b"x"]),
    "recv_fds": lambda sock: fdpass.recv_fds(sock, 1, 1),
    "recvmsg": lambda sock: fdpass.recvmsg(sock, 1),
}


@pytest.mark.parametrize("way", sorted(CARRIED))
@pytest.mark.parametrize("kind", sorted(TLS))
def test_nothing_goes_past_the_encryption(stream, kind, way):
    fdpass.send_fds(stream[1], b"y", [0])
    with closing(TLS[kind](stream[0])) as (tls,):
        with pytest.raises(NotImplementedError, match="bypass the encryption: give a plain Unix"):
            CARRIED[way](tls)
        with closing(fdpass.socket_from_fd(tls, dup=True)) as (plain,):
            with closing(*fdpass.recv_fds(plain, 2, 1).fds) as fds:
                assert len(fds) == 1
            stream[1].setblocking(False)
            with pytest.raises(socket.error):  # EAGAIN: nothing was sent
                stream[1].recv(1)


class CatchAll(object):
    """An object like a mock, which has every attribute."""

    def __init__(self, fd):
        self.fileno = lambda: fd

    def __getattr__(self, name):
        return lambda *given: None


def test_an_object_that_has_every_method_is_no_tls_socket(stream, null):
    assert fdpass.send_fds(stream[0], b"x", [CatchAll(null)]) == 1
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds):
        pass


def test_a_drop_in_does_not_write_into_a_tls_connection(stream, null, tls):
    with pytest.raises(NotImplementedError, match="would bypass the encryption"):
        passfd.sendfd(tls, null)
