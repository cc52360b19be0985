"""python-fdsend's functions.

What differs from the original, and why:

- An error of receiving is a ``socket.error``: the original lost it, and a non-blocking socket with
  nothing to read gave SystemError.
- Every descriptor that is not returned is closed, and any other control message is skipped: the
  original leaked descriptors beside a foreign message and read past the second one.
- ``recvfds(fd, 0)`` leaves a stream as it is. (A read of no bytes would take descriptors away.)
- Arguments that make no sense are TypeError and ValueError before anything is sent or received:
  a negative numfds, MSG_TRUNC as a flag of receiving, which returns more than was read.

As with the original, a socket object is used as the bare descriptor that it is: its timeout is not
waited for, and with nothing there the error is EAGAIN at once. What is returned is inheritable.
"""

import operator
import os
import socket
from array import array

from .. import SCM_RIGHTS, TooManyFdsError, recv_fds, recvmsg, sendmsg
from ._descriptors import TEXT, carrier, close_all, handed_out, number_of, octets, passed_in

__all__ = ["recvfds", "sendfds", "socketpair"]

# Bytes for MAX_FDS descriptors, and for all other control messages beside them.
ROOM = 4096


def sendfds(fd, msg, flags=0, fds=None):
    """Send a message, and with it descriptors.

    :param fd: the socket: an int, or anything with ``fileno()``.
    :param msg: bytes, or text: as UTF-8, on Python 2 only what is ASCII.
    :param flags: as for send(2).
    :param fds: an iterable of descriptors, each an int or anything with ``fileno()``; they stay
        open here.
    :returns: how many bytes were sent. 0 if msg is empty; on a stream, nothing was sent then.
    :raises socket.error: the system's own word; nothing was sent. EINVAL for more than 253
        descriptors.
    """
    if isinstance(fds, (bytes, bytearray, TEXT)):
        raise TypeError("fds must be an iterable of descriptors, not %s" % type(fds).__name__)
    things = [] if fds is None else list(fds)  # which keeps them open
    rights = [(socket.SOL_SOCKET, SCM_RIGHTS, array("i", [number_of(thing) for thing in things]))]
    return sendmsg(carrier(fd), [octets(msg)], rights if things else (), flags)


def recvfds(fd, len, flags=0, numfds=32):
    """Receive a message, and with it descriptors.

    :param fd: the socket: an int, or anything with ``fileno()``.
    :param len: most bytes to take; with 0, nothing is returned.
    :param flags: as for recv(2).
    :param numfds: most descriptors to return; all others that came are closed.
    :returns: ``(msg, fds)``, bytes and a tuple of ints, which are yours to close.
    :raises socket.error: the system's own word; nothing was received.
    """
    size, most = operator.index(len), operator.index(numfds)
    if size < 0 or most < 0:
        raise ValueError("len and numfds must not be negative")
    if not size:
        return nothing(carrier(fd), flags)
    fds, ancdata = None, ()
    try:
        msg, ancdata, _, _ = recvmsg(carrier(fd), size, ROOM, flags)
        others, fds = passed_in(ancdata)
        close_all(others)
        while fds[most:]:
            os.close(fds.pop())
        return msg, handed_out(fds)
    except BaseException:
        if fds is None:
            others, fds = passed_in(ancdata)
        close_all(others)
        close_all(fds)
        raise


def nothing(sock, flags):
    """A read of no bytes: a stream stays as it is, of a datagram socket the next message goes."""
    try:
        recv_fds(sock, 0, 0, flags)
    except TooManyFdsError:  # they are closed
        pass
    except ValueError:
        if flags & socket.MSG_TRUNC:
            raise
        # Else it is a stream.
    return b"", ()


def socketpair(family, type, proto=0):
    """Two connected sockets, as descriptors (ints) that are yours to close."""
    ends = socket.socketpair(family, type, proto)
    fds = []
    try:
        for end in ends:
            fds.append(end.detach() if hasattr(end, "detach") else os.dup(end.fileno()))
            end.close()
        return handed_out(fds)
    except BaseException as error:
        close_all(fds)
        for end in ends:
            end.close()
        if isinstance(error, OSError):  # which socket.error is not on Python 2
            raise socket.error(*error.args)
        raise
