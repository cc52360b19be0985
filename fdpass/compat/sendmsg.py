"""The functions of sendmsg 1.0.

What differs from the original, and why:

- The message is what is sent: on 64-bit systems version 1.0.1 took the upper half of its
  length from beside it, and could send much of the process's memory (219,264 bytes for one byte).
- Other threads run while a call waits, and a call that a signal interrupts goes on.
- MSG_TRUNC as a flag of receiving is a ValueError: it returns more than was read.
- MSG_CMSG_CLOEXEC never shows in the flags that are returned.

As with the original, descriptors in what ``recvmsg`` returns are inheritable, and yours to close.
"""

from .. import CMSG_SPACE, SCM_RIGHTS
from .. import recvmsg as raw_recvmsg
from .. import sendmsg as raw_sendmsg
from ._descriptors import INTEGERS, close_all, make_inheritable, number_of, octets, passed_in

__all__ = ["SCM_RIGHTS", "recvmsg", "sendmsg"]


def number(fd):
    if not isinstance(fd, INTEGERS):
        raise TypeError("fd must be an int, not %s: give its fileno()" % type(fd).__name__)
    return number_of(fd)


def sendmsg(fd, data, flags=0, ancillary=None):
    """Send a message, and with it at most one control message.

    :param fd: the descriptor (int) of a socket of any family.
    :param data: bytes, or text: as UTF-8, on Python 2 only what is ASCII.
    :param flags: as for send(2).
    :param ancillary: None, or ``(level, type, bytes)``.
    :returns: how many bytes were sent.
    :raises IOError: the system's own word (``socket.error`` is one); nothing was sent.
    """
    return raw_sendmsg(number(fd), [octets(data)], () if ancillary is None else [ancillary], flags)


def recvmsg(fd, flags=0, maxsize=8192, cmsg_size=4096):
    """Receive a message, and the control messages with it.

    :param fd: the descriptor (int) of a socket of any family.
    :param flags: as for recv(2).
    :param maxsize: most bytes of the message to take.
    :param cmsg_size: bytes of room for the content of a control message, its header beside; what
        does not fit is lost, and MSG_CTRUNC in the flags says so. 0 takes none.
    :returns: ``(data, msg_flags, [(level, type, bytes), ...])``.
    :raises IOError: the system's own word (``socket.error`` is one); nothing was received.
    """
    room, ancdata = cmsg_size and CMSG_SPACE(cmsg_size), ()
    try:
        data, ancdata, msg_flags, _ = raw_recvmsg(number(fd), maxsize, room, flags)
        for passed in passed_in(ancdata)[1]:
            make_inheritable(passed)
        return data, msg_flags, ancdata
    except BaseException:
        close_all(sum(passed_in(ancdata), []))
        raise
