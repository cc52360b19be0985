"""What is asked of the kernel, as the C library sees it: no result and no peer tells of it."""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

import fdpass

HERE = os.path.dirname(os.path.abspath(__file__))
ROOM_FOR_ALL = fdpass.CMSG_SPACE(4 * fdpass.MAX_FDS)
BESIDE = 1024  # bytes for credentials, a pidfd, a timestamp and a security label

BEGIN = """
import os, socket, sys, threading
import fdpass

class Holder(object):
    def __init__(self, thing):
        self.fileno = thing.fileno

left, right = socket.socketpair()
FORMS = [lambda sock: sock, lambda sock: sock.fileno(), Holder]
"""


@pytest.fixture(scope="module")
def library(compiler):
    folder = tempfile.mkdtemp()
    built = os.path.join(folder, "watched.so")
    options = ["-std=gnu99", "-shared", "-fPIC", "-Wall", "-Wextra", "-O1", "-o", built]
    subprocess.check_call(compiler + options + [os.path.join(HERE, "watched.c")])
    yield built
    shutil.rmtree(folder)


@pytest.fixture
def watched(library):
    """A function that runs a program, and gives the calls it made: [name, number, ...] of each."""

    def calls(program):
        root = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN + program],
            env=dict(os.environ, LD_PRELOAD=library, PYTHONPATH=root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            output, told = process.communicate()
        finally:
            if process.poll() is None:  # it hangs
                process.kill()
        assert (process.returncode, output) == (0, b""), (output, told)
        lines = [line.split() for line in told.decode().splitlines()]
        return [[int(word) if word.isdigit() else word for word in line] for line in lines]

    return calls


@pytest.mark.rule(11)
def test_one_control_message_or_none(watched):
    """Linux joins several, so that the receiver cannot tell; other systems deliver the first."""
    calls = watched(
        """
for form in FORMS:
    for count in (0, 1, 2, 253):
        for data in (b"x", [b"x"]):
            for send in (fdpass.send_fds, fdpass.sendall_fds):
                send(form(left), data, [0] * count)
                os.read(right.fileno(), 1)  # what is under way counts, for an ordinary user
channel = fdpass.Channel(left)
for count in (1, 2, 253):
    channel.send(b"x", [0] * count)
    os.read(right.fileno(), 9)
"""
    )
    expected = [["sendmsg", 1, int(count > 0), count] for count in (0, 1, 2, 253)]
    expected = [call for call in expected for _ in range(4)] * 3
    assert calls == expected + [["sendmsg", 9, 1, count] for count in (1, 2, 253)]


@pytest.mark.rule(10)
def test_the_descriptors_of_a_large_payload_go_with_its_first_call_alone(watched):
    calls = watched(
        """
left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
left.settimeout(30)
def drain(sock, size):
    while size:
        size -= len(os.read(sock.fileno(), size))
def send(end, call, size):
    reader = threading.Thread(target=drain, args=(right, size))
    reader.start()
    call()
    reader.join()
data = b"x" * 300000
send(left, lambda: fdpass.sendall_fds(left, data, [0, 0]), len(data))
os.write(2, b"channel\\n")
channel = fdpass.Channel(left)
send(channel, lambda: channel.send(data, [0, 0]), len(data) + 8)
"""
    )
    # A first try that says EAGAIN is made again with the descriptors: nothing has gone with it.
    at = calls.index(["channel"])
    for ours, size in ((calls[:at], 300000), (calls[at + 1 :], 300008)):
        assert ours[0] == ["sendmsg", size, 1, 2]
        later = [call for call in ours if call[1] < size]
        assert len(later) > 1
        assert all(call[0] == "send" or call[2:] == [0, 0] for call in later)


@pytest.mark.rule(1)
@pytest.mark.rule(4)
def test_receiving_asks_for_close_on_exec_and_has_room_for_all(watched):
    calls = watched(
        """
for form in FORMS:
    for maxfds in (0, 1, 253):
        for timeout in (None, 30):
            left.send(b"x")
            right.settimeout(timeout)
            fdpass.recv_fds(form(right), 7, maxfds)
            left.send(b"x")
            fdpass.recvmsg(form(right), 7, 100)
left.send(b"\\0\\0\\0\\1\\0\\0\\1\\0x")
right.settimeout(None)
fdpass.Channel(right, max_fds=1).recv()
"""
    )
    received = [call for call in calls if call[0] != "send"]
    assert {call[0] for call in received} == {"recvmsg"}
    assert {call[3] for call in received} == {"close-on-exec"}
    judged = [call for call in received if call[2] != 100]
    assert [call[1] for call in judged] == [7] * 18 + [8, 1]
    assert all(call[2] >= ROOM_FOR_ALL + BESIDE for call in judged)


@pytest.mark.rule(7)
def test_a_channel_reads_its_message_and_no_byte_beyond(watched):
    """One call for the header and one for a payload, if there is one."""
    calls = watched(
        """
here, there = fdpass.Channel(left), fdpass.Channel(right)
for size, count in ((0, 0), (0, 2), (5, 0), (5, 253), (1000, 1)):
    here.send(b"x" * size, [0] * count)
for size, count in ((0, 0), (0, 2), (5, 0), (5, 253), (1000, 1)):
    with there.recv() as message:
        assert (len(message.data), len(message.fds)) == (size, count)
"""
    )
    sent, received = calls[:5], calls[5:]
    assert [call[1] for call in sent] == [8, 8, 13, 13, 1008]
    assert [call[:2] for call in received] == [
        ["recvmsg", size] for size in (8, 8, 8, 5, 8, 5, 8, 1000)
    ]


def test_a_clock_that_is_set_does_not_prolong_a_timeout(watched):
    watched(
        """
import tempfile, time
assert time.time() > time.time() + 3000
folder = tempfile.mkdtemp()
listener = fdpass.Listener(folder + "/socket", backlog=0)
listener.settimeout(0.05)
left.settimeout(0.05)
channel = fdpass.Channel(right)
channel.settimeout(0.05)
def connect():
    while True:
        kept.append(fdpass.Channel.connect(folder + "/socket", timeout=0.05))
kept = []
for call in (
    lambda: fdpass.recv_fds(left, 1, 1),
    lambda: fdpass.recvmsg(left, 1),
    lambda: fdpass.sendall_fds(left, b"x" * (1 << 24), [0]),
    lambda: fdpass.send_fds(left, b"x" * 100000, [0]),
    lambda: channel.send(b"x" * (1 << 20)),
    listener.accept,
    connect,
):
    try:
        call()
    except socket.timeout:
        continue
    raise SystemExit("no timeout")
for each in kept + [listener]:
    each.close()
os.rmdir(folder)
"""
    )
