"""What holds of the parts that do no input or output, whatever they are given.

``test_model.py`` tells how a long, random run is made.
"""

import itertools
import os
import socket
import struct

import pytest
from conftest import header, open_descriptors
from generated import another_example, examples
from hypothesis import given
from hypothesis import strategies as st
from inside import control, wire_format
from kernel_model import STREAM, Pair

import fdpass

Incoming = wire_format.Incoming
HEADER, READ = struct.Struct("!IHBB"), 1 << 16
MAX_DATA, MAX_FDS = READ + 1, 5  # a receiver's limits
LARGE = 1 << 14  # a payload from this length on is not copied to be sent
LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([LARGE, LARGE + 1, READ, READ + 1]))
COUNTS = st.integers(0, MAX_FDS)
# In how many bytes something is written, read or sent at a time.
STEPS = st.lists(st.one_of(st.integers(1, 12), st.just(1 << 20)), min_size=1, max_size=4)
# The reads of a header: how many bytes, and how many descriptors come with them.
SIZES = st.one_of(st.just(HEADER.size), st.integers(1, HEADER.size))
ARRIVALS = st.one_of(st.just(0), st.integers(0, MAX_FDS + 2), st.just(fdpass.MAX_FDS))
READS = st.lists(st.tuples(SIZES, ARRIVALS), min_size=1, max_size=8)
# What is wrong in a header: which field, and what it says.
LIES = st.one_of(
    st.just((0, 0)),
    st.tuples(st.just(0), st.sampled_from([MAX_DATA, MAX_DATA + 1, (1 << 32) - 1])),
    st.tuples(st.just(1), st.one_of(st.integers(0, MAX_FDS + 2), st.integers(0, (1 << 16) - 1))),
    st.tuples(st.sampled_from([2, 3]), st.integers(0, 255)),
)


