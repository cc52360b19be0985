"""Pass open file descriptors between Unix processes: one API, on Python 2.7 and 3."""

# Import _system first, so that a second import after a failure raises the same error. Python 2
# would not find the modules again that were imported before the failure.
from . import _system  # noqa: F401, I001
from ._ancillary import fds_from_ancdata, rights
from ._errors import FdPassError, LostFdsError, ProtocolError, TooManyFdsError
from ._raw import recvmsg, sendmsg
from ._sockets import Credentials, peer_credentials, socket_from_fd
from ._system import (
    CMSG_LEN,
    CMSG_SPACE,
    MAX_FDS,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_NOSIGNAL,
    SCM_CREDENTIALS,
    SCM_PIDFD,
    SCM_RIGHTS,
    SO_DOMAIN,
    SO_PASSCRED,
    SO_PEERCRED,
    SO_PROTOCOL,
)
from ._transfer import Received, recv_fds, send_fds, sendall_fds
from .channel import Channel, Listener, Message
from .descriptor import FileDescriptor


def __getattr__(name):  # Python 3.7 and later call it (PEP 562)
    full_name = "%s.%s" % (__name__, name)
    if name in ("aio", "compat"):
        raise AttributeError("%s has to be imported first: import %s" % (full_name, full_name))
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


__version__ = "0.1.0"

__all__ = [
    "CMSG_LEN",
    "CMSG_SPACE",
    "Channel",
    "Credentials",
    "FdPassError",
    "FileDescriptor",
    "Listener",
    "LostFdsError",
    "MAX_FDS",
    "MSG_CMSG_CLOEXEC",
    "MSG_CTRUNC",
    "MSG_NOSIGNAL",
    "Message",
    "ProtocolError",
    "Received",
    "SCM_CREDENTIALS",
    "SCM_PIDFD",
    "SCM_RIGHTS",
    "SO_DOMAIN",
    "SO_PASSCRED",
    "SO_PEERCRED",
    "SO_PROTOCOL",
    "TooManyFdsError",
    "fds_from_ancdata",
    "peer_credentials",
    "recv_fds",
    "recvmsg",
    "rights",
    "send_fds",
    "sendall_fds",
    "sendmsg",
    "socket_from_fd",
]
