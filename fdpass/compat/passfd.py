"""python-passfd's functions.

What differs from the original, and why:

- Whatever arrives with more or fewer than one descriptor is closed: the original leaked both when
  two came.
- A message with descriptors is sent over Unix domain sockets only: any other would drop them, and a
  number (int) of one is a ValueError too.
- ``recvfd(sock, 0)`` is a ValueError on a stream: it would take the descriptor and leave its
  message. So is a negative msg_buf, where the original had the system's ENOMEM.

As with the original, a socket object is used as the bare descriptor that it is: its timeout is not
waited for, and with nothing there the error is EAGAIN at once. What is returned is inheritable.
"""

import socket

from .. import LostFdsError, TooManyFdsError, recv_fds, send_fds
from ._descriptors import carrier, close_all, handed_out, number_of, octets, with_oserror

__all__ = ["recvfd", "sendfd"]


def unix_carrier(sock):
    if getattr(sock, "family", socket.AF_UNIX) != socket.AF_UNIX:
        raise ValueError("only AF_UNIX sockets pass descriptors")
    return carrier(sock)


def sendfd(sock, fd, message="NONE"):
    """Send one descriptor, and a message with it.

    :param sock: a Unix domain socket: an int, or anything with ``fileno()``.
    :param fd: the descriptor: an int, or anything with ``fileno()``; it stays open here.
    :param message: bytes, or text: as UTF-8, on Python 2 only what is ASCII.
    :returns: how many bytes were sent. With an empty message nothing is sent, and it is 0.
    :raises ValueError: sock is of another family; nothing was sent.
    :raises OSError: the system's own word; nothing was sent.
    """
    there, here = with_oserror(unix_carrier, sock), with_oserror(number_of, fd)
    message = octets(message)
    if not len(message):
        return 0
    return with_oserror(send_fds, there, [message], [here])


def recvfd(sock, msg_buf=4096):
    """Receive one descriptor, and the message with it.

    :param sock: a Unix domain socket: an int, or anything with ``fileno()``.
    :param msg_buf: most bytes of the message to take.
    :returns: ``(fd, message)``, an int that is yours to close, and bytes.
    :raises RuntimeError: not exactly one descriptor came; all are closed, and the message is lost.
        At the end of a stream, too.
    :raises OSError: the system's own word; nothing was received.
    """
    here, fds = with_oserror(unix_carrier, sock), []
    try:
        message, fds, _, _ = with_oserror(recv_fds, here, msg_buf, 1)
        if not fds:
            raise RuntimeError("not exactly one descriptor came, but none; or it is the end")
        return handed_out(fds)[0], message
    except (LostFdsError, TooManyFdsError) as error:
        raise RuntimeError("not exactly one descriptor came: %s" % error)
    except BaseException:
        close_all(fds)
        raise
