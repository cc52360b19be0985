"""Python 3's system calls: those of the socket module."""

import _socket  # its family is an int, while socket.socket.family makes an enum each time
import fcntl
import os
import socket
import struct
import sys
import time
from array import array

from ._arguments import check_plain_carrier
from ._closing import close_all
from ._kinds import SOCKET, counts_as_descriptor, kind_of
from ._python3_duplicate import (
    F_DUPFD_CLOEXEC,
    IS_CPYTHON,
    TIMEOUT_0_BIT,
    call_on_duplicate,
    duplicate_over_dummy,
)
from ._python3_green import wait_if_green
from ._waiting import POLLIN, POLLOUT

BACKEND = "socket.sendmsg"
CALLED_METHODS = ("sendmsg", "recvmsg")
UNCLOSED_WARNING = ResourceWarning
monotonic = time.monotonic
CMSG_LEN = getattr(socket, "CMSG_LEN", None)
CMSG_SPACE = getattr(socket, "CMSG_SPACE", None)
read_family = _socket.socket.family.__get__
call_fcntl = fcntl.fcntl
join = b"".join

# Before 3.4, bytes.join takes no memoryview.
if sys.version_info < (3, 4):

    def join(views):
        return b"".join(map(bytes, views))


# The socket module has these names since 3.6. Where SOL_SOCKET is 1, Linux has the numbers of
# asm-generic/socket.h; alpha, mips, parisc and sparc have others, and so have the BSDs.
UNNAMED = {"SO_DOMAIN": 39, "SO_PROTOCOL": 38} if socket.SOL_SOCKET == 1 else {}


def constant(name):
    """Return the socket module's constant as a plain int, or None if this system has none."""
    value = getattr(socket, name, UNNAMED.get(name))
    return None if value is None else int(value)


AF_UNIX = constant("AF_UNIX")
SOCK_NONBLOCK = constant("SOCK_NONBLOCK")
SOL_SOCKET = constant("SOL_SOCKET")
SO_DOMAIN = constant("SO_DOMAIN")
SO_PROTOCOL = constant("SO_PROTOCOL")
SO_TYPE = constant("SO_TYPE")
RIGHTS = (SOL_SOCKET, constant("SCM_RIGHTS"))
ONE_INT = struct.Struct("i")
# Above this many bytes, a copy of the payload costs more than a second buffer to send.
MAX_JOINED_BYTES = 1 << 14
# Room for MAX_FDS and for credentials, pidfd, timestamps and security label. It also holds 2,048
# bytes (an mbuf cluster), the most that a BSD delivers, because macOS leaks what does not fit.
ANCBUFSIZE = 4096
NOT_PARSED = (None,)


def send_rights(sock, buffers, fds, flags, address):
    content = ONE_INT.pack(fds[0]) if len(fds) == 1 else array("i", fds)
    return sendmsg(sock, buffers, (RIGHTS + (content,),), flags, address)


def receive(sock, bufsize, flags):
    """Return (descriptors, or None if they are still in ancdata) + what recvmsg returns."""
    return NOT_PARSED + recvmsg(sock, bufsize, ANCBUFSIZE, flags)


def sendmsg(sock, buffers, ancdata, flags, address):
    if type(sock) not in SOCKET_TYPES and kind_of(sock) is not SOCKET:
        if type(sock) is not int:
            check_plain_carrier(sock)
        if hasattr(sock, "sendmsg") and not counts_as_descriptor(sock):
            return call_sendmsg(sock, buffers, ancdata, flags, address)
        passed = [fd for item in ancdata if item[:2] == RIGHTS for fd in ints_in(view_of(item[2]))]
        find_family = None if address is None else family_of
        arguments = buffers, ancdata, flags, address
        return call_on_duplicate(sock, passed, find_family, sendmsg, *arguments)
    if address is None:
        return sock.sendmsg(buffers, ancdata, flags)
    return sock.sendmsg(buffers, ancdata, flags, address)


def recvmsg(sock, bufsize, ancbufsize, flags):
    if type(sock) not in SOCKET_TYPES and kind_of(sock) is not SOCKET:
        if type(sock) is not int:
            check_plain_carrier(sock)
        if hasattr(sock, "recvmsg") and not counts_as_descriptor(sock):
            return call_recvmsg(sock, bufsize, ancbufsize, flags)
        # PyPy decodes the sender's address by the family of the socket object.
        find_family = None if IS_CPYTHON else family_of
        return call_on_duplicate(sock, (), find_family, recvmsg, bufsize, ancbufsize, flags)
    return sock.recvmsg(bufsize, ancbufsize, flags)


def call_sendmsg(sock, buffers, ancdata, flags, address):
    """Call the method sendmsg of an object that is of none of the SOCKET_TYPES."""
    return sock.sendmsg(buffers, ancdata, flags, *([] if address is None else [address]))


def call_recvmsg(sock, bufsize, ancbufsize, flags):
    return sock.recvmsg(bufsize, ancbufsize, flags)


# Python retries since 3.5 (PEP 475). PyPy starts the timeout again after each signal.
if sys.version_info < (3, 5) or not IS_CPYTHON:
    from ._python3_retry import retry

    sendmsg, recvmsg = retry(sendmsg, POLLOUT), retry(recvmsg, POLLIN)
else:
    call_sendmsg = wait_if_green(call_sendmsg, POLLOUT)
    call_recvmsg = wait_if_green(call_recvmsg, POLLIN)


