"""The rows of the table, and the jobs that they measure.

To add a row: write a job, a context manager that yields fdpass's side and the peer's, and name it
in ROWS. A side does its work count times, the way its user would write it, with names looked up as
in a user's program, and closes every descriptor that it received.
"""

import operator
import os
import platform
import socket
import sys
from collections import namedtuple
from contextlib import closing, contextmanager
from functools import partial
from itertools import repeat

import channels
import import_time
import loops
from found import fdpass
from measure import timed

# limit: the most that is allowed, or None. held: whether this interpreter is held to it. needs:
# None, or what this interpreter is not. job: gives a context manager that yields Sides. compare:
# what the row tells, from the seconds that ours and theirs take; unit: what that is counted in.
Row = namedtuple("Row", "name peer limit held needs job compare unit")
# note: what else the row has to say. broken: whether that alone misses it.
Sides = namedtuple("Sides", "ours theirs note broken")

VERSION = sys.version_info[:2]
CPYTHON = platform.python_implementation() == "CPython"
NEWEST = CPYTHON and VERSION >= (3, 14)  # the two newest CPythons
OLDEST = CPYTHON and VERSION == (2, 7)


@contextmanager
def stream(fds, wrapped=False):
    """Both ends of a stream socketpair, and that many open descriptors.

    2.7's socketpair gives bare _socket.socket objects; wrapped, they are of accept's class.
    """
    left, right = ends = socket.socketpair()
    if wrapped:
        left, right = [socket.socket(_sock=end) for end in ends]
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(fds)]
    try:
        yield left, right, opened
    finally:
        for fd in opened:
            os.close(fd)
        for sock in (left, right) + tuple(ends):
            sock.close()


def sides(ours, theirs):
    return Sides(timed(ours), timed(theirs), "", False)


@contextmanager
def passed(peer, fds=1, data=b"x", wrapped=False):
    """fdpass's loop and that of a peer, a function of loops.py, each message with so many fds."""
    with stream(fds, wrapped) as (left, right, opened):
        yield sides(loops.by_fdpass(left, right, data, opened), peer(left, right, data, opened))


@contextmanager
def handed_over():
    with closing(socket.socket()) as listener, stream(0) as (left, right, _):
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        address = listener.getsockname()
        with closing(socket.create_connection(address)), closing(listener.accept()[0]) as accepted:

            def ours(count):
                for _ in repeat(None, count):
                    fdpass.send_fds(left, b"x", [accepted])
                    (fd,) = fdpass.recv_fds(right, 1, 1).fds
                    fdpass.socket_from_fd(fd).close()

            def theirs(count):
                for _ in repeat(None, count):
                    client = socket.socket()
                    client.connect(address)
                    connection, _address = listener.accept()
                    connection.close()
                    client.close()

            yield sides(ours, theirs)


@contextmanager
def imported():
    with import_time.fresh_interpreters() as (ours, theirs, loaded):
        note = "of %s it loads %s" % (", ".join(import_time.UNWANTED), ", ".join(loaded) or "none")
        yield Sides(ours, theirs, note, bool(loaded))


@contextmanager
def channel_sides(job, size):
    """Of a job of channels.py."""
    with job(size) as (ours, theirs):
        yield sides(ours, theirs)


PYTHON_2 = None if VERSION[0] == 2 else "a row of Python 2.7"
PYTHON_3 = None if VERSION[0] == 3 else "a row of Python 3"
HAS_SEND_FDS = PYTHON_3 or (None if hasattr(socket, "send_fds") else "needs Python 3.9")
HAS_AIO = None if VERSION >= (3, 9) else "needs Python 3.9"
C_API = PYTHON_2 or (None if CPYTHON else "a row of CPython: the peer is compiled for it")

LIBRARY = "socket.send_fds + socket.recv_fds + os.set_inheritable(fd, False)"
BY_HAND = "sendmsg and recvmsg written by hand: bench/by_hand.py"
PASSFD = "python-passfd 0.2, an extension in C"
SHAPE = "an extension in C of fdsend's shape: bench/fdsend_shape.c"
WRAPPED = SHAPE + ", over the socket objects that accept gives"
ALONE = "connect + accept + close of a TCP connection, which ours then hands over"
CONNECTION = "multiprocessing.connection.Connection"
HANDLES = CONNECTION + " + send_handle + recv_handle"
ECHO = CONNECTION + "; a child process sends each message back"
BLOCKING = "fdpass.Channel; ours is fdpass.aio.Channel"
SOCKET = "import socket, in fresh interpreters; ours may take so much longer"


def ratio_row(name, peer, limit, held, needs, job):
    return Row(name, peer, limit, held, needs, job, operator.truediv, "")


def channel_row(name, peer, limit, job, size):
    job = partial(channel_sides, job, size)
    return ratio_row(name, peer, limit, NEWEST or OLDEST, None, job)


def more_milliseconds(ours, theirs):
    return 1000 * (ours - theirs)


ROWS = [
    ratio_row("library-1", LIBRARY, 1.15, NEWEST, HAS_SEND_FDS, partial(passed, loops.by_library)),
    ratio_row(
        "library-64", LIBRARY, 0.85, NEWEST, HAS_SEND_FDS, partial(passed, loops.by_library, 64)
    ),
    ratio_row(
        "library-253", LIBRARY, 0.85, NEWEST, HAS_SEND_FDS, partial(passed, loops.by_library, 253)
    ),
    ratio_row(
        "library-1-64KiB",
        LIBRARY,
        None,
        False,
        HAS_SEND_FDS,
        partial(passed, loops.by_library, 1, b"x" * 65536),
    ),
    ratio_row(
        "by-hand-1",
        BY_HAND,
        1.45 if CPYTHON else 1.30,
        NEWEST or (not CPYTHON and VERSION >= (3, 11)),
        PYTHON_3,
        partial(passed, loops.by_hand),
    ),
    ratio_row("passfd-1", PASSFD, 0.85, OLDEST, PYTHON_2, partial(passed, loops.by_passfd)),
    ratio_row("c-extension-1", SHAPE, 1.40, OLDEST, C_API, partial(passed, loops.by_extension)),
    ratio_row(
        "c-extension-1-full",
        WRAPPED,
        None,
        False,
        C_API,
        partial(passed, loops.by_extension, wrapped=True),
    ),
    ratio_row("hand-over", ALONE, 0.45, NEWEST or OLDEST, None, handed_over),
    channel_row("channel-64-1", HANDLES, 0.70, channels.with_descriptor, 64),
    channel_row("channel-64", CONNECTION, 1.5, channels.messages, 64),
    channel_row("channel-64KiB", CONNECTION, 1.2, channels.messages, 1 << 16),
    channel_row("channel-1MiB", ECHO, 1.2, channels.echoed, 1 << 20),
    ratio_row(
        "aio-channel-64",
        BLOCKING,
        2.5,
        NEWEST,
        HAS_AIO,
        partial(channel_sides, channels.asynchronous, 64),
    ),
    Row("import", SOCKET, 3.0, VERSION[0] == 3, None, imported, more_milliseconds, "ms"),
]
