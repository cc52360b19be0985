"""Ancillary data for programs that call sendmsg and recvmsg themselves. No input or output."""

import errno
import os
import socket
import struct
import sys

from . import _arguments
from ._system import MAX_FDS, SCM_RIGHTS, SOL_SOCKET, view_of
from ._transfer import TOO_MANY_TO_SEND, close_arrived, finish_receive, pop_arrived


def rights(fds):
    """Return the ancillary data that passes descriptors, for a sendmsg of your own.

    :param fds: an iterable of descriptors, as for `send_fds`.
    :returns: a list with one ``(SOL_SOCKET, SCM_RIGHTS, bytes)``, or an empty list for no
        descriptors. It has their numbers only: keep the objects in fds alive and open until your
        sendmsg has returned. They stay yours.
    :raises TypeError, ValueError: as `send_fds` raises them for fds.

    The payload needs at least one byte on a stream, and the socket has to be a Unix domain socket.
    Otherwise the kernel drops the descriptors. If a part of the payload was sent, all descriptors
    were: send the rest without them.

    Source: unix(7), cmsg(3).
    """
    given = _arguments.list_fds(fds, MAX_FDS)
    if len(given) > MAX_FDS:
        raise ValueError(TOO_MANY_TO_SEND)
    passed = _arguments.descriptors_of(given)
    content = struct.pack("%di" % len(passed), *passed)
    return [(SOL_SOCKET, SCM_RIGHTS, content)] if passed else []


def fds_from_ancdata(ancdata, flags=0, maxfds=None):
    """Return the descriptors in the ancillary data that a recvmsg of your own returned.

    :param ancdata: an iterable of ``(level, type, data)``. Call this once for each message.
    :param flags: the flags that recvmsg returned with it.
    :param maxfds: most descriptors to accept; 0 refuses them, None accepts all.
    :returns: a list of ints, close-on-exec; you must close each. Control messages of other kinds
        are skipped, and a pidfd that the kernel added is closed.
    :raises TypeError, ValueError: an argument is wrong. Nothing was closed.
    :raises LostFdsError: flags has MSG_CTRUNC: the kernel dropped descriptors, and those that
        arrived are closed. Give recvmsg room for all: ``CMSG_SPACE(4 * MAX_FDS)`` bytes, and more
        for credentials and the like.
    :raises TooManyFdsError: more than maxfds arrived; all are closed.
    :raises OSError: one of them is not open; the others are closed.

    The errors do not carry the payload, which is yours already.

    Source: unix(7), cmsg(3).
    """
    items = _arguments.list_ancillary(ancdata, view_of)
    flags = _arguments.check_c_int("flags", flags)
    if maxfds is None:
        maxfds = sys.maxsize
    maxfds = _arguments.check_size(
        "maxfds", min(_arguments.check_int("maxfds", maxfds), sys.maxsize)
    )
    arrived = [(b"", items, flags, None)]
    try:
        return finish_receive(pop_arrived, flags, arrived, 0, maxfds).fds
    except BaseException as error:
        close_arrived(arrived)
        if isinstance(error, ValueError):  # fcntl raises it for a negative int
            raise socket.error(errno.EBADF, os.strerror(errno.EBADF))
        raise
