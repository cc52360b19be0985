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
import loops
from found import fdpass
from import_time import fresh_interpreters
from measure import timed

# limit: the most that is allowed, or None. held: whether this interpreter is held to the limit.
# needs: None, or what this interpreter lacks. job: a function that returns a context manager, which
# yields both sides. compare: what the row shows, from the seconds of both; unit: its unit.
Row = namedtuple("Row", "name peer limit held needs job compare unit")

VERSION = sys.version_info[:2]
CPYTHON = platform.python_implementation() == "CPython"
NEWEST = CPYTHON and VERSION >= (3, 14)  # the two newest CPythons
OLDEST = CPYTHON and VERSION == (2, 7)


@contextmanager
def stream(fds, wrapped=False):
    """Yield both ends of a stream socketpair, and that many open descriptors.

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


@contextmanager
def passed(peer, fds=1, data=b"x", wrapped=False):
    """fdpass's loop and that of a peer, a function of loops.py; each message has that many fds."""
    with stream(fds, wrapped) as (left, right, opened):
        yield [timed(make(left, right, data, opened)) for make in (loops.by_fdpass, peer)]


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

            yield timed(ours), timed(theirs)


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

KIB_64 = b"x" * 65536
HELD = NEWEST or OLDEST
HAND_HELD = NEWEST or (not CPYTHON and VERSION >= (3, 11))
HAND_LIMIT = 1.45 if CPYTHON else 1.30


def row(name, peer, limit, held, needs, job, *arguments):
    return Row(name, peer, limit, held, needs, partial(job, *arguments), operator.truediv, "")


def more_milliseconds(ours, theirs):
    return 1000 * (ours - theirs)


ROWS = [
    row("library-1", LIBRARY, 1.15, NEWEST, HAS_SEND_FDS, passed, loops.by_library),
    row("library-64", LIBRARY, 0.85, NEWEST, HAS_SEND_FDS, passed, loops.by_library, 64),
    row("library-253", LIBRARY, 0.85, NEWEST, HAS_SEND_FDS, passed, loops.by_library, 253),
    row("library-1-64KiB", LIBRARY, None, False, HAS_SEND_FDS, passed, loops.by_library, 1, KIB_64),
    row("by-hand-1", BY_HAND, HAND_LIMIT, HAND_HELD, PYTHON_3, passed, loops.by_hand),
    row("passfd-1", PASSFD, 0.85, OLDEST, PYTHON_2, passed, loops.by_passfd),
    row("c-extension-1", SHAPE, 1.40, OLDEST, C_API, passed, loops.by_extension),
    row("c-extension-1-full", WRAPPED, None, False, C_API, passed, loops.by_extension, 1, b"x", 1),
    row("hand-over", ALONE, 0.45, HELD, None, handed_over),
    row("channel-64-1", HANDLES, 0.70, HELD, None, channels.with_descriptor, 64),
    row("channel-64", CONNECTION, 1.5, HELD, None, channels.messages, 64),
    row("channel-64KiB", CONNECTION, 1.2, HELD, None, channels.messages, 1 << 16),
    row("channel-1MiB", ECHO, 1.2, HELD, None, channels.echoed, 1 << 20),
    row("aio-channel-64", BLOCKING, 2.5, NEWEST, HAS_AIO, channels.asynchronous, 64),
    Row("import", SOCKET, 3.0, VERSION[0] == 3, None, fresh_interpreters, more_milliseconds, "ms"),
]
