"""Many descriptors through each path: python tests/soak_descriptors.py --descriptors 1000000

Signals arrive all the time. Prints a line for each path: seconds, descriptors passed, signals, how
much memory the process has at the start, after the first tenth and at the end, and how many
descriptors it has open before and after. The exit status is 1 when what is open is not what was, or
when memory grows by more than --allowance from the first tenth to the end (judged from 100,000
descriptors on). --path NAME, any number of times: those paths alone.
"""

import argparse
import contextlib
import os
import platform
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from array import array

from soak import PYPY, ROOM, Wrong, collected, identity, open_descriptors, resident

# isort: split
import fdpass  # of the checkout, where soak put that on the path
from fdpass.compat import fdsend, passfd, sendmsg, socketfromfd

try:
    import asyncio

    from fdpass import aio
except ImportError:  # before Python 3.9, or without anyio
    aio = None

ALARM = 0.001  # seconds between two signals
LONG = 100000  # descriptors from which on memory that grows is a leak
ALLOWANCE = 16.0 if PYPY else 4.0  # MiB; CPython takes memory by the MiB, PyPy its compiler's too
PATIENCE = 60  # seconds of timeout, where there is one; what comes is on its way already
MUCH = b"x" * 3 * ROOM  # does not go into the socket at once
SIGNALS = [0]


def signalled(signum, frame):
    SIGNALS[0] += 1


# The ends: what the exchanges below send with and receive from.


@contextlib.contextmanager
def objects():
    left, right = socket.socketpair()
    with contextlib.closing(left), contextlib.closing(right):
        left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        yield left, right


@contextlib.contextmanager
def numbers():
    with objects() as (left, right):
        yield left.fileno(), right.fileno()


@contextlib.contextmanager
def patient():
    with objects() as (left, right):
        left.settimeout(PATIENCE)
        right.settimeout(PATIENCE)
        yield left, right


@contextlib.contextmanager
def channels():
    left, right = fdpass.Channel.pair()
    with left, right:
        yield left, right


class Awaited(object):
    """An aio.Channel whose coroutines run to their end, for an exchange that knows none."""

    def __init__(self, loop, channel):
        self.loop, self.channel = loop, channel

    def send(self, data, fds):
        self.loop.run_until_complete(self.channel.send(data, fds))

    def recv(self):
        return self.loop.run_until_complete(self.channel.recv())


@contextlib.contextmanager
def aio_channels():
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        left, right = aio.Channel.pair()
        with contextlib.closing(left), contextlib.closing(right):
            yield Awaited(loop, left), Awaited(loop, right)


# The exchanges: descriptors go from left to right, and come back as ints or objects to close.


def plain(left, right, fds):
    fdpass.send_fds(left, b"x", fds)
    return fdpass.recv_fds(right, 10, len(fds)).fds


def in_parts(left, right, fds):
    """sendall_fds of more than the socket holds, in a thread: both ends wait for one another."""
    sender = threading.Thread(target=fdpass.sendall_fds, args=(left, MUCH, fds))
    sender.start()
    arrived, size = [], 0
    while size < len(MUCH):
        received = fdpass.recv_fds(right, len(MUCH) - size, len(fds))
        size += len(received.data)
        arrived += received.fds
    sender.join()
    return arrived


def rights(fds):
    return socket.SOL_SOCKET, fdpass.SCM_RIGHTS, struct.pack("%di" % len(fds), *fds)


def raw(left, right, fds):
    fdpass.sendmsg(left, [b"x"], [rights(fds)])
    ((_, _, content),) = fdpass.recvmsg(right, 10, fdpass.CMSG_SPACE(4 * len(fds)))[1]
    return array("i", content)


def owned(left, right, fds):
    owners = [fdpass.FileDescriptor(fd) for fd in plain(left, right, fds)]
    for owner in owners:
        owner.dup().close()
    return [owner.to_socket() for owner in owners]


def adopted(left, right, fds):
    return [fdpass.socket_from_fd(fd) for fd in plain(left, right, fds)]


def duplicated(left, right, fds, dup=lambda fd: fdpass.socket_from_fd(fd, dup=True)):
    arrived = plain(left, right, fds)
    made = list(map(dup, arrived))
    for fd in arrived:
        os.close(fd)
    return made


def messages(left, right, fds):
    left.send(b"payload", fds)
    return right.recv().fds


