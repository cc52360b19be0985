"""What the drop-ins have in common: arguments as the originals take them, inheritable results."""

import errno
import fcntl
import os
import socket
import struct
import sys

from .. import SCM_PIDFD, SCM_RIGHTS

INTEGERS = (int, type(sys.maxsize + 1))  # the second is 2.7's long
TEXT = type(b"".decode())
# The originals' C took text by "s#", which on Python 2 is ASCII.
ENCODING = "ascii" if sys.version_info[0] == 2 else "utf-8"


def number_of(thing):
    """The number of a descriptor (int) or of an object with fileno().

    The originals leave it to the system to refuse a number that cannot be: EBADF.
    """
    number = thing
    if not isinstance(thing, INTEGERS):
        fileno = getattr(thing, "fileno", None)
        if fileno is None:
            raise TypeError(
                "expected a descriptor (an int) or an object with fileno(), not %s"
                % type(thing).__name__
            )
        number = fileno()
        if not isinstance(number, INTEGERS):
            raise TypeError(
                "fileno() of %s gave %s, not an int" % (type(thing).__name__, type(number).__name__)
            )
    if not 0 <= number <= 0x7FFFFFFF:
        raise socket.error(errno.EBADF, os.strerror(errno.EBADF))
    return int(number)


def carrier(sock):
    """What to send and to receive with: the bare descriptor, without a socket object's timeout.

    On Python 3 one whose mode is the descriptor's goes itself: its number would need another for
    the call. (gevent's has the timeout None, and a descriptor that does not block.)
    """
    number = number_of(sock)
    if sys.version_info[0] == 2 or type(sock) is not socket.socket:
        return number
    blocks = not fcntl.fcntl(number, fcntl.F_GETFL) & os.O_NONBLOCK
    return sock if sock.gettimeout() == (None if blocks else 0.0) else number


def octets(message):
    """A message as bytes, where it is text."""
    return message.encode(ENCODING) if isinstance(message, TEXT) else message


def passed_in(ancdata):
    """(descriptors that the kernel opened besides, those passed with SCM_RIGHTS)."""
    passed, strays = [], []
    for level, kind, content in ancdata:
        if level == socket.SOL_SOCKET and kind in (SCM_RIGHTS, SCM_PIDFD):
            fds = struct.unpack_from("%di" % (len(content) // struct.calcsize("i")), content)
            if kind == SCM_RIGHTS:
                passed += fds
            else:
                strays += [fd for fd in fds if fd >= 0]  # at the limit it is an errno, negative
    return strays, passed


def close_all(fds):
    """Close the list's descriptors, and take them out of it."""
    while fds:
        try:
            os.close(fds.pop())
        finally:
            close_all(fds)


def make_inheritable(fd):
    flags = fcntl.fcntl(fd, fcntl.F_GETFD)
    fcntl.fcntl(fd, fcntl.F_SETFD, flags & ~fcntl.FD_CLOEXEC)


def handed_out(fds):
    """The list's descriptors as a tuple, inheritable; if that raises, the caller closes them."""
    for fd in fds:
        make_inheritable(fd)
    return tuple(fds)


def with_oserror(call, *arguments):
    """What call returns; the system's error as OSError itself, which on 2.7 socket.error is not."""
    try:
        return call(*arguments)
    except socket.error as error:
        if isinstance(error, OSError):
            raise
        raise OSError(*error.args)
