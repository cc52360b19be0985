"""Socket objects on duplicates of descriptors.

On Python 3, sendmsg, recvmsg and getsockopt are methods of socket objects. On the caller's own
descriptor, a socket object would close it if a signal handler raised before `detach`.
"""

import _socket
import errno
import fcntl
import os
import socket
import stat
import sys

from ._arguments import descriptor_of
from ._closing import close_all

IS_CPYTHON = sys.implementation.name == "cpython"
AF_UNIX = int(socket.AF_UNIX)
SOCK_STREAM = int(socket.SOCK_STREAM)
SOCK_NONBLOCK = int(getattr(socket, "SOCK_NONBLOCK", 0))
O_PATH = getattr(os, "O_PATH", 0)
F_DUPFD_CLOEXEC = getattr(fcntl, "F_DUPFD_CLOEXEC", 1030)  # Linux's, which 3.3 does not name
# With this bit in its type, CPython's constructor sets the timeout 0, ignores the default timeout,
# and leaves the descriptor's mode alone (init_sockobject). PyPy's constructor sets the mode.
TIMEOUT_0_BIT = SOCK_NONBLOCK if IS_CPYTHON else 0


def call_on_duplicate(sock, passed, find_family, call, *arguments):
    """Call with a socket object on a duplicate of sock, and close the duplicate.

    passed has the descriptors that the call sends. find_family returns the object's family, and is
    None if the call neither reads nor writes an address: then AF_UNIX will do. The object's timeout
    is 0, so that the call does what it does on the bare descriptor.
    """
    copy = duplicate(socket_descriptor_of(sock), AF_UNIX)
    try:
        if copy.fileno() in passed:  # the number was free, so a descriptor to pass was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        family = AF_UNIX if find_family is None else find_family(copy)
        if family not in (AF_UNIX, None):
            first, copy = copy, duplicate(copy.fileno(), family)
            first.close()
        # In one expression, since an exception between the two would lose descriptors that the call
        # received. closerange reports no error, which would hide what the call has done.
        return (call(copy, *arguments), os.closerange(copy.fileno(), copy.detach() + 1))[0]
    except BaseException:
        copy.close()
        raise


def socket_descriptor_of(sock):
    """Return sock's descriptor; raise ENOTSOCK for a file, whose locks a duplicate's close drops.

    An O_PATH descriptor holds no locks. The kernel refuses it later (fcntl(2)).
    """
    fd = descriptor_of(sock)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode) and not fcntl.fcntl(fd, fcntl.F_GETFL) & O_PATH:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return fd


def duplicate(fd, family):
    """Return a socket object of timeout 0 on a close-on-exec duplicate of fd; its mode stays."""
    if not TIMEOUT_0_BIT:
        return duplicate_over_dummy(_socket.socket, family, SOCK_STREAM, 0, fd, 0)
    # This takes half the time of duplicate_over_dummy.
    return adopt(_socket.socket, family, SOCK_STREAM, 0, fcntl.fcntl, fd, F_DUPFD_CLOEXEC, 0)


def duplicate_over_dummy(socket_class, family, type, proto, fd, timeout):
    """Return a socket object (of socket_class) on a close-on-exec duplicate of fd.

    settimeout sets the mode of the open socket. So it is called on a dummy, whose descriptor a
    duplicate of fd then replaces.
    """
    fcntl.fcntl(fd, fcntl.F_GETFD)  # raises EBADF; the dummy would get the number of a closed fd
    sock = adopt(socket_class, family, type, proto, _socket.socket(AF_UNIX, SOCK_STREAM).detach)
    try:
        sock.settimeout(timeout)
        if sys.version_info < (3, 4):  # not on Linux: there can be a moment to inherit it
            os.dup2(fd, sock.fileno())
            fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        else:
            os.dup2(fd, sock.fileno(), False)
    except BaseException:
        sock.close()
        raise
    return sock


# When CPython's constructor fails, adopt still has to close the descriptor. On PyPy the half-made
# object closes it when it is collected, so there adopt gives the descriptor up.
take_first = list.__getitem__ if IS_CPYTHON else list.pop


def adopt(socket_class, family, type, proto, make, *arguments):
    """Return a socket object (of socket_class) that owns the descriptor that make returns."""
    sock, fds = socket_class.__new__(socket_class), []
    try:
        fds.append(make(*arguments))
        sock.__init__(family, type | TIMEOUT_0_BIT, proto, take_first(fds, 0))
        return sock
    except BaseException:
        if sock.fileno() >= 0:
            _socket.socket.close(sock)  # the attributes that socket_class adds may be missing
        else:
            close_all(fds)
        raise
