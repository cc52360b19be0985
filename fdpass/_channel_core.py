"""What a channel does without waiting: send and receive as much of a message as goes now."""

import errno
import socket

from . import _arguments
from ._errors import FdPassError, LostFdsError, ProtocolError
from ._socket_holder import MAX_DATA, Message, SocketHolder, check_limits, check_stream_socket
from ._sockets import peer_credentials
from ._system import (
    MAX_FDS,
    SO_ACCEPTCONN,
    SO_NOSIGPIPE,
    SOL_SOCKET,
    getsockopt,
    is_blocking,
    join,
    set_inheritable,
    view_of,
    wrap_socket,
)
from ._transfer import SEND_NOW_FLAGS, new_tuple, receive_now, send_now
from ._waiting import WOULD_BLOCK
from ._wire_format import HEADER, Incoming, encode_message, unsent_part
from .descriptor import adopt_all

RETRY_ERRNOS = WOULD_BLOCK + (errno.EINTR,)  # until PEP 475 (3.5), a signal interrupts a call
# After 16 system calls for one message the caller waits, so that other threads or tasks run.
CALLS_PER_TURN = range(16)


class ChannelCore(SocketHolder):
    """What `Channel` and its async twin share."""

    _is_fdpass_channel = True  # another copy of the package looks for it too

    def __init__(self, sock, max_data=MAX_DATA, max_fds=MAX_FDS):
        self._max_data, self._max_fds = check_limits(max_data, max_fds)
        check_stream_socket(sock, "Channel")
        if getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN):
            raise ValueError("this socket listens: use Listener.from_socket")
        self._incoming = Incoming(self._max_data, self._max_fds)
        # How many bytes of the current message were sent, and whether a call may have sent more.
        self._sent, self._send_pending = 0, False
        self._callers = {}  # the caller that claimed each side; dict.setdefault is atomic
        # Each call uses MSG_DONTWAIT, because other processes may share the socket's mode. The
        # object gets the timeout that fits the mode, because with another one Python (and gevent)
        # would wait in the call, even with MSG_DONTWAIT.
        if not is_blocking(sock.fileno()):
            sock.settimeout(0)
        elif sock.gettimeout() is not None:
            sock.settimeout(None)
        self._sock = sock

    @classmethod
    def pair(cls, max_data=MAX_DATA, max_fds=MAX_FDS):
        """Return two channels, connected to each other. The arguments are those of the class."""
        ends = [wrap_socket(end) for end in socket.socketpair()]
        try:
            for end in ends:
                set_inheritable(end.fileno(), False)  # before 3.4 it is inheritable (PEP 446)
            return tuple([cls._adopt(end, max_data, max_fds) for end in ends])
        except BaseException:
            for end in ends:
                end.close()
            raise

    @classmethod
    def _adopt(cls, sock, max_data, max_fds):
        """Return a channel on a socket that fdpass made; close the socket if that fails."""
        try:
            sock.settimeout(None)  # whatever socket.setdefaulttimeout says
            if SO_NOSIGPIPE is not None:
                sock.setsockopt(SOL_SOCKET, SO_NOSIGPIPE, 1)
            return cls(sock, max_data, max_fds)
        except BaseException:
            sock.close()
            raise

    @property
    def _is_idle(self):
        """True between two messages: nothing is half sent or received, and no call is under way."""
        incoming = self._incoming
        receiving = incoming.read_pending or not incoming.is_empty
        return not (receiving or self._sent or self._send_pending or self._callers)

    def close(self):
        """Close the socket, and the descriptors of a message that is not complete."""
        sock = self._take_socket()
        self._close_incoming()
        if sock is not None:
            self._close_socket(sock)

    @property
    def peer(self):
        """`fdpass.Credentials` of the process that called connect, or at its end, listen.

        At both ends of a pair, they are those of the process that made it. See
        `fdpass.peer_credentials`.
        """
        return peer_credentials(self._open_socket())

    def _close_because(self, reason):
        """Close the channel, because it is unknown where in the stream the next message begins."""
        if self._sock is not None:
            self._reason = ", since " + reason
        self.close()

    def _claim(self, side, caller):
        """Claim the sending or the receiving side for this caller, until `_release`.

        If an exception interrupted the caller between the two steps, the claim is still its own, so
        it may enter again.
        """
        if self._callers.setdefault(side, caller) != caller:
            self._open_socket()
            raise self._busy_error(side)

    def _release(self, side, caller):
        if self._callers.get(side) == caller:
            del self._callers[side]
        if self._sock is None:  # the channel was closed meanwhile
            self._close_incoming()

    def _close_incoming(self):
        """Close the descriptors that have arrived, or leave them to the `_release` of a recv.

        Only that call knows which they are. It may run in this thread, if a signal handler closes.
        """
        claim = object()  # never released, because nothing is received on a closed channel
        if self._callers.setdefault("receiving", claim) is claim:
            self._incoming.close()

    # Sending

    def _prepare_send(self, data, fds):
        """Return (buffers, their length, descriptors as ints, the objects given for them).

        The last two are None if there are none. The objects may keep their descriptors open, so
        hold them until the message is sent.
        """
        if type(data) is not bytes:
            buffers = _arguments.list_buffers(data, view_of)
            data = buffers[0] if len(buffers) == 1 else join(buffers)
        length = len(data)
        if length > self._max_data:
            raise ValueError(
                "%d bytes are more than the %d of max_data: send them in several messages, or raise"
                " the limit at both ends" % (length, self._max_data)
            )
        if type(fds) is tuple and not fds:
            return encode_message(data, 0), length + HEADER.size, None, None
        given = fds[:] if type(fds) is list else _arguments.list_fds(fds, self._max_fds)
        if len(given) > self._max_fds:
            raise ValueError(
                "max_fds allows %d descriptors in a message: send several, or raise the limit at"
                " both ends (%d at most)" % (self._max_fds, MAX_FDS)
            )
        passed = _arguments.descriptors_of(given)
        buffers = encode_message(data, len(passed))
        return buffers, length + HEADER.size, passed, given

    def _fds_to_send(self, given):
        """Return the descriptors again after a wait, because their objects may be closed by now.

        If the header was sent, so were the descriptors, and None is returned.
        """
        return None if self._sent or not given else _arguments.descriptors_of(given)

    def _send_some(self, buffers, length, passed):
        """Send what goes now. Return True if the message is sent; otherwise the caller waits."""
        sock = self._sock or self._open_socket()
        for _ in CALLS_PER_TURN:
            self._send_pending = True
            try:
                if self._sent or not passed and len(buffers) == 1:
                    count = sock.send(unsent_part(buffers, self._sent), SEND_NOW_FLAGS)
                elif passed:
                    count = send_now(sock, buffers, passed)
                else:
                    count = sock.sendmsg(buffers, (), SEND_NOW_FLAGS)
            except socket.error as error:
                # After an error with an errno, nothing was sent. An exception of a signal handler
                # may have none (TimeoutError), and can come after the call has sent something.
                self._send_pending = error.errno is None
                if error.errno not in RETRY_ERRNOS:
                    raise
                if error.errno == errno.EINTR:
                    continue
                return False
            self._sent += count
            self._send_pending = False
            if self._sent == length:
                self._sent = 0
                return True
        return False

    def _close_if_half_sent(self, caller):
        """Close the channel if an exception has left a message of this caller half sent."""
        if (self._sent or self._send_pending) and self._callers.get("sending") == caller:
            self._close_because("a message was sent in part")

    # Receiving

    def _receive_some(self):
        """Return the next message, or None if the caller has to wait for the rest of it.

        ``read_pending`` stays True until ``recv`` hands the message out.
        """
        sock, incoming, received = self._sock or self._open_socket(), self._incoming, None
        try:
            for _ in CALLS_PER_TURN:
                incoming.read_pending = True
                try:
                    received = receive_now(sock, incoming.read_size, incoming.read_fds)
                except socket.error as error:
                    incoming.read_pending = error.errno is None  # as in _send_some
                    if error.errno == errno.ECONNRESET and not incoming.is_empty:
                        incoming.read_pending = True
                        raise incoming.make_error("the peer has closed inside a message")
                    if error.errno not in RETRY_ERRNOS:
                        raise
                    if error.errno == errno.EINTR:
                        continue
                    return None
                data, fds = received[0], received[1]
                if not data and not fds and incoming.is_empty:
                    incoming.read_pending = False
                    raise EOFError("the peer has closed the channel, between two messages")
                data = incoming.feed(data, fds)
                if data is not None:
                    fds = adopt_all(incoming.fds) if incoming.fds else []
                    message = new_tuple(Message, (data, fds))
                    incoming.start_message()
                    return message
                incoming.read_pending = False
            return None
        except FdPassError as error:
            lost = incoming.read_fds and isinstance(error, LostFdsError)
            if lost or isinstance(error, ProtocolError):
                raise
            reason = "descriptors came with the payload, and only the header may carry them"
            raise incoming.make_error(reason, error.data, len(incoming.fds) + error.received)
        except BaseException:
            # If this exception came before or inside feed, incoming lacks some of the descriptors.
            if incoming.read_pending and received is not None:
                incoming.fds[:] = set(incoming.fds).union(received[1])
            raise

    def _close_if_half_received(self, caller):
        """Close the channel if an exception has left a message half received by this caller."""
        if self._incoming.read_pending and self._callers.get("receiving") == caller:
            self._close_because("a message was received in part")