def payload(length, turn=0):
    """Bytes that differ from their neighbours and from another turn's."""
    return bytes(bytearray(range(251)) * (length // 251 + 2))[turn : turn + length]


def duplicates(count):
    return [os.dup(0) for _ in range(count)]


class Table(object):
    """No descriptor is left open in its block, nor after it where the block failed."""

    def __enter__(self):
        another_example()
        self.before = set(open_descriptors())

    def __exit__(self, kind, *exc_info):
        left = set(open_descriptors()) - self.before
        for fd in left:
            os.close(fd)
        assert kind or not left


def written(stream, message, fds, steps, counts):
    """Send a message in pieces; the descriptors come with some of those that begin its header."""
    fds, at = list(fds), 0
    while at < len(message):
        size = max(next(steps), at // 8)  # a long one takes no more steps for each byte
        count = next(counts) if at + size < HEADER.size else len(fds)
        stream.send(0, message[at : at + size], fds[:count])
        fds, at = fds[count:], at + size


def taken(incoming, stream, steps):
    """Read as Incoming asks until the message is complete; the payload."""
    at, data = 0, None
    while data is None:
        assert incoming.read_fds == (fdpass.MAX_FDS if at < HEADER.size else 0)
        assert 0 < incoming.read_size <= (HEADER.size - at if at < HEADER.size else READ)
        arrived = stream.read(1, min(max(next(steps), at // 8), incoming.read_size), False)
        assert len(arrived.things) <= incoming.read_fds
        given = list(arrived.things)
        data = incoming.feed(arrived.data, given)
        assert given == []
        at += len(arrived.data)
    return data


@given(
    st.lists(st.tuples(LENGTHS, COUNTS), max_size=4),
    STEPS,
    STEPS,
    st.lists(COUNTS, min_size=1, max_size=3),
)
@examples(150)
def test_any_split_of_any_messages_gives_them_back(messages, writes, reads, counts):
    with Table():
        stream, incoming, expected = Pair(STREAM), Incoming(MAX_DATA, MAX_FDS), []
        writes, reads, counts = map(itertools.cycle, (writes, reads, counts))
        for turn, (length, count) in enumerate(messages):
            data, fds = payload(length, turn), duplicates(count)
            written(stream, header(length, count) + data, fds, writes, counts)
            expected.append((data, fds))
        for data, fds in expected:
            left = sum(len(piece.data) for piece in stream.ends[1].pieces)
            assert taken(incoming, stream, reads) == data
            # Nothing of the next message has been taken.
            now = sum(len(piece.data) for piece in stream.ends[1].pieces)
            assert left - now == HEADER.size + len(data)
            assert incoming.fds == fds
            incoming.close()
            assert not set(fds) & set(open_descriptors())
            incoming.start_message()
            assert incoming.is_empty
        assert stream.read(1, 1, False) == "EAGAIN"


def in_reads(reads):
    """(place of its end, how many descriptors) of each read of a header."""
    at = 0
    for size, count in itertools.cycle(reads):
        at += size
        yield at, count
        if at >= HEADER.size:
            return


@given(LENGTHS, READS, LIES)
@examples(300)
def test_a_header_is_accepted_or_everything_is_closed(length, reads, lie):
    with Table():
        reads = list(in_reads(reads))
        truth = [length, sum(count for _, count in reads), 1, 0]
        fields = truth[:]
        fields[lie[0]] = lie[1]
        # By the page on the wire format.
        is_right = fields[0] <= MAX_DATA and fields[1:] == truth[1:]
        head, incoming = struct.pack("!IHBB", *fields), Incoming(MAX_DATA, MAX_FDS)
        came, before = [], 0
        for at, count in reads:
            fds, piece, before = duplicates(count), head[before:at], at
            came += fds
            complete = at >= HEADER.size
            if len(came) > MAX_FDS or complete and not is_right:
                with pytest.raises(fdpass.ProtocolError) as caught:
                    incoming.feed(piece, fds)
                assert (caught.value.data, caught.value.received) == (head[:at], len(came))
                break
            assert incoming.feed(piece, fds) == (b"" if complete and not fields[0] else None)
        assert incoming.fds == came
        assert len(came) <= MAX_FDS + fdpass.MAX_FDS
        incoming.close()
        assert not set(came) & set(open_descriptors())


@given(st.integers(0, 40), COUNTS, STEPS, st.integers(0, 48))
@examples(100)
def test_an_end_is_clean_between_messages_alone(length, count, steps, cut):
    with Table():
        incoming, stream = Incoming(MAX_DATA, MAX_FDS), Pair(STREAM)
        message = header(length, count) + payload(length)
        cut = min(cut, len(message) - 1)
        fds = duplicates(count) if cut else []
        if cut:
            stream.send(0, message[:cut], fds)
        steps = itertools.cycle(steps)
        while stream.ends[1].pieces:
            arrived = stream.read(1, min(next(steps), incoming.read_size), False)
            assert incoming.feed(arrived.data, list(arrived.things)) is None
        assert incoming.is_empty == (cut == 0)
        with pytest.raises(fdpass.ProtocolError, match="ended inside") as caught:
            incoming.feed(b"", [])
        assert (caught.value.data, caught.value.received) == (message[:cut], len(fds))
        assert incoming.fds == fds
        incoming.close()


@given(st.one_of(LENGTHS, st.integers(LARGE - 1, LARGE + 9)), COUNTS, STEPS)
@examples(100)
def test_a_message_is_sent_whole_however_little_goes_at_a_time(length, count, steps):
    another_example()
    data, steps, gone, sent = payload(length), itertools.cycle(steps), [], 0
    buffers = wire_format.encode_message(data, count)
    while sent < HEADER.size + length:
        size = max(next(steps), sent // 8)
        gone.append(bytes(wire_format.unsent_part(buffers, sent)[:size]))
        sent += len(gone[-1])
    assert b"".join(gone) == header(length, count) + data


KINDS = [fdpass.SCM_RIGHTS, fdpass.SCM_PIDFD, fdpass.SCM_CREDENTIALS, 99]
CONTROL = st.tuples(
    st.sampled_from([socket.SOL_SOCKET, socket.SOL_SOCKET, socket.IPPROTO_TCP]),
    st.sampled_from(KINDS),
    st.one_of(
        st.binary(max_size=20),
        st.lists(st.integers(-9, 1 << 20)).map(lambda fds: struct.pack("%di" % len(fds), *fds)),
    ),
)


@given(st.lists(CONTROL))
@examples(300)
def test_the_descriptors_in_control_messages(ancdata):
    """A part of a number, where a message was cut, is none."""
    another_example()
    found = {fdpass.SCM_RIGHTS: [], fdpass.SCM_PIDFD: []}
    for level, kind, content in ancdata:
        if level == socket.SOL_SOCKET and kind in found:
            while len(content) >= struct.calcsize("i"):
                found[kind] += struct.unpack("i", content[:4])
                content = content[4:]
    pidfds = [fd for fd in found[fdpass.SCM_PIDFD] if fd >= 0]
    assert control.descriptors_in(ancdata) == (found[fdpass.SCM_RIGHTS], pidfds)
