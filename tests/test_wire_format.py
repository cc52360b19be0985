"""The wire format: bytes and descriptors in any pieces, and headers that lie."""

import itertools
import os
import resource
import struct
import sys

import pytest
from conftest import header
from inside import wire_format

import fdpass

Incoming = wire_format.Incoming


def duplicates(fd, count):
    return [os.dup(fd) for _ in range(count)]


def fed(incoming, wire, fds=(), step=1):
    """Give the wire in pieces, no more than asked for; the descriptors come with the first."""
    fds, at, payload = list(fds), 0, None
    while wire:
        assert payload is None, "there was more than one message"
        size, most = incoming.read_size, incoming.read_fds
        piece = wire[: min(size, step)]
        wire = wire[len(piece) :]
        assert most == (fdpass.MAX_FDS if at < 8 else 0)
        at += len(piece)
        payload = incoming.feed(piece, fds)
        assert fds == []
    return payload


def test_the_header_is_as_the_page_says():
    assert wire_format.encode_message(b"hello", 0x0506) == [b"\0\0\0\x05\x05\x06\x01\x00hello"]
    buffers = wire_format.encode_message(b"x" * 0x10203, 0)
    assert b"".join(buffers)[:12] == b"\x00\x01\x02\x03\0\0\x01\0xxxx"


@pytest.mark.parametrize("step", [1, 3, 8, 1000])
@pytest.mark.parametrize("count", [0, 1, 253])
@pytest.mark.parametrize("length", [0, 1, 300])
def test_a_message_in_pieces(null, length, count, step):
    payload = os.urandom(length)
    incoming = Incoming(300, 253)
    assert incoming.is_empty
    fds = duplicates(null, count)
    assert fed(incoming, header(length, count) + payload, fds, step) == payload
    assert incoming.fds == fds
    assert not incoming.is_empty
    incoming.close()
    assert incoming.fds == []
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


LIES = [
    (struct.pack("!IHBB", 11, 0, 1, 0), "announced 11 bytes where max_data allows 10"),
    (struct.pack("!IHBB", 0xFFFFFFFF, 0, 1, 0), "announced 4294967295 bytes"),
    (struct.pack("!IHBB", 0, 1, 1, 0), "announced 1 descriptors, and 2 came"),
    (struct.pack("!IHBB", 0, 3, 1, 0), "announced 3 descriptors, and 2 came"),
    (struct.pack("!IHBB", 0, 65535, 1, 0), "announced 65535 descriptors"),
    (struct.pack("!IHBB", 0, 2, 0, 0), "not speak this format.*x02.x00.x00"),
    (struct.pack("!IHBB", 0, 2, 2, 0), "not speak this format.*x02.x02.x00"),
    (struct.pack("!IHBB", 0, 2, 1, 1), "not speak this format.*x02.x01.x01"),
]


@pytest.mark.parametrize("wire, told", LIES, ids=[told for _, told in LIES])
@pytest.mark.parametrize("step", [1, 8])
def test_a_header_that_lies(null, wire, told, step):
    incoming = Incoming(10, 10)
    with pytest.raises(fdpass.ProtocolError, match=told):
        fed(incoming, wire, duplicates(null, 2), step)
    assert len(incoming.fds) == 2
    incoming.close()


def test_more_descriptors_than_the_limit_before_the_header_is_complete(null):
    incoming = Incoming(10, 2)
    assert incoming.feed(b"\0", duplicates(null, 2)) is None
    with pytest.raises(fdpass.ProtocolError, match="more descriptors than the 2"):
        incoming.feed(b"\0", duplicates(null, 253))
    assert len(incoming.fds) <= 2 + fdpass.MAX_FDS
    incoming.close()


def resident():
    """How many bytes of memory this process has (proc(5), statm)."""
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * resource.getpagesize()


def test_a_trickle_takes_no_object_for_each_byte():
    length = 1 << 19
    incoming = Incoming(length, 0)
    assert incoming.feed(header(length, 0), []) is None
    before = resident()
    for _ in itertools.repeat(None, length - 1):  # range would make a list on 2.7
        assert incoming.feed(b"x", []) is None
    if not hasattr(sys, "pypy_version_info"):  # whose compiler takes some, too
        assert resident() - before < 4 * length
    assert incoming.feed(b"y", []) == b"x" * (length - 1) + b"y"


def test_a_forgotten_one_closes_what_had_arrived(null):
    incoming = Incoming(10, 10)
    assert incoming.feed(b"\0", duplicates(null, 3)) is None
    del incoming  # and the table is checked after each test


def test_no_read_is_of_more_than_64_kib():
    """As much memory is taken before it is known how much there is."""
    length = (1 << 32) - 1
    incoming = Incoming(length, 0)
    assert incoming.feed(header(length, 0), []) is None
    assert (incoming.read_size, incoming.read_fds) == (1 << 16, 0)
    incoming = Incoming(1 << 20, 0)
    assert incoming.feed(header(1 << 20, 0), []) is None
    assert incoming.feed(b"x" * ((1 << 20) - 5), []) is None
    assert incoming.read_size == 5
