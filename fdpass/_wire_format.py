"""The Channel's wire format, version 1: encode messages, and decode what was read. No I/O.

A message is an 8-byte header, then the payload. Its descriptors travel with the header, which is,
big-endian: uint32 payload length, uint16 number of descriptors, uint8 version, uint8 flags.
"""

import struct
from io import BytesIO

from ._errors import ProtocolError
from ._system import MAX_FDS, MAX_JOINED_BYTES, close_all, join, skip_bytes, view_of

HEADER = struct.Struct("!IHBB")
VERSION = 1
MAX_LENGTH = (1 << 32) - 1  # the header's field for the payload length
# Most bytes of payload to read in one call, which allocates them before it knows what has arrived.
MAX_READ_BYTES = 1 << 16


def encode_message(payload, fd_count):
    """Return the buffers to send for a message with this payload and fd_count descriptors."""
    header = HEADER.pack(len(payload), fd_count, VERSION, 0)
    if len(payload) > MAX_JOINED_BYTES:
        return [header, payload]
    return [join((header, payload))]


def unsent_part(buffers, sent):
    """Return the rest of the first buffer of which, after sent bytes, something is unsent."""
    index = 0
    while sent >= len(buffers[index]):
        sent -= len(buffers[index])
        index += 1
    return skip_bytes(view_of(buffers[index]), sent) if sent else buffers[index]


class Incoming(object):
    """A message that is arriving. It says how much to read next, and takes what was read.

    :param max_data: most bytes of payload to accept.
    :param max_fds: most descriptors to accept.

    ``read_size`` and ``read_fds`` are the most bytes and descriptors that the next read may return.
    ``fds`` are the descriptors (ints) that arrived; this object owns them until `adopt_all` does.
    The reader sets ``read_pending`` while a read may have returned something that was not fed.
    """

    __slots__ = (
        "max_data",
        "max_fds",
        "read_size",
        "read_fds",
        "fds",
        "read_pending",
        "_header",
        "_missing",
        "_payload",
    )

    def __init__(self, max_data, max_fds):
        self.max_data = max_data
        self.max_fds = max_fds
        self.fds = []
        self.read_pending = False
        self.start_message()

    def start_message(self):
        """Expect a new message, of which nothing has arrived."""
        self._header = b""  # as much of it as has arrived
        self._payload = None  # a BytesIO, if the payload arrives in pieces
        self._missing = self.read_size = HEADER.size
        self.read_fds = MAX_FDS  # check_header judges how many come with the header

    @property
    def is_empty(self):
        """True if nothing of the message has arrived: then the end of the stream is no error."""
        return not (self._header or self.fds)

    def feed(self, data, fds):
        """Take what a read returned: data (bytes) and fds (a list of ints, which is emptied).

        :returns: the payload (bytes) when the message is complete, otherwise None.
        :raises ProtocolError: the data is no message, is over a limit, or ends too early (data is
            empty). The descriptors are in ``self.fds``.
        """
        if fds:
            self.fds += fds
            del fds[:]
            if len(self.fds) > self.max_fds:
                raise self.make_error(
                    "the peer sent more descriptors than the %d that max_fds allows" % self.max_fds,
                    data,
                )
        if not data:
            raise self.make_error(
                "the stream ended inside a message, which began with %r" % self._header
            )
        missing = self._missing - len(data)
        if self.read_fds:
            self._header += data
            if missing:
                self._missing = self.read_size = missing
                return None
            missing = self.check_header()
            self.read_fds = 0  # none may come with the payload
            if not missing:
                return b""
        elif missing or self._payload is not None:
            if self._payload is None:
                self._payload = BytesIO()  # returns its content without a copy
            self._payload.write(data)
            if not missing:
                return self._payload.getvalue()
        else:
            return data
        self._missing = missing
        self.read_size = missing if missing < MAX_READ_BYTES else MAX_READ_BYTES
        return None

    def check_header(self):
        """Return the payload length in the complete header, or raise ProtocolError."""
        length, count, version, flags = HEADER.unpack(self._header)
        if version != VERSION or flags:
            raise self.make_error(
                "the peer does not speak this format: its message began with %r, where a Channel's"
                " header has version %d and flags 0 in its last two bytes" % (self._header, VERSION)
            )
        if length > self.max_data:
            raise self.make_error(
                "the peer announced %d bytes where max_data allows %d" % (length, self.max_data)
            )
        if count != len(self.fds):
            raise self.make_error(
                "the peer announced %d descriptors, and %d came with the header"
                % (count, len(self.fds))
            )
        return length

    def make_error(self, reason, data=b"", received=None):
        """Return a ProtocolError with all bytes that arrived of the message, and then data."""
        payload = b"" if self._payload is None else self._payload.getvalue()
        arrived = b"".join((self._header, payload, data))  # one copy of everything
        fd_count = len(self.fds) if received is None else received
        return ProtocolError(reason, arrived, received=fd_count)

    def close(self):
        """Close the descriptors that have arrived."""
        close_all(self.fds)

    # close_all is a parameter because the globals may be gone when the interpreter ends.
    def __del__(self, close_all=close_all):
        close_all(self.fds)
