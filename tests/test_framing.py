"""The wire format: bytes and descriptors in any pieces, and headers that lie."""

import os
import random
import struct
import sys

import pytest
from conftest import closing, header

import fdpass
from fdpass import _wire_format
from fdpass._wire_format import HEADER, Incoming


def duplicates(fd, count):
    return [os.dup(fd) for _ in range(count)]


def fed(incoming, wire, fds=(), step=1):
    """Give the wire in pieces, no more than asked for; the descriptors come with the first."""
    fds = list(fds)
    payload = None
    while wire:
        assert payload is None, "there was more than one message"
        size, most = incoming.size, incoming.most
        piece = wire[: min(size, step)]
        wire = wire[len(piece) :]
        assert most == (fdpass.MAX_FDS if len(incoming._begun) < HEADER.size else 0)
        payload = incoming.take(piece, fds)
        assert fds == []
    return payload


def test_the_header_is_as_the_page_says():
    assert _wire_format.wire(b"hello", 0x0506) == [b"\0\0\0\x05\x05\x06\x01\x00hello"]
    assert b"".join(_wire_format.wire(b"x" * 0x10203, 0))[:12] == b"\x00\x01\x02\x03\0\0\x01\0xxxx"
    assert HEADER.size == 8


@pytest.mark.parametrize("step", [1, 3, 8, 1000])
@pytest.mark.parametrize("count", [0, 1, 253])
@pytest.mark.parametrize("length", [0, 1, 300])
def test_a_message_in_pieces(null, length, count, step):
    payload = os.urandom(length)
    incoming = Incoming(300, 253)
    assert incoming.untouched
    fds = duplicates(null, count)
    assert fed(incoming, header(length, count) + payload, fds, step) == payload
    assert incoming.fds == fds
    assert not incoming.untouched
    incoming.close()
    assert incoming.fds == []
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_descriptors_may_come_with_any_byte_of_the_header(null):
    """Which of them carried them cannot be told."""
    for at in range(8):
        incoming, wire = Incoming(10, 10), header(0, 1)
        fds = duplicates(null, 1)
        for i in range(8):
            given = fds[:] if i == at else []
            payload = incoming.take(wire[i : i + 1], given)
        assert payload == b""
        assert incoming.fds == fds
        incoming.close()


def test_descriptors_that_come_in_several_reads(null):
    incoming, wire = Incoming(10, 10), header(0, 3)
    fds = duplicates(null, 3)
    assert incoming.take(wire[:2], fds[:1]) is None
    assert incoming.take(wire[2:5], fds[1:]) is None
    assert incoming.take(wire[5:], []) == b""
    assert incoming.fds == fds
    incoming.close()


LIES = [
    (struct.pack("!IHBB", 11, 0, 1, 0), "announced 11 bytes where max_data allows 10"),
    (struct.pack("!IHBB", 0xFFFFFFFF, 0, 1, 0), "announced 4294967295 bytes"),
    (struct.pack("!IHBB", 0, 1, 1, 0), "announced 1 descriptors, and 2 came"),
    (struct.pack("!IHBB", 0, 3, 1, 0), "announced 3 descriptors, and 2 came"),
    (struct.pack("!IHBB", 0, 65535, 1, 0), "announced 65535 descriptors"),
    (struct.pack("!IHBB", 0, 2, 0, 0), "version 0, flags 0"),
    (struct.pack("!IHBB", 0, 2, 2, 0), "version 2, flags 0"),
    (struct.pack("!IHBB", 0, 2, 1, 1), "version 1, flags 1"),
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
    assert incoming.take(b"\0", duplicates(null, 2)) is None
    with pytest.raises(fdpass.ProtocolError, match="more descriptors than the 2"):
        incoming.take(b"\0", duplicates(null, 253))
    assert len(incoming.fds) <= 2 + fdpass.MAX_FDS
    incoming.close()


@pytest.mark.parametrize("taken", range(1, 11))
def test_an_end_inside_a_message(null, taken):
    incoming = Incoming(10, 10)
    assert fed(incoming, (header(3, 1) + b"abc")[:taken], duplicates(null, 1)) is None
    with pytest.raises(fdpass.ProtocolError, match="ended inside a message"):
        incoming.take(b"", [])
    assert not incoming.untouched
    incoming.close()


def test_descriptors_and_then_the_end(null):
    """A stream cannot carry them without a byte, but the end must not pass for a clean one."""
    incoming = Incoming(10, 10)
    with pytest.raises(fdpass.ProtocolError):
        incoming.take(b"", duplicates(null, 1))
    assert not incoming.untouched
    incoming.close()


def test_limits_of_nothing(null):
    incoming = Incoming(0, 0)
    assert incoming.take(header(0, 0), []) == b""
    incoming = Incoming(0, 0)
    with pytest.raises(fdpass.ProtocolError):
        incoming.take(header(0, 1), duplicates(null, 1))
    incoming.close()


def test_nothing_is_held_for_a_header_alone():
    """An announcement of the limit's size takes no memory until the payload comes."""
    incoming = Incoming(_wire_format.LONGEST, 0)
    assert incoming.take(header(_wire_format.LONGEST, 0), []) is None
    assert incoming.most == 0
    assert incoming.size == _wire_format.READ  # and not all that was announced
    assert incoming._payload is None


def test_a_trickle_takes_no_object_for_each_byte():
    incoming, length = Incoming(10000, 0), 10000
    assert incoming.take(header(length, 0), []) is None
    for _ in range(length - 1):
        assert incoming.take(b"x", []) is None
    if not hasattr(sys, "pypy_version_info"):  # which does not tell the size
        assert sys.getsizeof(incoming._payload) < 3 * length
    assert incoming.take(b"y", []) == b"x" * (length - 1) + b"y"


def test_it_serves_for_the_next_message(null):
    incoming = Incoming(10, 10)
    for count in (1, 0, 2):
        assert fed(incoming, header(3, count) + b"abc", duplicates(null, count)) == b"abc"
        assert len(incoming.fds) == count
        incoming.close()
        incoming.begin()
        assert incoming.untouched


def test_a_forgotten_one_closes_what_had_arrived(null):
    incoming = Incoming(10, 10)
    assert incoming.take(b"\0", duplicates(null, 3)) is None
    del incoming  # and the table is checked after each test


def test_random_bytes_never_do_harm(null):
    """Whatever comes: a message, more wanted, or ProtocolError, and the descriptors are known."""
    dice = random.Random(5)
    for _ in range(300):
        incoming, opened = Incoming(20, 5), []
        try:
            for _ in range(12):
                size, most = incoming.size, incoming.most
                data = bytes(bytearray(dice.choice([0, 0, 0, 1, 2]) for _ in range(min(size, 3))))
                fds = duplicates(null, dice.choice([0, 0, 0, 1, 2]) if most else 0)
                opened += fds
                if incoming.take(data, fds) is not None:
                    break
        except fdpass.ProtocolError:
            pass
        assert incoming.fds == opened
        with closing(*opened):
            del incoming.fds[:]


def test_no_read_is_of_more_than_64_kib():
    """As much memory is taken before it is known how much there is."""
    incoming = Incoming(1 << 20, 0)
    assert incoming.take(header(1 << 20, 0), []) is None
    assert incoming.size == 1 << 16
    assert incoming.take(b"x" * ((1 << 20) - 5), []) is None
    assert incoming.size == 5
