"""Python 3's side of the system: the socket module's own sendmsg and recvmsg."""

import _socket  # socket.socket.family builds an enum at every look; its base class has the int
import errno
import fcntl
import operator
import os
import socket
import stat
import struct
import sys
import time
from array import array

from ._arguments import descriptor
from ._closing import close_all
from ._waiting import POLLIN, POLLOUT

BACKEND = "socket.sendmsg"
FORGOTTEN = ResourceWarning
monotonic = time.monotonic
CMSG_LEN = getattr(socket, "CMSG_LEN", None)
CMSG_SPACE = getattr(socket, "CMSG_SPACE", None)
read_family = _socket.socket.family.__get__


def constant(name):
    """The socket module's constant as a plain int, None where this system has none."""
    value = getattr(socket, name, None)
    return None if value is None else int(value)


AF_UNIX = constant("AF_UNIX")
SOCK_STREAM = constant("SOCK_STREAM")
SOCK_NONBLOCK = constant("SOCK_NONBLOCK")
F_DUPFD_CLOEXEC = fcntl.F_DUPFD_CLOEXEC
UNREAD = (None,)
LARGE = 1 << 14  # to copy so many bytes takes longer than to send two buffers
# Room for MAX_FDS, and beside them for credentials, pidfd, timestamps and security label; and for
# the 2,048 bytes of an mbuf cluster, the most that a BSD delivers, since macOS leaks the overflow.
ANCBUFSIZE = 4096
# Whose constructor of sockets is known here (init_sockobject); PyPy's is a different one.
CPYTHON = sys.implementation.name == "cpython"
# With this bit in its type, the constructor asks for no default timeout and makes no system call.
QUIET = (CPYTHON and SOCK_NONBLOCK) or 0
O_PATH = getattr(os, "O_PATH", 0)
control = fcntl.fcntl
SOL_SOCKET = constant("SOL_SOCKET")
SO_DOMAIN = constant("SO_DOMAIN")
SO_PROTOCOL = constant("SO_PROTOCOL")
SO_TYPE = constant("SO_TYPE")
RIGHTS = (SOL_SOCKET, constant("SCM_RIGHTS"))
ONE_INT = struct.Struct("i")
SIZE_OF_INT = ONE_INT.size


def ints(content):
    """The C ints in a control message's content; a part of one, where it was cut, is left out."""
    if len(content) == SIZE_OF_INT:  # by a memoryview it takes twice as long
        return list(ONE_INT.unpack(content))
    try:
        return memoryview(content).cast("i").tolist()
    except TypeError:
        return ints(content[: -(len(content) % SIZE_OF_INT)])


def view(thing):
    """The bytes of thing without a copy where that can be, None where it has none."""
    try:
        whole = memoryview(thing)
    except TypeError:
        return None
    # cast() wants neither gaps nor an empty dimension.
    return whole.cast("B") if whole.c_contiguous and whole.nbytes else whole.tobytes()


def fspath(path):
    """The path that a path object stands for (3.6 has those), or path."""
    return path.__fspath__() if hasattr(path, "__fspath__") else path


def skip(one, count):
    return one[count:]


def whole_socket(sock):
    return sock


joined = b"".join


def dup_over(fd, target):
    """Make target, an open descriptor, a close-on-exec duplicate of fd."""
    os.dup2(fd, target, False)


# A constructor that fails leaves the number to its caller, but for PyPy's: what is half made there
# closes it when it is collected.
hand_over = list.__getitem__ if CPYTHON else list.pop


def owning(form, family, type, proto, made, *arguments):
    """A socket object (of the class form) that owns the number that made gives."""
    own, numbers = form.__new__(form), []
    try:
        numbers.append(made(*arguments))
        own.__init__(family, type, proto, hand_over(numbers, 0))
        return own
    except BaseException:
        if own.fileno() >= 0:
            _socket.socket.close(own)  # what the form adds to it may not be there yet
        else:
            close_all(numbers)
        raise


def over_dummy(form, family, type, proto, fd, timeout):
    """A socket object (of the class form) on a close-on-exec duplicate of fd, its mode untouched.

    The mode that goes with the timeout is set on a socket of our own, before the duplicate takes
    its place. Whatever raises closes ours.
    """
    control(fd, fcntl.F_GETFD)  # EBADF now: a closed number is the next that a socket gets
    # A socket that does nothing, at first.
    made = _socket.socket(AF_UNIX, SOCK_STREAM).detach
    own = owning(form, family, type | QUIET, proto, made)
    try:
        own.settimeout(timeout)
        dup_over(fd, own.fileno())
    except BaseException:
        own.close()
        raise
    return own


def borrowed(family, fd):
    """A socket object with a timeout of 0 on a close-on-exec duplicate of fd, mode untouched."""
    if not QUIET:
        return over_dummy(_socket.socket, family, SOCK_STREAM, 0, fd, 0)
    # With this bit the constructor sets the timeout and leaves the mode; and the socket that
    # over_dummy makes first, half the time of it all, is saved.
    return owning(_socket.socket, family, SOCK_STREAM | QUIET, 0, control, fd, F_DUPFD_CLOEXEC, 0)


def on_duplicate(sock, call, *arguments):
    """Call with sock, or where that is no socket object, with one on a duplicate.

    Its timeout of 0 makes it do what the bare descriptor does.
    """
    if hasattr(sock, "getsockopt"):
        return call(sock, *arguments)
    return of_family(AF_UNIX, sock, call, *arguments)


