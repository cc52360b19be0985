"""What the drop-ins share: arguments as the originals take them, and inheritable results."""

import errno
import os
import socket
import sys

from .._arguments import (
    INT_MAX,
    INTEGERS,
    TEXT,
    check_not_tls,
    check_plain_carrier,
    descriptor_of,
)
from .._system import is_blocking, set_inheritable

# The originals' C code took text by the format "s#", which means ASCII on Python 2.
ENCODING = "ascii" if sys.version_info[0] == 2 else "utf-8"


def descriptor_or_ebadf(given):
    """Return the descriptor of an int, or of an object with fileno().

    The originals let the system refuse an int that cannot be a descriptor, with EBADF.
    """
    if not isinstance(given, INTEGERS):
        return descriptor_of(given)
    if not 0 <= given <= INT_MAX:
        raise socket.error(errno.EBADF, os.strerror(errno.EBADF))
    return int(given)


def descriptor_to_pass(given):
    """Return the descriptor of an int, or of an object with fileno() that is no TLS socket."""
    check_not_tls(given)
    return descriptor_or_ebadf(given)


def carrier(sock):
    """Return what to send and receive with: the bare descriptor, so that no timeout counts.

    On Python 3 a call on a bare descriptor needs a duplicate. So return the socket object itself if
    its timeout agrees with the mode of its descriptor. (That of gevent's sockets does not.)
    """
    if not isinstance(sock, INTEGERS):
        check_plain_carrier(sock)
    fd = descriptor_or_ebadf(sock)
    if sys.version_info[0] == 2 or type(sock) is not socket.socket:
        return fd
    return sock if sock.gettimeout() == (None if is_blocking(fd) else 0.0) else fd


def encode_text(message):
    """Return the message as bytes if it is text."""
    return message.encode(ENCODING) if isinstance(message, TEXT) else message


def hand_out(fds):
    """Return a tuple of the descriptors, inheritable now. If it raises, the caller closes them."""
    for fd in fds:
        set_inheritable(fd, True)
    return tuple(fds)


def call_with_oserror(call, *arguments):
    """Return what call returns; raise OSError itself for a socket.error, which is none on 2.7."""
    try:
        return call(*arguments)
    except socket.error as error:
        if isinstance(error, OSError):
            raise
        raise OSError(*error.args)
