"""What channels and listeners share: the socket that they hold, their limits, and messages."""

import errno
import os
import socket
from collections import namedtuple

from . import _arguments
from ._kinds import is_socket_object, is_tls
from ._system import (
    AF_UNIX,
    CALLED_METHODS,
    MAX_FDS,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    family_of,
    getsockopt,
)
from ._wire_format import MAX_LENGTH

MAX_DATA = 1 << 20
# A channel or a listener calls these methods of its socket.
USED_METHODS = ("close", "fileno", "getsockopt", "settimeout") + CALLED_METHODS

MessageFields = namedtuple("Message", "data fds")


class Message(MessageFields):
    """A message that a channel received: data (bytes), and fds, a list of `FileDescriptor`.

    Take the descriptors that you need out of fds by ``detach``, ``to_socket`` or ``to_file``. As a
    context manager, the message closes at its end those that you did not take. If you forget it,
    each closes itself, with the warning of a forgotten FileDescriptor.
    """

    __slots__ = ()

    def close(self):
        """Close the descriptors that you did not take."""
        for descriptor in self.fds:
            try:
                descriptor.close()
            except OSError as error:
                # close(2): the descriptor is gone after an error too, and the others have to go.
                if error.errno is None:
                    raise  # a signal handler's exception

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class SocketHolder(object):
    """Owns a socket until it is closed."""

    _sock = None
    _reason = ""  # why it was closed, if nobody called close

    def fileno(self):
        """Return the socket's descriptor (int), for ``select`` and the like."""
        return self._open_socket().fileno()

    @property
    def closed(self):
        """True after ``close``, or after an error that closed it."""
        return self._sock is None

    def _open_socket(self):
        sock = self._sock
        if sock is None:
            raise make_closed_error(type(self).__name__, self._reason)
        return sock

    def _take_socket(self):
        """Take the socket out of this object, or return None if another caller took it.

        dict.pop is atomic on every Python, without the GIL too. A swap of two names is not.
        """
        return vars(self).pop("_sock", None)

    def _close_socket(self, sock):
        sock.close()

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "a %s cannot be copied or pickled: make a duplicate of its socket by socket_from_fd,"
            " and let the other process make a %s of the duplicate" % ((type(self).__name__,) * 2)
        )

    def __repr__(self):
        state = "closed" if self.closed else "fd=%d" % self.fileno()
        return "<%s %s>" % (type(self).__name__, state)


def check_limits(max_data, max_fds):
    """Return the two limits of a channel as plain ints."""
    return (
        _arguments.check_size("max_data", max_data, MAX_LENGTH),
        _arguments.check_size("max_fds", max_fds, MAX_FDS),
    )


def check_stream_socket(sock, class_name):
    """Raise TypeError or ValueError if sock is not a socket object of a Unix stream."""
    if not is_socket_object(sock, USED_METHODS):
        _arguments.check_not_zeromq(sock)
        raise TypeError(
            "a %s needs a plain socket object, not %s: %s"
            % (class_name, type(sock).__name__, find_way_to_make_socket(sock))
        )
    if is_tls(sock):
        raise TypeError(
            "a %s needs a plain socket, not %s: descriptors cannot travel through TLS, and a Unix"
            " socket needs none, since no third process can read along"
            % (class_name, type(sock).__name__)
        )
    if family_of(sock) != AF_UNIX or getsockopt(sock, SOL_SOCKET, SO_TYPE) != SOCK_STREAM:
        raise ValueError(
            "a %s needs a Unix stream socket: socket.socketpair() returns two, and you can connect"
            " one (socket.AF_UNIX, socket.SOCK_STREAM)" % class_name
        )


def find_way_to_make_socket(given):
    """Return in words how to make a plain socket object of an object that is none."""
    if hasattr(given, "to_socket"):
        return "give its to_socket()"
    way = "it" if hasattr(given, "fileno") else _arguments.find_way_to_socket(given)
    return "make one with socket_from_fd" + (way and "(%s, dup=True)" % way)


def make_closed_error(class_name, reason=""):
    text = "%s: this %s is closed%s" % (os.strerror(errno.EBADF), class_name, reason)
    return socket.error(errno.EBADF, text)
