"""Real socket objects from bare descriptors, and who is at the other end of one."""

import errno
import os
import socket
from collections import namedtuple

from . import _arguments
from ._system import (
    AF_UNIX,
    SO_ACCEPTCONN,
    SOL_SOCKET,
    TYPE_BITS,
    domain_of,
    facts_of,
    getsockopt,
    make_socket,
    on_duplicate,
    peer_of,
)

Credentials = namedtuple("Credentials", "pid uid gid")
NOBODY = 0xFFFFFFFF  # the uid that Linux gives where it has recorded no peer


def socket_from_fd(fd, family=None, type=None, proto=None, dup=False):
    """A socket object for a descriptor, with what is not given read from the kernel.

    :param fd: the descriptor (int) of a socket; with dup, an object with ``fileno()`` too.
    :param family: what you know of it, as an int or the socket module's constant. It is checked
        against what the kernel tells.
    :param type: the same.
    :param proto: the same.
    :param dup: leave fd alone and work on a duplicate.
    :returns: a ``socket.socket``, close-on-exec. Without dup it owns the descriptor: close the
        socket, and do not use fd any more (Python 2 can only put another number in its place).
        Its timeout is what the descriptor's mode says, None if it blocks and 0.0 if not, whatever
        ``socket.setdefaulttimeout`` says: the mode belongs to the open socket and is shared by all
        who hold it, the sender included, so nothing of it is changed here. Call ``settimeout`` on
        what you get to have it as you want.
    :raises ValueError: what was given contradicts the kernel.
    :raises OSError: the system's own word, ENOTSOCK for a descriptor that is no socket.

    Whatever is raised, fd is still open and yours.

    Source: socket(7), fcntl(2).
    """
    if not dup and not isinstance(fd, _arguments.INTEGERS):
        raise TypeError(
            "a %s would still close its descriptor: give an int, or dup=True for a duplicate"
            % fd.__class__.__name__
        )
    number = _arguments.descriptor(fd)  # fd itself may be what keeps it open
    if type is not None:
        # Until 3.7, socket.type carried these.
        type = _arguments.integer("type", type) & ~TYPE_BITS
    told_family, told_type, told_proto, blocks = facts_of(number)
    family = settled("family", family, told_family)
    type = settled("type", type, told_type)
    proto = settled("proto", proto, 0 if proto is None and told_proto is None else told_proto)
    return make_socket(family, type, proto, number, None if blocks else 0.0, dup)


def settled(name, given, told):
    """One number from what the caller gave and what the kernel told."""
    if given is None:
        if told is None:
            raise ValueError("this system does not tell the socket's %s: give it" % name)
        return told
    given = _arguments.integer(name, given)
    if told is not None and given != told:
        raise ValueError("%s is %d, but the kernel says %d" % (name, given, told))
    return given


def peer_credentials(sock):
    """Who is at the other end of a Unix stream or seqpacket connection, or of a socketpair.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :returns: ``Credentials(pid, uid, gid)``, ints, as the kernel saw the peer when it called
        connect, listen or socketpair. What the peer did later does not show, and its pid may be
        another process's by now. pid is None where the system does not tell it.
    :raises ValueError: the socket is not of the family AF_UNIX.
    :raises OSError: ENOTCONN where the kernel has recorded no peer; the system's own word.

    Source: unix(7), SO_PEERCRED; on the BSDs unix(4), LOCAL_PEERCRED.
    """
    pid, uid, gid = on_duplicate(sock, recorded_peer)
    # Linux says 0 for a process that this PID namespace does not show, and the BSDs for unknown.
    return Credentials(pid or None, uid, gid)


def recorded_peer(sock):
    if domain_of(sock) != AF_UNIX:
        raise ValueError("only a Unix domain socket (AF_UNIX) has peer credentials")
    if peer_of is None:
        raise socket.error(
            errno.EOPNOTSUPP, "fdpass does not know how this system tells a peer's credentials"
        )
    # Of a listening socket, Linux gives the listener's own.
    peer = (0, NOBODY, NOBODY) if getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN) else peer_of(sock)
    if peer[1] == NOBODY:
        raise socket.error(
            errno.ENOTCONN,
            os.strerror(errno.ENOTCONN) + ": the kernel has recorded no peer of this socket",
        )
    return peer
