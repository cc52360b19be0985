"""The two raw calls. The caller judges what recvmsg returns, and closes its descriptors."""

from . import _arguments
from ._arguments import INT_MAX
from ._control import descriptors_in
from ._system import (
    IOV_MAX,
    MSG_CMSG_CLOEXEC,
    MSG_NOSIGNAL,
    MSG_TRUNC,
    close_all,
    join,
    set_inheritable,
    view_of,
)
from ._system import recvmsg as system_recvmsg
from ._system import sendmsg as system_sendmsg

# Linux returns MSG_CMSG_CLOEXEC in msg_flags. It is masked, so that 0 means "nothing unusual".
REPORTED_FLAGS = ~MSG_CMSG_CLOEXEC


def sendmsg(sock, buffers, ancdata=(), flags=0, address=None):
    """Do what Python 3's ``socket.sendmsg`` does, on Python 2 too. Nothing is judged.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param buffers: the payload: an iterable of bytes-like objects, or a single one.
    :param ancdata: an iterable of ``(level, type, data)``; data is a bytes-like object.
    :param flags: as for send(2). MSG_NOSIGNAL is always added.
    :param address: the destination, for an unconnected socket.
    :returns: how many bytes of the payload were taken.
    :raises OSError: the operating system's error, unchanged; nothing was sent.
    """
    flags = _arguments.check_c_int("flags", flags) | MSG_NOSIGNAL
    ancdata = _arguments.list_ancillary(ancdata, view_of)
    return system_sendmsg(sock, payload_buffers(buffers), ancdata, flags, address)


def recvmsg(sock, bufsize, ancbufsize=0, flags=0):
    """Do what Python 3's ``socket.recvmsg`` does, on Python 2 too. Nothing is judged.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param bufsize: most bytes of payload to take.
    :param ancbufsize: bytes of room for ancillary data; see `CMSG_SPACE`.
    :param flags: as for recv(2), without MSG_TRUNC.
    :returns: ``(data, ancdata, msg_flags, address)``; ancdata is a list of ``(level, type, data)``.
        Descriptors in it are close-on-exec, and you must close them. If msg_flags has MSG_CTRUNC,
        the kernel may have dropped some.
    :raises OSError: the operating system's error, unchanged; nothing was received.
    """
    bufsize = _arguments.check_size("bufsize", bufsize)
    ancbufsize = _arguments.check_size("ancbufsize", ancbufsize, INT_MAX)  # a socklen_t
    flags = check_receive_flags(flags)
    ancdata = ()
    try:
        data, ancdata, msg_flags, address = system_recvmsg(
            sock, bufsize, ancbufsize, flags | MSG_CMSG_CLOEXEC
        )
        if not MSG_CMSG_CLOEXEC:
            for fd in sum(descriptors_in(ancdata), []):
                set_inheritable(fd, False)
        return data, ancdata, msg_flags & REPORTED_FLAGS, address
    except BaseException:
        close_all(sum(descriptors_in(ancdata), []))
        raise


def payload_buffers(data):
    views = _arguments.list_buffers(data, view_of)
    # A system call takes at most IOV_MAX buffers. Joined, they are the same payload.
    return views if len(views) <= IOV_MAX else [join(views)]


def check_receive_flags(flags):
    flags = _arguments.check_c_int("flags", flags)
    if flags & MSG_TRUNC:
        raise ValueError("MSG_TRUNC cannot be used to receive: it returns more than was read")
    return flags