def by_fdsend(left, right, fds):
    fdsend.sendfds(left, b"x", fds=fds)
    return fdsend.recvfds(right, 10, numfds=len(fds))[1]


def by_passfd(left, right, fds):
    passfd.sendfd(left, fds[0])
    return passfd.recvfd(right)[:1]


def by_sendmsg(left, right, fds):
    sendmsg.sendmsg(left, b"x", ancillary=rights(fds))
    ((_, _, content),) = sendmsg.recvmsg(right)[2]
    return array("i", content)


def by_socketfromfd(left, right, fds):
    return duplicated(left, right, fds, socketfromfd.fromfd)


# Name: the ends, the exchange, descriptors in each message.
PATHS = {
    "objects-1": (objects, plain, 1),
    "objects-253": (objects, plain, 253),
    "numbers-1": (numbers, plain, 1),
    "numbers-253": (numbers, plain, 253),
    "sendall-16": (patient, in_parts, 16),
    "sendall-int-16": (numbers, in_parts, 16),
    "raw-1": (objects, raw, 1),
    "raw-253": (numbers, raw, 253),
    "FileDescriptor-16": (objects, owned, 16),
    "adopted-16": (objects, adopted, 16),
    "duplicated-16": (objects, duplicated, 16),
    "Channel-1": (channels, messages, 1),
    "Channel-253": (channels, messages, 253),
    "fdsend-32": (objects, by_fdsend, 32),
    "passfd-1": (objects, by_passfd, 1),
    "sendmsg-16": (numbers, by_sendmsg, 16),
    "socketfromfd-16": (objects, by_socketfromfd, 16),
}
if aio is not None:
    PATHS["aio-16"] = (aio_channels, messages, 16)


def close(things, expected):
    """Close what arrived, which has to be those files."""
    fds = [thing if isinstance(thing, int) else thing.fileno() for thing in things]
    arrived = [identity(fd) for fd in fds]
    if arrived != expected:
        raise Wrong("%s arrived, and %s were passed" % (arrived, expected))
    for thing in things:
        os.close(thing) if isinstance(thing, int) else thing.close()


def driven(name, wanted):
    """(how many descriptors came, memory at the start, after the first tenth and at the end)."""
    opened, exchange, size = PATHS[name]
    passed, memory = 0, [resident()]
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(one), opened() as (left, right):
        fds, expected = [one.fileno()] * size, [identity(one.fileno())] * size
        for mark in (wanted // 10, wanted):
            while passed < mark:
                close(exchange(left, right, fds), expected)
                passed += size
            collected()
            memory.append(resident())
    return passed, memory


def soaked(name, wanted, allowance):
    """Print what there is to tell of the path; what was wrong."""
    before, seen, begun = open_descriptors(), SIGNALS[0], time.time()
    passed, memory = driven(name, wanted)
    seconds, after, wrong = time.time() - begun, open_descriptors(), []
    told = tuple(size / 1048576.0 for size in memory)
    print(
        "%-17s %6.1f s, %d descriptors, %d signals, RSS %.2f, %.2f, %.2f MiB, open %d to %d"
        % ((name, seconds, passed, SIGNALS[0] - seen) + told + (len(before), len(after)))
    )
    sys.stdout.flush()
    if after != before:
        wrong.append("%s: open before: %s; and after: %s" % (name, before, after))
    if wanted >= LONG and told[2] > told[1] + allowance:
        wrong.append("%s: memory grew by more than %g MiB" % (name, allowance))
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--descriptors", type=int, default=10000, help="on each path")
    parser.add_argument("--path", action="append", choices=sorted(PATHS))
    parser.add_argument("--allowance", type=float, default=ALLOWANCE, metavar="MIB")
    options = parser.parse_args()
    warnings.simplefilter("always")  # what was forgotten says so
    signal.signal(signal.SIGALRM, signalled)
    signal.setitimer(signal.ITIMER_REAL, ALARM, ALARM)
    print("%s %s" % (platform.python_implementation(), platform.python_version()))
    wrong = []
    try:
        for name in options.path or sorted(PATHS):
            wrong += soaked(name, options.descriptors, options.allowance)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # at the end of the interpreter it would kill it
    for line in wrong or ["all is well; signals: %d" % SIGNALS[0]]:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
