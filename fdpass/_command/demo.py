"""The main job in one command: a TCP connection accepted by one process is answered by another.

The front, which is the command's own process, reads each request head. It answers ``/`` itself;
the connection of a ``/report/...`` it hands to the worker, with the bytes already read, in one
message. A third process is an HTTP client and asks for both.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time

from .demo_http import (
    HEAD_LIMIT,
    HOST,
    PATIENCE,
    PYTHON,
    Conversations,
    answer,
    read_head,
    requested,
    say,
)
from .demo_worker import DemoError, Worker, ended, start

DESCRIPTION = (
    "A front process accepts HTTP connections on %s and answers / itself; a connection that asks"
    " for /report/... it hands to a worker process, which answers it. Exit status 0 when an HTTP"
    " client got every answer." % HOST
)
TICK = 0.1  # seconds between two looks at what the front stops for
# accept(2): a signal came (PyPy 2.7 makes EAGAIN of it), the connection has gone already, or there
# is no room for it just now.
PASSING = (errno.EINTR, errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE)


def port(text):
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError("a port is 0 to 65535")
    return number


def add_arguments(parser):
    parser.add_argument(
        "--python", metavar="PATH", default=sys.executable, help="interpreter for the worker"
    )
    parser.add_argument(
        "--port", type=port, default=0, help="port to listen on (default: a free one)"
    )
    parser.add_argument(
        "--serve", action="store_true", help="serve until Ctrl-C, and start no client"
    )


def listen(number):
    """A socket that listens on that port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, number))
        listener.listen(128)
        listener.settimeout(TICK)
    except socket.error as error:
        listener.close()
        raise DemoError("cannot listen on %s:%d: %s" % (HOST, number, error.strerror))
    return listener


class Front(object):
    """Accepts connections, answers some, and hands the others to its worker."""

    def __init__(self, listener, worker):
        self.listener = listener
        self.worker = worker
        self.conversations = Conversations()

    def serve(self, finished):
        """Until finished() says so."""
        while not finished():
            try:
                connection, _ = self.listener.accept()
            except socket.timeout:
                continue
            except socket.error as error:
                if error.errno not in PASSING:
                    raise
                time.sleep(TICK)
                continue
            self.conversations.start(self.attend, connection)
        self.conversations.finish(1)

    def attend(self, connection):
        try:
            connection.settimeout(PATIENCE)
            try:
                read = read_head(connection)
            except socket.timeout:
                answer(connection, 408, "no complete request head within %d seconds" % PATIENCE)
            else:
                self.decide(connection, read)
        except socket.error:
            pass  # the client has gone, or does not read
        finally:
            # Only this process's copy. A shutdown would end the connection for the worker too.
            connection.close()

    def decide(self, connection, read):
        complete = b"\r\n\r\n" in read
        request = requested(read)
        if not complete and len(read) < HEAD_LIMIT:
            return  # the client has closed before it had asked for anything
        if not complete:
            answer(connection, 431, "the request head exceeds %d bytes" % HEAD_LIMIT)
        elif request is None:
            answer(connection, 400, "that is no HTTP/1 request")
        elif request[1].partition("?")[0] == "/":
            say("front", "%s %s answered here" % request)
            facts = request + (os.getpid(), PYTHON)
            answer(connection, 200, "%s %s by the front, pid %d, %s" % facts, request[0])
        elif request[1].startswith("/report/"):
            self.pass_on(connection, read, "%s %s" % request)
        else:
            say("front", "%s %s: there is no such page" % request)
            answer(connection, 404, "there are / and /report/...", request[0])

    def pass_on(self, connection, read, request):
        seconds = self.worker.hand_over(connection, read)
        if seconds is None:
            answer(connection, 503, "no worker took the connection")
        else:
            fact = "%s handed to the worker, with %d bytes read; send_fds to its receipt: %.3f ms"
            say("front", fact % (request, len(read), 1000 * seconds))


@contextlib.contextmanager
def stop_signals():
    """A list that fills when SIGINT or SIGTERM comes; nothing is interrupted half-way."""
    came = []
    before = [
        (number, signal.signal(number, lambda number, frame: came.append(number)))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        yield came
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def serve(front, url, stopped):
    for path in ("/", "/report/2026", "/report/2026 --data-binary @FILE"):
        say("try", "curl " + url + path)
    say("try", "Ctrl-C to end")
    front.serve(lambda: stopped)
    say("front", "ended by signal %d" % stopped[0])
    return 0


def ask(front, number, stopped):
    """Let the client ask; the exit status is its own."""
    client = start(sys.executable, "demo_http", "run_client", str(number), stdout=subprocess.PIPE)
    try:
        front.serve(lambda: stopped or client.poll() is not None)
        if stopped:
            raise DemoError("ended by signal %d" % stopped[0])
        sys.stdout.write(client.stdout.read().decode("ascii"))
        if client.returncode:
            raise DemoError("the client did not get every answer")
    finally:
        client.stdout.close()
        if not ended(client, 0):
            client.kill()
        client.wait()
    return 0


def run(options):
    """The command; returns its exit status."""
    try:
        with contextlib.closing(listen(options.port)) as listener:
            worker = Worker(options.python)
            with stop_signals() as stopped, contextlib.closing(worker):
                number = listener.getsockname()[1]
                url = "http://%s:%d" % (HOST, number)
                say("front", "pid %d, %s, listens on %s" % (os.getpid(), PYTHON, url))
                say("worker", "pid %d, %s" % (worker.pid, worker.python))
                front = Front(listener, worker)
                if options.serve:
                    return serve(front, url, stopped)
                return ask(front, number, stopped)
    except DemoError as error:
        sys.stderr.write("fdpass demo: %s\n" % error)
    except KeyboardInterrupt:  # before there was anything to stop
        sys.stderr.write("fdpass demo: interrupted\n")
    return 1
