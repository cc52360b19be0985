"""What channels and listeners have in common: the socket that they own, limits and messages."""

import errno
import os
import socket
from collections import namedtuple

from . import _arguments
from ._system import AF_UNIX, MAX_FDS, SO_TYPE, SOCK_STREAM, SOL_SOCKET, domain_of, getsockopt
from ._wire_format import LONGEST

MAX_DATA = 1 << 20

Parts = namedtuple("Message", "data fds")


class Message(Parts):
    """A message that a channel received: data (bytes), and fds, a list of `FileDescriptor`.

    Take what you need out of fds by ``detach``, ``to_socket`` or ``to_file``. As a context manager
    it closes at its end what was not taken. What is forgotten closes itself, with the warning of a
    forgotten FileDescriptor.
    """

    __slots__ = ()

    def close(self):
        """Close the descriptors that were not taken."""
        for owned in self.fds:
            try:
                owned.close()
            except OSError as error:
                # close(2): the descriptor is gone whatever it says, and there are others.
                if error.errno is None:
                    raise  # a signal handler's

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def limits(max_data, max_fds):
    """The two limits of a channel, as plain ints."""
    return (
        _arguments.size("max_data", max_data, LONGEST),
        _arguments.size("max_fds", max_fds, MAX_FDS),
    )


def check_stream(sock, what):
    """TypeError, ValueError where sock is no socket object of a Unix stream."""
    if not hasattr(sock, "getsockopt"):
        raise TypeError(
            "a %s needs a socket object, not %s: make one with socket_from_fd"
            % (what, type(sock).__name__)
        )
    if domain_of(sock) != AF_UNIX or getsockopt(sock, SOL_SOCKET, SO_TYPE) != SOCK_STREAM:
        raise ValueError(
            "a %s needs a Unix stream socket: socket.socketpair() gives two, and connect one"
            " (socket.AF_UNIX, socket.SOCK_STREAM)" % what
        )


def closed_error(what, why=""):
    reason = "%s: this %s is closed%s" % (os.strerror(errno.EBADF), what, why)
    return socket.error(errno.EBADF, reason)


class Owner(object):
    """What owns a socket until it is closed."""

    _sock = None
    _why = ""  # it was closed, where nobody called close

    def fileno(self):
        """The number of the socket's descriptor, for ``select`` and the like."""
        return self._open().fileno()

    @property
    def closed(self):
        """Whether it is closed, by ``close`` or by what broke it."""
        return self._sock is None

    def _close_socket(self, sock):
        sock.close()

    def _open(self):
        sock = self._sock
        if sock is None:
            raise closed_error(type(self).__name__, self._why)
        return sock

    def __repr__(self):
        state = "closed" if self.closed else "fd=%d" % self.fileno()
        return "<%s %s>" % (type(self).__name__, state)
