"""What every channel does but for waiting: messages over a stream socket, as far as they go now."""

import errno
import socket
import sys

from . import _arguments
from ._errors import FdPassError, LostFdsError, ProtocolError
from ._socket_holder import MAX_DATA, Message, Owner, check_stream, limits
from ._sockets import peer_credentials
from ._system import (
    MAX_FDS,
    MSG_DONTWAIT,
    SO_ACCEPTCONN,
    SOL_SOCKET,
    getsockopt,
    is_blocking,
    joined,
    set_inheritable,
    view,
    whole_socket,
)
from ._transfer import receive_now, send_now
from ._waiting import AGAIN
from ._wire_format import HEADER, Incoming, rest, wire
from .descriptor import owners

PASSING = AGAIN + (errno.EINTR,)  # the second before PEP 475, and so before 3.5
METHODS = ("send", "sendmsg", "recvmsg")
PACKAGE = __name__.rpartition(".")[0] + "."
new = tuple.__new__  # past the Python of a namedtuple's constructor
# How many system calls to make for one message before waiting, and so letting others have a turn.
TURN = (None,) * 16


def has_failed(sock):
    """Whether a call of sock's has failed, by the exception that is being handled.

    Else it is a signal handler's, of whatever errno, which can run when the call has done its work.
    The first frame that is not of this package is the handler's then; or it is of the method, where
    that is written in Python, as gevent's are.
    """
    traceback = sys.exc_info()[2]
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        if not frame.f_globals.get("__name__", "").startswith(PACKAGE):
            methods = (getattr(sock, name, None) for name in METHODS)
            return any(getattr(method, "__code__", None) is frame.f_code for method in methods)
    return True


