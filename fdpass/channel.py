"""Channel: messages that keep their descriptors, over a stream socket. Listener: accepts them."""

import time

from . import _arguments
from ._channel_core import ChannelCore
from ._listener_core import ListenerCore, is_at_limit
from ._paths import check_path, pause_after, try_connect
from ._socket_holder import MAX_DATA, Message, check_stream_socket
from ._sockets import socket_from_fd
from ._system import MAX_FDS, monotonic, thread
from ._waiting import POLLIN, POLLOUT, deadline_after, wait

__all__ = ["Channel", "Listener", "MAX_DATA", "Message"]

# The constructor of ChannelCore sets these attributes, so they are not pickled.
NOT_PICKLED = ("_sock", "_max_data", "_max_fds", "_incoming", "_sent", "_send_pending", "_callers")


class BlockingCalls(object):
    """Waits inside a call, for no longer than the timeout."""

    _timeout = None

    def settimeout(self, timeout):
        """Set how many seconds a ``send``, ``recv`` or ``accept`` may take in all, or None."""
        self._timeout = _arguments.check_timeout("timeout", timeout)

    def _wait(self, event, deadline):
        """Wait for the event and return the deadline, which is None before the first wait."""
        if deadline is None:
            deadline = deadline_after(self._timeout, monotonic)
        # Another thread may have closed the socket: its fileno() is -1 then, and this is EBADF.
        wait(_arguments.descriptor_of(self), event, deadline, monotonic, self._sock)
        return deadline

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


class Channel(BlockingCalls, ChannelCore):
    """Messages with descriptors, over a connected Unix stream socket, which it owns.

    :param sock: a socket object that blocks or has a timeout. The channel owns it from then on. If
        the constructor raises, the socket is still yours.
    :param max_data: most bytes of payload in one message, in both directions (1 MiB).
    :param max_fds: most descriptors in one message, in both directions (`MAX_FDS`).
    :raises TypeError: sock is no socket object, or a TLS socket.
    :raises ValueError: sock is non-blocking or no Unix stream socket, or a limit is out of range.

    One thread may send while another receives. If a second thread sends, or a second one receives,
    it gets a RuntimeError. Closing does not wake a thread that waits in a call: when it wakes, it
    gets OSError EBADF. The wire format is a page of the documentation, for peers in other
    languages.
    """

    def __init__(self, sock, max_data=MAX_DATA, max_fds=MAX_FDS):
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        if timeout == 0:
            check_stream_socket(sock, "Channel")
            raise ValueError(
                "a Channel needs a socket that blocks or has a timeout: call settimeout on it"
                " first, or see fdpass.aio"
            )
        ChannelCore.__init__(self, sock, max_data, max_fds)
        self._timeout = timeout

    @classmethod
    def connect(cls, path, timeout=None, max_data=MAX_DATA, max_fds=MAX_FDS):
        """Return a channel to the listener at path.

        :param path: the file of a Unix socket, or an abstract name (Linux, a zero byte first).
        :param timeout: seconds to keep trying while nobody listens there yet, or while the
            listener's backlog is full. None tries once and does not wait. It counts for connecting
            only: the channel has no timeout until you call ``settimeout``.

        A listener that refuses you closes the connection when it accepts it. Until then a ``send``
        succeeds; the next call raises EPIPE, ECONNRESET or EOFError. Only an answer shows that you
        were let in.

        :raises OSError: the operating system's error; ``socket.timeout`` after the timeout.
        """
        path, sock = check_path(path), None
        deadline = deadline_after(_arguments.check_timeout("timeout", timeout), monotonic)
        while sock is None:
            sock, pause_s = try_connect(path, timeout, deadline)
            time.sleep(pause_s)
        return cls._adopt(sock, max_data, max_fds)

    def __reduce_ex__(self, protocol):
        from ._multiprocessing import reduce_owner  # few programs need it

        self._open_socket()
        if not self._is_idle:
            raise TypeError(
                "a Channel in the middle of a message cannot go to another process: let its send or"
                " recv end first"
            )
        advice = "give it to a Process as an argument, or send its socket through another Channel"
        return reduce_owner(self, (self._max_data, self._max_fds), NOT_PICKLED, advice)

    @classmethod
    def _own(cls, fds, max_data, max_fds):
        """Return a channel on the socket whose descriptor is in the list fds, in its mode."""
        # One expression: an exception between two statements would close the descriptor twice.
        sock = (socket_from_fd(fds[0]), fds.pop())[0]
        try:
            channel = cls.__new__(cls)
            ChannelCore.__init__(channel, sock, max_data, max_fds)
            return channel
        except BaseException:
            sock.close()
            raise

    def _busy_error(self, side):
        return RuntimeError(
            "another thread is %s on this Channel: let one thread do it, or hold a threading.Lock"
            " during each call" % side
        )

    def send(self, data=b"", fds=()):
        """Send a message.

        :param data: the payload: a bytes-like object, or an iterable of them.
        :param fds: an iterable of descriptors: ints and objects with ``fileno()``. The receiver
            gets duplicates; here they stay open, and yours.
        :raises TypeError, ValueError: an argument is wrong, or over a limit; nothing was sent.
        :raises OSError: the operating system's error, or ``socket.timeout``. If a part of the
            message had been sent, the channel is closed; otherwise it is as it was.
        :raises RuntimeError: another thread is sending.
        """
        buffers, length, passed, given = self._prepare_send(data, fds)
        caller = thread.get_ident()  # looked up here, because gevent and eventlet replace it
        try:
            self._claim("sending", caller)
            if self._sent or self._send_pending:
                self._close_if_half_sent(caller)
            deadline = None
            while not self._send_some(buffers, length, passed):
                deadline = self._wait(POLLOUT, deadline)
                passed = self._fds_to_send(given)
        except BaseException:
            self._close_if_half_sent(caller)
            raise
        finally:
            self._release("sending", caller)

    def recv(self):
        """Receive a message.

        :returns: a `Message`. The objects in it own its descriptors, which are close-on-exec.
        :raises EOFError: the peer has closed, between two messages.
        :raises ProtocolError: what arrived is no message, or over a limit; the channel is closed.
        :raises LostFdsError: the kernel dropped descriptors; the channel is closed.
        :raises OSError: the operating system's error. ECONNRESET means that the peer closed before
            it had read all that was sent to it. After ``socket.timeout`` you can call again, and
            ``recv`` goes on where it was.
        :raises RuntimeError: another thread is receiving.

        If this raises, descriptors that had arrived are closed, or come with the message that a
        later call returns.
        """
        caller = thread.get_ident()
        try:
            self._claim("receiving", caller)
            if self._incoming.read_pending:
                self._close_if_half_received(caller)
            deadline, message = None, self._receive_some()
            while message is None:
                deadline = self._wait(POLLIN, deadline)
                message = self._receive_some()
            self._incoming.read_pending = False
            return message
        except BaseException:
            self._close_if_half_received(caller)
            raise
        finally:
            self._release("receiving", caller)

    def __next__(self):
        """Return the next message. The loop ends when the peer closes between two messages."""
        try:
            return self.recv()
        except EOFError:
            raise StopIteration

    next = __next__  # Python 2's name of it


