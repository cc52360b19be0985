"""What the demo needs of HTTP: request heads in, small answers out, and a client that asks."""

import importlib
import os
import platform
import re
import socket
import sys
import threading
import time

http = importlib.import_module("http.client" if sys.version_info[0] > 2 else "httplib")

HOST = "127.0.0.1"
HEAD_LIMIT = 64 * 1024  # bytes
PATIENCE = 10  # seconds that a connection may keep silent
REQUEST_LINE = re.compile(b"([A-Z]+) ([!-~]+) HTTP/1[.][01]\r\n")
CONTENT_LENGTH = re.compile(b"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
REQUESTS = (  # what the client asks for: method, path, body
    ("GET", "/", None),
    ("GET", "/report/2026", None),
    ("POST", "/report/2026", b"x" * 300000),
)

clock = getattr(time, "perf_counter", time.time)  # 2.7 has only the second
PYTHON = "%s %s" % (platform.python_implementation(), platform.python_version())


def say(role, text):
    try:
        sys.stdout.write("%-7s %s\n" % (role, text))
        sys.stdout.flush()
    except IOError:
        pass  # who read it has gone; the connections are answered all the same


class Conversations(object):
    """A thread for each connection, so that a slow client keeps nobody else waiting."""

    def __init__(self):
        self.threads = []

    def start(self, target, *arguments):
        self.threads = [thread for thread in self.threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=arguments)
        thread.daemon = True
        thread.start()
        self.threads.append(thread)

    def finish(self, seconds):
        """Wait for those that are under way, so many seconds at most for all together."""
        deadline = clock() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - clock()))


def read_head(connection):
    """All bytes read until the request head was complete: maybe a part of the body is with them.

    Short of a complete head, what there is: HEAD_LIMIT bytes, or fewer if the client has gone.
    """
    read = b""
    while b"\r\n\r\n" not in read and len(read) < HEAD_LIMIT:
        chunk = connection.recv(min(4096, HEAD_LIMIT - len(read)))
        if not chunk:
            break
        read += chunk
    return read


def requested(read):
    """(method, path) of a request head, None if it is none."""
    line = REQUEST_LINE.match(read)
    return tuple(part.decode("ascii") for part in line.groups()) if line else None


def read_body(connection, read):
    """How many bytes of the request's body follow in connection; they are read and dropped."""
    head, _, begun = read.partition(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head + b"\r\n")
    left = int(length.group(1)) - len(begun) if length else 0
    received = 0
    while received < left:
        chunk = connection.recv(min(65536, left - received))
        if not chunk:
            break
        received += len(chunk)
    return received


def answer(connection, status, text, method="GET"):
    body = text.encode("ascii") + b"\n"
    head = (
        "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
        "Connection: close\r\n\r\n" % (status, REASONS[status], len(body))
    )
    connection.sendall(head.encode("ascii") + (b"" if method == "HEAD" else body))
    # To close with bytes unread resets the connection, and the client may lose the answer (RFC
    # 9112, 9.6): so it may close first. Not by shutdown, which no holder of a shared socket does.
    connection.settimeout(1)
    left = 1024
    while left and connection.recv(4096):
        left -= 1


def run_client(port):
    """What the client process runs; returns its exit status."""
    refused = 0
    say("client", "pid %d, %s" % (os.getpid(), PYTHON))
    for method, path, body in REQUESTS:
        connection = http.HTTPConnection(HOST, int(port), timeout=6 * PATIENCE)
        try:
            began = clock()
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode("ascii").strip()
        except (socket.error, http.HTTPException) as error:
            sys.stderr.write("client: %s %s failed: %r\n" % (method, path, error))
            return 1
        finally:
            connection.close()
        milliseconds = 1000 * (clock() - began)
        facts = (method, path, response.status, milliseconds, text)
        say("client", "%s %s: status %d after %.3f ms: %s" % facts)
        refused += response.status != 200
    return 1 if refused else 0
