"""What a listener does without waiting: accept a peer, or refuse one that may not come in."""

import errno
import socket

from . import _arguments
from ._admission import RefusalLog, make_default_allow
from ._kinds import is_coroutine_function
from ._paths import check_path, file_at, is_abstract, listen_at
from ._socket_holder import MAX_DATA, SocketHolder, check_limits, check_stream_socket
from ._sockets import peer_credentials
from ._system import MAX_FDS, SO_ACCEPTCONN, SOL_SOCKET, getsockopt, set_inheritable
from ._waiting import WOULD_BLOCK

BACKLOG = 128
# At a limit of this process or of the system, accept(2) fails and leaves the peer in the backlog.
LIMIT_ERRNOS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class ListenerCore(SocketHolder):
    """What `Listener` and its async twin share."""

    _channel = None  # the class of the accepted channels

    def __init__(
        self, path, mode=0o600, allow=None, max_data=MAX_DATA, max_fds=MAX_FDS, backlog=BACKLOG
    ):
        path = check_path(path)
        mode = _arguments.check_int("mode", mode)
        if not 0 <= mode <= 0o777:
            raise ValueError(
                "mode must be from 0 to 0o777, not %d: write it in octal, as in 0o600" % mode
            )
        if is_abstract(path) and mode != 0o600:
            raise ValueError("an abstract name has no file, and so no mode: leave it out")
        backlog = _arguments.check_size("backlog", backlog, _arguments.INT_MAX)
        self._set_admission(allow, max_data, max_fds)
        self._sock, self._file = listen_at(path, mode, backlog)

    @classmethod
    def from_socket(cls, sock, allow=None, max_data=MAX_DATA, max_fds=MAX_FDS, path=None):
        """Return a Listener on a socket that listens already: inherited, or from a service manager.

        :param sock: a socket object (`fdpass.socket_from_fd` makes one from a descriptor). The
            Listener owns it from then on, and makes it non-blocking for all its holders.
        :param path: the file of this socket, if ``close`` is to remove it (in this process only).
            Without a path, the file stays.
        :raises TypeError, ValueError: sock is no listening Unix stream socket, or is a TLS socket;
            or path is not the socket's file, or is an abstract name. The socket is still yours.
            On Linux also if another unconnected socket of this network namespace has the same name
            (the same string), because the file may be that socket's: leave path out.
        :raises OSError: no file is at path, or its directory cannot be searched. The socket is
            still yours.

        The other arguments are those of the class.
        """
        check_stream_socket(sock, cls.__name__)
        if not getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN):
            raise ValueError("a %s needs a socket that listens: call listen on it" % cls.__name__)
        listener = cls.__new__(cls)
        listener._set_admission(allow, max_data, max_fds)
        listener._file = None if path is None else file_at(path, sock)
        sock.settimeout(0)
        listener._sock = sock
        return listener

    def _set_admission(self, allow, max_data, max_fds):
        if allow is not None and not callable(allow):
            raise TypeError("allow must be a function of Credentials, not %r" % (allow,))
        if is_coroutine_function(allow):
            raise TypeError("allow must return True or False at once, and not be a coroutine")
        self._allow = make_default_allow() if allow is None else allow
        self._limits = check_limits(max_data, max_fds)
        self._log = RefusalLog()

    def close(self, remove=True):
        """Close the socket. Remove its file if this process made that very file.

        :param remove: False leaves the file, for another process that holds the same socket.
        """
        sock = self._take_socket()
        if sock is None:
            return
        try:
            if remove and self._file is not None:
                self._file.remove()
        finally:
            self._close_socket(sock)

    def detach(self):
        """Return the listening socket, which you own from then on. Its file stays.

        This Listener is then closed. The socket is non-blocking, and peers that wait stay in its
        backlog. A thread that waits in ``accept`` notices only at the next peer, or at its timeout.

        :raises OSError: EBADF if this Listener is closed.
        """
        return self._take_socket() or self._open_socket()

    def _accept_one(self):
        """Return a channel to the next peer, or None if no peer came or it may not come in."""
        try:
            sock, _address = self._open_socket().accept()
        except socket.error as error:
            if error.errno in WOULD_BLOCK + (errno.EINTR, errno.ECONNABORTED):
                return None
            error.keeps_peer = error.errno in LIMIT_ERRNOS
            raise
        try:
            set_inheritable(sock.fileno(), False)  # before 3.4 it is inheritable (PEP 446)
            credentials = peer_credentials(sock)
            allowed = self._allow(credentials)
            # A coroutine object would be true, and the None of a forgotten return false.
            if not isinstance(allowed, bool):
                raise TypeError("allow must return True or False, not %r" % (allowed,))
            if allowed:
                return self._channel._adopt(sock, *self._limits)
        except BaseException:
            sock.close()
            raise
        sock.close()
        self._log.log_refusal(credentials)
        return None


def is_at_limit(error):
    """Return True if accept raised the error at a limit, and False if allow or a bug raised it."""
    return getattr(error, "keeps_peer", False)
