"""The functions of sendmsg 1.0.

What differs from the original, and why:

- Exactly the message is sent. On 64-bit systems, version 1.0.1 took half of the message's length
  from the memory beside it, and could send much of the process's memory (219,264 bytes for one).
- Other threads run while a call waits, and a call that a signal interrupts is retried.
- MSG_TRUNC as a flag for receiving raises ValueError, since it returns more than was read.
- MSG_CMSG_CLOEXEC never shows in the returned flags.

As in the original, descriptors that ``recvmsg`` returns are inheritable, and you must close them.
"""

from .. import CMSG_SPACE, SCM_RIGHTS
from .. import recvmsg as raw_recvmsg
from .. import sendmsg as raw_sendmsg
from .._arguments import INTEGERS
from .._closing import close_all
from .._control import descriptors_in
from .._system import set_inheritable
from ._descriptors import descriptor_or_ebadf, encode_text

__all__ = ["SCM_RIGHTS", "recvmsg", "sendmsg"]


def sendmsg(fd, data, flags=0, ancillary=None):
    """Send a message with at most one control message.

    :param fd: the descriptor (int) of a socket of any family.
    :param data: bytes, or text, which is sent as UTF-8 (on Python 2 it must be ASCII).
    :param flags: as for send(2).
    :param ancillary: None, or ``(level, type, bytes)``.
    :returns: how many bytes were sent.
    :raises IOError: the operating system's error, unchanged (``socket.error`` is an IOError);
        nothing was sent.
    """
    ancdata = () if ancillary is None else [ancillary]
    return raw_sendmsg(check_descriptor(fd), [encode_text(data)], ancdata, flags)


def recvmsg(fd, flags=0, maxsize=8192, cmsg_size=4096):
    """Receive a message with its control messages.

    :param fd: the descriptor (int) of a socket of any family.
    :param flags: as for recv(2).
    :param maxsize: most bytes of the message to take.
    :param cmsg_size: room for the content of a control message, in bytes without its header. What
        does not fit is lost, and the flags have MSG_CTRUNC. 0 takes no control messages.
    :returns: ``(data, msg_flags, [(level, type, bytes), ...])``.
    :raises IOError: the operating system's error, unchanged (``socket.error`` is an IOError);
        nothing was received.
    """
    control_bytes, ancdata = cmsg_size and CMSG_SPACE(cmsg_size), ()
    try:
        sock = check_descriptor(fd)
        data, ancdata, msg_flags, _ = raw_recvmsg(sock, maxsize, control_bytes, flags)
        for passed in descriptors_in(ancdata)[0]:
            set_inheritable(passed, True)
        return data, msg_flags, ancdata
    except BaseException:
        close_all(sum(descriptors_in(ancdata), []))
        raise


def check_descriptor(fd):
    if not isinstance(fd, INTEGERS):
        raise TypeError("fd must be an int, not %s: give its fileno()" % type(fd).__name__)
    return descriptor_or_ebadf(fd)