def socket_number(sock):
    """The descriptor of sock, refused if it is no socket: a duplicate's close drops a file's locks.

    fstat alone would not do: it takes an O_PATH descriptor of a socket for one (fcntl(2)).
    """
    fd = descriptor(sock)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode) and not control(fd, fcntl.F_GETFL) & O_PATH:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return fd


def of_family(family, sock, call, *arguments):
    own = borrowed(family, socket_number(sock))
    try:
        # One expression: an exception between the two would lose descriptors that call received.
        # And by closerange, which has no errors: they would not undo what was done.
        return (call(own, *arguments), os.closerange(own.fileno(), own.detach() + 1))[0]
    except BaseException:
        own.close()
        raise


def check_open(ancdata):
    """EBADF for a closed one of the descriptors to pass: a duplicate made now would be that one."""
    for level, kind, content in ancdata:
        if (level, kind) == RIGHTS:
            for fd in ints(view(content)):
                if fd < 0:  # which fcntl does not take
                    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
                control(fd, fcntl.F_GETFD)


def sendmsg(sock, buffers, ancdata, flags, address):
    try:
        method = sock.sendmsg
    except AttributeError:
        check_open(ancdata)
        # An address is read by the rules of its family.
        family = AF_UNIX if address is None else domain_of(sock)
        return of_family(family, sock, sendmsg, buffers, ancdata, flags, address)
    if address is None:
        return method(buffers, ancdata, flags)
    return method(buffers, ancdata, flags, address)


def recvmsg(sock, bufsize, ancbufsize, flags):
    try:
        method = sock.recvmsg
    except AttributeError:
        # PyPy reads the sender's address by the rules of the object's family.
        return of_family(domain_of(sock), sock, recvmsg, bufsize, ancbufsize, flags)
    return method(bufsize, ancbufsize, flags)


def getsockopt(sock, level, option, size=0):
    """The option as an int, or as bytes where size (bytes) is given."""
    if not hasattr(sock, "getsockopt"):
        return on_duplicate(sock, getsockopt, level, option, size)
    return sock.getsockopt(level, option, *([size] if size else []))


def domain_of(sock):
    """The address family, from the kernel; None where neither it nor the address tells."""
    if SO_DOMAIN is not None:
        return getsockopt(sock, SOL_SOCKET, SO_DOMAIN)
    if not CPYTHON:  # PyPy reads the address by the family that the object was made with
        getsockopt(sock, SOL_SOCKET, SO_TYPE)  # ENOTSOCK where it is no socket
        return None
    name = on_duplicate(sock, operator.methodcaller("getsockname"))
    if isinstance(name, (str, bytes)):
        return AF_UNIX
    if isinstance(name, tuple) and len(name) in (2, 4) and isinstance(name[0], str):
        return constant("AF_INET" if len(name) == 2 else "AF_INET6")
    return None


# PEP 475 came with 3.5; PyPy's own wait starts anew after each signal.
if sys.version_info < (3, 5) or not CPYTHON:
    from ._python3_retry import patient

    sendmsg = patient(sendmsg, POLLOUT)
    recvmsg = patient(recvmsg, POLLIN)


def send_rights(sock, buffers, fds, flags, address):
    content = ONE_INT.pack(fds[0]) if len(fds) == 1 else array("i", fds)
    return sendmsg(sock, buffers, (RIGHTS + (content,),), flags, address)


def receive(sock, bufsize, flags):
    """(descriptors, or None where ancdata has them still) and what recvmsg gives."""
    return UNREAD + recvmsg(sock, bufsize, ANCBUFSIZE, flags)


Socket = socket.socket

# bpo-32331: until 3.7, settimeout wrote SOCK_NONBLOCK into type.
if sys.version_info < (3, 7) and SOCK_NONBLOCK:

    def plain_type(sock):
        bits = _socket.socket.type.__get__(sock)
        return type(socket.SOCK_STREAM)(bits & ~SOCK_NONBLOCK)

    class Socket(socket.socket):
        """A socket whose type never carries the bits of its blocking mode."""

        __slots__ = ()
        # Not by a decorator: 3.6 gives coverage no line for what it decorates.
        type = property(plain_type)


def facts_of(fd):
    """(family, type, protocol or None, whether it blocks)."""
    return on_duplicate(fd, told_by_kernel) + (not control(fd, fcntl.F_GETFL) & os.O_NONBLOCK,)


def told_by_kernel(sock):
    return (
        domain_of(sock),
        sock.getsockopt(SOL_SOCKET, SO_TYPE),
        None if SO_PROTOCOL is None else sock.getsockopt(SOL_SOCKET, SO_PROTOCOL),
    )


def make_socket(family, type, proto, fd, timeout, dup):
    """A socket object that owns fd, or with dup a duplicate of it, the mode untouched.

    If it raises, fd is open and still the caller's.
    """
    if dup:
        return over_dummy(Socket, family, type, proto, fd, timeout)
    # Made in the plain way under a default timeout, it would make fd non-blocking for all.
    quiet = timeout is not None or socket.getdefaulttimeout() is not None
    if quiet and not SOCK_NONBLOCK:
        own = over_dummy(Socket, family, type, proto, fd, timeout)
        return (own, os.closerange(fd, fd + 1))[0]  # which has no errors
    own = Socket.__new__(Socket)
    try:
        own.__init__(family, type | SOCK_NONBLOCK if quiet else type, proto, fd)
        if quiet and timeout is None:
            own.settimeout(None)  # fd blocks already: this changes the object alone
        flags = control(fd, fcntl.F_GETFD)
        if not flags & fcntl.FD_CLOEXEC:
            control(fd, fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
        return own
    except BaseException:
        own.detach()
        raise
