"""python-fdsend's functions.

What differs from the original, and why:

- An error while receiving is a ``socket.error``. The original lost it, and raised SystemError if a
  non-blocking socket had nothing to read.
- Every descriptor that is not returned is closed, and every other control message is skipped. The
  original leaked descriptors beside a foreign control message and read past the second one.
- ``recvfds(fd, 0)`` takes nothing from a stream. (A read of no bytes would take descriptors away.)
- Arguments that make no sense raise TypeError or ValueError before anything is sent or received: a
  negative numfds, or MSG_TRUNC as a flag for receiving, which returns more than was read.
- A TLS socket in fds raises TypeError, since its keys would stay behind.

As in the original, a socket object counts as its bare descriptor: its timeout is not waited for,
and if nothing is there the error is EAGAIN at once. Returned descriptors are inheritable.
"""

import operator
import os
import socket
from array import array

from .. import SCM_RIGHTS, TooManyFdsError, recv_fds, recvmsg, sendmsg
from .._arguments import TEXT
from .._closing import close_all
from .._control import descriptors_in
from ._descriptors import carrier, descriptor_to_pass, encode_text, hand_out

__all__ = ["recvfds", "sendfds", "socketpair"]

# Bytes of control messages: MAX_FDS descriptors, and room for everything else beside them.
CONTROL_BYTES = 4096


def sendfds(fd, msg, flags=0, fds=None):
    """Send a message with descriptors.

    :param fd: the socket: an int, or anything with ``fileno()``.
    :param msg: bytes, or text, which is sent as UTF-8 (on Python 2 it must be ASCII).
    :param flags: as for send(2).
    :param fds: an iterable of descriptors, each an int or anything with ``fileno()``; they stay
        open here.
    :returns: how many bytes were sent: 0 if msg is empty, and then a stream has sent nothing.
    :raises socket.error: the operating system's error, unchanged; nothing was sent. EINVAL for more
        than 253 descriptors.
    """
    if isinstance(fds, (bytes, bytearray, TEXT)):
        raise TypeError("fds must be an iterable of descriptors, not %s" % type(fds).__name__)
    given = [] if fds is None else list(fds)  # the list keeps their descriptors open
    passed = array("i", map(descriptor_to_pass, given))
    rights = [(socket.SOL_SOCKET, SCM_RIGHTS, passed)] if given else ()
    return sendmsg(carrier(fd), [encode_text(msg)], rights, flags)


def recvfds(fd, len, flags=0, numfds=32):
    """Receive a message with descriptors.

    :param fd: the socket: an int, or anything with ``fileno()``.
    :param len: most bytes to take; with 0, nothing is returned.
    :param flags: as for recv(2).
    :param numfds: most descriptors to return; all others that arrived are closed.
    :returns: ``(msg, fds)``, bytes and a tuple of descriptors (ints), which you must close.
    :raises socket.error: the operating system's error, unchanged; nothing was received.
    """
    size, max_fds = operator.index(len), operator.index(numfds)
    if size < 0 or max_fds < 0:
        raise ValueError("len and numfds must not be negative")
    if not size:
        return receive_nothing(carrier(fd), flags)
    fds, ancdata = None, ()
    try:
        msg, ancdata, _, _ = recvmsg(carrier(fd), size, CONTROL_BYTES, flags)
        fds, pidfds = descriptors_in(ancdata)
        close_all(pidfds)
        while fds[max_fds:]:
            os.close(fds.pop())
        return msg, hand_out(fds)
    except BaseException:
        if fds is None:
            fds, pidfds = descriptors_in(ancdata)
        close_all(pidfds)
        close_all(fds)
        raise


def receive_nothing(sock, flags):
    """Read no bytes: this takes nothing from a stream, and one message from other sockets."""
    try:
        recv_fds(sock, 0, 0, flags)
    except TooManyFdsError:
        pass  # the descriptors are closed
    except ValueError:
        if flags & socket.MSG_TRUNC:
            raise
        # Otherwise the socket is a stream.
    return b"", ()


def socketpair(family, type, proto=0):
    """Return two connected sockets as descriptors (ints), which you must close."""
    ends = socket.socketpair(family, type, proto)
    fds = []
    try:
        for end in ends:
            fds.append(end.detach() if hasattr(end, "detach") else os.dup(end.fileno()))
            end.close()
        return hand_out(fds)
    except BaseException as error:
        close_all(fds)
        for end in ends:
            end.close()
        if isinstance(error, OSError):  # on Python 2, os.dup raises no socket.error
            raise socket.error(*error.args)
        raise
