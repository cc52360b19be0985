"""The main job in one command: one process accepts a TCP connection, another answers it.

The front, which is the command's own process, reads each request head. It answers ``/`` itself. A
connection that asks for ``/report/...`` goes to the worker, with the bytes that were already read,
in one message of a Channel. A third process is an HTTP client that requests both.
"""

import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading

from .. import Channel, FdPassError
from .._system import monotonic
from . import demo_http as http

socketserver = importlib.import_module(
    "SocketServer" if sys.version_info[0] < 3 else "socketserver"
)

DESCRIPTION = (
    "A front process accepts HTTP connections on %s and answers / itself; a connection that asks"
    " for /report/... it hands to a worker process, which answers it. Exit status 0 when an HTTP"
    " client got every answer." % http.HOST
)
POLL_S = 0.1  # how often the front looks whether it should stop
START_TIMEOUT_S = 60
CHILDREN = __name__ + "_http"  # A vendored copy has another name than "fdpass".
# The folder that the package is imported from
ROOT = os.path.abspath(os.path.join(__file__, *[".."] * len(__name__.split("."))))
# This program runs on any interpreter. ROOT comes last in sys.path, so that another interpreter
# uses the fdpass that it has installed. The current folder, which -c puts first, counts only on
# our own interpreter.
START = """
import importlib, sys
root, own, module, function = sys.argv[1:5]
sys.path[:] = [path for path in sys.path if path or own] + [root]
try:
    module = importlib.import_module(module)
except ImportError as error:
    sys.exit("ImportError: %s" % error)
sys.exit(getattr(module, function)(*sys.argv[5:]))
"""


class DemoError(Exception):
    """The demo cannot continue, for a reason that is no bug."""


def add_arguments(parser):
    add = parser.add_argument
    add("--python", metavar="PATH", default=sys.executable, help="interpreter for the worker")
    add("--port", type=int, default=0, help="port to listen on (default: a free one)")
    add("--serve", action="store_true", help="serve until Ctrl-C, and start no client")


def run(options):
    """Run the command; return its exit status."""
    # The handlers are there before anything is started, so no signal can leave a child behind.
    with catch_stop_signals() as signals:
        try:
            run_front(options, signals)
            return 0
        except DemoError as error:
            reason = "ended by signal %d" % signals[0] if signals else error
            sys.stderr.write("fdpass demo: %s\n" % reason)
            return 1


def run_front(options, signals):
    channel, workers_end = Channel.pair()
    worker = start_child(options.python, "run_worker", stdin=workers_end)
    with channel, workers_end, worker:
        workers_end.close()
        greeting = receive_greeting(channel, options.python, signals)
        front = Front(options.port, channel)
        with contextlib.closing(front.socket):
            number = front.server_address[1]
            url = "http://%s:%d" % (http.HOST, number)
            http.print_line("front", "pid %d, %s, listens on %s" % (os.getpid(), http.PYTHON, url))
            http.print_line("worker", greeting)
            if options.serve:
                for path in ("/", "/report/2026", "/report/2026 --data-binary @FILE"):
                    http.print_line("try", "curl " + url + path)
                http.print_line("try", "Ctrl-C to end")
                front.serve(lambda: signals)
                http.print_line("front", "ended by signal %d" % signals[0])
                return
            arguments = sys.executable, "run_client", str(number)
            with start_child(*arguments, stdout=subprocess.PIPE) as client, client.stdout:
                front.serve(lambda: signals or client.poll() is not None)
                if client.returncode is not None:  # It is None after a signal.
                    sys.stdout.write(client.stdout.read().decode("ascii"))
                if client.returncode != 0:
                    raise DemoError("the client did not get every answer")


@contextlib.contextmanager
def catch_stop_signals():
    """Collect SIGINT and SIGTERM in a list, so that neither interrupts the front."""
    caught, numbers = [], (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(each, lambda number, _: caught.append(number)) for each in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, handlers):
            signal.signal(number, handler)


