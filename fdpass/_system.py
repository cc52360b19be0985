"""Choose what depends on the Python and on the platform, once for all other modules.

The calls themselves are in ``_python3`` and ``_python2``; each Python loads its own.
"""

import errno
import os
import socket
import struct
import sys

if not hasattr(socket, "AF_UNIX"):
    raise ImportError(
        "fdpass passes descriptors over Unix domain sockets, which this Python or system lacks"
    )

import fcntl  # after the check, since Windows has none  # noqa: E402

from ._arguments import descriptor_of  # noqa: E402
from ._closing import close_all  # noqa: E402, F401
from ._kinds import PLAIN_SOCKETS, counts_as_descriptor  # noqa: E402

if sys.version_info[0] == 2:
    import thread  # noqa: F401 # novm

    from . import _python2 as python
    from . import _python2_fast as fast_path
else:
    import _thread as thread  # noqa: F401 # novm

    from . import _python3 as python

    fast_path = None

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
# On a system that lacks one of these flags, the flag is 0, and calls leave it out.
MSG_CMSG_CLOEXEC = constant("MSG_CMSG_CLOEXEC") or 0
MSG_NOSIGNAL = constant("MSG_NOSIGNAL") or 0
# macOS has this option instead (its setsockopt(2)). Python has no name for it.
SO_NOSIGPIPE = 0x1022 if sys.platform == "darwin" else None
# socket(2) takes these bits with the type, but they are no part of it.
TYPE_BITS = (constant("SOCK_NONBLOCK") or 0) | (constant("SOCK_CLOEXEC") or 0)

if SCM_RIGHTS is None:
    raise ImportError(
        "fdpass passes descriptors with SCM_RIGHTS, which this Python or system lacks"
    )

# Linux 6.5 and later send it if SO_PASSPIDFD is on. No Python names it yet.
SCM_PIDFD = 4 if sys.platform.startswith("linux") else None
# Linux's SCM_MAX_FD. The BSDs allow a few more, but a message has to fit on every system.
MAX_FDS = 253
EMSGSIZE_MEANS_NO_ROOM = sys.platform == "darwin"  # see _macos
# On Linux, bind gives the file the mode that fchmod gave the socket. The BSDs refuse that fchmod.
BIND_KEEPS_MODE = sys.platform.startswith("linux")
IOV_MAX = os.sysconf("SC_IOV_MAX")

ANCBUFSIZE = python.ANCBUFSIZE
BACKEND = python.BACKEND
CALLED_METHODS = python.CALLED_METHODS
CMSG_LEN = python.CMSG_LEN
CMSG_SPACE = python.CMSG_SPACE
MAX_JOINED_BYTES = python.MAX_JOINED_BYTES
UNCLOSED_WARNING = python.UNCLOSED_WARNING
call_fcntl = python.call_fcntl
facts_of = python.facts_of
family_of = python.family_of
fspath = python.fspath
getsockopt = python.getsockopt
ints_in = python.ints_in
join = python.join
make_socket = python.make_socket
monotonic = python.monotonic
read_family = python.read_family
receive = python.receive
recvmsg = python.recvmsg
send_rights = python.send_rights
sendmsg = python.sendmsg
skip_bytes = python.skip_bytes
view_of = python.view_of
with_socket_object = python.with_socket_object
wrap_socket = python.wrap_socket


def set_inheritable(fd, inheritable):
    before = call_fcntl(fd, fcntl.F_GETFD)
    flags = before & ~fcntl.FD_CLOEXEC if inheritable else before | fcntl.FD_CLOEXEC
    if flags != before:  # a descriptor from recv_fds is close-on-exec already
        call_fcntl(fd, fcntl.F_SETFD, flags)


def is_inheritable(fd):
    return not call_fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def is_open(fd):
    try:
        is_inheritable(fd)
    except socket.error as error:
        return error.errno != errno.EBADF
    return True


def is_blocking(fd):
    return not call_fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK


def duplicate(fd):
    """Return a close-on-exec duplicate of fd."""
    return call_fcntl(fd, python.F_DUPFD_CLOEXEC, 0)


def timeout_of(sock):
    """Return a socket object's timeout, or for a bare descriptor None if it blocks, otherwise 0."""
    if type(sock) in PLAIN_SOCKETS or (
        hasattr(sock, "gettimeout") and not counts_as_descriptor(sock)
    ):
        return sock.gettimeout()
    return None if is_blocking(descriptor_of(sock)) else 0.0


def read_ucred(sock):
    """Return the peer's (pid, uid, gid) on Linux, from the struct ucred of unix(7)."""
    return struct.unpack("iII", getsockopt(sock, SOL_SOCKET, SO_PEERCRED, 12))


def read_xucred(sock):
    """Return the peer's (pid, uid, gid) on FreeBSD and macOS, from the struct xucred of unix(4)."""
    # The options' level, SOL_LOCAL, is 0; LOCAL_PEERCRED is 1, and macOS's LOCAL_PEERPID is 2.
    content = getsockopt(sock, 0, 1, 88)
    uid, gid = struct.unpack_from("=4xI4xI", content)
    if sys.platform == "darwin":
        return getsockopt(sock, 0, 2), uid, gid
    # cr_pid follows the 16 groups, aligned to a pointer, since FreeBSD 13.
    return struct.unpack_from("=i", content, 80)[0] if len(content) >= 84 else 0, uid, gid


PEERS = {"linux": read_ucred, "linux2": read_ucred, "darwin": read_xucred}
# The function that reads the peer of a socket here, or None if fdpass has none for this system.
peer_of = read_xucred if sys.platform.startswith("freebsd") else PEERS.get(sys.platform)
