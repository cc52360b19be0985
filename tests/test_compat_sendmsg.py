"""The contracts of sendmsg and of socketfromfd, and the faults that must be gone."""

import errno
import fcntl
import os
import socket
import struct
import sys
import threading
import time

import pytest
from conftest import closing, raises_errno
from test_transfer import is_close_on_exec, mode, nothing_arrived, same_file

import fdpass
from fdpass.compat import sendmsg, socketfromfd


def rights(*fds):
    return socket.SOL_SOCKET, sendmsg.SCM_RIGHTS, struct.pack("%di" % len(fds), *fds)


def test_a_message_alone(pair):
    left, right = (sock.fileno() for sock in pair)
    assert sendmsg.sendmsg(left, b"x") == 1  # and not 219,264 bytes of memory, as 1.0.1 could
    assert sendmsg.recvmsg(right) == (b"x", 0, [])


def test_descriptors(pair, pipe):
    left, right = (sock.fileno() for sock in pair)
    assert sendmsg.sendmsg(left, b"hello", 0, rights(*pipe)) == 5
    data, flags, ancillary = sendmsg.recvmsg(right)
    ((level, kind, content),) = ancillary
    fds = struct.unpack("2i", content)
    with closing(*fds):
        assert (data, flags) == (b"hello", 0)
        assert (level, kind) == (socket.SOL_SOCKET, sendmsg.SCM_RIGHTS)
        assert type(ancillary) is list
        assert same_file(fds[0], pipe[0])
        assert same_file(fds[1], pipe[1])
        assert not any(map(is_close_on_exec, fds))


def test_how_much_is_received_unless_more_is_said(datagram):
    left, right = (sock.fileno() for sock in datagram)
    sendmsg.sendmsg(left, b"x" * 8200)
    data, flags, _ = sendmsg.recvmsg(right)
    assert (len(data), flags) == (8192, socket.MSG_TRUNC)


def test_every_name_is_a_keyword(stream, null):
    left, right = (sock.fileno() for sock in stream)
    assert sendmsg.sendmsg(fd=left, data=b"hello", flags=0, ancillary=rights(null)) == 5
    # No room for the descriptor: the kernel keeps it, and says so.
    data, flags, ancillary = sendmsg.recvmsg(fd=right, flags=0, maxsize=4, cmsg_size=0)
    assert (data, flags, ancillary) == (b"hell", fdpass.MSG_CTRUNC, [])


@pytest.mark.parametrize("size", [1, 4, 8, 12, 16, 24])
def test_the_room_is_for_the_content(stream, null, size):
    """As the original reserves it; what fits into its alignment comes too."""
    left, right = (sock.fileno() for sock in stream)
    sendmsg.sendmsg(left, b"x", 0, rights(*[null] * 8))
    _, flags, ancillary = sendmsg.recvmsg(right, cmsg_size=size)
    ((_, _, content),) = ancillary
    with closing(*struct.unpack("%di" % (len(content) // 4), content)) as fds:
        # On 64-bit systems, the room is a multiple of two descriptors.
        assert len(fds) == (fdpass.CMSG_SPACE(size) - fdpass.CMSG_LEN(0)) // 4
        assert flags == fdpass.MSG_CTRUNC


def test_text(stream):
    left, right = (sock.fileno() for sock in stream)
    assert sendmsg.sendmsg(left, b"text".decode()) == 4
    assert sendmsg.recvmsg(right)[0] == b"text"


@pytest.mark.skipif(fdpass.SO_PASSCRED is None, reason="Linux alone has SO_PASSCRED")
def test_any_control_message(stream, null):
    left, right = stream
    right.setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, 1)
    credentials = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    one = (socket.SOL_SOCKET, fdpass.SCM_CREDENTIALS, credentials)
    assert sendmsg.sendmsg(left.fileno(), b"x", 0, one) == 1
    assert sendmsg.recvmsg(right.fileno()) == (b"x", 0, [one])
    sendmsg.sendmsg(left.fileno(), b"x", 0, rights(null))
    data, flags, ancillary = sendmsg.recvmsg(right.fileno())
    assert [kind for _, kind, _ in ancillary] == [fdpass.SCM_CREDENTIALS, fdpass.SCM_RIGHTS]
    with closing(*struct.unpack("i", ancillary[1][2])):
        pass


def test_another_family():
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(udp, other):
        udp.bind(("127.0.0.1", 0))
        other.connect(udp.getsockname())
        assert sendmsg.sendmsg(other.fileno(), b"over UDP") == 8
        assert sendmsg.recvmsg(udp.fileno()) == (b"over UDP", 0, [])


def test_errors_are_ioerror(stream, null):
    fd = stream[0].fileno()
    for call, number in (
        (lambda: sendmsg.sendmsg(-1, b"x"), errno.EBADF),
        (lambda: sendmsg.recvmsg(-1), errno.EBADF),
        (lambda: sendmsg.sendmsg(null, b"x"), errno.ENOTSOCK),
        (lambda: sendmsg.recvmsg(null), errno.ENOTSOCK),
        (lambda: sendmsg.recvmsg(fd, socket.MSG_DONTWAIT), errno.EAGAIN),
        (lambda: sendmsg.sendmsg(fd, b"x", 0, rights(-1)), errno.EBADF),
    ):
        with pytest.raises(IOError) as caught:
            call()
        assert caught.value.errno == number


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sock: sendmsg.sendmsg(sock, b"x"),
        lambda sock: sendmsg.recvmsg(sock),
        lambda sock: sendmsg.sendmsg(sock.fileno(), None),
        lambda sock: sendmsg.sendmsg(sock.fileno(), [b"x"]),
        lambda sock: sendmsg.sendmsg(sock.fileno(), b"x", 0, 5),
        lambda sock: sendmsg.sendmsg(sock.fileno(), b"x", 0, (1, 2)),
        lambda sock: sendmsg.sendmsg(sock.fileno(), b"x", 0, [rights(0)]),
        lambda sock: sendmsg.sendmsg(sock.fileno(), b"x", 0, (1, 1, b"".decode())),
    ],
)
def test_wrong_types(stream, wrong):
    with pytest.raises(TypeError):
        wrong(stream[0])
    nothing_arrived(stream[1])


