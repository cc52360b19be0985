"""Two processes exchange messages over a Channel for a while: python tests/soak.py --seconds 600

Both send and receive at once, over a socket that holds next to nothing, while signals arrive and
timeouts end. Each payload and each descriptor is checked on arrival, and at the end what the two
processes have open and how much memory they take. Prints one line; the exit status is 1 when
anything is wrong. --seed gives the same messages again, though not at the same moments.
"""

import argparse
import binascii
import contextlib
import errno
import gc
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings

try:
    import fdpass
except ImportError:  # a checkout that is not installed
    sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import fdpass

PYPY = hasattr(sys, "pypy_version_info")
MAX_DATA = 1 << 20
ROOM = 4096  # of the socket, in bytes: less than many messages have
# Different files whose descriptors travel. With a message's 253, RLIMIT_NOFILE must be about 400.
POOL = 64
# Bytes of payload up to which a message is sent whole or not at all: a timeout ends it before its
# first byte, and it can be sent again.
ATOMIC = 500
ALARM = 0.0017  # seconds between two signals
GRACE = 15  # seconds after the end until what still waits is given up
# How much more memory the end may take than the first half did at most: the allocator's whims.
GROWTH = (48 if PYPY else 12) << 20
NAMES = ("parent", "child")
COUNTED = ("messages", "bytes", "descriptors", "late", "unsent", "signals")


class Wrong(Exception):
    """What arrived is not what was sent."""


def identity(fd):
    status = os.fstat(fd)
    return [status.st_dev, status.st_ino]


def open_descriptors():
    """The open descriptors of this process, and which file each is of."""
    table = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            table[int(name)] = identity(int(name))
        except OSError:  # the one that listdir itself had open
            pass
    return table


