"""What a receiver has to make of a stream, written from docs/wire-format.rst: slow and plain."""

import struct

MESSAGE, MORE, BROKEN, LOST, END = "message", "more", "broken", "lost", "end"
ANY = float("inf")


class Wire(object):
    """A stream as it was sent, with all that its messages have to be.

    ``start`` is where the next message begins, ``read`` how far the receiver has read, and
    ``ended`` whether nothing follows.
    """

    def __init__(self, max_data, max_fds):
        self.max_data, self.max_fds = max_data, max_fds
        self.sent = b""
        self.rights = {}  # descriptors, by the place of the byte that they went with
        self.start = self.read = 0
        self.ended = False

    def put(self, data, fds):
        if fds:
            self.rights[len(self.sent)] = list(fds)
        self.sent += data

    def begun(self):
        """The bytes of the next message that have been sent, and what follows it."""
        return self.sent[self.start :]

    def receive(self, room=ANY):
        """What receiving gives now, where so many more descriptors can be opened.

        (MESSAGE, payload, descriptors), (MORE, how many bytes are missing), or else one word.
        """
        told = self.judged(room)
        self.read = len(self.sent)
        if told[0] == MESSAGE:
            self.start = self.read = self.start + 8 + len(told[1])
        elif told[0] == MORE and self.ended:
            return (BROKEN,) if self.begun() or self.start in self.rights else (END,)
        return told

    def judged(self, room):
        body = self.start + 8
        header = self.sent[self.start : body]
        fds = []
        for at in range(self.start, self.start + len(header)):
            here = self.rights.get(at, [])
            if at >= self.read:
                if len(here) > room:
                    return (LOST,)
                room -= len(here)
            fds += here
            if len(fds) > self.max_fds:
                return (BROKEN,)
        if len(header) < 8:
            return MORE, 8 - len(header)
        length, count, version, flags = struct.unpack("!IHBB", header)
        if (version, flags) != (1, 0) or length > self.max_data or count != len(fds):
            return (BROKEN,)
        payload = self.sent[body : body + length]
        if any(body <= at < body + len(payload) for at in self.rights):
            return (BROKEN,)
        if len(payload) < length:
            return MORE, length - len(payload)
        return MESSAGE, payload, fds
