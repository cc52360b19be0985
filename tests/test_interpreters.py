"""Interpreters of every kind pass descriptors to each other, in both directions."""

import os
import socket
import subprocess
import sys

import pytest

import fdpass

# Set by tests/everywhere.py: interpreters that have fdpass installed.
PYTHONS = os.environ.get("FDPASS_PYTHONS", sys.executable).split(os.pathsep)

SENDER = """
import os, socket, tempfile, fdpass
opened = tempfile.TemporaryFile()
opened.write(b"written by the sender")
opened.flush()
left, right = socket.socketpair()
left.settimeout(10)
with fdpass.FileDescriptor(os.dup(left.fileno())) as owned:
    fdpass.sendall_fds(0, [b"x" * 300000, b"the end"], [opened, owned])
right.sendall(b"through the connection")
left.close()
assert right.recv(9) == b"answered"
"""
RECEIVER = """
import os, socket, sys, fdpass
data, fds, flags, address = fdpass.recv_fds(0, 100000, 2)
while not data.endswith(b"the end"):
    more = fdpass.recv_fds(0, 100000, 0)
    assert more.data
    data += more.data
assert data == b"x" * 300000 + b"the end"
os.lseek(fds[0], 0, os.SEEK_SET)
with fdpass.FileDescriptor(fds[0]).to_file("rb") as opened:
    assert opened.read() == b"written by the sender"
sock = fdpass.socket_from_fd(fds[1])
assert sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM
assert sock.gettimeout() == 0.0, "the sender had a timeout: the mode is shared"
sock.settimeout(10)
rest = b""
while len(rest) < 22:
    rest += sock.recv(100)
assert rest == b"through the connection", rest
sock.sendall(b"answered")
sock.close()
print("ok %d.%d" % sys.version_info[:2])
"""

# The same over a Channel, both ways at once.
CHANNEL = """
import os, sys, threading, fdpass
channel = fdpass.Channel(fdpass.socket_from_fd(0, dup=True))
channel.settimeout(20)
payloads = [b"", b"1", b"x" * 300000, b"end"]
reader, writer = os.pipe()
thread = threading.Thread(target=lambda: [channel.send(each, [writer]) for each in payloads])
thread.start()
for payload in payloads:
    with channel.recv() as message:
        assert message.data == payload
        (owned,) = message.fds
        os.write(owned.fileno(), b".")
thread.join()
os.close(writer)
dots = b""
while len(dots) < 4:
    dots += os.read(reader, 4)
channel.close()
print("ok %d.%d" % sys.version_info[:2])
"""


def start(python, program, sock):
    environment = dict(os.environ)
    if python == sys.executable:
        environment["PYTHONPATH"] = os.path.dirname(
            os.path.dirname(os.path.abspath(fdpass.__file__))
        )
    else:
        environment.pop("PYTHONPATH", None)
    return subprocess.Popen(
        [python, "-c", program],
        cwd=os.path.dirname(os.path.abspath(__file__)),  # not where the checkout's sources are
        stdin=sock,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )


def name_of(python):
    return os.path.basename(os.path.dirname(os.path.dirname(python)))


@pytest.mark.parametrize("receiver", PYTHONS, ids=name_of)
@pytest.mark.parametrize("sender", PYTHONS, ids=name_of)
@pytest.mark.parametrize(
    "programs", [(SENDER, RECEIVER), (CHANNEL, CHANNEL)], ids=["functions", "channel"]
)
def test_from_one_interpreter_to_another(sender, receiver, programs):
    ends = socket.socketpair()
    pairs = zip((sender, receiver), programs, ends)
    processes = [start(*each) for each in pairs]
    for end in ends:
        end.close()
    told = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert told[0] == "" or programs[0] == CHANNEL
    assert told[1].startswith("ok ")