class Framed(Owner):
    """A channel without its waiting: what `Channel` and its async twin stand on."""

    def __init__(self, sock, max_data=MAX_DATA, max_fds=MAX_FDS):
        self._max_data, self._max_fds = limits(max_data, max_fds)
        check_stream(sock, "Channel")
        if getsockopt(sock, SOL_SOCKET, SO_ACCEPTCONN):
            raise ValueError("that socket listens: Listener.from_socket takes such a one")
        self._incoming = Incoming(self._max_data, self._max_fds)
        # Of the message that is being sent: how many bytes have gone; and whether more may have.
        self._sent, self._unsettled = 0, False
        self._owners = {}  # who is sending, and who receiving; dict.setdefault is atomic
        # Each call says MSG_DONTWAIT, so the mode, which others may share, stays as it is. One with
        # a timeout would wait in it all the same, and so would gevent's, whatever its flags say.
        if not is_blocking(sock.fileno()):
            sock.settimeout(0)
        elif sock.gettimeout() is not None:  # another holder has changed the mode behind its back
            sock.settimeout(None)
        self._sock = sock

    @classmethod
    def pair(cls, max_data=MAX_DATA, max_fds=MAX_FDS):
        """Two channels, connected to each other; the arguments are those of the class."""
        ends = [whole_socket(end) for end in socket.socketpair()]
        try:
            return tuple([cls._made(end, max_data, max_fds) for end in ends])
        except BaseException:
            for end in ends:
                end.close()
            raise

    @classmethod
    def _made(cls, sock, max_data, max_fds):
        """A channel on a socket made here, which is closed if that fails."""
        try:
            set_inheritable(sock.fileno(), False)  # Python 2's is not close-on-exec
            sock.settimeout(None)  # whatever socket.setdefaulttimeout says
            return cls(sock, max_data, max_fds)
        except BaseException:
            sock.close()
            raise

    def close(self):
        """Close the socket, and what has arrived of an unfinished message."""
        sock, self._sock = self._sock, None
        self._close_incoming()
        if sock is not None:
            self._close_socket(sock)

    @property
    def peer(self):
        """`fdpass.Credentials` of who called connect, or for one who connected, listen.

        Of a pair, who made it, at both ends. See `fdpass.peer_credentials`.
        """
        return peer_credentials(self._open())

    def _break(self, why):
        """Close the channel, since where the next message begins cannot be told any more."""
        if self._sock is not None:
            self._why = ", since " + why
        self.close()

    def _own(self, doing, who):
        """Be the one who is sending, or receiving, until it is taken out of the owners.

        A thread that an exception stopped in between still is, and comes in again.
        """
        if self._owners.setdefault(doing, who) != who:
            self._open()
            raise self._busy(doing)

    def _disown(self, doing, who):
        if self._owners.get(doing) == who:
            del self._owners[doing]

    def _disown_receiving(self, who):
        self._disown("receiving", who)
        if self._sock is None:  # the channel was closed meanwhile
            self._close_incoming()

    def _close_incoming(self):
        """Close what has arrived, if nobody receives: else they do, even in this very thread."""
        who = object()  # nobody else, and for good: nothing is received on a closed channel
        if self._owners.setdefault("receiving", who) is who:
            self._incoming.close()

    def _begin_send(self, data, fds):
        """(buffers to send, how many bytes they have, numbers to send, what keeps those open)."""
        if type(data) is not bytes:
            buffers = _arguments.buffers(data, view)
            data = buffers[0] if len(buffers) == 1 else joined(buffers)
        length = len(data)
        if length > self._max_data:
            raise ValueError(
                "%d bytes are more than the %d of max_data: send them in several messages, or raise"
                " the limit at both ends" % (length, self._max_data)
            )
        if type(fds) is tuple and not fds:
            return wire(data, 0), length + HEADER.size, None, None
        things = fds[:] if type(fds) is list else _arguments.listed(fds, self._max_fds)
        if len(things) > self._max_fds:
            raise ValueError(
                "max_fds allows %d descriptors in a message: send several, or raise the limit at"
                " both ends (%d at most)" % (self._max_fds, MAX_FDS)
            )
        numbers = [_arguments.descriptor(thing) for thing in things]
        buffers = wire(data, len(numbers))
        return buffers, length + HEADER.size, numbers, things

    def _numbers(self, things):
        """The numbers again, after a wait: what was closed meanwhile may be another's number."""
        return None if self._sent or not things else list(map(_arguments.descriptor, things))

    def _send_some(self, buffers, length, numbers):
        """Send as much as goes now; returns whether that was all of it. If not, wait."""
        sock = self._sock or self._open()
        for _ in TURN:
            self._unsettled = True
            try:
                if self._sent or not numbers and len(buffers) == 1:
                    count = sock.send(rest(buffers, self._sent), MSG_DONTWAIT)
                elif numbers:
                    count = send_now(sock, buffers, numbers)
                else:
                    count = sock.sendmsg(buffers, (), MSG_DONTWAIT)
            except socket.error as error:
                self._unsettled = not has_failed(sock)
                if self._unsettled or error.errno not in PASSING:
                    raise
                if error.errno == errno.EINTR:
                    continue
                return False
            self._sent += count
            self._unsettled = False
            if self._sent == length:
                self._sent = 0
                return True
        return False

    def _check_sending(self, who):
        """Close the channel if an exception has left a message of theirs half sent."""
        if (self._sent or self._unsettled) and self._owners.get("sending") == who:
            self._break("a message was sent in part")

    def _receive_some(self):
        """The next message; None where the rest of it is to be waited for.

        Until ``recv`` hands the message out, it is unsettled.
        """
        sock, incoming, received = self._sock or self._open(), self._incoming, None
        try:
            for _ in TURN:
                incoming.unsettled = True
                try:
                    received = receive_now(sock, incoming.size, incoming.most)
                except socket.error as error:
                    incoming.unsettled = not has_failed(sock)
                    if incoming.unsettled:
                        raise
                    if error.errno == errno.ECONNRESET and not incoming.untouched:
                        incoming.unsettled = True
                        raise incoming.broken("the peer has closed inside a message")
                    if error.errno not in PASSING:
                        raise
                    if error.errno == errno.EINTR:
                        continue
                    return None
                data, fds = received[0], received[1]
                if not data and not fds and incoming.untouched:
                    incoming.unsettled = False
                    raise EOFError("the peer has closed the channel, between two messages")
                data = incoming.take(data, fds)
                if data is not None:
                    message = new(Message, (data, owners(incoming.fds) if incoming.fds else []))
                    incoming.begin()
                    return message
                incoming.unsettled = False
            return None
        except FdPassError as error:
            lost = incoming.most and isinstance(error, LostFdsError)
            if lost or isinstance(error, ProtocolError):
                raise
            why = "descriptors came with the payload, and only the header may carry them"
            raise incoming.broken(why, error.data, len(incoming.fds) + error.received)
        except BaseException:
            if incoming.unsettled and received is not None:  # not taken yet, or just being taken
                incoming.fds[:] = set(incoming.fds).union(received[1])
            raise

    def _check_receiving(self, who):
        """Close the channel if an exception has left a message half received by them."""
        if self._incoming.unsettled and self._owners.get("receiving") == who:
            self._break("what was received is not whole")
