"""The wire format against a second implementation, in C, that was written from its page alone."""

import os
import shutil
import socket
import subprocess
import tempfile

import pytest
from conftest import closing, header

from fdpass import Channel

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer.c")


@pytest.fixture(scope="module")
def program(compiler):
    folder = tempfile.mkdtemp()
    built = os.path.join(folder, "peer")
    options = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-O1", SOURCE, "-o", built]
    told = subprocess.check_output(compiler + options, stderr=subprocess.STDOUT)
    assert told == b""
    yield built
    shutil.rmtree(folder)


@pytest.fixture
def peer(program):
    """Start it on one end of a pair; gives the process, and our end."""
    processes = []

    def start(mode):
        ours, theirs = socket.socketpair()
        with closing(theirs):
            process = subprocess.Popen(
                [program, mode],
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                close_fds=True,
            )
        processes.append((process, ours))
        return process, ours

    yield start
    for process, ours in processes:
        ours.close()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def test_both_ways(peer):
    process, sock = peer("echo")
    pipes = sum((os.pipe() for _ in range(127)), ())[:254]
    with closing(*pipes), closing(Channel(sock)) as (channel,):
        channel.settimeout(30)
        for length in (0, 1, 8, 5000, 1 << 20):
            for count in (0, 1, 2, 253):
                payload = os.urandom(length)
                channel.send(payload, pipes[:count])
                with channel.recv() as message:
                    assert message.data == payload
                    assert [identity(owned.fileno()) for owned in message.fds] == [
                        identity(fd) for fd in pipes[:count]
                    ]
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_from_it(peer):
    process, sock = peer("send")
    with closing(Channel(sock)) as (channel,):
        channel.settimeout(30)
        for length in (0, 1, 7, 1000, 1 << 20):
            expected = bytes(bytearray(i % 251 for i in range(length)))
            assert channel.recv() == (expected, [])
        with channel.recv() as message:
            words = []
            for owned in message.fds:
                with owned.to_file("rb") as opened:
                    words.append(opened.read())
            assert (message.data, words) == (b"", [b"one", b"two", b"three"])
        with channel.recv() as message:
            assert (message.data, len(message.fds)) == (b"many", 253)
        with pytest.raises(EOFError):
            channel.recv()
    assert process.communicate() == (b"", b"")
    assert process.returncode == 0


def test_to_it(peer):
    process, sock = peer("count")
    with closing(Channel(sock)) as (channel,):
        channel.settimeout(30)
        for length, count in ((0, 0), (3, 2), (1 << 20, 253), (70000, 0)):
            channel.send(b"\2" * length, [0] * count)
    out, err = process.communicate()
    assert err == b""
    sums = [(length, count, 2 * length % 65536) for length, count in ((0, 0), (3, 2))]
    sums += [(1 << 20, 253, 2 * (1 << 20) % 65536), (70000, 0, 140000 % 65536)]
    assert out.decode().split("\n")[:-1] == ["%d %d %d" % each for each in sums]
    assert process.returncode == 0


@pytest.mark.parametrize(
    "wire",
    [header(5, 0)[:6] + b"\2\0hello", header((1 << 20) + 1, 0), header(0, 1), header(5, 0) + b"he"],
    ids=["version", "length", "descriptors", "end"],
)
def test_it_is_as_strict(peer, wire):
    process, sock = peer("count")
    sock.sendall(wire)
    sock.close()
    out, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith(b"protocol error: ")
