"""Peers that lie, trickle, flood and die: a channel stays within its limits and leaks nothing."""

import os
import random
import resource
import socket
import struct

import pytest
from conftest import closing, header, lowered

import fdpass
from fdpass import Channel


@pytest.fixture
def wire():
    """A channel with small limits, and the bare socket at its other end."""
    left, right = socket.socketpair()
    right.settimeout(20)
    channel = Channel(left, max_data=1000, max_fds=10)
    channel.settimeout(20)
    with closing(channel, right):
        yield channel, right


def broken(channel, match=None, error=fdpass.ProtocolError):
    with pytest.raises(error, match=match) as caught:
        channel.recv()
    assert channel.closed
    return caught.value


HEADERS = [
    (struct.pack("!IHBB", 0xFFFFFFFF, 0, 1, 0), 0, "announced 4294967295 bytes"),
    (struct.pack("!IHBB", 1001, 0, 1, 0), 0, "announced 1001 bytes where max_data allows 1000"),
    (struct.pack("!IHBB", 0, 65535, 1, 0), 0, "announced 65535 descriptors"),
    (struct.pack("!IHBB", 0, 65535, 1, 0), 10, "announced 65535 descriptors, and 10 came"),
    (struct.pack("!IHBB", 0, 2, 1, 0), 1, "announced 2 descriptors, and 1 came"),
    (struct.pack("!IHBB", 0, 2, 1, 0), 3, "announced 2 descriptors, and 3 came"),
    (struct.pack("!IHBB", 0, 0, 1, 0), 1, "announced 0 descriptors, and 1 came"),
    (struct.pack("!IHBB", 0, 11, 1, 0), 11, "more descriptors than the 10 that max_fds allows"),
    (struct.pack("!IHBB", 0, 253, 1, 0), 253, "more descriptors than the 10 that max_fds allows"),
    (struct.pack("!IHBB", 0, 0, 2, 0), 0, r"not speak this format.*x02.x00'"),
    (struct.pack("!IHBB", 0, 0, 1, 128), 0, r"not speak this format.*x01.x80'"),
    (b"GET / HT", 0, "its message began with b?'GET / HT', where"),
]


@pytest.mark.parametrize("wire_header, count, told", HEADERS, ids=[told for _, _, told in HEADERS])
def test_headers_that_lie(wire, null, wire_header, count, told):
    channel, right = wire
    fdpass.send_fds(right, wire_header + b"x" * 50, [null] * count)
    error = broken(channel, told)
    assert error.received == count


@pytest.mark.parametrize("at", range(8, 12))
def test_descriptors_with_payload_bytes(wire, null, at):
    channel, right = wire
    whole = header(4, 1) + b"abcd"
    fdpass.sendall_fds(right, whole[:at], [null])
    fdpass.sendall_fds(right, whole[at:], [null] * 2)
    error = broken(channel, "descriptors came with the payload")
    assert (error.data, error.received) == (whole, 3)


@pytest.mark.parametrize("count", [0, 2])
def test_trickled(wire, null, count):
    """Byte by byte, and the descriptors with any of the header's."""
    channel, right = wire
    channel.settimeout(0.001)
    whole = header(5, count) + b"hello"
    for at in range(8):
        for i in range(len(whole)):
            fdpass.send_fds(right, whole[i : i + 1], [null] * count if i == at else [])
            if i < len(whole) - 1:
                with pytest.raises(socket.timeout):
                    channel.recv()
        with channel.recv() as message:
            assert (message.data, len(message.fds)) == (b"hello", count)


def test_a_flood_of_descriptors_without_a_header(null):
    """Never more than max_fds + MAX_FDS are held: with one more, it would be lost."""
    left, right = socket.socketpair()
    with closing(Channel(left, max_fds=20), right) as (channel, _):
        for count in (10, 10, fdpass.MAX_FDS, 1, 1, 1, 1, 1):
            fdpass.send_fds(right, b"\0", [null] * count)
        with lowered(20 + fdpass.MAX_FDS):
            broken(channel, "more descriptors than the 20")


@pytest.mark.parametrize("count", [0, 1, 10])
def test_death_at_every_byte(null, count):
    whole = header(6, count) + b"sixsix"
    for length in range(1, len(whole)):
        left, right = socket.socketpair()
        with closing(Channel(left)) as (channel,):
            with closing(right):
                fdpass.send_fds(right, whole[:length], [null] * count)
            assert broken(channel, "ended inside a message").data == whole[:length]


@pytest.mark.rule(3)
def test_lost_descriptors(wire, null):
    """The receiver has no numbers left."""
    channel, right = wire
    fdpass.send_fds(right, header(0, 5), [null] * 5)
    with lowered(2):
        error = broken(channel, "dropped descriptors", fdpass.LostFdsError)
    assert error.data == header(0, 5)


def test_lost_descriptors_with_the_payload(wire, null):
    channel, right = wire
    fdpass.send_fds(right, header(3, 0), [])
    fdpass.send_fds(right, b"abc", [null] * 5)
    with lowered(2):
        broken(channel, "descriptors came with the payload")


@pytest.mark.skipif(fdpass.SO_PASSCRED is None, reason="Linux alone has SO_PASSCRED")
@pytest.mark.parametrize("count", [0, 10])
def test_credentials_with_every_read(wire, null, count):
    """They come first in the control messages, and must push no descriptor out."""
    channel, right = wire
    bare = fdpass.socket_from_fd(channel.fileno(), dup=True)
    with closing(bare):
        bare.setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, 1)
    fdpass.send_fds(right, header(3, count) + b"abc", [null] * count)
    with channel.recv() as message:
        assert (message.data, len(message.fds)) == (b"abc", count)


def test_an_announcement_takes_no_memory():
    """Four gigabytes are allowed and announced, and three bytes come."""
    left, right = socket.socketpair()
    with closing(Channel(left, max_data=0xFFFFFFFF), right) as (channel, _):
        channel.settimeout(0.01)
        right.sendall(header(0xFFFFFFFF, 0) + b"abc")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(socket.timeout):
            channel.recv()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50000  # KiB


def test_random_peers(null):
    dice = random.Random(4)
    for _ in range(150):
        counts = [0, 0, 1, 2, 253]
        left, right = socket.socketpair()
        with closing(Channel(left, max_data=30, max_fds=4)) as (channel,):
            with closing(right):
                for _ in range(dice.randrange(1, 6)):
                    part = dice.choice(
                        [
                            header(dice.randrange(40), dice.randrange(6)),
                            os.urandom(dice.randrange(1, 12)),
                            b"x" * dice.randrange(1, 30),
                            header(2, 1) + b"ab",
                        ]
                    )
                    count = dice.choice(counts)
                    fdpass.send_fds(right, part, [null] * count)
                    if count == 253:  # once: an ordinary user may have 1,024 in flight
                        counts.pop()
            try:
                for message in channel:
                    assert len(message.data) <= 30
                    assert len(message.fds) <= 4
                    message.close()
            except fdpass.ProtocolError:
                assert channel.closed
