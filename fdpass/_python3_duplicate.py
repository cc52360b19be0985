"""A bare descriptor as a socket object, for one call, with one duplicate.

On Python 3, sendmsg, recvmsg and getsockopt are methods of socket objects. A socket object on the
caller's own descriptor would close it if an exception came before its detach; one on a duplicate
closes the duplicate.
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
# With this bit in its type, CPython's constructor sets the timeout 0, ignores the default timeout,
# and leaves the descriptor's mode alone (init_sockobject). PyPy's constructor sets the mode.
TIMEOUT_0_BIT = SOCK_NONBLOCK if IS_CPYTHON else 0


def call_on_duplicate(sock, passed, find_family, call, *arguments):
    """Call with a socket object on a duplicate of sock, and close the duplicate.

    passed has the descriptors that the call sends. find_family returns the object's family, and is
    None if the call neither reads nor writes an address: then any family will do. The object's
    timeout is 0, so that the call does what it does on the bare descriptor.
    """
    own = duplicate(socket_descriptor_of(sock))
    try:
        if own.fileno() in passed:  # the number was free, so a descriptor to pass was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if find_family is not None:
            own = adopt(_socket.socket, find_family(own) or AF_UNIX, SOCK_STREAM, 0, own.detach)
        # In one expression, since an exception between the two would lose descriptors that the call
        # received. closerange reports no error, which would hide what the call has done.
        return (call(own, *arguments), os.closerange(own.fileno(), own.detach() + 1))[0]
    except BaseException:
        own.close()
        raise


def socket_descriptor_of(sock):
    """Return sock's descriptor; raise ENOTSOCK for a file, whose locks a duplicate's close drops.

    An O_PATH descriptor holds no locks. The kernel refuses it later (fcntl(2)).
    """
    fd = descriptor_of(sock)
    if not stat.S_ISSOCK(os.fstat(fd).st_mode) and not fcntl.fcntl(fd, fcntl.F_GETFL) & O_PATH:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    return fd


def duplicate(fd):
    """Return a socket object of timeout 0 on a close-on-exec duplicate of fd; its mode stays."""
    if not TIMEOUT_0_BIT:
        return duplicate_over_dummy(_socket.socket, AF_UNIX, SOCK_STREAM, 0, fd, 0)
    # This takes half the time of duplicate_over_dummy.
    return adopt(_socket.socket, AF_UNIX, SOCK_STREAM, 0, fcntl.fcntl, fd, fcntl.F_DUPFD_CLOEXEC, 0)


def duplicate_over_dummy(form, family, type, proto, fd, timeout):
    """Return a socket object (of the class form) on a close-on-exec duplicate of fd.

    A timeout sets the mode of the open socket. So it is set on a dummy, and then the duplicate
    takes the dummy's place.
    """
    fcntl.fcntl(fd, fcntl.F_GETFD)  # raises EBADF: if fd is closed, the dummy would get its number
    own = adopt(form, family, type, proto, _socket.socket(AF_UNIX, SOCK_STREAM).detach)
    try:
        own.settimeout(timeout)
        os.dup2(fd, own.fileno(), False)
    except BaseException:
        own.close()
        raise
    return own


# If CPython's constructor fails, it leaves the descriptor to its caller. PyPy's half-made object
# closes it when it is collected.
take_first = list.__getitem__ if IS_CPYTHON else list.pop


def adopt(form, family, type, proto, make, *arguments):
    """Return a socket object (of the class form) that owns the descriptor that make returns."""
    own, fds = form.__new__(form), []
    try:
        fds.append(make(*arguments))
        own.__init__(family, type | TIMEOUT_0_BIT, proto, take_first(fds, 0))
        return own
    except BaseException:
        if own.fileno() >= 0:
            _socket.socket.close(own)  # the attributes that the class form adds may be missing
        else:
            close_all(fds)
        raise