def with_socket_object(sock, passed, call, *arguments):
    """Call with sock if it is a socket object, otherwise with one on a duplicate for this call.

    passed has the descriptors that the call sends.
    """
    if type(sock) in SOCKET_TYPES or (
        hasattr(sock, "getsockopt") and not counts_as_descriptor(sock)
    ):
        return call(sock, *arguments)
    return call_on_duplicate(sock, passed, None, call, *arguments)


def wrap_socket(sock):
    """Return sock, because on Python 3 socketpair returns socket.socket objects."""
    return sock


def getsockopt(sock, level, option, size=0):
    """Return the option as an int, or as bytes if size (bytes) is given."""
    return sock.getsockopt(level, option, size) if size else sock.getsockopt(level, option)


def family_of(sock):
    """Return the address family of a socket object from the kernel, or None if nothing tells it."""
    if SO_DOMAIN is not None:
        return sock.getsockopt(SOL_SOCKET, SO_DOMAIN)
    if not IS_CPYTHON:  # PyPy reads the address by the family that the object was made with
        sock.getsockopt(SOL_SOCKET, SO_TYPE)  # raises ENOTSOCK
        return None
    name = sock.getsockname()
    if isinstance(name, (str, bytes)):
        return AF_UNIX
    if isinstance(name, tuple) and len(name) in (2, 4) and isinstance(name[0], str):
        return constant("AF_INET" if len(name) == 2 else "AF_INET6")
    return None


def facts_of(fd):
    """Return (family, type, protocol or None, whether it blocks)."""
    return call_on_duplicate(fd, (), None, facts_of_object) + (
        not call_fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK,
    )


def facts_of_object(sock):
    return (
        family_of(sock),
        sock.getsockopt(SOL_SOCKET, SO_TYPE),
        None if SO_PROTOCOL is None else sock.getsockopt(SOL_SOCKET, SO_PROTOCOL),
    )


Socket = StandardSocket = socket.socket

# bpo-32331: until 3.7, settimeout wrote SOCK_NONBLOCK into type.
if sys.version_info < (3, 7) and SOCK_NONBLOCK and issubclass(Socket, _socket.socket):

    def type_without_mode(sock):
        bits = _socket.socket.type.__get__(sock)
        return type(socket.SOCK_STREAM)(bits & ~SOCK_NONBLOCK)

    def repr_without_mode(sock):
        # Before 3.4, repr shows the type of the base class.
        bits = _socket.socket.type.__get__(sock)
        return socket.socket.__repr__(sock).replace("type=%d," % bits, "type=%d," % sock.type)

    class Socket(socket.socket):
        """A socket whose type and repr never have the bit of its blocking mode."""

        __slots__ = ()
        # As a decorator, 3.6 would give coverage no line for it.
        type = property(type_without_mode)
        __repr__ = repr_without_mode


# The classes with Python's own sendmsg and recvmsg. (socket.socket may be eventlet's or gevent's.)
SOCKET_TYPES = tuple(
    each for each in (socket.socket, Socket, _socket.socket) if issubclass(each, _socket.socket)
)


def make_socket(family, type, proto, fd, timeout, dup):
    """Return a socket object that owns fd, or with dup a duplicate of fd, its mode untouched.

    If this raises, fd is open and still the caller's.
    """
    # gevent or eventlet may have replaced the class since this module was imported.
    socket_class = Socket if socket.socket is StandardSocket else socket.socket
    # Under a default timeout, the plain constructor makes fd non-blocking for all its holders.
    bit_needed = timeout is not None or socket.getdefaulttimeout() is not None
    if dup and not TIMEOUT_0_BIT:
        return duplicate_over_dummy(socket_class, family, type, proto, fd, timeout)
    if bit_needed and not SOCK_NONBLOCK:
        sock = duplicate_over_dummy(socket_class, family, type, proto, fd, timeout)
        return (sock, os.closerange(fd, fd + 1))[0]  # closerange raises no error
    sock, duplicates = socket_class.__new__(socket_class), []
    try:
        if dup:
            duplicates.append(call_fcntl(fd, F_DUPFD_CLOEXEC, 0))
            fd = duplicates[0]
        sock.__init__(family, type | SOCK_NONBLOCK if bit_needed else type, proto, fd)
        if bit_needed and timeout is None:
            sock.settimeout(None)  # fd blocks already, so this changes the object alone
        flags = call_fcntl(fd, fcntl.F_GETFD)
        if not flags & fcntl.FD_CLOEXEC:
            call_fcntl(fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
        return sock
    except BaseException:
        sock.detach()
        close_all(duplicates)
        raise


def ints_in(content):
    """Return the C ints in a control message's content, without a last one that was cut."""
    if len(content) == ONE_INT.size:  # a memoryview takes twice as long
        return list(ONE_INT.unpack(content))
    try:
        return memoryview(content).cast("i").tolist()
    except TypeError:
        return ints_in(content[: -(len(content) % ONE_INT.size)])


def view_of(given):
    """Return the bytes of an object, without a copy if possible, or None if it has none."""
    try:
        view = memoryview(given)
    except TypeError:
        return None
    # cast() takes neither gaps nor an empty dimension.
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def skip_bytes(view, count):
    return view[count:]


def fspath(path):
    """Return the path that a path object stands for (from 3.6 on), or path itself."""
    return path.__fspath__() if hasattr(path, "__fspath__") else path
