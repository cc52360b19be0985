"""What every listener does but for waiting: who may come in, and what becomes of the others."""

import errno
import os
import socket

from . import _arguments
from ._paths import checked_path, is_abstract, listening
from ._socket_holder import MAX_DATA, Owner, check_stream, limits
from ._sockets import peer_credentials
from ._system import MAX_FDS, SO_ACCEPTCONN, SOL_SOCKET, getsockopt
from ._waiting import AGAIN

BACKLOG = 128
CO_COROUTINE = 0x80  # as inspect has it, which takes longer to import than all of fdpass


def same_user_or_root(credentials):
    return credentials.uid in (0, os.geteuid())


class Listening(Owner):
    """A Listener without its waiting: what `Listener` and its async twin stand on."""

    _channel = None  # the class of what is accepted

    def __init__(
        self,
        path,
        mode=0o600,
        allow=None,
        max_data=MAX_DATA,
        max_fds=MAX_FDS,
        backlog=BACKLOG,
    ):
        path = checked_path(path)
        mode = _arguments.size("mode", mode, 0o777)
        if is_abstract(path) and mode != 0o600:
            raise ValueError("an abstract name has no file, and so no mode: leave it out")
        backlog = _arguments.size("backlog", backlog, _arguments.INT_MAX)
        self._admit(allow, max_data, max_fds)
        self._sock, self._place = listening(path, mode, backlog)

    @classmethod
    def from_socket(cls, sock, allow=None, max_data=MAX_DATA, max_fds=MAX_FDS):
        """One on a socket that listens already: inherited, or from a service manager.

        :param sock: a socket object (of a bare number, `fdpass.socket_from_fd` makes one). On
            success it is the Listener's, which makes it non-blocking, for all who hold it; its file
            is not, and stays. The other arguments are those of the class.
        :raises TypeError, ValueError: it is no Unix stream socket that listens; it is still yours.
        """
        check_stream(sock, cls.__name__)
        if not getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN):
            raise ValueError("a %s needs a socket that listens: call listen on it" % cls.__name__)
        self = cls.__new__(cls)
        self._admit(allow, max_data, max_fds)
        self._place = None
        sock.settimeout(0)
        self._sock = sock
        return self

    def _admit(self, allow, max_data, max_fds):
        if allow is not None and not callable(allow):
            raise TypeError("allow must be a function of Credentials, not %r" % (allow,))
        if getattr(getattr(allow, "__code__", None), "co_flags", 0) & CO_COROUTINE:
            raise TypeError("allow must say True or False at once, and not be a coroutine")
        self._allow = same_user_or_root if allow is None else allow
        self._limits = limits(max_data, max_fds)

    def close(self):
        """Close the socket, and remove its file: not after a fork in the child, nor another's."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        try:
            if self._place is not None:
                self._place.remove()
        finally:
            self._close_socket(sock)

    def _accept_one(self):
        """A channel to whoever has come and may come in; None when nobody, or such a one, has."""
        try:
            sock, _address = self._open().accept()
        except socket.error as error:
            if error.errno in AGAIN + (errno.EINTR, errno.ECONNABORTED):
                return None
            raise
        try:
            credentials = peer_credentials(sock)
            allowed = self._allow(credentials)
            if not isinstance(allowed, bool):  # a coroutine would be true, a forgotten return false
                raise TypeError("allow must say True or False, not %r" % (allowed,))
            if allowed:
                return self._channel._made(sock, *self._limits)
        except BaseException:
            sock.close()
            raise
        sock.close()
        import logging  # takes longer than all of fdpass, and few need it

        package = __name__.rpartition(".")[0]
        logging.getLogger(package).warning("refused a peer: %s", credentials)
        return None
