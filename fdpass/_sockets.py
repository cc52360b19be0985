"""Make a socket object from a descriptor, and tell who is at the other end of a socket."""

import errno
import os
import socket
from collections import namedtuple

from . import _arguments
from ._system import (
    AF_UNIX,
    SO_ACCEPTCONN,
    SOCK_STREAM,
    SOL_SOCKET,
    TYPE_BITS,
    facts_of,
    family_of,
    getsockopt,
    make_socket,
    peer_of,
    with_socket_object,
)

Credentials = namedtuple("Credentials", "pid uid gid")
NO_PEER_UID = 0xFFFFFFFF  # Linux returns this uid if it has recorded no peer


def socket_from_fd(fd, family=None, type=None, proto=None, dup=False):
    """Return a socket object for a descriptor; what you do not give is read from the kernel.

    :param fd: the descriptor (int) of a socket; with dup, an object with ``fileno()`` too.
    :param family: the family if you know it, as an int or the socket module's constant. It is
        checked against what the kernel says.
    :param type: the same for the type.
    :param proto: the same for the protocol. 0 means the default, as in ``socket.socket``, and
        contradicts nothing.
    :param dup: leave fd alone and work on a duplicate.
    :returns: a ``socket.socket``, close-on-exec. Without dup it owns the descriptor: close the
        socket, and do not use fd any more. (Python 2 can only put another descriptor in its place.)
        Its timeout follows the descriptor's mode: None if that blocks and 0.0 if not, whatever
        ``socket.setdefaulttimeout`` says. The mode belongs to the open socket, which all its
        holders share, the sender included, so nothing of it is changed here. Call ``settimeout`` on
        the socket to set the mode that you want.
    :raises ValueError: what you gave contradicts the kernel.
    :raises OSError: the operating system's error, unchanged, such as ENOTSOCK.

    If this raises, fd is still open and yours.

    Source: socket(7), fcntl(2).
    """
    if not dup and not isinstance(fd, _arguments.INTEGERS):
        raise TypeError(
            "a %s would still close its descriptor: give an int, or dup=True for a duplicate"
            % fd.__class__.__name__
        )
    descriptor = _arguments.descriptor_of(fd)  # fd itself may be what keeps it open
    if type is not None:
        # Until 3.7, socket.type carried these bits.
        type = _arguments.check_int("type", type) & ~TYPE_BITS
    if proto is not None:
        proto = _arguments.check_int("proto", proto) or None  # a TCP socket may say 0 of itself
    kernel_family, kernel_type, kernel_proto, blocks = facts_of(descriptor)
    if proto is None and kernel_proto is None:
        proto = 0
    family = choose_fact("family", family, kernel_family)
    type = choose_fact("type", type, kernel_type)
    proto = choose_fact("proto", proto, kernel_proto)
    return make_socket(family, type, proto, descriptor, None if blocks else 0.0, dup)


def choose_fact(name, given, from_kernel):
    """Return the value that the caller gave or that the kernel said; both must agree."""
    if given is None:
        if from_kernel is None:
            raise ValueError("this system does not tell the socket's %s: give it" % name)
        return from_kernel
    given = _arguments.check_int(name, given)
    if from_kernel is not None and given != from_kernel:
        raise ValueError("%s is %d, but the kernel says %d" % (name, given, from_kernel))
    return given


def peer_credentials(sock):
    """Return who is at the other end of a Unix stream or seqpacket connection, or of a socketpair.

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :returns: ``Credentials(pid, uid, gid)``, ints, as the kernel saw the peer when it called
        connect, listen or socketpair. Later changes of the peer do not show. pid is None if the
        system does not tell it. Use pid for logs only, since it may have been reused.
    :raises ValueError: the socket is not of the family AF_UNIX.
    :raises OSError: ENOTCONN if the kernel has recorded no peer; EOPNOTSUPP if the system does not
        tell who the peer is, or if the kernel invents peers, as gVisor does; otherwise the
        operating system's error, unchanged.

    Source: unix(7), SO_PEERCRED; on the BSDs unix(4), LOCAL_PEERCRED.
    """
    pid, uid, gid = with_socket_object(sock, (), ask_peer)
    # Linux returns pid 0 for a process outside this PID namespace, the BSDs for an unknown one.
    return Credentials(pid or None, uid, gid)


def ask_peer(sock):
    if family_of(sock) != AF_UNIX:
        raise ValueError("only a Unix domain socket (AF_UNIX) has peer credentials")
    if peer_of is None:
        raise socket.error(
            errno.EOPNOTSUPP, "fdpass does not know how this system tells a peer's credentials"
        )
    # For a listening socket, Linux returns the listener's own credentials.
    listens = getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN)
    peer = (0, NO_PEER_UID, NO_PEER_UID) if listens else peer_of(sock)
    if peer[1] == NO_PEER_UID:
        raise socket.error(
            errno.ENOTCONN,
            os.strerror(errno.ENOTCONN) + ": the kernel has recorded no peer of this socket",
        )
    if KERNEL_INVENTS_PEERS:
        raise socket.error(
            errno.EOPNOTSUPP,
            "this kernel returns peer credentials even for a socket that has no peer (as gVisor"
            " does), so its peer credentials cannot be trusted",
        )
    return peer


def kernel_invents_peers():
    """Return True if the kernel names a peer for a socket that was never connected."""
    if peer_of is None:
        return False
    probe = socket.socket(AF_UNIX, SOCK_STREAM)
    try:
        return peer_of(probe)[1] != NO_PEER_UID
    except socket.error:  # ENOTCONN on the BSDs (unix(4))
        return False
    finally:
        probe.close()


# Found out at the import, because later no descriptor may be free for the socket.
KERNEL_INVENTS_PEERS = kernel_invents_peers()
