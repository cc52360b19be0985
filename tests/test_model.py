"""Sequences of calls against a model of what the kernel promises, on each type of socket.

The sequences are the same each time. A hundred times as many, at random:

    FDPASS_EXAMPLES=100 python -m pytest tests/test_*model.py tests/test_properties.py
"""

import errno
import os
import socket
import struct

import pytest
import six
from conftest import KINDS, TIMEOUTS
from generated import Passing, examples
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from kernel_model import NOTHING, STREAM, Pair, fitting
from test_transfer import FORMS, mode

import fdpass

DONTWAIT, PEEK = socket.MSG_DONTWAIT, socket.MSG_PEEK
RIGHTS = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS)
CREDENTIALS = (socket.SOL_SOCKET, fdpass.SCM_CREDENTIALS)
TEXT = six.text_type("text")


def numbers(files):
    return [owned.fileno() for owned in files]


def gone():
    """The number of a descriptor that was just closed: any that is opened now gets it."""
    fd = os.dup(0)
    os.close(fd)
    return fd


# The ways to give the descriptors that are to be sent.
GIVEN = {"list": numbers, "tuple": lambda files: tuple(numbers(files)), "iterator": iter, "": list}

# Calls that change nothing, and what they raise.
WRONG = [
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, TEXT, [fd])),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, [b"x", TEXT], [fd])),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd, True])),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd, 1.0])),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, b"x", b"12")),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, b"x", fd)),
    (TypeError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd], None)),
    (ValueError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd, -1])),
    (ValueError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd] * 254)),
    (ValueError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd], socket.MSG_OOB)),
    (ValueError, lambda sock, fd: fdpass.send_fds(sock, b"x", [fd], 1 << 40)),
    (ValueError, lambda sock, fd: fdpass.sendall_fds(sock, b"x", [fd], DONTWAIT)),
    (TypeError, lambda sock, fd: fdpass.sendmsg(sock, [b"x"], [RIGHTS + (fd,)])),
    ("EBADF", lambda sock, fd: fdpass.send_fds(sock, b"x", [fd, gone()])),
    ("EBADF", lambda sock, fd: fdpass.send_fds(sock, b"x", [gone()])),
    (TypeError, lambda sock, fd: fdpass.recv_fds(sock, b"9", 9, DONTWAIT)),
    (TypeError, lambda sock, fd: fdpass.recv_fds(sock, 9, None, DONTWAIT)),
    (ValueError, lambda sock, fd: fdpass.recv_fds(sock, -1, 9, DONTWAIT)),
    (ValueError, lambda sock, fd: fdpass.recv_fds(sock, 9, -1, DONTWAIT)),
    (ValueError, lambda sock, fd: fdpass.recv_fds(sock, 9, 9, DONTWAIT | socket.MSG_TRUNC)),
    (ValueError, lambda sock, fd: fdpass.recvmsg(sock, 9, -1, DONTWAIT)),
    (TypeError, lambda sock, fd: fdpass.recv_fds(None, 9, 9)),
    ("ENOTSOCK", lambda sock, fd: fdpass.recv_fds(fd, 9, 9)),
    ("ENOTSOCK", lambda sock, fd: fdpass.send_fds(fd, b"x", [fd])),
]
WRONG_ON_A_STREAM = [
    (ValueError, lambda sock, fd: fdpass.send_fds(sock, b"", [fd])),
    (ValueError, lambda sock, fd: fdpass.recv_fds(sock, 0, 9, DONTWAIT)),
]
ON_A_CLOSED_SOCKET = [
    lambda sock: fdpass.send_fds(sock, b"x", [0]),
    lambda sock: fdpass.sendmsg(sock, [b"x"]),
    lambda sock: fdpass.recv_fds(sock, 9, 9),
    lambda sock: fdpass.recvmsg(sock, 9),
]

END = st.integers(0, 1)
FORM = st.sampled_from(sorted(FORMS))
GIVEN_AS = st.sampled_from(sorted(GIVEN))
SEND_FLAGS = st.sampled_from([0, DONTWAIT, fdpass.MSG_NOSIGNAL])
YES = st.booleans()
LENGTH = st.integers(0, 4)
COUNT = st.integers(0, 3)
MESSAGES = st.lists(st.tuples(LENGTH, COUNT), min_size=1, max_size=4)
SIZE = st.one_of(st.integers(0, 3), st.integers(4, 12), st.just(65536))
ROOM = st.one_of(st.integers(0, 80), st.just(4096))
MOST = st.one_of(st.integers(0, 4), st.sampled_from([253, 254, 1 << 40]))


def outcome(call, *arguments):
    """What a call returns, or raises: the name of the errno, or a TooManyFdsError."""
    try:
        return call(*arguments)
    except fdpass.TooManyFdsError as error:
        return error
    except EnvironmentError as error:
        return errno.errorcode[error.errno]


