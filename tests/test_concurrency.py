"""Several threads at once: what a child inherits, and what is closed only once."""

import contextlib
import fcntl
import os
import socket
import subprocess
import threading
import time
from array import array

import pytest
from conftest import closing

import fdpass

try:
    from fdpass import aio
except ImportError:
    aio = None

CHILDREN = 30
THREADS = 2  # of each way


def objects(left, right, fd):
    fdpass.send_fds(left, b"x", [fd])
    return fdpass.recv_fds(right, 1, 1).fds


def numbers(left, right, fd):
    return objects(left.fileno(), right.fileno(), fd)


def raw(left, right, fd):
    fdpass.sendmsg(left, [b"x"], [(socket.SOL_SOCKET, fdpass.SCM_RIGHTS, array("i", [fd]))])
    ((_, _, content),) = fdpass.recvmsg(right, 1, fdpass.CMSG_SPACE(4))[1]
    return array("i", content)


def sockets(left, right, fd):
    (received,) = objects(left, right, left.fileno())
    return fdpass.socket_from_fd(received, dup=True), fdpass.socket_from_fd(received)


def channels(left, right, fd):
    left.send(b"", [fd])
    return right.recv().fds


# How the two ends are made, and how a descriptor gets from one to the other.
WAYS = {
    "objects": (socket.socketpair, objects),
    "numbers": (socket.socketpair, numbers),
    "raw": (socket.socketpair, raw),
    "sockets": (socket.socketpair, sockets),
    "channels": (fdpass.Channel.pair, channels),
}


def link(fd):
    return os.readlink("/proc/self/fd/%d" % fd)


class Passing(threading.Thread):
    """Passes a descriptor of a file of its own from one end to the other, until it is closed."""

    def __init__(self, way, path):
        threading.Thread.__init__(self)
        made, self.exchange = WAYS[way]
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.ends = made()
        held = [self.fd] + [end.fileno() for end in self.ends]
        for number in held:  # a child of 2.7 would inherit these
            fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self.links = set(map(link, held))
        self.closed, self.failure = threading.Event(), None

    def run(self):
        try:
            while not self.closed.is_set():
                with closing(*self.exchange(self.ends[0], self.ends[1], self.fd)):
                    pass
        except Exception as error:
            self.failure = error

    def close(self):
        self.closed.set()
        self.join()
        with closing(self.fd, *self.ends):
            pass


@contextlib.contextmanager
def passing(folder):
    """Threads that pass descriptors meanwhile, by way."""
    ways = sorted(WAYS) * THREADS
    threads = [Passing(way, os.path.join(folder, str(i))) for i, way in enumerate(ways)]
    with closing(*threads):
        for thread in threads:
            thread.start()
        yield list(zip(ways, threads))


def inherited():
    """The links of what a child has open that closes nothing."""
    child = subprocess.Popen(["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE)
    output, _ = child.communicate()
    assert child.returncode == 0
    return {line.rpartition(" -> ")[2] for line in output.decode().splitlines()}


def test_a_child_tells_what_it_inherits(path):
    with closing(os.open(path, os.O_RDWR | os.O_CREAT)) as (fd,):
        fcntl.fcntl(fd, fcntl.F_SETFD, 0)
        assert link(fd) in inherited()
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        assert link(fd) not in inherited()


def test_no_child_has_a_descriptor_that_arrived_meanwhile(folder):
    with passing(folder) as threads:
        for _ in range(CHILDREN):
            links = inherited()
            assert [way for way, thread in threads if thread.links & links] == []
    assert [thread.failure for _, thread in threads] == [None] * len(threads)


class Counted(object):
    """A socket object that counts the calls of close, and stays open."""

    def __init__(self, sock):
        self.sock, self.closings = sock, []

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def close(self):
        self.closings.append(threading.current_thread())


CLOSED = {
    "Channel": lambda sock, _: fdpass.Channel(sock),
    "Listener": lambda _, sock: fdpass.Listener.from_socket(sock),
}
if aio is not None:
    CLOSED["aio.Channel"] = lambda sock, _: aio.Channel(sock)
    CLOSED["aio.Listener"] = lambda _, sock: aio.Listener.from_socket(sock)


def in_two_threads(call):
    """Run call in two threads that start at the same time."""
    here = []

    def run():
        here.append(None)
        while len(here) < 2:
            time.sleep(0)
        call()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.rule(23)
@pytest.mark.parametrize("name", sorted(CLOSED))
def test_two_threads_close_a_socket_once(stream, path, name):
    """This holds without the GIL too, where swapping two names closes about 1 of 1,000 twice."""
    with closing(socket.socket(socket.AF_UNIX)) as (listening,):
        listening.bind(path)
        listening.listen(1)
        for _ in range(20):
            socks = [(Counted(stream[0]), Counted(listening)) for _ in range(200)]
            things = [CLOSED[name](*both) for both in socks]
            in_two_threads(lambda things=things: [thing.close() for thing in things])
            closings = [len(one.closings + other.closings) for one, other in socks]
            assert closings == [1] * len(socks)
