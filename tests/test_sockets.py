"""socket_from_fd and peer_credentials."""

import errno
import fcntl
import os
import socket
import subprocess
import sys

import pytest
import six
from conftest import closing, raises_errno
from test_hostile import in_child
from test_transfer import FORMS, Holder, is_close_on_exec, mode, same_file

import fdpass

AF_VSOCK = 40


@pytest.fixture(params=[None, 0.0, 7.5], ids=["no-default", "default-0", "default-7.5"])
def default_timeout(request):
    socket.setdefaulttimeout(request.param)
    yield request.param
    socket.setdefaulttimeout(None)


def vsock():
    # vsock(7); 2.7's socket module knows it by its number too.
    return socket.socket(AF_VSOCK, socket.SOCK_STREAM)


MAKERS = {
    "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "tcp6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM),
    "udp6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "unix datagram": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    "unix seqpacket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4),
    "vsock": vsock,
}


def missing(maker):
    try:
        maker().close()
    except socket.error as error:
        return error.errno in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM)
    return False


@pytest.fixture(params=sorted(MAKERS))
def made(request):
    if missing(MAKERS[request.param]):
        pytest.skip("this kernel has no %s sockets" % request.param)
    sock = MAKERS[request.param]()
    with closing(sock):
        yield sock


@pytest.mark.rule(14)
@pytest.mark.rule(16)
@pytest.mark.rule(17)
@pytest.mark.parametrize("blocking", [True, False])
def test_the_kernel_tells_everything(made, default_timeout, blocking):
    made.setblocking(blocking)
    before = mode(made.fileno())
    number = os.dup(made.fileno())
    sock = fdpass.socket_from_fd(number)
    with closing(sock):
        assert isinstance(sock, socket.socket)
        assert sock.family == made.family
        assert sock.type == made.type & ~(0o4000 | 0o2000000)
        assert sock.gettimeout() == (None if blocking else 0.0)
        assert mode(made.fileno()) == before
        assert is_close_on_exec(sock.fileno())
        assert same_file(sock.fileno(), made.fileno())
        assert sock.proto == sock.getsockopt(socket.SOL_SOCKET, fdpass.SO_PROTOCOL)
        if six.PY3:
            assert sock.fileno() == number
    for closed in (number, sock.fileno) if six.PY3 else ():
        with pytest.raises(OSError):
            os.fstat(closed() if callable(closed) else closed)
    assert mode(made.fileno()) == before


@pytest.mark.rule(15)
@pytest.mark.rule(17)
@pytest.mark.parametrize("blocking", [True, False])
def test_a_duplicate_leaves_the_original(made, default_timeout, blocking):
    made.setblocking(blocking)
    before = mode(made.fileno())
    for thing in (made.fileno(), made, Holder(made)):
        with closing(fdpass.socket_from_fd(thing, dup=True)) as (sock,):
            assert sock.fileno() != made.fileno()
            assert same_file(sock.fileno(), made.fileno())
            assert is_close_on_exec(sock.fileno())
            assert sock.gettimeout() == (None if blocking else 0.0)
        assert mode(made.fileno()) == before


def test_it_works(default_timeout, stream):
    left, right = stream
    left.settimeout(None)
    right.settimeout(None)
    with closing(fdpass.socket_from_fd(os.dup(left.fileno()))) as (sock,):
        sock.sendall(b"ping")
        assert right.recv(9) == b"ping"
        opened = sock.makefile("rb")
        right.sendall(b"pong\n")
        assert opened.readline() == b"pong\n"
        opened.close()
        sock.settimeout(5)
        assert sock.gettimeout() == 5
        sock.shutdown(socket.SHUT_RDWR)


def test_an_accepted_connection():
    with closing(socket.socket()) as (listener,):
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        number = os.dup(accepted.fileno())
        accepted.close()
        with closing(client, fdpass.socket_from_fd(number)) as (_, sock):
            assert sock.getpeername() == client.getsockname()
            assert sock.proto == socket.IPPROTO_TCP
            sock.sendall(b"x")
            assert client.recv(1) == b"x"
        with closing(fdpass.socket_from_fd(os.dup(listener.fileno()))) as (again,):
            client = socket.create_connection(listener.getsockname())
            served, _ = again.accept()
            with closing(client, served):
                assert served.type == socket.SOCK_STREAM


@pytest.mark.rule(14)
def test_what_is_given_is_checked(stream):
    number = stream[0].fileno()
    given = {"family": socket.AF_UNIX, "type": socket.SOCK_STREAM, "proto": 0}
    with closing(fdpass.socket_from_fd(number, dup=True, **given)):
        pass
    wrong = {"family": socket.AF_INET, "type": socket.SOCK_DGRAM, "proto": 6}
    for name in wrong:
        for dup in (True, False):
            with pytest.raises(ValueError, match="%s is %d, but" % (name, wrong[name])):
                fdpass.socket_from_fd(number, dup=dup, **dict(given, **{name: wrong[name]}))
            with pytest.raises(TypeError, match=name):
                fdpass.socket_from_fd(number, dup=dup, **{name: "1"})
    assert stream[0].send(b"x") == 1


@pytest.mark.rule(14)
@pytest.mark.parametrize("of_descriptor", [False, True])
def test_a_protocol_of_0_is_the_default(made, of_descriptor):
    """A socket object of TCP says 0 of itself, and the kernel says 6."""
    told = made.getsockopt(socket.SOL_SOCKET, fdpass.SO_PROTOCOL)
    with fdpass.FileDescriptor(os.dup(made.fileno())) as owner:
        if of_descriptor:
            sock = owner.to_socket(proto=0)
        else:
            sock = fdpass.socket_from_fd(made, made.family, made.type, 0, dup=True)
    with closing(sock):
        assert (sock.family, sock.proto) == (made.family, told)
        assert same_file(sock.fileno(), made.fileno())