def fds_in(ancdata):
    """The descriptors in what recvmsg gave, by the manual page alone."""
    fds = []
    for level, kind, content in ancdata:
        if (level, kind) == RIGHTS:
            fds += struct.unpack("%di" % (len(content) // 4), content)
    return fds


def known_in(ancdata):
    """Whether the kernel knew who sent it; None where it has not told, or only in part."""
    me = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    told = [content for level, kind, content in ancdata if (level, kind) == CREDENTIALS]
    return told[0] == me if told and len(told[0]) == len(me) else None


class Calls(Passing):
    """Two sockets and the model of them, to which the same is done."""

    kind = None

    def connect(self):
        self.model = Pair(self.kind)
        self.ends = socket.socketpair(socket.AF_UNIX, self.kind)
        self.timeouts = [None, None]
        self.closed = self.closed_name = None

    @invariant()
    def the_modes_are_as_they_were_set(self):
        for end in self.open_ends():
            sock, timeout = self.ends[end], self.timeouts[end]
            assert sock.gettimeout() == timeout
            assert bool(mode(sock.fileno()) & os.O_NONBLOCK) == (timeout is not None)

    def open_ends(self):
        return [end for end in (0, 1) if end != self.closed]

    def open_one(self, end):
        """That end, or the other where it is closed; there are two new ones after a while."""
        if self.is_whole():
            return end
        self.patience -= 1
        if self.patience:
            return 1 - self.closed
        self.drain(1 - self.closed)
        for sock in self.ends:
            sock.close()
        self.connect()
        return end

    def is_whole(self):
        return self.closed is None

    def ready_one(self, end):
        """That end, or the other where nothing is to be read from it."""
        end = self.open_one(end)
        ready = self.model.ends[end].pieces or not self.model.ends[1 - end].pieces
        return end if ready else 1 - end

    def named(self, end, form):
        return FORMS[form](self.ends[end])

    def name(self, end):
        """The address that what it sends comes from, which a stream does not tell.

        With SO_PASSCRED on, sending binds a socket to a name of the kernel's (unix(7), autobind).
        """
        if self.kind == STREAM:
            return None
        return (self.closed_name if end == self.closed else self.ends[end].getsockname()) or None

    def flags(self, end, form, peek):
        """With which a read returns at once; None where it waits whatever they are."""
        flags = PEEK if peek else 0
        if self.model.would_wait(end):
            if form == "object" and self.timeouts[end]:
                return None
            if self.timeouts[end] is None:
                flags |= DONTWAIT
        return flags

    # Sending

    @rule(end=END, form=FORM, messages=MESSAGES, given=GIVEN_AS, flags=SEND_FLAGS)
    def send_fds(self, end, form, messages, given, flags):
        end = self.open_one(end)
        sock = self.named(end, form)
        for length, count in messages:
            data, things = self.payload(length), self.things(count)
            fds = GIVEN[given](self.given(things))
            if things and not data and self.kind == STREAM:
                with pytest.raises(ValueError):
                    fdpass.send_fds(sock, data, fds, flags)
            else:
                taken = self.model.send(end, data, things)
                assert outcome(fdpass.send_fds, sock, data, fds, flags) == taken

    @rule(end=END, form=FORM, lengths=st.lists(LENGTH, max_size=3), count=COUNT, given=GIVEN_AS)
    def sendall_fds(self, end, form, lengths, count, given):
        end = self.open_one(end)
        parts, things = [self.payload(length) for length in lengths], self.things(count)
        data, fds = b"".join(parts), GIVEN[given](self.given(things))
        sock = self.named(end, form)
        waits = self.timeouts[end] is None or self.timeouts[end] and form == "object"
        if not waits or things and not data and self.kind == STREAM:
            with pytest.raises(ValueError):
                fdpass.sendall_fds(sock, parts, fds)
        else:
            taken = self.model.send(end, data, things)
            answer = None if taken == len(data) else taken
            assert outcome(fdpass.sendall_fds, sock, parts, fds) == answer

    @rule(end=END, form=FORM, length=LENGTH, count=COUNT, first=COUNT)
    def sendmsg(self, end, form, length, count, first):
        """The descriptors in one control message, or in two, which Linux puts into one."""
        end = self.open_one(end)
        data, things = self.payload(length), self.things(count)
        fds = numbers(self.given(things))
        ancdata = [
            RIGHTS + (struct.pack("%di" % len(part), *part),)
            for part in (fds[:first], fds[first:])
            if part
        ]
        taken = self.model.send(end, data, things)
        assert outcome(fdpass.sendmsg, self.named(end, form), [data], ancdata) == taken

    @rule(end=END, length=LENGTH)
    def plain_send(self, end, length):
        end = self.open_one(end)
        data = self.payload(length)
        assert outcome(self.ends[end].send, data) == self.model.send(end, data, [])

    # Receiving

    def read(self, end, form, size, peek, call):
        """(what a read gives, what the model gives, the sender); None where it gives nothing."""
        flags = self.flags(end, form, peek)
        if flags is None:
            return None
        promised = self.model.read(end, size, peek)
        given = outcome(call, self.named(end, form), flags)
        if isinstance(promised, str):
            assert given == promised
            return None
        return given, promised, None if promised is NOTHING else self.name(1 - end)

    @rule(end=END, form=FORM, size=SIZE, most=MOST, peek=YES, keep=YES)
    def recv_fds(self, end, form, size, most, peek, keep):
        self.receive(self.ready_one(end), form, size, most, peek, keep)

    def receive(self, end, form, size, most, peek, keep):
        size = size or int(self.kind == STREAM)
        read = self.read(
            end, form, size, peek, lambda sock, flags: fdpass.recv_fds(sock, size, most, flags)
        )
        if read:
            given, (data, things, _known, flags), sender = read
            assert (given.data, given.flags, given.address) == (data, flags, sender)
            if len(things) > most:
                assert isinstance(given, fdpass.TooManyFdsError)
                assert given.received == len(things)
            else:
                self.arrived(given.fds, things, keep)

    def drain(self, end):
        """Read until nothing is left, and once more."""
        left = True
        while left:
            left = bool(self.model.ends[end].pieces)
            self.receive(end, "int", 65536, 253, False, False)

    @rule(end=END, form=FORM, size=SIZE, room=ROOM, peek=YES, keep=YES)
    def recvmsg(self, end, form, size, room, peek, keep):
        end = self.ready_one(end)
        read = self.read(
            end, form, size, peek, lambda sock, flags: fdpass.recvmsg(sock, size, room, flags)
        )
        if read:
            (data, ancdata, flags, address), promised, sender = read
            things, known, promised_flags = fitting(promised, room)
            self.arrived(fds_in(ancdata), things, keep)
            assert (data, address) == (promised.data, sender)
            if promised is not NOTHING:
                assert (known_in(ancdata), flags) == (known, promised_flags)

    @rule(end=END, size=st.integers(1, 9), peek=YES)
    def plain_recv(self, end, size, peek):
        """Which throws descriptors away."""
        end = self.ready_one(end)
        read = self.read(end, "object", size, peek, lambda sock, flags: sock.recv(size, flags))
        assert read is None or read[0] == read[1].data

    @rule(end=END)
    def read_all(self, end):
        self.drain(self.ready_one(end))

    # The sockets themselves

    @rule(end=END)
    def switch_credentials(self, end):
        end = self.open_one(end)
        on = not self.model.ends[end].passcred
        self.ends[end].setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, int(on))
        self.model.ends[end].passcred = on

    @rule(end=END, timeout=st.sampled_from(sorted(TIMEOUTS)))
    def switch_mode(self, end, timeout):
        end = self.open_one(end)
        self.timeouts[end] = TIMEOUTS[timeout]
        self.ends[end].settimeout(TIMEOUTS[timeout])

    @rule(end=END, form=FORM, number=st.integers(0, len(WRONG + WRONG_ON_A_STREAM) - 1))
    def something_wrong(self, end, form, number):
        wrong = WRONG + WRONG_ON_A_STREAM if self.kind == STREAM else WRONG
        error, call = wrong[number % len(wrong)]
        sock, fd = self.named(self.open_one(end), form), self.files[0].fileno()
        if not isinstance(error, str):
            with pytest.raises(error):
                call(sock, fd)
        elif self.is_whole():  # with a peer that has gone, another errno can come first
            assert outcome(call, sock, fd) == error

    @precondition(is_whole)
    @rule(end=END)
    def close(self, end):
        pieces = self.model.ends[end].pieces
        if pieces and not pieces[0].data:
            return  # kernels differ on whether that is something unread
        self.closed_name = self.name(end)
        self.closed, self.patience = end, 5
        self.ends[end].close()
        self.model.close(end)

    @precondition(lambda self: not self.is_whole())
    @rule(form=st.sampled_from(["object", "fileno"]), call=st.sampled_from(ON_A_CLOSED_SOCKET))
    def use_a_closed_one(self, form, call):
        assert outcome(call, self.named(self.closed, form)) == "EBADF"


@pytest.mark.usefixtures("untraced")  # it takes up to four times as long under coverage
@pytest.mark.parametrize("name", sorted(KINDS))
def test_any_sequence_of_calls(name):
    machine = type(name, (Calls,), {"kind": KINDS[name]})
    run_state_machine_as_test(machine, settings=examples(100, steps=30))
