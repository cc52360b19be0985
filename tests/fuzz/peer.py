"""The hostile end of a stream: a bare socket that sends anything, in any way."""

import array
import fcntl
import os
import socket
import struct
import termios

from conftest import closing, header

import fdpass


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def unread(sock):
    """How many bytes are there to be received (unix(7), SIOCINQ)."""
    return struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, b"\0" * 4))[0]


class Peer(object):
    """Does what a program says, and keeps what has come of it.

    ``wire`` has what it sent. ``got`` is what it received, bytes and identities of descriptors.
    ``deaf``: nothing can be sent to it. ``reset``: it closed before it had received all.
    ``urgent``: from then on, what of its bytes arrives is known to the kernel alone.
    """

    def __init__(self, sock, program, wire, pool):
        sock.setblocking(False)
        self.sock, self.program, self.wire, self.pool = sock, program, wire, pool
        self.got = b"", []
        self.deaf = self.reset = self.urgent = self.closed = False

    def fds(self, count):
        return [self.pool[(count + i) % len(self.pool)] for i in range(count)]

    def put(self, data, *groups):
        """Send data, and each group of descriptors in a control message of its own."""
        rights = [(socket.SOL_SOCKET, fdpass.SCM_RIGHTS, array.array("i", fds)) for fds in groups]
        try:
            taken = fdpass.sendmsg(self.sock, data, rights)
        except socket.error:
            return  # nothing has gone
        if taken:
            self.wire.put(data[:taken], [identity(fd) for fds in groups for fd in fds])

    def put_anything(self):
        data = self.program.data()
        self.put(data, *[self.fds(self.program.byte()) for _ in range(self.program.byte() % 4)])

    def put_header(self):
        """One that may lie about its descriptors, and whose payload does not follow."""
        length, count = self.program.size(), self.program.byte()
        self.put(header(length, count), self.fds(self.program.byte()))

    def message(self):
        """A right one: (bytes, descriptors)."""
        data = self.program.pattern(self.program.size())
        fds = self.fds(self.program.byte())
        return header(len(data), len(fds)) + data, fds

    def put_message(self):
        self.put(*self.message())

    def put_in_two(self, between):
        """A message in two parts; how many descriptors come with the first need not be all."""
        whole, fds = self.message()
        at, first = self.program.byte(), self.program.byte()
        self.put(whole[:at], fds[:first])
        between()
        self.put(whole[at:], fds[first:])

    def put_urgent(self):
        try:
            self.sock.send(b"!", socket.MSG_OOB)
            self.urgent = True
        except socket.error:
            pass  # an older kernel has none here

    def get(self, size):
        """Receive so many bytes at most; returns whether there were any."""
        try:
            data, ancdata, _, _ = fdpass.recvmsg(self.sock, size, 4096)
        except socket.error:
            return False
        numbers = array.array("i", b"".join(content for _, _, content in ancdata))
        with closing(*numbers):
            self.got = self.got[0] + data, self.got[1] + [identity(fd) for fd in numbers]
        return bool(data)

    def shut_down(self):
        how = (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)[self.program.byte() % 3]
        try:
            self.sock.shutdown(how)
        except socket.error:
            return  # one of the two ends is closed
        self.deaf |= how != socket.SHUT_WR
        self.wire.ended |= how != socket.SHUT_RD

    def close(self):
        if not self.closed:
            self.reset = unread(self.sock) > 0
            self.sock.close()
            self.closed = self.deaf = self.wire.ended = True
