"""The main job in one command: one process accepts a TCP connection, another answers it.

The front, which is the command's own process, reads each request head. It answers ``/`` itself. A
connection that asks for ``/report/...`` goes to the worker, with the bytes that were already read,
in one message of a Channel. A third process is an HTTP client that requests both.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time

from . import demo_http as http
from .demo_worker import DemoError, Worker, start_child

DESCRIPTION = (
    "A front process accepts HTTP connections on %s and answers / itself; a connection that asks"
    " for /report/... it hands to a worker process, which answers it. Exit status 0 when an HTTP"
    " client got every answer." % http.HOST
)
POLL_S = 0.1  # how often the front looks whether it should stop
# accept(2) fails with these for a while: a signal came (PyPy 2.7 makes EAGAIN of it), the client
# has closed already, or no descriptor is free.
TEMPORARY_ERRORS = (errno.EINTR, errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE)


def add_arguments(parser):
    add = parser.add_argument
    add("--python", metavar="PATH", default=sys.executable, help="interpreter for the worker")
    add("--port", type=port, default=0, help="port to listen on (default: a free one)")
    add("--serve", action="store_true", help="serve until Ctrl-C, and start no client")


def port(text):
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError("a port is 0 to 65535")
    return number


def run(options):
    """Run the command; return its exit status."""
    try:
        with contextlib.closing(listen(options.port)) as listener:
            worker = Worker(options.python)
            with catch_stop_signals() as signals, contextlib.closing(worker):
                url = "http://%s:%d" % listener.getsockname()
                own = "pid %d, %s, listens on %s" % (os.getpid(), http.PYTHON, url)
                http.print_line("front", own)
                http.print_line("worker", "pid %s, %s" % (worker.pid, worker.python))
                serve = serve_until_signal if options.serve else serve_client
                serve(Front(listener, worker), url, signals)
        return 0
    except DemoError as error:
        sys.stderr.write("fdpass demo: %s\n" % error)
    except KeyboardInterrupt:  # while the worker was starting
        sys.stderr.write("fdpass demo: interrupted\n")
    return 1


def serve_until_signal(front, url, signals):
    for path in ("/", "/report/2026", "/report/2026 --data-binary @FILE"):
        http.print_line("try", "curl " + url + path)
    http.print_line("try", "Ctrl-C to end")
    front.serve(lambda: signals)
    http.print_line("front", "ended by signal %d" % signals[0])


def serve_client(front, url, signals):
    """Serve until the client process has ended."""
    command = sys.executable, "demo_http", "run_client", url.rpartition(":")[2]
    client = start_child(*command, stdout=subprocess.PIPE)
    try:
        front.serve(lambda: signals or client.poll() is not None)
        if signals:
            raise DemoError("ended by signal %d" % signals[0])
        sys.stdout.write(client.stdout.read().decode("ascii"))
        if client.returncode:
            raise DemoError("the client did not get every answer")
    finally:
        client.stdout.close()
        if client.poll() is None:
            client.kill()
        client.wait()


def listen(number):
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((http.HOST, number))
        listener.listen(128)
        listener.settimeout(POLL_S)
    except socket.error as error:
        listener.close()
        raise DemoError("cannot listen on %s:%d: %s" % (http.HOST, number, error.strerror))
    return listener


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


class Front(object):
    """Accepts connections, answers some, and hands the others to the worker."""

    def __init__(self, listener, worker):
        self.listener, self.worker = listener, worker

    def serve(self, is_finished):
        """Accept connections until is_finished returns true."""
        while not is_finished():
            try:
                connection, _ = self.listener.accept()
            except socket.timeout:
                continue
            except socket.error as error:
                if error.errno not in TEMPORARY_ERRORS:
                    raise
                time.sleep(POLL_S)
                continue
            http.start_thread(self.handle_connection, connection)
        http.join_threads(1)

    def handle_connection(self, connection):
        try:
            connection.settimeout(http.TIMEOUT_S)
            answer = self.handle_request(connection)
            if answer is not None:
                http.send_answer(connection, *answer)
        except socket.error:
            pass  # The client has closed the connection, or does not read.
        finally:
            # This closes our copy only. A shutdown would end the connection for the worker too.
            connection.close()

    def handle_request(self, connection):
        """Return the front's answer, or None if the worker answers or the client has gone."""
        try:
            read = http.read_head(connection)
        except socket.timeout:
            text = "no complete request head within %d seconds" % http.TIMEOUT_S
            return "408 Request Timeout", text
        if b"\r\n\r\n" not in read:
            text = "the request head exceeds %d bytes" % http.HEAD_LIMIT
            too_long = len(read) >= http.HEAD_LIMIT
            return ("431 Request Header Fields Too Large", text) if too_long else None
        request = http.parse_request(read)
        if request is None:
            return "400 Bad Request", "that is no HTTP/1 request"
        method, path = request
        line = method + " " + path
        if path.startswith("/report/"):
            return self.hand_over(connection, read, line)
        if path.partition("?")[0] != "/":
            http.print_line("front", line + ": there is no such page")
            return "404 Not Found", "there are / and /report/...", method
        http.print_line("front", line + " answered here")
        text = "%s by the front, pid %d, %s" % (line, os.getpid(), http.PYTHON)
        return "200 OK", text, method

    def hand_over(self, connection, read, line):
        seconds = self.worker.hand_over(connection, read)
        if seconds is None:
            return "503 Service Unavailable", "no worker took the connection"
        facts = (line, len(read), 1000 * seconds)
        text = "%s handed to the worker, with %d bytes read; send to receipt: %.3f ms" % facts
        http.print_line("front", text)
        return None
