"""What the kernel promises of two connected Unix sockets: plain lists, and no system call.

Sources: unix(7), recvmsg(2), and where they are silent net/unix/af_unix.c and net/core/scm.c; each
rule was tried on Linux 6.18.
"""

import socket
from collections import namedtuple

import fdpass

STREAM, DATAGRAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
HEADER = fdpass.CMSG_LEN(0)
UCRED = 12  # bytes

# What a read gives. things: what the descriptors that come with it are of, in their order. known:
# whether the kernel knew who sent it, as it tells where SO_PASSCRED is on; None where that is off.
Arrived = namedtuple("Arrived", "data things known flags")
NOTHING = Arrived(b"", [], None, 0)


class Piece(object):
    """What one call has sent, or what is left of it."""

    def __init__(self, data, things, known):
        self.data, self.things, self.known = data, things, known


class End(object):
    def __init__(self):
        self.pieces = []  # sent to it, and not read yet
        self.passcred = False
        self.open = True
        self.connected = True
        self.reset = False  # ECONNRESET is to be told, once


class Pair(object):
    """Two sockets. A call names one by 0 or 1, and returns what the kernel gives, or its errno."""

    def __init__(self, kind):
        self.kind = kind
        self.ends = End(), End()

    def send(self, number, data, things):
        """How many bytes are taken."""
        end, peer = self.ends[number], self.ends[1 - number]
        if end.reset and self.kind == SEQPACKET:
            end.reset = False
            return "ECONNRESET"
        if not end.connected:
            return "ENOTCONN"
        if not peer.open:
            if self.kind != DATAGRAM:
                return "EPIPE"
            end.connected = False
            del end.pieces[:]  # what the peer had sent is lost with it (unix_dgram_disconnected)
            return "ECONNREFUSED"
        # A stream carries nothing without a byte: descriptors vanish.
        if data or self.kind != STREAM:
            # Either end's switch makes the kernel note who sends (maybe_add_creds).
            peer.pieces.append(Piece(data, things, end.passcred or peer.passcred))
        return len(data)

    def read(self, number, size, peek):
        """An Arrived, of size bytes at most."""
        end = self.ends[number]
        # A stream's error comes after what there is to read, and a seqpacket socket's before.
        if end.reset and (self.kind == SEQPACKET or not end.pieces):
            end.reset = False
            return "ECONNRESET"
        if end.pieces:
            one_read = self.read_stream if self.kind == STREAM else self.read_message
            return one_read(end, size, peek)
        if self.kind != DATAGRAM and not self.ends[1 - number].open:
            return NOTHING
        return "EAGAIN"

    def read_message(self, end, size, peek):
        piece = end.pieces[0] if peek else end.pieces.pop(0)
        flags = socket.MSG_TRUNC if len(piece.data) > size else 0
        known = piece.known if end.passcred else None
        return Arrived(piece.data[:size], piece.things, known, flags)

    def read_stream(self, end, size, peek):
        """Across the pieces, up to the end of the first whose descriptors are taken."""
        data, things, known = b"", [], end.pieces[0].known
        for piece in end.pieces[:]:
            if end.passcred and piece.known != known:
                break  # bytes of different senders are not merged
            part = piece.data[: size - len(data)]
            data += part
            things = piece.things
            if not peek:
                # With the first byte that is read; and also where none was asked for.
                piece.data, piece.things = piece.data[len(part) :], []
                if piece.data:
                    break
                end.pieces.remove(piece)
            # A peek goes on even when it has all its bytes, to the next piece with descriptors.
            if things or (len(data) == size and not peek):
                break
        return Arrived(data, things, known if end.passcred else None, 0)

    def would_wait(self, number):
        """Whether a read finds nothing, and no end or error either."""
        end = self.ends[number]
        at_end = self.kind != DATAGRAM and not self.ends[1 - number].open
        return not (end.pieces or end.reset or at_end)

    def close(self, number):
        end, peer = self.ends[number], self.ends[1 - number]
        end.open = False
        if end.pieces and self.kind != DATAGRAM:
            peer.reset = True
        end.pieces = []


def fitting(arrived, room):
    """(things, known, flags) of what arrived in so many bytes of room for control messages."""
    known, flags = arrived.known, arrived.flags
    if known is not None:  # the credentials come first
        if room < HEADER + UCRED:
            known, flags = None, flags | fdpass.MSG_CTRUNC
        if room >= HEADER:
            room -= min(room, fdpass.CMSG_SPACE(UCRED))
    things = arrived.things[: max(room - HEADER, 0) // 4]
    if len(things) < len(arrived.things):
        flags |= fdpass.MSG_CTRUNC
    return things, known, flags
