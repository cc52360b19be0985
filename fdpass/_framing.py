"""The Channel's wire format, version 1, with no input or output: messages in pieces of any size.

A message is an 8-byte header, then the payload; its descriptors travel with the header. The header,
big-endian: uint32 payload length, uint16 number of descriptors, uint8 version, uint8 flags.
"""

import struct

from ._errors import ProtocolError
from ._system import MAX_FDS, close_all

HEADER = struct.Struct("!IHBB")
VERSION = 1
LONGEST = (1 << 32) - 1  # what the header can say


def header(length, count):
    """The header (bytes) of a message with that many bytes of payload and descriptors."""
    return HEADER.pack(length, count, VERSION, 0)


class Incoming(object):
    """A message while it arrives: it says what to read next, and takes what was read.

    :param max_data: most bytes of payload, and max_fds most descriptors, that are accepted.

    ``fds`` is what has arrived and is owned here, as ints; whoever gives up closes it.
    """

    __slots__ = ("max_data", "max_fds", "fds", "_begun", "_chunks", "_missing")

    def __init__(self, max_data, max_fds):
        self.max_data = max_data
        self.max_fds = max_fds
        self.fds = []
        self._begun = b""  # of the header
        self._chunks = None  # of the payload, once the header is complete
        self._missing = HEADER.size

    @property
    def wanted(self):
        """(how many bytes to read at most, how many descriptors to accept)."""
        # Those with the header are judged when all of it is there; with the payload none may come.
        return self._missing, MAX_FDS if self._chunks is None else 0

    @property
    def untouched(self):
        """Whether nothing of it has arrived: then the end of the stream is no error."""
        return not (self._begun or self.fds or self._chunks is not None)

    def take(self, data, fds):
        """Take what a read gave: data (bytes) and fds (a list of ints, emptied here).

        :returns: the payload (bytes) when it is complete, and None before that.
        :raises ProtocolError: it is no message, or over a limit, or it ends too early (data is
            empty); the descriptors are in ``self.fds``.
        """
        self.fds += fds
        del fds[:]
        if len(self.fds) > self.max_fds:
            raise ProtocolError(
                "the peer sent more descriptors than the %d that max_fds allows" % self.max_fds
            )
        if not data:
            raise ProtocolError("the stream ended inside a message")
        self._missing -= len(data)
        if self._chunks is None:
            self._begun += data
            if self._missing:
                return None
            self._missing = self.judged()
            self._chunks = []
        else:
            self._chunks.append(data)
        return None if self._missing else b"".join(self._chunks)

    def judged(self):
        """The length of the payload, when the header is complete and right."""
        length, count, version, flags = HEADER.unpack(self._begun)
        if version != VERSION or flags:
            raise ProtocolError(
                "the header says version %d, flags %d; known are version %d, flags 0"
                % (version, flags, VERSION)
            )
        if length > self.max_data:
            raise ProtocolError(
                "the peer announced %d bytes where max_data allows %d" % (length, self.max_data)
            )
        if count != len(self.fds):
            raise ProtocolError(
                "the peer announced %d descriptors, and %d came with the header"
                % (count, len(self.fds))
            )
        return length

    def close(self):
        """Close the descriptors that have arrived."""
        close_all(self.fds)
