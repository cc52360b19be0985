"""The demo's worker process, and the object by which the front controls it."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time

from .. import Channel, FdPassError, socket_from_fd
from .._system import monotonic
from . import demo_http as http

PACKAGE = __name__.rpartition(".")[0]  # A vendored copy has another name than "fdpass".
ROOT = os.path.abspath(__file__)
for _ in __name__.split("."):
    ROOT = os.path.dirname(ROOT)  # in the end, the folder that the package is imported from
# This program runs on any interpreter. ROOT comes last in sys.path, so that another interpreter
# uses the fdpass that it has installed. The current folder, which -c puts first, counts only on
# our own interpreter. Ctrl-C reaches the whole process group; only the front reacts to it.
START = (
    "import importlib, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN);"
    " root, own, module, function = sys.argv[1:5];"
    " sys.path[:] = [path for path in sys.path if path or own] + [root];"
    " sys.exit(getattr(importlib.import_module(module), function)(*sys.argv[5:]))"
)
START_TIMEOUT_S = 60


class DemoError(Exception):
    """The demo cannot continue, for a reason that is no bug."""


def run_worker():
    """Run the worker process; its standard input is its end of the channel."""
    # We keep 0 in use, so that no received connection becomes standard input.
    channel = Channel(socket_from_fd(0, dup=True))
    os.dup2(1, 2)  # The front reads our standard error only until our first message.
    serve_channel(channel)


def serve_channel(channel):
    """Answer the connections that come over the channel, until the front closes it."""
    try:
        with channel:
            channel.send(("%d %s" % (os.getpid(), http.PYTHON)).encode("ascii"))
            for message in channel:
                with message:
                    connection = message.fds[0].to_socket()
                try:
                    channel.send(b"taken")
                except socket.error:
                    connection.close()  # Without this receipt, the front answers.
                    raise
                http.start_thread(answer_report, connection, message.data)
    except (FdPassError, socket.error) as error:
        http.print_line("worker", "takes no more connections: %s" % error)
        http.join_threads(http.TIMEOUT_S)
    http.join_threads(1)


def answer_report(connection, read):
    """Answer a request; read is its head, with any further bytes that the front has read."""
    try:
        # All holders of a socket share O_NONBLOCK, and the front has set it by its timeout.
        connection.settimeout(http.TIMEOUT_S)
        request = http.parse_request(read)
        facts = request + (os.getpid(), http.PYTHON, len(read), http.read_body(connection, read))
        text = "%s %s by the worker, pid %d, %s; of the request, the front had read %d bytes and"
        text += " the worker read %d"
        http.send_answer(connection, "200 OK", text % facts, request[0])
    except socket.error:
        pass  # The client has closed the connection, or was silent for too long.
    finally:
        connection.close()


class Worker(object):
    """A worker process, and the front's end of the channel to it."""

    def __init__(self, python):
        self.python, self.process = python, None
        self.lock = threading.Lock()  # for one hand-over at a time, with its receipt
        self.channel, workers_end = Channel.pair()
        streams = {"stdin": workers_end, "stdout": 2, "stderr": subprocess.PIPE}
        try:
            with workers_end:
                self.process = start_child(python, "demo_worker", "run_worker", **streams)
            with contextlib.closing(self.process.stderr):
                self.receive_greeting()
        except BaseException:
            self.close(0)
            raise

    def receive_greeting(self):
        self.channel.settimeout(START_TIMEOUT_S)
        try:
            greeting = self.channel.recv().data.decode("ascii")
        except (EOFError, socket.timeout):
            raise DemoError("no worker came up on %s: %s" % (self.python, self.explain_failure()))
        except FdPassError as error:
            raise DemoError("what came up on %s is no worker: %s" % (self.python, error))
        self.pid, self.python = greeting.split(" ", 1)

    def explain_failure(self):
        if not wait_for_exit(self.process, 5):
            return "it keeps running and says nothing; is it a Python?"
        # The encoding is unknown, but ASCII can be printed anywhere.
        errors = re.sub(b"[^ -~\n]", b"?", self.process.stderr.read()).decode("ascii").strip()
        last = errors.splitlines()[-1] if errors else ""
        doubt = "" if "Error: " in last else " is it a Python?"
        return "it ended with status %d;%s %s" % (self.process.returncode, doubt, last)

    def hand_over(self, connection, read):
        """Return the seconds until the receipt, or None if the worker did not take it.

        The connection stays open here, and the caller closes it.
        """
        with self.lock:
            if self.channel.closed:
                return None
            began = monotonic()
            self.channel.settimeout(http.TIMEOUT_S)
            try:
                self.channel.send(read, [connection])
                self.channel.recv()
                return monotonic() - began
            except (EOFError, FdPassError, socket.error) as error:
                # A late receipt would count for the next connection, so there is none.
                self.channel.close()
                http.print_line("front", "the worker did not take the connection: %s" % error)
                return None

    def close(self, seconds=5):
        """Close the channel, which ends the worker; kill it if it runs on for so long."""
        with self.lock:
            self.channel.close()
        if self.process is not None:
            if not wait_for_exit(self.process, seconds):
                self.process.kill()
            self.process.wait()


def start_child(python, module, function, *arguments, **streams):
    """Start a child process that inherits the three streams and no other descriptor."""
    own = "own" if python == sys.executable else ""
    command = [python, "-c", START, ROOT, own, PACKAGE + "." + module, function]
    try:
        return subprocess.Popen(command + list(arguments), close_fds=True, **streams)
    except OSError as error:
        raise DemoError("cannot start %s: %s" % (python, os.strerror(error.errno)))


def wait_for_exit(process, seconds):
    """Return whether the process ends in time (Popen.wait of 2.7 takes no timeout)."""
    deadline = monotonic() + seconds
    while process.poll() is None and monotonic() < deadline:
        time.sleep(0.01)
    return process.poll() is not None
