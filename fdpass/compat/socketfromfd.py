"""socketfromfd's function.

What differs from the original, and why:

- The blocking mode stays as it is, and the socket knows it: its timeout is 0.0 if the descriptor is
  non-blocking. The original's timeout was None then; and under a default timeout the original made
  the descriptor non-blocking for every process that holds it.
- It has ``keep_fd``, as the original's later source has.
"""

import sys

from .. import socket_from_fd
from .._system import set_inheritable
from ._descriptors import call_with_oserror, descriptor_or_ebadf

__all__ = ["fromfd"]


def fromfd(fd, keep_fd=True):
    """Return a socket object for a descriptor; family, type and protocol come from the kernel.

    :param fd: the descriptor (int); with keep_fd, anything with ``fileno()`` too.
    :param keep_fd: leave fd open, and make the socket of a duplicate. Otherwise the socket takes fd
        over; on Python 2 the socket has another descriptor then, and fd is closed.
    :returns: a ``socket.socket``, inheritable on Python 2.7 only, as ``socket.fromfd`` returns it.
    :raises OSError: the operating system's error, unchanged, such as ENOTSOCK; fd is still yours.
    """
    call_with_oserror(descriptor_or_ebadf, fd)
    if sys.version_info[0] > 2:
        # At once: if a signal handler raised here, the socket would be collected, and close fd.
        return call_with_oserror(socket_from_fd, fd, None, None, None, keep_fd)
    sock = call_with_oserror(socket_from_fd, fd, None, None, None, keep_fd)
    set_inheritable(sock.fileno(), True)
    return sock
