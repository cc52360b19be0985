"""The jobs of a Channel's rows: messages through it, and through multiprocessing's connections.

Each job yields two sides, ours and the peer's.
"""

import os
import socket
import sys
from contextlib import closing, contextmanager
from itertools import repeat

from found import fdpass
from measure import Missing, timed

if sys.version_info[0] == 2:
    from _multiprocessing import Connection
else:
    from multiprocessing.connection import Connection


@contextmanager
def connections():
    """Two connections of multiprocessing's, over a stream socketpair as a Channel's."""
    ends = socket.socketpair()
    with closing(ends[0]), closing(ends[1]):
        opened = [Connection(os.dup(end.fileno())) for end in ends]
    with closing(opened[0]), closing(opened[1]):
        yield opened


@contextmanager
def channels():
    left, right = fdpass.Channel.pair()
    with left, right:
        yield left, right


@contextmanager
def descriptor():
    fd = os.open(os.devnull, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def blocking(left, right, data):
    """Our loop: messages that are received as soon as they are sent."""

    def loop(count):
        for _ in repeat(None, count):
            left.send(data)
            right.recv()

    return loop


def plain(sender, receiver, data):
    """multiprocessing's loop: the same through its connections."""

    def loop(count):
        for _ in repeat(None, count):
            sender.send_bytes(data)
            receiver.recv_bytes()

    return loop


@contextmanager
def messages(size):
    data = b"x" * size
    with channels() as (left, right), connections() as (sender, receiver):
        yield timed(blocking(left, right, data)), timed(plain(sender, receiver, data))


def with_descriptors(left, right, data, fds):
    """Our loop: each message with those descriptors, which are closed when they have come."""

    def loop(count):
        for _ in repeat(None, count):
            left.send(data, fds)
            with right.recv():
                pass

    return loop


def handles(sender, receiver, data, fds):
    """multiprocessing's loop: a message, and each descriptor with two calls of its own."""
    try:
        from multiprocessing.reduction import recv_handle, send_handle
    except ImportError as error:
        raise Missing("%s: take another Python, its standard library is the peer" % error)
    pid = os.getpid()
    # From 3.14 on send_handle waits for a byte that recv_handle writes. With one written now, each
    # reads the one of the descriptor before, and none waits; before 3.14 nothing reads it.
    os.write(receiver.fileno(), b"A")

    def loop(count):
        for _ in repeat(None, count):
            sender.send_bytes(data)
            receiver.recv_bytes()
            for fd in fds:
                send_handle(sender, fd, pid)
                os.close(recv_handle(receiver))

    return loop


@contextmanager
def with_descriptor(size):
    data = b"x" * size
    with channels() as (left, right), connections() as (sender, receiver), descriptor() as fd:
        ours = with_descriptors(left, right, data, [fd])
        yield timed(ours), timed(handles(sender, receiver, data, [fd]))


@contextmanager
def forked(serve, near, far):
    """A child that does serve(far) until its end of file, which closing near gives it."""
    pid = os.fork()
    if not pid:
        try:
            near.close()
            serve(far)
        finally:
            os._exit(0)
    far.close()
    try:
        yield
    finally:
        near.close()
        os.waitpid(pid, 0)


def echo(receive, send):
    """Send back what is received."""
    try:
        while True:
            send(receive())
    except EOFError:
        pass


@contextmanager
def echoed(size):
    """More than a socket holds: a child process sends each message back, each side with its own.

    Thus whoever sends and whoever receives work at the same time, as where a Channel is used; two
    threads would measure how they hand the interpreter's lock to each other. There and back, since
    both ends take turns with sending: in one direction alone the slower of the two would hide what
    the other costs.
    """
    data = b"x" * size
    with channels() as (left, right), connections() as (sender, receiver):

        def serve_ours(channel):
            sender.close()  # else the other child never sees the end of file
            receiver.close()
            echo(lambda: channel.recv().data, channel.send)

        def serve_theirs(connection):
            left.close()
            echo(connection.recv_bytes, connection.send_bytes)

        def ours(count):
            for _ in repeat(None, count):
                left.send(data)
                left.recv()

        def theirs(count):
            for _ in repeat(None, count):
                sender.send_bytes(data)
                sender.recv_bytes()

        with forked(serve_ours, left, right), forked(serve_theirs, sender, receiver):
            yield timed(ours), timed(theirs)


@contextmanager
def asynchronous(size):
    try:
        from async_channel import looped
    except ImportError as error:  # fdpass.aio says what to install
        raise Missing(str(error))
    data = b"x" * size
    with channels() as (left, right), looped(data) as ours:
        yield timed(ours), timed(blocking(left, right, data))
