"""One message passed over a socketpair, count times, by fdpass and by what one would use instead.

Each function makes a loop of a side: written the way its user would write it, with names looked up
as in a user's program, closing every descriptor that it received.
"""

import os
import socket
from itertools import repeat

import fdsend_shape
from by_hand import receive_by_hand, send_by_hand
from found import fdpass
from measure import Missing


def by_fdpass(left, right, data, fds):
    size, most = len(data), len(fds)

    def loop(count):
        for _ in repeat(None, count):
            fdpass.send_fds(left, data, fds)
            for fd in fdpass.recv_fds(right, size, most).fds:
                os.close(fd)

    return loop


def by_library(left, right, data, fds):
    size, most = len(data), len(fds)

    def loop(count):
        for _ in repeat(None, count):
            socket.send_fds(left, [data], fds)
            for fd in socket.recv_fds(right, size, most)[1]:
                os.set_inheritable(fd, False)
                os.close(fd)

    return loop


def by_hand(left, right, data, fds):
    size, most = len(data), len(fds)

    def loop(count):
        for _ in repeat(None, count):
            send_by_hand(left, data, fds)
            for fd in receive_by_hand(right, size, most)[1]:
                os.close(fd)

    return loop


def by_passfd(left, right, data, fds):
    """python-passfd takes one descriptor a message: for more, more messages."""
    try:
        import passfd
    except ImportError:
        raise Missing("not installed: python -m pip install python-passfd==0.2")
    size = len(data)

    def loop(count):
        for _ in repeat(None, count):
            for sent in fds:
                passfd.sendfd(left, sent, data)
                fd, _data = passfd.recvfd(right, size)
                os.close(fd)

    return loop


def by_extension(left, right, data, fds):
    """With the interface of python-fdsend."""
    extension = fdsend_shape.built()
    size, most = len(data), len(fds)

    def loop(count):
        for _ in repeat(None, count):
            extension.sendfds(left, data, fds=fds)
            for fd in extension.recvfds(right, size, numfds=most)[1]:
                os.close(fd)

    return loop
