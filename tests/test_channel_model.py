"""Sequences of what two channels, and a peer that writes their format by hand, may do.

``test_model.py`` tells how a long, random run is made.
"""

import errno
import socket
import struct

import pytest
import six
from conftest import closing, header, raises_errno
from generated import Passing, examples
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

import fdpass
from fdpass import Channel

MAX_DATA, MAX_FDS = 300000, 4
BUFFER = 1 << 17  # bytes that a socket holds; the messages in it never have so many
TOO_LONG = 1 << 18
LARGE = (1 << 14) + 1  # a payload of that length is not copied to be sent
SHORT = 0.001  # seconds, to wait for what does not come

END = st.integers(0, 1)
LENGTH = st.one_of(st.integers(0, 20), st.just(LARGE))
COUNT = st.integers(0, MAX_FDS)
PIECE = st.one_of(st.integers(1, 12), st.just(1 << 20))
YES = st.booleans()


def lie(*fields):
    return struct.pack("!IHBB", *fields)


# What is no message: pieces, each with how many descriptors come with it.
LIES = [
    [(lie(0, 0, 2, 0), 0)],
    [(lie(0, 2, 1, 1), 2)],
    [(lie(MAX_DATA + 1, 1, 1, 0), 1)],
    [(lie(0, 1, 1, 0), 0)],
    [(lie(0, 1, 1, 0), 2)],
    [(lie(0, MAX_FDS + 1, 1, 0), MAX_FDS + 1)],
    [(lie(0, 3, 1, 0)[:5], 1), (lie(0, 3, 1, 0)[5:], 1)],
    [(header(3, 1), 1), (b"abc", 1)],
    [(header(3, 0), 0), (b"ab", 0), (b"c", 2)],
]
WRONG = [
    (ValueError, lambda channel, fd: channel.send(b"", [fd] * (MAX_FDS + 1))),
    (ValueError, lambda channel, fd: channel.send(b"x" * (MAX_DATA + 1), [fd])),
    (ValueError, lambda channel, fd: channel.send(b"x", [fd, -1])),
    (TypeError, lambda channel, fd: channel.send(six.text_type("text"), [fd])),
    (TypeError, lambda channel, fd: channel.send(b"x", fd)),
    (TypeError, lambda channel, fd: channel.settimeout("1")),
    (ValueError, lambda channel, fd: channel.settimeout(0)),
]


class Way(object):
    """One direction, as its writer and the kernel know it."""

    def __init__(self):
        self.messages = []  # (data, things) of each that is whole and not received; None: a lie
        self.begun = None  # one that is written by hand, until it is whole
        self.missing = b""  # of that one
        self.unread = False  # whether its reader has not seen all that there is of it
        self.inside = 0  # how many of its descriptors the reader has
        self.ended = False
        self.reset = False  # the reader is to be told ECONNRESET, once