class Listener(BlockingCalls, ListenerCore):
    """Listens on a Unix socket, and accepts a `Channel` to each peer that may come in.

    :param path: the file to make (text, bytes or a path object), or an abstract name (Linux: a zero
        byte first; it has no file). If the file is a socket that no process has any more, it is
        replaced. Anything else at that path stays, and raises an error.
    :param mode: the file's mode, whatever the umask says (0o600); it never has a wider one. A
        process needs the right to write to the file in order to connect.
    :param allow: a function that gets the peer's `Credentials` and returns True if it may come in,
        otherwise False. By default the same user and root may come in. A refused peer is closed,
        and logged.
    :param max_data: the limit of each channel, as for `Channel`.
    :param max_fds: the same.
    :param backlog: how many peers may wait to be accepted, as for listen(2).
    :raises TypeError, ValueError: an argument is wrong, or the path is too long.
    :raises OSError: EADDRINUSE if a process has that socket, or if something else is at that path;
        otherwise the operating system's error.

    ``close`` removes the file if it is still its own, and only in the process that made it.
    Iteration accepts forever. At the limit of open descriptors, ``accept`` raises OSError (EMFILE,
    ENFILE) and iteration pauses until a descriptor is free; the peers wait in the backlog.

    Source: unix(7), flock(2).
    """

    _channel = Channel

    def accept(self):
        """Return a `Channel` to the next peer that may come in.

        :raises OSError: the operating system's error, or ``socket.timeout``. If ``allow`` raises,
            the peer is closed and the exception propagates.
        """
        return self._accept_until(None)

    def __next__(self):
        """Return the next channel, from ``accept``.

        At the limit of open descriptors, log a warning once, and try again every 10 milliseconds
        until the timeout, which counts over the whole call. (A subclass's own ``accept`` counts it
        anew.) Peers may wait in the backlog meanwhile.
        """
        deadline, is_first = deadline_after(self._timeout, monotonic), True
        is_own = getattr(self.accept, "__func__", None) is vars(Listener)["accept"]
        while True:
            try:
                return self._accept_until(deadline) if is_own else self.accept()
            except EnvironmentError as error:
                if not is_at_limit(error):
                    raise
                if is_first:
                    self._log.log_pause(error)
                is_first = False
                time.sleep(pause_after(error, deadline))

    next = __next__  # Python 2's name of it

    def _accept_until(self, deadline):
        channel = self._accept_one()
        while channel is None:
            deadline = self._wait(POLLIN, deadline)
            channel = self._accept_one()
        return channel
