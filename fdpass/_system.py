"""Which Python and which platform this is: asked here, and chosen here once for all the rest.

The calls themselves are in ``_python3`` and ``_python2``, of which each Python loads its own.
"""

import os
import socket
import struct
import sys

if not hasattr(socket, "AF_UNIX"):
    raise ImportError(
        "fdpass passes descriptors over Unix domain sockets, which this Python or system lacks"
    )

import fcntl  # not on Windows, so only now  # noqa: E402

from ._arguments import descriptor  # noqa: E402
from ._closing import close_all  # noqa: E402, F401

if sys.version_info[0] == 2:
    from thread import get_ident  # noqa: F401 # novm

    from . import _python2 as python
    from . import _python2_fast as USUAL
else:
    from _thread import get_ident  # noqa: F401 # novm

    from . import _python3 as python

    USUAL = None

constant = python.constant
AF_UNIX = constant("AF_UNIX")
SOCK_STREAM = constant("SOCK_STREAM")
SOL_SOCKET = constant("SOL_SOCKET")
SO_ACCEPTCONN = constant("SO_ACCEPTCONN")
SO_DOMAIN = constant("SO_DOMAIN")
SO_PASSCRED = constant("SO_PASSCRED")
SO_PEERCRED = constant("SO_PEERCRED")
SO_PROTOCOL = constant("SO_PROTOCOL")
SO_TYPE = constant("SO_TYPE")
SCM_RIGHTS = constant("SCM_RIGHTS")
SCM_CREDENTIALS = constant("SCM_CREDENTIALS")
MSG_CTRUNC = constant("MSG_CTRUNC")
MSG_DONTWAIT = constant("MSG_DONTWAIT")
MSG_OOB = constant("MSG_OOB")
MSG_TRUNC = constant("MSG_TRUNC")
# These ask for what a system without them does not do: there, they ask for nothing.
MSG_CMSG_CLOEXEC = constant("MSG_CMSG_CLOEXEC") or 0
MSG_NOSIGNAL = constant("MSG_NOSIGNAL") or 0
# The bits that Linux and the BSDs take beside the type, and that are not part of it (socket(2)).
TYPE_BITS = (constant("SOCK_NONBLOCK") or 0) | (constant("SOCK_CLOEXEC") or 0)

if SCM_RIGHTS is None:
    raise ImportError(
        "fdpass passes descriptors with SCM_RIGHTS, which this Python or system lacks"
    )

# Linux 6.5 and later, where SO_PASSPIDFD is on; no Python here names it.
SCM_PIDFD = 4 if sys.platform.startswith("linux") else None
# SCM_MAX_FD of Linux. The BSDs take a few more, and what both ends can rely on is the least.
MAX_FDS = 253
# Linux gives a socket's file the mode that fchmod gave the socket; the BSDs refuse that.
BORN_WITH_MODE = sys.platform.startswith("linux")
IOV_MAX = os.sysconf("SC_IOV_MAX")

ANCBUFSIZE = python.ANCBUFSIZE
BACKEND = python.BACKEND
LARGE = python.LARGE
FORGOTTEN = python.FORGOTTEN
CMSG_LEN = python.CMSG_LEN
CMSG_SPACE = python.CMSG_SPACE
control = python.control
domain_of = python.domain_of
facts_of = python.facts_of
fspath = python.fspath
getsockopt = python.getsockopt
ints = python.ints
joined = python.joined
make_socket = python.make_socket
monotonic = python.monotonic
on_duplicate = python.on_duplicate
read_family = python.read_family
receive = python.receive
recvmsg = python.recvmsg
send_rights = python.send_rights
sendmsg = python.sendmsg
skip = python.skip
view = python.view
whole_socket = python.whole_socket


def set_inheritable(fd, inheritable):
    before = control(fd, fcntl.F_GETFD)
    flags = before & ~fcntl.FD_CLOEXEC if inheritable else before | fcntl.FD_CLOEXEC
    if flags != before:  # what recv_fds gave is close-on-exec already
        control(fd, fcntl.F_SETFD, flags)


def is_inheritable(fd):
    return not control(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def is_blocking(fd):
    return not control(fd, fcntl.F_GETFL) & os.O_NONBLOCK


def duplicate(fd):
    """A close-on-exec duplicate, under a new number."""
    return control(fd, python.F_DUPFD_CLOEXEC, 0)


def timeout_of(sock):
    """Seconds, None to block, or 0: of a socket object its timeout, else the descriptor's mode."""
    gettimeout = getattr(sock, "gettimeout", None)
    if gettimeout is not None:
        return gettimeout()
    return None if is_blocking(descriptor(sock)) else 0.0


def ucred_peer(sock):
    """(pid, uid, gid) of the peer as Linux tells them, in the struct ucred of unix(7)."""
    return struct.unpack("iII", getsockopt(sock, SOL_SOCKET, SO_PEERCRED, 12))


def xucred_peer(sock):
    """(pid, uid, gid) of the peer as FreeBSD and macOS tell them, in unix(4)'s xucred."""
    # The options' level, SOL_LOCAL, is 0; LOCAL_PEERCRED is 1, and macOS's LOCAL_PEERPID is 2.
    content = getsockopt(sock, 0, 1, 88)
    uid, gid = struct.unpack_from("=4xI4xI", content)
    if sys.platform == "darwin":
        return getsockopt(sock, 0, 2), uid, gid
    # cr_pid follows the 16 groups, aligned to a pointer, since FreeBSD 13.
    return struct.unpack_from("=i", content, 80)[0] if len(content) >= 84 else 0, uid, gid


PEERS = {"linux": ucred_peer, "linux2": ucred_peer, "darwin": xucred_peer}
# How this system tells who the peer is; None where fdpass does not know how to ask.
peer_of = xucred_peer if sys.platform.startswith("freebsd") else PEERS.get(sys.platform)