class Channels(Passing):
    def connect(self):
        left, right = socket.socketpair()
        for end in left, right:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER // 2)  # doubled: socket(7)
        self.ends = [Channel(end, MAX_DATA, MAX_FDS) for end in (left, right)]
        self.ways = [Way(), Way()]  # by who writes
        self.open = [True, True]
        self.age, self.patience = 0, 9

    def open_ends(self):
        return [end for end in (0, 1) if self.open[end]]

    def unfinished(self):
        return sum(way.inside for way in self.ways)

    @invariant()
    def those_are_closed_that_should_be(self):
        assert [channel.closed for channel in self.ends] == [not is_open for is_open in self.open]

    def one(self, end):
        """That end, or the other where it is closed; there are two new ones after a while."""
        self.age += 1
        if any(way.ended for way in self.ways):
            self.patience -= 1
        if not (self.patience and any(self.open)):
            for channel in self.ends:
                channel.close()
            self.connect()
        return end if self.open[end] else 1 - end

    def ready_one(self, end):
        """That end, or the other where nothing has come to it."""
        end = self.one(end)
        return end if self.comes_to(end) or not self.open[1 - end] else 1 - end

    def comes_to(self, end):
        way = self.ways[1 - end]
        return way.messages or way.unread or way.ended

    def shut(self, end):
        """That channel is closed, and what it has not read is lost."""
        to_it = self.ways[1 - end]
        self.open[end] = False
        self.ways[end].ended = True
        self.ways[end].reset = bool(to_it.messages or to_it.unread)
        to_it.messages, to_it.begun, to_it.unread, to_it.inside = [], None, False, 0

    def message(self, end, length, count):
        """(data, things), of so many bytes unless the socket might not hold as many."""
        waiting = sum(len(told[0]) for told in self.ways[end].messages if told)
        return self.payload(length if waiting < BUFFER // 4 else length % LARGE), self.things(count)

    def by_hand(self, end, data, things):
        with closing(fdpass.socket_from_fd(self.ends[end].fileno(), dup=True)) as (sock,):
            assert fdpass.send_fds(sock, data, self.given(things)) == len(data)

    def is_ripe(self):
        """Whether they may end: something has been sent before."""
        return self.age > 8

    def can_write(self, end):
        return self.open[1 - end] and not self.ways[end].ended

    # Sending

    @rule(end=END, messages=st.lists(st.tuples(LENGTH, COUNT), min_size=1, max_size=3))
    def send(self, end, messages):
        end = self.one(end)
        way = self.ways[end]
        if way.begun:
            return
        self.ends[end].settimeout(20)
        for length, count in messages:
            data, things = self.message(end, length, count)
            if self.can_write(end):
                self.ends[end].send(data, self.given(things))
                way.messages.append((data, things))
            else:
                with raises_errno(errno.EPIPE):
                    self.ends[end].send(data, self.given(things))

    @precondition(is_ripe)
    @rule(end=END, count=COUNT)
    def send_too_much(self, end, count):
        """The time is over when a part has gone."""
        end = self.one(end)
        way = self.ways[end]
        if way.begun or not self.can_write(end):
            return
        things = self.things(count)
        self.ends[end].settimeout(SHORT)
        with pytest.raises(socket.timeout):
            self.ends[end].send(b"x" * TOO_LONG, self.given(things))
        way.begun, way.unread = (b"", things), True
        self.shut(end)

    @rule(end=END, length=LENGTH, count=COUNT, size=PIECE)
    def write_a_piece(self, end, length, count, size):
        end = self.one(end)
        way, things = self.ways[end], []
        if not self.can_write(end):
            return
        if not way.begun:
            data, things = way.begun = self.message(end, length, count)
            way.missing = header(len(data), count) + data
        self.by_hand(end, way.missing[:size], things)
        way.missing, way.unread = way.missing[size:], True
        if not way.missing:
            way.messages.append(way.begun)
            way.begun, way.unread = None, False

    @precondition(is_ripe)
    @rule(end=END, pieces=st.sampled_from(LIES), at_once=YES)
    def write_a_lie(self, end, pieces, at_once):
        end = self.one(end)
        if not self.can_write(end) or self.ways[end].begun:
            return
        for data, count in pieces:
            self.by_hand(end, data, self.things(count))
        self.ways[end].messages.append(None)
        while at_once and self.open[1 - end]:
            self.read(1 - end, Channel.recv, EOFError, False)

    # Receiving

    def promised(self, end):
        """(data, things) of the message that it receives, or what is raised."""
        way = self.ways[1 - end]
        if way.messages:
            message, way.inside = way.messages.pop(0), 0
            if message is None:
                self.shut(end)
            return message or fdpass.ProtocolError
        if way.unread:
            way.unread, way.inside = False, len(way.begun[1])
        if way.reset and not way.begun:  # inside a message, it is the end like any other
            way.reset = False
            return errno.ECONNRESET
        if not way.ended:
            return socket.timeout
        if way.begun:
            self.shut(end)
            return fdpass.ProtocolError
        return EOFError

    @rule(end=END, keep=YES, waits=st.integers(0, 4))
    def recv(self, end, keep, waits):
        end = self.ready_one(end)
        if not waits or self.comes_to(end):
            self.read(end, Channel.recv, EOFError, keep)

    @rule(end=END, keep=YES)
    def iterate(self, end, keep):
        end = self.ready_one(end)
        if self.comes_to(end):
            self.read(end, next, StopIteration, keep)

    def read(self, end, call, at_the_end, keep):
        promised, channel = self.promised(end), self.ends[end]
        channel.settimeout(SHORT if promised is socket.timeout else 20)
        if isinstance(promised, tuple):
            with call(channel) as message:
                assert message.data == promised[0]
                self.arrived([owned.detach() for owned in message.fds], promised[1], keep)
        elif promised == errno.ECONNRESET:
            with pytest.raises(socket.error) as caught:
                call(channel)
            assert caught.value.errno == promised
        else:
            with pytest.raises(at_the_end if promised is EOFError else promised):
                call(channel)

    # The channels themselves

    @precondition(is_ripe)
    @rule(end=END)
    def half_close(self, end):
        end = self.one(end)
        with closing(fdpass.socket_from_fd(self.ends[end].fileno(), dup=True)) as (sock,):
            sock.shutdown(socket.SHUT_WR)
        self.ways[end].ended = True

    @precondition(is_ripe)
    @rule(end=END)
    def close(self, end):
        end = self.one(end)
        self.ends[end].close()
        self.shut(end)

    @rule(end=END, wrong=st.sampled_from(WRONG))
    def something_wrong(self, end, wrong):
        error, call = wrong
        with pytest.raises(error):
            call(self.ends[self.one(end)], self.files[0])

    @precondition(lambda self: not all(self.open))
    @rule()
    def use_a_closed_one(self):
        channel = self.ends[self.open.index(False)]
        channel.close()
        for call in channel.recv, channel.send, channel.fileno:
            with raises_errno(errno.EBADF):
                call()


@pytest.mark.usefixtures("untraced")  # it takes up to four times as long under coverage
def test_any_sequence_of_messages():
    run_state_machine_as_test(Channels, settings=examples(150, steps=30))