@pytest.mark.rule(16)
def test_the_bits_beside_the_type_are_no_part_of_it(stream):
    given = socket.SOCK_STREAM | 0o4000 | 0o2000000
    with closing(fdpass.socket_from_fd(stream[0].fileno(), type=given, dup=True)) as (sock,):
        assert sock.type == socket.SOCK_STREAM
    stream[0].setblocking(False)
    with closing(fdpass.socket_from_fd(stream[0].fileno(), dup=True)) as (sock,):
        assert sock.type == socket.SOCK_STREAM
        assert "SOCK_STREAM" in repr(sock) or "type=1" in repr(sock) or six.PY2


@pytest.mark.rule(16)
def test_an_inheritable_descriptor_is_no_longer(stream):
    number = os.dup(stream[0].fileno())
    fcntl.fcntl(number, fcntl.F_SETFD, 0)
    with closing(fdpass.socket_from_fd(number)) as (sock,):
        assert is_close_on_exec(sock.fileno())


def no_sockets(tmpdir):
    fifo = str(tmpdir.join("fifo"))
    os.mkfifo(fifo)
    unix = str(tmpdir.join("unix"))
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(unix)
    bound.close()
    return [
        (os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), errno.ENOTSOCK),
        (os.open(str(tmpdir), os.O_RDONLY), errno.ENOTSOCK),
        (os.open(os.devnull, os.O_RDONLY), errno.ENOTSOCK),
        (os.open(unix, 0o10000000), errno.EBADF),  # O_PATH: fstat takes it for a socket
    ]


@pytest.mark.rule(15)
@pytest.mark.rule(18)
@pytest.mark.parametrize("dup", [True, False])
def test_what_is_no_socket(tmpdir, default_timeout, dup):
    numbers = no_sockets(tmpdir)
    with closing(*[number for number, _ in numbers]):
        for number, expected in numbers:
            for given in ({}, {"family": socket.AF_UNIX, "type": socket.SOCK_STREAM, "proto": 0}):
                with pytest.raises(socket.error) as caught:
                    fdpass.socket_from_fd(number, dup=dup, **given)
                assert caught.value.errno == expected
                os.fstat(number)


def test_a_closed_descriptor():
    for dup in (True, False):
        with raises_errno(errno.EBADF):
            fdpass.socket_from_fd(1 << 20, dup=dup)


@pytest.mark.rule(15)
def test_an_object_would_close_its_own(stream):
    with fdpass.FileDescriptor(os.dup(stream[0].fileno())) as owned:
        for thing in (stream[0], owned, Holder(stream[0])):
            with pytest.raises(TypeError, match="dup=True"):
                fdpass.socket_from_fd(thing)


@pytest.mark.parametrize("fd", [True, None, 1.0, "1"], ids=repr)
@pytest.mark.parametrize("dup", [True, False])
def test_a_descriptor_of_a_wrong_type(fd, dup):
    with pytest.raises(TypeError):
        fdpass.socket_from_fd(fd, dup=dup)


def test_a_descriptor_out_of_range():
    with pytest.raises(ValueError):
        fdpass.socket_from_fd(-1)


# peer_credentials


@pytest.fixture(params=sorted(FORMS))
def form(request):
    return FORMS[request.param]


def test_the_peer_of_a_socketpair(pair, form):
    peer = fdpass.peer_credentials(form(pair[0]))
    assert peer == (os.getpid(), os.getuid(), os.getgid())
    assert (peer.pid, peer.uid, peer.gid) == peer


def test_the_peer_of_a_connection(tmpdir, form):
    path = str(tmpdir.join("sock"))
    with closing(socket.socket(socket.AF_UNIX)) as (listener,):
        listener.bind(path)
        listener.listen(1)
        program = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(1)"
        )
        child = subprocess.Popen([sys.executable, "-c", program, path])
        served, _ = listener.accept()
        with closing(served):
            assert fdpass.peer_credentials(form(served)) == (child.pid, os.getuid(), os.getgid())
        child.wait()


def test_an_unconnected_socket_has_no_peer(kind, form):
    with closing(socket.socket(socket.AF_UNIX, kind)) as (sock,):
        with raises_errno(errno.ENOTCONN):
            fdpass.peer_credentials(form(sock))


def test_a_listening_socket_has_no_peer(tmpdir, form):
    with closing(socket.socket(socket.AF_UNIX)) as (listener,):
        listener.bind(str(tmpdir.join("sock")))
        listener.listen(1)
        with raises_errno(errno.ENOTCONN):
            fdpass.peer_credentials(form(listener))


def test_only_a_unix_socket_has_credentials(form):
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        kind = socket.SOCK_RAW if family == socket.AF_NETLINK else socket.SOCK_STREAM
        with closing(socket.socket(family, kind)) as (sock,):
            with pytest.raises(ValueError, match="AF_UNIX"):
                fdpass.peer_credentials(form(sock))


def test_the_peer_as_it_was_at_connect_time(other_user, tmpdir):
    path = str(tmpdir.join("sock"))
    with closing(socket.socket(socket.AF_UNIX)) as (listener,):
        listener.bind(path)
        listener.listen(1)
        os.chmod(path, 0o777)
        for part in tmpdir.parts()[1:]:
            if part.stat().uid == os.getuid():
                part.chmod(part.stat().mode & 0o7777 | 0o011)

        def connect_as_nobody():
            sock = socket.socket(socket.AF_UNIX)
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            sock.connect(path)
            return "connected"

        assert in_child(connect_as_nobody) == "connected"
        served, _ = listener.accept()
        with closing(served):
            assert fdpass.peer_credentials(served)[1:] == (65534, 65534)
