"""socketfromfd's function.

What differs from the original, and why:

- The blocking mode stays as it is, and the socket knows it: its timeout is 0.0 where the descriptor
  does not block. The original's said None then, and under a default timeout it made the descriptor
  non-blocking for every process that holds it.
- ``keep_fd``, which its later source has, is there.
"""

import sys

from .. import socket_from_fd
from ._descriptors import make_inheritable, number_of, with_oserror

__all__ = ["fromfd"]


def fromfd(fd, keep_fd=True):
    """A socket object for a descriptor: family, type and protocol come from the kernel.

    :param fd: the descriptor (int); with keep_fd, anything with ``fileno()`` too.
    :param keep_fd: leave fd as it is, and make the socket of a duplicate. If not, the socket takes
        fd over; on Python 2 it has another number, and fd is closed already.
    :returns: a ``socket.socket``, inheritable where what ``socket.fromfd`` gives is: on 2.7.
    :raises OSError: the system's own word, ENOTSOCK for what is no socket; fd is still yours.
    """
    with_oserror(number_of, fd)
    if sys.version_info[0] > 2:
        return with_oserror(socket_from_fd, fd, None, None, None, keep_fd)
    sock = with_oserror(socket_from_fd, fd, None, None, None, keep_fd)
    make_inheritable(sock.fileno())
    return sock