def test_other_threads_run_while_one_waits(stream):
    told = []
    reader = threading.Thread(target=lambda: told.append(sendmsg.recvmsg(stream[1].fileno())))
    reader.start()
    time.sleep(0.05)
    sendmsg.sendmsg(stream[0].fileno(), b"x")
    reader.join()
    assert told == [(b"x", 0, [])]


def is_as_fromfd_makes_them(sock):
    if sys.version_info[:2] == (3, 3):  # there, only socket.fromfd's is inheritable
        return is_close_on_exec(sock.fileno())
    made = socket.fromfd(sock.fileno(), sock.family, sock.type)
    with closing(made):
        return is_close_on_exec(sock.fileno()) == is_close_on_exec(made.fileno())


def test_a_socket_from_a_descriptor(pair, kind):
    with closing(socketfromfd.fromfd(pair[0].fileno())) as (sock,):
        assert isinstance(sock, socket.socket)
        assert (sock.family, sock.type, sock.proto) == (socket.AF_UNIX, kind, 0)
        assert sock.fileno() != pair[0].fileno()
        assert same_file(sock.fileno(), pair[0].fileno())
        assert is_as_fromfd_makes_them(sock)
    pair[0].fileno()
    with closing(socketfromfd.fromfd(pair[0])):
        pass


def test_the_descriptor_is_adopted(stream):
    number = os.dup(stream[0].fileno())
    sock = socketfromfd.fromfd(number, keep_fd=False)
    assert is_as_fromfd_makes_them(sock)
    sock.close()
    with pytest.raises(OSError):
        os.fstat(number)
    with pytest.raises(TypeError):
        socketfromfd.fromfd(stream[0], keep_fd=False)


def test_a_tcp_socket():
    with closing(socket.socket()) as (tcp,):
        tcp.settimeout(5)
        before = mode(tcp.fileno())
        with closing(socketfromfd.fromfd(tcp.fileno())) as (sock,):
            assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
            assert sock.proto == socket.IPPROTO_TCP
            assert sock.gettimeout() == 0.0
        assert mode(tcp.fileno()) == before


def test_what_is_no_socket(null):
    for keep_fd in (False, True):
        for fd, number in ((null, errno.ENOTSOCK), (-1, errno.EBADF), (1 << 40, errno.EBADF)):
            with raises_errno(number, OSError):
                socketfromfd.fromfd(fd, keep_fd)
    fcntl.fcntl(null, fcntl.F_GETFD)
    with pytest.raises(TypeError):
        socketfromfd.fromfd("x")
