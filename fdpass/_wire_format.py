"""The Channel's wire format, version 1, with no input or output: messages in pieces of any size.

A message is an 8-byte header, then the payload; its descriptors travel with the header. The header,
big-endian: uint32 payload length, uint16 number of descriptors, uint8 version, uint8 flags.
"""

import struct
from io import BytesIO

from ._errors import ProtocolError
from ._system import LARGE, MAX_FDS, close_all, joined, skip, view

HEADER = struct.Struct("!IHBB")
pack, unpack = HEADER.pack, HEADER.unpack
VERSION = 1
LONGEST = (1 << 32) - 1  # what the header can say
# Most bytes of payload to ask for in one read: as much memory is taken before it is known how much
# there is, and a socket buffer of the usual size does not hold more.
READ = 1 << 16


def wire(data, count):
    """The buffers to send for a message of that payload and so many descriptors."""
    head = pack(len(data), count, VERSION, 0)
    return [head, data] if len(data) > LARGE else [joined((head, data))]


def rest(buffers, sent):
    """The first of the buffers that is not all sent, from where it is not."""
    place = 0
    while sent >= len(buffers[place]):
        sent -= len(buffers[place])
        place += 1
    return skip(view(buffers[place]), sent) if sent else buffers[place]


class Incoming(object):
    """A message while it arrives: it says what to read next, and takes what was read.

    :param max_data: most bytes of payload, and max_fds most descriptors, that are accepted.

    ``size`` is how many bytes to read at most, and ``most`` how many descriptors to accept. ``fds``
    is what has arrived and is owned here, as ints; whoever gives up closes it. ``unsettled`` is for
    whoever reads: that something was read, or may have been, which has not been taken yet.
    """

    __slots__ = (
        "max_data",
        "max_fds",
        "size",
        "most",
        "fds",
        "unsettled",
        "_begun",
        "_missing",
        "_payload",
    )

    def __init__(self, max_data, max_fds):
        self.max_data = max_data
        self.max_fds = max_fds
        self.fds = []
        self.unsettled = False
        self.begin()

    def begin(self):
        """Be the next message, of which nothing has arrived."""
        self._begun = b""  # of the header
        self._payload = None  # what has come of it, where it comes in pieces
        self._missing = self.size = HEADER.size
        self.most = MAX_FDS  # those with the header are judged when all of it is there

    @property
    def untouched(self):
        """Whether nothing of it has arrived: then the end of the stream is no error."""
        return not (self._begun or self.fds)

    def take(self, data, fds):
        """Take what a read gave: data (bytes) and fds (a list of ints, emptied here).

        :returns: the payload (bytes) when it is complete, and None before that.
        :raises ProtocolError: it is no message, or over a limit, or it ends too early (data is
            empty); the descriptors are in ``self.fds``.
        """
        if self.most and not fds and len(data) == HEADER.size:
            # The usual header, in one piece and without descriptors, in half the time of the rest.
            length, count, version, flags = unpack(data)
            if version == VERSION and not flags and not count and 0 < length <= self.max_data:
                self._begun, self._missing, self.most = data, length, 0
                self.size = length if length < READ else READ
                return None
        if fds:
            self.fds += fds
            del fds[:]
            if len(self.fds) > self.max_fds:
                raise self.broken(
                    "the peer sent more descriptors than the %d that max_fds allows" % self.max_fds,
                    data,
                )
        if not data:
            raise self.broken("the stream ended inside a message")
        missing = self._missing - len(data)
        if self.most:
            self._begun += data
            if missing:
                self._missing = self.size = missing
                return None
            missing = self.judged()
            self.most = 0  # with the payload none may come
            if not missing:
                return b""
        elif missing or self._payload is not None:
            if self._payload is None:
                self._payload = BytesIO()  # which hands its content out without a copy
            self._payload.write(data)
            if not missing:
                return self._payload.getvalue()
        else:
            return data
        self._missing = missing
        self.size = missing if missing < READ else READ
        return None

    def judged(self):
        """The length of the payload, when the header is complete and right."""
        length, count, version, flags = unpack(self._begun)
        if version != VERSION or flags:
            raise self.broken(
                "the header says version %d, flags %d; known are version %d, flags 0"
                % (version, flags, VERSION)
            )
        if length > self.max_data:
            raise self.broken(
                "the peer announced %d bytes where max_data allows %d" % (length, self.max_data)
            )
        if count != len(self.fds):
            raise self.broken(
                "the peer announced %d descriptors, and %d came with the header"
                % (count, len(self.fds))
            )
        return length

    def broken(self, why, data=b"", received=None):
        """The error, with all bytes of the message that have come, its header among them."""
        payload = b"" if self._payload is None else self._payload.getvalue()
        come = b"".join((self._begun, payload, data))  # one copy of it all
        return ProtocolError(why, come, received=len(self.fds) if received is None else received)

    def close(self):
        """Close the descriptors that have arrived."""
        close_all(self.fds)

    # The globals may be gone when the interpreter ends.
    def __del__(self, close_all=close_all):
        close_all(self.fds)
