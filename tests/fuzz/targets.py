"""What is fuzzed: functions of any bytes, which fail where fdpass does a wrong thing with them.

An error that fdpass does not document gets through. Each returns what came of it, in order.
"""

import functools
import os
import socket
import struct

from conftest import closing, open_descriptors
from inside import control as control_messages
from inside import system, wire_format

from fdpass import MAX_FDS, SCM_PIDFD, SCM_RIGHTS, ProtocolError

from .reference import BROKEN, END, MESSAGE, MORE, Wire
from .session import Session

PATTERN = bytes(bytearray(range(251)))  # no power of two: what is out of place shows
LITERAL = 240  # a size over this stands for so many LARGE pieces of the pattern
LARGE = 8192
LIMITS_OF_DATA = (20, 0, 1, 1000, 100000)
LIMITS_OF_FDS = (4, 0, 1, MAX_FDS)


class Program(object):
    """The fuzzer's bytes as numbers and data; when they have ended, zeros."""

    def __init__(self, content):
        self.left = bytearray(content)

    def byte(self):
        return self.left.pop(0) if self.left else 0

    def size(self):
        size = self.byte()
        return size if size <= LITERAL else (size - LITERAL) * LARGE

    def data(self):
        size = self.size()
        if size > LITERAL:
            return self.pattern(size)
        taken = bytes(self.left[:size])
        del self.left[:size]
        return taken

    def pattern(self, size):
        return (PATTERN * (size // len(PATTERN) + 1))[:size]

    def limits(self):
        """(most bytes of payload, most descriptors) in a message."""
        number = self.byte()
        return (
            LIMITS_OF_DATA[number % len(LIMITS_OF_DATA)],
            LIMITS_OF_FDS[number // len(LIMITS_OF_DATA) % len(LIMITS_OF_FDS)],
        )


def steady(target):
    """The descriptor table is the same before and after."""

    @functools.wraps(target)
    def checked(content):
        before = open_descriptors()
        told = target(Program(content))
        assert open_descriptors() == before
        return told

    return checked


def as_ints(content):
    size = struct.calcsize("i")
    return [
        struct.unpack("i", content[at : at + size])[0]
        for at in range(0, len(content) - size + 1, size)
    ]


@steady
def control(program):
    """Any ancillary data: a level, a type and data each."""
    ancdata, passed, strays = [], [], []
    while program.left:
        level = program.byte()
        level = socket.SOL_SOCKET if level % 2 else level
        kind, content = program.byte(), program.data()[: system.ANCBUFSIZE]
        ancdata.append((level, kind, content))
        numbers = as_ints(content)
        assert system.ints_in(content) == numbers
        assert system.ints_in(system.view_of(content)) == numbers
        if level == socket.SOL_SOCKET and kind == SCM_RIGHTS:
            passed += numbers
        elif level == socket.SOL_SOCKET and kind == SCM_PIDFD:
            strays += [number for number in numbers if number >= 0]
    assert control_messages.descriptors_in(ancdata) == (passed, strays)
    return len(passed), len(strays)


@steady
def framing(program):
    """A message in any pieces, with any descriptors with each: a number and data, repeated."""
    limits = program.limits()
    incoming, wire, told = wire_format.Incoming(*limits), Wire(*limits), []
    expected = wire.receive()
    with closing(os.open(os.devnull, os.O_RDWR), incoming) as (null, _):
        while program.left and expected[0] == MORE:
            assert incoming.is_empty == (not wire.begun())
            # Who reads keeps to these two, so the pieces here do.
            assert 0 < incoming.read_size <= min(expected[1], 1 << 16)
            assert incoming.read_fds == (MAX_FDS if len(wire.begun()) < 8 else 0)
            count = program.byte()
            fds = [os.dup(null) for _ in range(min(count, incoming.read_fds))]
            piece = program.data()[: incoming.read_size]
            wire.put(piece, fds)
            wire.ended = not piece
            expected = wire.receive()
            if expected[0] != END:  # which it is not told
                check_taken(incoming, piece, fds, wire, expected)
                assert not incoming.is_empty
            told.append(expected[0])
            if expected[0] == MESSAGE:
                incoming.close()
                incoming.start_message()
                expected = wire.receive()
    return told


def check_taken(incoming, piece, fds, wire, expected):
    """It makes of a piece what the reference does, and holds what has come and no more."""
    held = incoming.fds + fds
    try:
        payload = incoming.feed(piece, fds)
    except ProtocolError as error:
        assert expected[0] == BROKEN
        assert (error.data, error.received) == (wire.begun(), len(held))
    else:
        assert expected[0] == (MORE if payload is None else MESSAGE)
        if payload is not None:
            assert (payload, incoming.fds) == expected[1:]
    assert (incoming.fds, fds) == (held, [])
    assert len(held) <= incoming.max_fds + MAX_FDS


@steady
def channel(program):
    """A channel and a hostile peer: the limits, and then operations of both."""
    with closing(Session(program, *program.limits())) as (session,):
        return session.run()


TARGETS = {"channel": channel, "control": control, "framing": framing}
