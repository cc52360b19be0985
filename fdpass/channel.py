"""Messages that keep their descriptors, over a stream socket; and who listens for channels."""

import time

from . import _arguments
from ._channel_core import Framed
from ._listener_core import Listening
from ._paths import checked_path, tried
from ._socket_holder import MAX_DATA, Message
from ._system import MAX_FDS, get_ident, monotonic
from ._waiting import POLLIN, POLLOUT, deadline_after, wait

__all__ = ["Channel", "Listener", "MAX_DATA", "Message"]


class Waiting(object):
    """What waits in a call, for no longer than its timeout."""

    _timeout = None

    def settimeout(self, timeout):
        """Set how many seconds a ``send``, ``recv`` or ``accept`` may take in all; None: any."""
        self._timeout = _arguments.seconds("timeout", timeout)

    def _wait(self, event, deadline):
        """Wait until the deadline, which begins with the first wait; returns it."""
        if deadline is None:
            deadline = deadline_after(self._timeout, monotonic)
        wait(self.fileno(), event, deadline, monotonic)
        return deadline

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class Channel(Waiting, Framed):
    """Messages with descriptors, over a connected Unix stream socket, which it owns.

    :param sock: a socket object that blocks or has a timeout, which becomes the channel's own. If
        the constructor raises, the socket is still the caller's.
    :param max_data: most bytes of payload in one message, in both directions (1 MiB).
    :param max_fds: most descriptors in one message, in both directions (`MAX_FDS`).
    :raises TypeError: sock is no socket object.
    :raises ValueError: sock is non-blocking or no Unix stream socket, or a limit is out of range.

    One thread may send while another receives; a second one that sends, or that receives, is a
    RuntimeError. Closing does not wake a thread that waits. The wire format is a page of the
    documentation, for peers in other languages.
    """

    def __init__(self, sock, max_data=MAX_DATA, max_fds=MAX_FDS):
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        if timeout == 0:
            raise ValueError(
                "a Channel needs a socket that blocks or has a timeout: call settimeout on it"
                " first, or see fdpass.aio"
            )
        Framed.__init__(self, sock, max_data, max_fds)
        self._timeout = timeout

    @classmethod
    def connect(cls, path, timeout=None, max_data=MAX_DATA, max_fds=MAX_FDS):
        """A channel to who listens at path.

        :param path: the file of a Unix socket, or an abstract name (Linux, a zero byte first).
        :param timeout: seconds to keep trying while nobody listens there yet, or more wait to be
            accepted than the listener lets. None: one try, which does not wait. It is for
            connecting only: the channel has no timeout before ``settimeout``.

        A listener that refuses its peer closes the connection as it comes to it. Before that a
        ``send`` succeeds; what is called next says EPIPE, ECONNRESET or EOFError. Only an answer
        tells that you were let in.

        :raises OSError: the system's own word; ``socket.timeout`` after the timeout.
        """
        path, sock = checked_path(path), None
        deadline = deadline_after(_arguments.seconds("timeout", timeout), monotonic)
        while sock is None:
            sock, pause = tried(path, timeout, deadline)
            time.sleep(pause)
        return cls._made(sock, max_data, max_fds)

    _who = staticmethod(get_ident)

    def _busy(self, doing):
        return RuntimeError("another thread is %s on this Channel: let one do it" % doing)

    def send(self, data=b"", fds=()):
        """Send a message.

        :param data: the payload: a bytes-like object, or an iterable of them.
        :param fds: an iterable of descriptors: ints and objects with ``fileno()``. They are
            duplicated into the receiver and stay open, and yours, here.
        :raises TypeError, ValueError: an argument is wrong, or over a limit; nothing was sent.
        :raises OSError: the system's own word, ``socket.timeout`` after the timeout. When the
            message had been sent in part, the channel is closed, and as it was if not.
        :raises RuntimeError: another thread is sending.
        """
        buffers, length, numbers, things = self._begin_send(data, fds)
        who = self._who()
        try:
            self._own("sending", who)
            if self._sent or self._unsettled:
                self._check_sending(who)
            deadline = None
            while not self._send_some(buffers, length, numbers):
                deadline = self._wait(POLLOUT, deadline)
                numbers = self._numbers(things)
        except BaseException:
            self._check_sending(who)
            raise
        finally:
            self._disown("sending", who)

    def recv(self):
        """Receive a message.

        :returns: a `Message`; its descriptors, close-on-exec, are owned by the objects in it.
        :raises EOFError: the peer has closed, between two messages.
        :raises ProtocolError: what came is no message, or over a limit; the channel is closed.
        :raises LostFdsError: the kernel dropped descriptors; the channel is closed.
        :raises OSError: the system's own word; ECONNRESET: the peer closed, and had not read all
            that was sent to it. After ``socket.timeout`` it can be called again, and goes on where
            it was.
        :raises RuntimeError: another thread is receiving.

        Whatever is raised, descriptors that had come are closed, or with the next call's message.
        """
        who = self._who()
        try:
            self._own("receiving", who)
            if self._incoming.unsettled:
                self._check_receiving(who)
            deadline, message = None, self._receive_some()
            while message is None:
                deadline = self._wait(POLLIN, deadline)
                message = self._receive_some()
            self._incoming.unsettled = False
            return message
        except BaseException:
            self._check_receiving(who)
            raise
        finally:
            self._disown_receiving(who)

    def __next__(self):
        """The next message; the end of the stream, between two, ends the loop."""
        try:
            return self.recv()
        except EOFError:
            raise StopIteration

    next = __next__  # Python 2's name of it


class Listener(Waiting, Listening):
    """Listens on a Unix socket, and gives a `Channel` to each peer that may come in.

    :param path: the file to make (text, bytes or a path object), or an abstract name (Linux: a
        zero byte first; it has no file). A file of a socket that no process has any more is
        replaced; anything else in that place stays, and is an error.
    :param mode: of the file, whatever the umask says (0o600); it never has a wider one. To connect,
        a process needs to be allowed to write there.
    :param allow: a function of the peer's `Credentials` that says True or False, whether it may
        come in; by default whoever runs as the same user, or as root, may. A refused one is closed,
        and logged.
    :param max_data: limit of each channel, as `Channel` has it.
    :param max_fds: the same.
    :param backlog: how many may wait to be accepted, as for listen(2).
    :raises TypeError, ValueError: an argument is wrong, or the path too long.
    :raises OSError: EADDRINUSE where a process has that socket, or where something else is in its
        place; the system's own word.

    ``close`` removes the file: its own alone, and only in the process that made it. Iteration
    accepts for ever.

    Source: unix(7), flock(2).
    """

    _channel = Channel

    def accept(self):
        """A `Channel` to the next peer that may come in.

        :raises OSError: the system's own word, ``socket.timeout`` after the timeout. What ``allow``
            raises gets through, and the peer is closed.
        """
        deadline, channel = None, self._accept_one()
        while channel is None:
            deadline = self._wait(POLLIN, deadline)
            channel = self._accept_one()
        return channel

    def __next__(self):
        """The next channel, from ``accept``."""
        return self.accept()

    next = __next__  # Python 2's name of it
