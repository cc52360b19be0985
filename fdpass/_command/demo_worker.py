"""The demo's worker: the loop that it runs, and the handle by which the front holds it."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time

from .. import FdPassError, recv_fds, send_fds, socket_from_fd
from .demo_http import (
    HEAD_LIMIT,
    PATIENCE,
    PYTHON,
    Conversations,
    answer,
    clock,
    read_body,
    requested,
    say,
)

PACKAGE = __name__.rpartition(".")[0]  # not always "fdpass": a vendored copy has its own name
ROOT = os.path.abspath(__file__)
for _ in __name__.split("."):
    ROOT = os.path.dirname(ROOT)  # the folder that the package is imported from
# For a child on any interpreter. ROOT comes last in sys.path: where fdpass is installed, that one
# is used. So the current folder, which -c puts first, counts only where it counted for us, on our
# own interpreter. Ctrl-C reaches the whole process group; what it means, the front decides.
START = (
    "import importlib, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    " root, own, module, function = sys.argv[1:5];"
    " sys.path[:] = [path for path in sys.path if path or own] + [root];"
    " sys.exit(getattr(importlib.import_module(module), function)(*sys.argv[5:]))"
)
START_PATIENCE = 60  # seconds until a worker has to be there
TICK = 0.01  # seconds between two looks at a child that tells nothing by itself
TAKEN = b"taken"  # the worker's receipt for a connection
GONE = (errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED)  # what a lost peer shows up as


class DemoError(Exception):
    """The demo cannot go on, and that is no bug in it."""


def run_worker():
    """What the worker process runs. The front has put its channel in the place of stdin."""
    # A duplicate: 0 stays in use, and no received connection becomes stdin.
    channel = socket_from_fd(0, dup=True)
    os.dup2(1, 2)  # the front listens to our stderr only until we are there
    serve_worker(channel)
    channel.close()


def serve_worker(channel):
    """Answer the connections that come over channel, until the front has gone."""
    front = os.getppid()
    conversations = Conversations()
    channel.settimeout(1)
    try:
        channel.send(json.dumps({"pid": os.getpid(), "python": PYTHON}).encode("ascii"))
        while True:
            try:
                read, fds, _, _ = recv_fds(channel, HEAD_LIMIT, 1)
            except socket.timeout:
                # A pair of datagram sockets has no end of file: see whether we are orphaned.
                if os.getppid() != front:
                    break
            except FdPassError as error:
                # Lost here, but the front has its own still, and will answer.
                channel.send(str(error).encode("ascii"))
            else:
                if not read and not fds:  # the end of file, or with datagrams the front's farewell
                    break
                try:
                    connection = socket_from_fd(fds[0])
                except socket.error as error:  # at the limit of descriptors it needs one more
                    os.close(fds[0])
                    channel.send(str(error).encode("ascii", "replace"))
                    continue
                # Before the first byte of the answer: with no receipt, the front answers.
                channel.send(TAKEN)
                conversations.start(answer_report, connection, read)
    except socket.error as error:
        if error.errno not in GONE:
            raise
    finally:
        conversations.finish(1)


def answer_report(connection, read):
    """Answer the request whose head, and maybe some more, has been read already."""
    try:
        # O_NONBLOCK is shared by all who hold the socket, and the front's timeout has set it.
        connection.settimeout(PATIENCE)
        method, path = requested(read)
        received = read_body(connection, read)
        text = "%s %s by the worker, pid %d, %s; of the request, the front had read %d bytes and"
        text += " the worker read %d"
        facts = (method, path, os.getpid(), PYTHON, len(read), received)
        answer(connection, 200, text % facts, method)
    except socket.error:
        pass  # the client has gone, or kept silent for too long
    finally:
        connection.close()


def start(python, module, function, *arguments, **streams):
    """A child process that has the three streams and no other descriptor of ours."""
    own = "own" if python == sys.executable else ""
    command = [python, "-c", START, ROOT, own, PACKAGE + "." + module, function]
    try:
        return subprocess.Popen(command + list(arguments), close_fds=True, **streams)
    except OSError as error:
        raise DemoError("cannot start %s: %s" % (python, os.strerror(error.errno)))


def ended(process, seconds):
    """Whether the child ends within so many seconds (Popen.wait of 2.7 takes no timeout)."""
    deadline = clock() + seconds
    while process.poll() is None and clock() < deadline:
        time.sleep(TICK)
    return process.poll() is not None


def channel_pair():
    """Two connected sockets that keep a message and its descriptors together."""
    try:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except socket.error:  # macOS has the name and not the thing
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in pair:
        # macOS gives a datagram 2 KiB unless asked for more (sysctl net.local.dgram).
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * HEAD_LIMIT)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * HEAD_LIMIT)
    return pair


class Worker(object):
    """The worker as the front sees it: a process, and the channel to it."""

    def __init__(self, python):
        self.python = python
        self.process = None
        self.lock = threading.Lock()  # one hand-over with its receipt at a time
        self.channel, theirs = channel_pair()
        try:
            try:
                self.process = start(
                    python,
                    "demo_worker",
                    "run_worker",
                    stdin=theirs,
                    stdout=2,
                    stderr=subprocess.PIPE,
                )
            finally:
                theirs.close()
            try:
                self.meet()
            finally:
                self.process.stderr.close()
        except BaseException:
            self.close(0)
            raise

    def next_word(self, seconds):
        """The worker's next message; empty if it has ended or is silent for so many seconds."""
        deadline = clock() + seconds
        self.channel.settimeout(TICK)
        while clock() < deadline:
            try:
                return self.channel.recv(4096)
            except socket.timeout:
                if self.process.poll() is not None:  # with datagrams there is no end of file
                    break
        return b""

    def meet(self):
        """Wait for the worker's first word: from then on it takes connections."""
        hello = self.next_word(START_PATIENCE)
        if not hello:
            raise DemoError("no worker came up on %s: %s" % (self.python, self.last_words()))
        try:
            known = json.loads(hello.decode("ascii"))
            self.pid, self.python = known["pid"], known["python"]
        except (KeyError, TypeError, ValueError):
            raise DemoError("what came up on %s is no worker: it says %r" % (self.python, hello))

    def last_words(self):
        if not ended(self.process, 5):
            return "it keeps running and says nothing; is it a Python?"
        # Whatever its encoding is, what is ASCII can be printed here.
        complaint = re.sub(b"[^ -~\n]", b"?", self.process.stderr.read()).decode("ascii").strip()
        last = complaint.splitlines()[-1] if complaint else ""
        doubt = "" if "Error: " in last else " is it a Python?"
        return "it ended with status %d;%s %s" % (self.process.returncode, doubt, last)

    def hand_over(self, connection, read):
        """Seconds from send_fds to the worker's receipt; None where the worker did not take it.

        connection stays open here, and the caller's to close.
        """
        with self.lock:
            if self.channel is None:
                return None
            began = clock()
            try:
                send_fds(self.channel, read, [connection])
                receipt = self.next_word(PATIENCE)
                reason = receipt.decode("ascii") or "it gives no receipt"
            except socket.error as error:
                receipt, reason = b"", str(error)
            seconds = clock() - began
            if receipt == TAKEN:
                return seconds
            say("front", "the worker did not take the connection: %s" % reason)
            if not receipt:
                self.leave()  # a receipt that comes too late would count for the next connection
        return None

    def leave(self):
        try:
            self.channel.send(b"")  # the farewell, for want of an end of file between datagrams
        except socket.error:
            pass  # the worker has gone first
        self.channel.close()
        self.channel = None

    def close(self, seconds=5):
        """End the channel, which ends the worker; if not within so many seconds, kill it."""
        with self.lock:
            if self.channel is not None:
                self.leave()
        if self.process is not None:
            if not ended(self.process, seconds):
                self.process.kill()
            self.process.wait()
