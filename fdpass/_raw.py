"""The two raw calls, whose results are the caller's to judge."""

from . import _arguments
from ._arguments import INT_MAX
from ._control import descriptors_in
from ._system import IOV_MAX, MSG_CMSG_CLOEXEC, MSG_TRUNC, close_all, joined, set_inheritable, view
from ._system import recvmsg as system_recvmsg
from ._system import sendmsg as system_sendmsg

# Linux echoes the flag in msg_flags; without it there, 0 means that nothing was unusual.
REPORTED = ~MSG_CMSG_CLOEXEC


def payload(data):
    views = _arguments.buffers(data, view)
    # One system call takes no more than IOV_MAX buffers; joined, they are the same payload.
    return views if len(views) <= IOV_MAX else [joined(views)]


def receive_flags(flags):
    flags = _arguments.flag_bits(flags)
    if flags & MSG_TRUNC:
        raise ValueError("MSG_TRUNC is no flag to receive with: it returns more than was read")
    return flags


def sendmsg(sock, buffers, ancdata=(), flags=0, address=None):
    """``socket.sendmsg`` of Python 3, as a function, on Python 2 too: nothing is judged.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param buffers: the payload: an iterable of bytes-like objects, or a single one.
    :param ancdata: an iterable of ``(level, type, data)``, data a bytes-like object.
    :param flags: as for send(2).
    :param address: where an unconnected socket sends to.
    :returns: how many bytes of the payload were taken.
    :raises OSError: the system's own word; nothing was sent.
    """
    flags = _arguments.flag_bits(flags)
    ancdata = _arguments.ancillary(ancdata, view)
    return system_sendmsg(sock, payload(buffers), ancdata, flags, address)


def recvmsg(sock, bufsize, ancbufsize=0, flags=0):
    """``socket.recvmsg`` of Python 3, as a function, on Python 2 too: nothing is judged.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param bufsize: most bytes of payload to take.
    :param ancbufsize: bytes of room for ancillary data; see `CMSG_SPACE`.
    :param flags: as for recv(2), without MSG_TRUNC.
    :returns: ``(data, ancdata, msg_flags, address)``, ancdata a list of ``(level, type, data)``.
        Descriptors in it are close-on-exec and yours to close, and the kernel may have dropped
        some (MSG_CTRUNC in msg_flags).
    :raises OSError: the system's own word; nothing was received.
    """
    bufsize = _arguments.size("bufsize", bufsize)
    ancbufsize = _arguments.size("ancbufsize", ancbufsize, INT_MAX)  # a socklen_t
    flags = receive_flags(flags)
    ancdata = ()
    try:
        data, ancdata, msg_flags, address = system_recvmsg(
            sock, bufsize, ancbufsize, flags | MSG_CMSG_CLOEXEC
        )
        if not MSG_CMSG_CLOEXEC:
            for fd in sum(descriptors_in(ancdata), []):
                set_inheritable(fd, False)
        return data, ancdata, msg_flags & REPORTED, address
    except BaseException:
        close_all(sum(descriptors_in(ancdata), []))
        raise