def resident():
    """Bytes of memory that this process has now."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def collected():
    for _ in range(3 if PYPY else 1):  # there, what has a __del__ goes in the next round only
        gc.collect()


def pause(seconds):
    try:
        time.sleep(seconds)
    except EnvironmentError as error:
        if error.errno != errno.EINTR:  # a signal, on 2.7
            raise


def random_bytes(seed, size):
    digits = "%0*x" % (2 * size, random.Random(seed).getrandbits(8 * size))
    return binascii.unhexlify(digits.encode("ascii"))


class Plan(object):
    """The messages of one direction: sender and receiver draw the same ones, from one seed.

    A message that told its own checksum could not be empty, and a lost one would not be missed.
    """

    def __init__(self, seed, blob):
        self.dice, self.blob, self.number = random.Random(seed), blob, 0

    def next(self):
        """(the payload, and of which files of the pool its descriptors are)."""
        dice = self.dice
        self.number += 1
        kind = dice.random()
        if kind < 0.05:
            size = dice.choice([0, 1, MAX_DATA if kind < 0.002 else 2])
        else:
            most = 200 if kind < 0.7 else 4000 if kind < 0.9 else 40000 if kind < 0.98 else MAX_DATA
            size = dice.randint(0, most)
        kind = dice.random()
        if kind < 0.002:
            count = fdpass.MAX_FDS
        else:
            most = 0 if kind < 0.5 else 3 if kind < 0.9 else 30 if kind < 0.98 else fdpass.MAX_FDS
            count = dice.randint(0, most)
        start = dice.randrange(len(self.blob) - MAX_DATA)
        return self.blob[start : start + size], [dice.randrange(POOL) for _ in range(count)]

    def end(self):
        """The message after the last."""
        return ("the end, after %d messages" % self.number).encode("ascii")


class Side(object):
    """One process's end: one thread of it sends, another receives."""

    def __init__(self, channel, seed, side, seconds):
        self.channel, self.side, self.seconds, self.begun = channel, side, seconds, time.time()
        blob = random_bytes(seed, 3 * MAX_DATA)
        self.outgoing, self.incoming = [Plan(2 * seed + one, blob) for one in (side, 1 - side)]
        # What is not of the plan has dice of its own, in each thread.
        self.sender_dice = random.Random(seed + side)
        self.receiver_dice = random.Random(seed - side)
        self.brief = threading.Lock()  # held while the timeout is brief, or must not be
        self.failures = []
        self.told = dict.fromkeys(COUNTED, 0)
        self.highest = resident()  # in the first half
        # Closing the channel would not wake a thread that waits in it; a shutdown does.
        self.line = fdpass.socket_from_fd(channel.fileno(), dup=True)

    def passed(self):
        """How much of the time has passed: 1 at its end."""
        return (time.time() - self.begun) / self.seconds

    def guarded(self, work, *arguments):
        """Do the work. What it raises is written down, and ends the others here and there."""
        try:
            work(*arguments)
        except BaseException:
            self.failures.append(traceback.format_exc())
            try:
                self.line.shutdown(socket.SHUT_RDWR)
            except socket.error:
                pass  # the peer has gone

    def send_all(self, fds):
        self.send(json.dumps([identity(fd) for fd in fds]).encode("ascii"), [])
        while self.passed() < 1:
            data, chosen = self.outgoing.next()
            self.send(data, [fds[index] for index in chosen])
            if self.sender_dice.random() < 0.01:
                pause(self.sender_dice.random() * 0.02)
        self.send(self.outgoing.end(), [])

    @contextlib.contextmanager
    def briefly(self, dice):
        """Now and then with a timeout that soon ends, unless a large message is being sent."""
        brief = dice.random() < 0.3 and self.brief.acquire(False)
        try:
            if brief:
                self.channel.settimeout(0.0002)
            yield
        finally:
            if brief:
                self.channel.settimeout(None)
                self.brief.release()

    def send(self, data, fds):
        if len(data) <= ATOMIC:
            with self.briefly(self.sender_dice):
                self.send_again(data, fds)
        else:
            with self.brief:
                self.channel.settimeout(self.sender_dice.choice([None, GRACE]))
                self.send_again(data, fds)

    def send_again(self, data, fds):
        """Send it, again and again while nothing of it is sent."""
        while True:
            try:
                return self.channel.send(data, fds)
            except socket.timeout:
                if self.channel.closed:
                    raise
            except socket.error as error:
                # As many descriptors are in flight, from all of this user's processes, as one may
                # have open.
                if error.errno != errno.ETOOMANYREFS:
                    raise
                pause(0.005)
            self.told["unsent"] += 1

    def receive_all(self):
        with self.receive() as message:
            pool = json.loads(message.data.decode("ascii"))
        while True:
            with self.receive() as message:
                if message.data == self.incoming.end():
                    return
                self.check(message, pool)
            if self.receiver_dice.random() < 0.01:
                pause(self.receiver_dice.random() * 0.02)
                if self.passed() < 0.5:
                    self.highest = max(self.highest, resident())

    def receive(self):
        while True:
            try:
                with self.briefly(self.receiver_dice):
                    return self.channel.recv()
            except socket.timeout:
                self.told["late"] += 1

    def check(self, message, pool):
        data, chosen = self.incoming.next()
        number = self.incoming.number
        if message.data != data:
            raise Wrong(
                "message %d: %d bytes arrived, and they are not the %d that were sent"
                % (number, len(message.data), len(data))
            )
        arrived = [identity(one.fileno()) for one in message.fds]
        if arrived != [pool[index] for index in chosen]:
            raise Wrong(
                "message %d: %d descriptors arrived, and they are not the %d that were sent"
                % (number, len(arrived), len(chosen))
            )
        self.told["messages"] += 1
        self.told["bytes"] += len(data)
        self.told["descriptors"] += len(arrived)

    def signalled(self, signum, frame):
        self.told["signals"] += 1

    def run(self, fds):
        # The signals interrupt the main thread: in one process it sends, in the other it receives.
        works = [(self.send_all, fds), (self.receive_all,)]
        if self.side:
            works.reverse()
        signal.signal(signal.SIGALRM, self.signalled)
        signal.setitimer(signal.ITIMER_REAL, ALARM, ALARM)
        other = threading.Thread(target=self.guarded, args=works[1])
        other.daemon = True
        other.start()
        self.guarded(*works[0])
        while other.is_alive():
            other.join(0.05)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self.line.close()