@contextlib.contextmanager
def start_child(python, function, *arguments, **streams):
    """Start a child process that inherits its standard streams only; kill it in the end."""
    own = "own" if python == sys.executable else ""
    command = (python, "-c", START, ROOT, own, CHILDREN, function) + arguments
    try:
        # The child gets a process group of its own, so that Ctrl-C reaches the front alone.
        child = subprocess.Popen(command, close_fds=True, preexec_fn=os.setpgrp, **streams)
    except OSError as error:
        raise DemoError("cannot start %s: %s" % (python, os.strerror(error.errno)))
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def receive_greeting(channel, python, signals):
    """Return what the worker says of itself as soon as it runs."""
    deadline = monotonic() + START_TIMEOUT_S
    channel.settimeout(POLL_S)
    while not signals and monotonic() < deadline:
        try:
            return channel.recv().data.decode("ascii")
        except socket.timeout:
            pass
        except (EOFError, FdPassError, socket.error):
            break
    raise DemoError("no worker came up on %s; is it a Python that has fdpass?" % python)


class Front(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Accepts connections, answers some, and hands the others to the worker.

    Each connection has a thread of its own, so that a slow client does not delay the others.
    """

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
    timeout = POLL_S

    def __init__(self, number, channel):
        self.channel = channel
        self.lock = threading.Lock()  # for one hand-over at a time, with its receipt
        try:
            socketserver.TCPServer.__init__(self, (http.HOST, number), None)
        except (socket.error, OverflowError) as error:
            raise DemoError("cannot listen on %s:%d: %s" % (http.HOST, number, error))
        channel.settimeout(http.TIMEOUT_S)

    def serve(self, is_finished):
        """Accept connections until is_finished returns true."""
        while not is_finished():
            self.handle_request()
        with self.lock:
            pass  # A hand-over that has begun prints its line first.

    def finish_request(self, connection, address):
        connection.settimeout(http.TIMEOUT_S)
        read = b""
        try:
            try:
                read = http.read_head(connection)
                answer = self.choose_answer(connection, read)
            except socket.timeout:
                answer = "408 Request Timeout", "nothing came for %d seconds" % http.TIMEOUT_S
            if answer is not None:
                http.send_answer(connection, read, *answer)
        except socket.error:
            pass  # The client has closed the connection, or does not read.

    def shutdown_request(self, connection):
        # This closes our copy only. A shutdown would end the connection for the worker too.
        connection.close()

    def choose_answer(self, connection, read):
        """Return the front's answer, or None if the worker answers."""
        request = http.REQUEST.match(read)
        if request is None and len(read) < http.HEAD_LIMIT:
            return "400 Bad Request", "that is no HTTP/1 request"
        if request is None:
            return "431 Request Header Fields Too Large", "at most %d bytes" % http.HEAD_LIMIT
        line, path = [part.decode("ascii") for part in request.groups()]
        if path.startswith("/report/"):
            return self.hand_over(connection, read, line)
        if path.partition("?")[0] != "/":
            http.print_line("front", line + ": there is no such page")
            return "404 Not Found", "there are / and /report/..."
        http.print_line("front", line + " answered here")
        return "200 OK", "%s by the front, pid %d, %s" % (line, os.getpid(), http.PYTHON)

    def hand_over(self, connection, read, line):
        with self.lock:
            began = monotonic()
            try:
                self.channel.send(read, [connection])
                self.channel.recv()
            except (EOFError, FdPassError, socket.error) as error:
                # A late receipt would count for the next connection, so there is none.
                self.channel.close()
                http.print_line("front", "the worker did not take the connection: %s" % error)
                return "503 Service Unavailable", "no worker took the connection"
            facts = line, len(read), 1000 * (monotonic() - began)
            text = "%s handed to the worker, with %d bytes read; send to receipt: %.3f ms" % facts
            http.print_line("front", text)
            return None
