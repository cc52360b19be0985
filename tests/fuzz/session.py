"""A channel with a hostile peer, one operation of either after the other."""

import errno
import os
import select
import socket

from conftest import closing, lowered, open_descriptors

import fdpass

from .peer import Peer, identity, unread
from .reference import ANY, BROKEN, END, LOST, MESSAGE, MORE, Wire

CLOSED, RESET = "closed", "reset"  # what the system says, beside the reference's words
SENT, OVER, LATE, REFUSED = "sent", "over", "late", "refused"  # what came of the channel's send
WORDS = {errno.EBADF: CLOSED, errno.ECONNRESET: RESET}
GONE = (errno.EPIPE, errno.ECONNRESET)
SO_PASSPIDFD = 76  # Linux 6.5; no Python here names it
BUFFER = 2304  # bytes that the channel can have under way: less than many messages have
NOTHING = b"", []  # bytes, and identities of descriptors


class Poll(object):
    """In the place of select.poll, as gevent's: while one waits, another runs."""

    def __init__(self, session):
        self.session = session

    def register(self, fd, event):
        pass

    def poll(self, timeout):
        self.session.wait()
        return [(0, 0)]


class Session(object):
    """The two ends, and what has to come of each operation.

    ``out`` is what the channel has sent, bytes and identities of descriptors; ``part`` the message
    that it is sending, or had begun to send when it broke. ``told`` are the words for what came.
    ``turns`` is how many operations the peer does while the channel waits, before it is too late.
    """

    def __init__(self, program, max_data, max_fds):
        self.program, self.wire = program, Wire(max_data, max_fds)
        self.files = [os.open(path, os.O_RDONLY) for path in (os.devnull, "/dev/zero", "/")]
        self.end, other = socket.socketpair()
        self.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.channel = fdpass.Channel(self.end, max_data, max_fds)
        # The channel's own socket is passed around, too, as long as it is open.
        self.peer = Peer(other, program, self.wire, self.files + [self.end.fileno()])
        self.others = set(self.files + [other.fileno()])
        self.before = set(open_descriptors()) - self.others - {self.end.fileno()}
        self.out, self.part, self.told = NOTHING, NOTHING, []
        self.turns = 0

    def close(self):
        with closing(self.channel, self.peer, *self.files):
            pass

    def run(self):
        """Do what the program says, and then what is left to do; returns what was told."""
        usual, select.poll = select.poll, lambda: Poll(self)
        try:
            while self.program.left:
                self.operation(OPERATIONS)
            self.drain()
            self.hang_up()
            while self.recv() in (MESSAGE, RESET):
                pass
            self.shut()
        finally:
            select.poll = usual
        return self.told

    def operation(self, known):
        code = self.program.byte()
        known.get(code, known[sorted(known)[code % len(known)]])(self)

    def wait(self):
        """The channel waits for the peer: its turn."""
        if not (self.turns and self.program.left):
            raise socket.timeout("timed out")
        self.turns -= 1
        self.operation(OF_PEER)

    def put_in_two(self):
        self.peer.put_in_two(self.recv)

    def set_turns(self):
        self.turns = self.program.byte()

    def hang_up(self):
        self.others.discard(self.peer.sock.fileno())
        self.peer.close()

    def switch(self, option):
        """Have the kernel add control messages to all that the channel receives, or no more."""
        value = self.program.byte() % 2
        if not self.channel.closed and option is not None:
            try:
                self.end.setsockopt(socket.SOL_SOCKET, option, value)
            except socket.error:
                pass  # an older kernel has no such option

    def drain(self):
        """All that was sent arrives; and of a message cut short its beginning, not its end."""
        while self.get(1 << 16):
            pass
        if not self.peer.closed:
            missing = len(self.out[0] + self.part[0]) - len(self.peer.got[0])
            assert (0 < missing < len(self.part[0])) if self.part[0] else missing == 0
            assert self.peer.got[1] == self.out[1] + self.part[1]

    def get(self, size):
        some = self.peer.get(size)
        for whole, part, got in zip(self.out, self.part, self.peer.got):
            assert (whole + part)[: len(got)] == got
        return some

    def recv(self, room=ANY):
        """Receive, where so many more descriptors can be opened; returns the word for it."""
        was_closed = self.channel.closed
        if room == ANY:
            told = self.received()
        else:
            self.turns = 0  # the peer is of this process, and its limits are the same
            with lowered(room):
                told = self.received()
        expected = (CLOSED,) if was_closed else self.wire.receive(room)
        if told[0] == RESET and self.peer.reset and expected[0] in (END, BROKEN):
            self.peer.reset = False  # in place of the end, once
        elif not self.peer.urgent:
            assert told == expected[: len(told)]
        assert self.channel.closed == (told[0] in (BROKEN, LOST, CLOSED))
        if self.channel.closed:
            self.check_released()
        elif not self.peer.urgent:
            assert unread(self.end) == len(self.wire.sent) - self.wire.read
        self.told.append(told[0])
        return told[0]

    def received(self):
        """What recv gives, in the reference's words; what is not documented gets through."""
        try:
            with self.channel.recv() as message:
                assert not any(fd.inheritable for fd in message.fds)
                return MESSAGE, message.data, [identity(fd.fileno()) for fd in message.fds]
        except EOFError:
            return (END,)
        except fdpass.LostFdsError:
            return (LOST,)
        except fdpass.ProtocolError as error:
            assert self.peer.urgent or self.wire.begun().startswith(error.data)
            return (BROKEN,)
        except socket.timeout:
            return (MORE,)
        except socket.error as error:
            if error.errno not in WORDS:
                raise
            return (WORDS[error.errno],)

    def recv_at_limit(self):
        self.recv(self.program.byte() % 8)

    def send(self):
        whole, fds = self.peer.message()
        data, was_closed = whole[8:], self.channel.closed
        over = len(data) > self.wire.max_data or len(fds) > self.wire.max_fds
        if not (was_closed or over):
            self.part = whole, [identity(fd) for fd in fds]
        told = self.sent(data, fds)
        assert over == (told == OVER)
        assert over or was_closed == (told == CLOSED)
        assert told != LATE or unread(self.peer.sock) > 0
        if self.channel.closed:
            assert was_closed or told in (LATE, REFUSED)
            self.check_released()
        else:
            if told == SENT:
                self.out = self.out[0] + self.part[0], self.out[1] + self.part[1]
            self.part = NOTHING
            assert len(self.peer.got[0]) <= len(self.out[0])
        self.told.append(told)

    def sent(self, data, fds):
        try:
            self.channel.send(data, fds)
        except ValueError:
            return OVER
        except socket.timeout:
            return LATE
        except socket.error as error:
            if error.errno == errno.EBADF:
                return CLOSED
            # Of an unprivileged user, what is under way to itself counts until it is collected.
            assert error.errno == errno.ETOOMANYREFS or self.peer.deaf and error.errno in GONE
            return REFUSED
        return SENT

    def shut(self):
        self.channel.close()
        self.check_released()

    def check_released(self):
        """The channel is closed, and has nothing left."""
        assert set(open_descriptors()) == self.before | self.others


OF_PEER = {
    ord("a"): lambda session: session.peer.put_anything(),
    ord("c"): lambda session: session.switch(fdpass.SO_PASSCRED),
    ord("d"): lambda session: session.peer.shut_down(),
    ord("g"): lambda session: session.get(1 + session.program.size()),
    ord("h"): lambda session: session.peer.put_header(),
    ord("m"): lambda session: session.peer.put_message(),
    ord("p"): lambda session: session.switch(SO_PASSPIDFD),
    ord("u"): lambda session: session.peer.put_urgent(),
    ord("x"): Session.hang_up,
}
OPERATIONS = dict(OF_PEER)
OPERATIONS.update(
    {
        ord("l"): Session.recv_at_limit,
        ord("r"): Session.recv,
        ord("s"): Session.send,
        ord("t"): Session.put_in_two,
        ord("w"): Session.set_turns,
        ord("z"): Session.shut,
    }
)
