"""python-passfd's functions.

What differs from the original, and why:

- If more or fewer than one descriptor arrives, all are closed. The original leaked both of two.
- A message with a descriptor goes over Unix domain sockets only, since any other socket would drop
  the descriptor. The descriptor (int) of another socket raises ValueError too.
- ``recvfd(sock, 0)`` raises ValueError on a stream, since it would take the descriptor and leave
  its message. A negative msg_buf raises it too, where the original raised the system's ENOMEM.
- A TLS socket as fd raises TypeError, since its keys would stay behind.

As in the original, a socket object counts as its bare descriptor: its timeout is not waited for,
and if nothing is there the error is EAGAIN at once. Returned descriptors are inheritable.
"""

import socket

from .. import LostFdsError, TooManyFdsError, recv_fds, send_fds
from .._closing import close_all
from ._descriptors import call_with_oserror, carrier, descriptor_to_pass, encode_text, hand_out

__all__ = ["recvfd", "sendfd"]


def sendfd(sock, fd, message="NONE"):
    """Send one descriptor with a message.

    :param sock: a Unix domain socket: an int, or anything with ``fileno()``.
    :param fd: the descriptor: an int, or anything with ``fileno()``; it stays open here.
    :param message: bytes, or text, which is sent as UTF-8 (on Python 2 it must be ASCII).
    :returns: how many bytes were sent. With an empty message nothing is sent, and it is 0.
    :raises ValueError: sock is of another family; nothing was sent.
    :raises OSError: the operating system's error, unchanged; nothing was sent.
    """
    sock, fd = call_with_oserror(unix_carrier, sock), call_with_oserror(descriptor_to_pass, fd)
    message = encode_text(message)
    if not len(message):
        return 0
    return call_with_oserror(send_fds, sock, [message], [fd])


def recvfd(sock, msg_buf=4096):
    """Receive one descriptor with its message.

    :param sock: a Unix domain socket: an int, or anything with ``fileno()``.
    :param msg_buf: most bytes of the message to take.
    :returns: ``(fd, message)``: a descriptor (int), which you must close, and bytes.
    :raises RuntimeError: not exactly one descriptor arrived; all are closed, and the message is
        lost. The end of a stream raises it too.
    :raises OSError: the operating system's error, unchanged; nothing was received.
    """
    sock, fds = call_with_oserror(unix_carrier, sock), []
    try:
        message, fds, _, _ = call_with_oserror(recv_fds, sock, msg_buf, 1)
        if not fds:
            raise RuntimeError("expected one descriptor, but none arrived, or the stream ended")
        return hand_out(fds)[0], message
    except (LostFdsError, TooManyFdsError) as error:
        raise RuntimeError("expected one descriptor: %s" % error)
    except BaseException:
        close_all(fds)
        raise


def unix_carrier(sock):
    if getattr(sock, "family", socket.AF_UNIX) != socket.AF_UNIX:
        raise ValueError("only AF_UNIX sockets pass descriptors")
    return carrier(sock)