@contextlib.contextmanager
def pool():
    """The descriptors of POOL different files: pipes, and files without a name."""
    fds = []
    try:
        while len(fds) < POOL:
            if len(fds) % 2:
                readable, writable = os.pipe()
                os.close(writable)
                fds.append(readable)
            else:
                fd, path = tempfile.mkstemp()
                os.unlink(path)
                fds.append(fd)
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def given_up(seed, side):
    told = "soak: FAILED with --seed %d: the %s still waits\n" % (seed, NAMES[side])
    os.write(2, told.encode("ascii"))
    os._exit(1)


def soaked(sock, seed, side, seconds):
    """Be one side of it, on that socket; what there is to tell about it, as a dictionary."""
    late = threading.Timer(seconds + GRACE, given_up, [seed, side])
    late.daemon = True
    late.start()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    with fdpass.Channel(sock, MAX_DATA) as channel, pool() as fds:
        work = Side(channel, seed, side, seconds)
        work.run(fds)
    late.cancel()
    late.join()
    told, failures, highest = work.told, work.failures, work.highest
    del work
    collected()
    memory = resident()
    if memory > highest + GROWTH and not failures:
        failures.append("it has %d bytes, and had %d at most in the first half" % (memory, highest))
    return dict(told, failures=failures, resident=[highest, memory])


def as_child(seed, seconds):
    """The process at the other end: its standard input is the socket, and its output is read."""
    number = os.dup(0)
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    before = open_descriptors()
    told = soaked(fdpass.socket_from_fd(number), seed, 1, seconds)
    del before[number]
    print(json.dumps(compared(told, before)))


def compared(told, before):
    """told, with what is open now and was not before, or was and is not."""
    after = open_descriptors()
    if after != before:
        told["failures"].append("open before: %s; and after: %s" % (before, after))
    return dict(told, open=[len(before), len(after)])


def run(seconds, seed):
    """What both sides have to tell, this process's first."""
    command = [sys.executable, os.path.abspath(__file__), "--child"]
    command += ["--seconds", str(seconds), "--seed", str(seed)]
    before = open_descriptors()
    here, there = socket.socketpair()
    child = subprocess.Popen(command, stdin=there, stdout=subprocess.PIPE)
    there.close()
    told = [soaked(here, seed, 0, seconds)]
    output = child.communicate()[0].decode("ascii")
    told[0] = compared(told[0], before)
    try:
        told.append(json.loads(output))
    except ValueError:
        told.append(dict.fromkeys(COUNTED, 0))
        told[1].update(failures=["it told nothing"], resident=[0, 0], open=[0, 0])
    return told


def summary(seconds, seed, told):
    """One line."""
    numbers = {name: sum(one[name] for one in told) for name in COUNTED}
    parts = ["%d %s" % (numbers[name], name) for name in COUNTED]
    for name, one in zip(NAMES, told):
        parts.append(
            "%s: RSS %.1f to %.1f MiB, open %d to %d"
            % ((name,) + tuple(size / 1048576.0 for size in one["resident"]) + tuple(one["open"]))
        )
    python = "%s %s" % (platform.python_implementation(), platform.python_version())
    return "soak, %s, %g s, seed %d: %s" % (python, seconds, seed, "; ".join(parts))


def steady(count):
    """count small messages through one channel; how many bytes more memory that took at the end."""
    data, measured = b"x" * 100, []
    left, right = fdpass.Channel.pair()
    fd = os.open(os.devnull, os.O_RDONLY)
    with left, right:
        for number in range(count):
            left.send(data[: number % 100], [fd] if number % 16 == 0 else ())
            with right.recv() as message:
                assert len(message.data) == number % 100
            if number in (count // 2, count - 1):
                collected()
                measured.append(resident())
    os.close(fd)
    return measured[1] - measured[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("always")  # a descriptor that was forgotten says so
    if options.child:
        return as_child(options.seed, options.seconds)
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    told = run(options.seconds, seed)
    print(summary(options.seconds, seed, told))
    failures = [
        "%s: %s" % (name, failure) for name, one in zip(NAMES, told) for failure in one["failures"]
    ]
    for failure in failures:
        print(failure)
    if failures:
        print("FAILED; the same messages again: --seconds %g --seed %d" % (options.seconds, seed))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
