"""The HTTP part of the demo: reading requests, sending answers, and the client process."""

import importlib
import os
import platform
import re
import socket
import sys
import threading

from .._system import monotonic

http_client = importlib.import_module("http.client" if sys.version_info[0] > 2 else "httplib")

HOST = "127.0.0.1"
HEAD_LIMIT = 64 * 1024  # bytes
TIMEOUT_S = 10  # how long a connection, or the other process, may be silent
REQUEST_LINE = re.compile(b"([A-Z]+) ([!-~]+) HTTP/1[.][01]\r\n")
CONTENT_LENGTH = re.compile(b"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
PYTHON = "%s %s" % (platform.python_implementation(), platform.python_version())


def run_client(port):
    """Run the client process; return its exit status."""
    statuses = []
    print_line("client", "pid %d, %s" % (os.getpid(), PYTHON))
    for method, path, body in (
        ("GET", "/", None),
        ("GET", "/report/2026", None),
        ("POST", "/report/2026", b"x" * 300000),
    ):
        connection = http_client.HTTPConnection(HOST, int(port), timeout=6 * TIMEOUT_S)
        began = monotonic()
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode("ascii").strip()
        except (socket.error, http_client.HTTPException) as error:
            sys.stderr.write("client: %s %s failed: %r\n" % (method, path, error))
            return 1
        finally:
            connection.close()
        facts = (method, path, response.status, 1000 * (monotonic() - began), text)
        print_line("client", "%s %s: status %d after %.3f ms: %s" % facts)
        statuses.append(response.status)
    return int(set(statuses) != {200})


def read_head(connection):
    """Read a request head, and maybe part of the body; incomplete if too long or cut off."""
    read, chunk = b"", b"."
    while chunk and b"\r\n\r\n" not in read and len(read) < HEAD_LIMIT:
        chunk = connection.recv(min(4096, HEAD_LIMIT - len(read)))
        read += chunk
    return read


def parse_request(read):
    """Return (method, path) of a request head, or None if it is not HTTP/1."""
    line = REQUEST_LINE.match(read)
    return tuple(part.decode("ascii") for part in line.groups()) if line else None


def read_body(connection, read):
    """Read the rest of the request's body and drop it; return its size in bytes."""
    head, _, begun = read.partition(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head + b"\r\n")
    left = int(length.group(1)) - len(begun) if length else 0
    received, chunk = 0, b"."
    while chunk and received < left:
        chunk = connection.recv(min(65536, left - received))
        received += len(chunk)
    return received


def send_answer(connection, status, text, method="GET"):
    body = text + "\n"
    head = "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % (status, len(body))
    head += "Connection: close\r\n\r\n"
    connection.sendall((head if method == "HEAD" else head + body).encode("ascii"))
    # Closing with bytes unread would reset the connection, and the client could lose the answer
    # (RFC 9112, 9.6). So the client may close first. A shutdown would act on every holder's copy.
    connection.settimeout(1)
    for _ in range(1024):
        if not connection.recv(4096):
            break


def print_line(role, text):
    try:
        sys.stdout.write("%-7s %s\n" % (role, text))
        sys.stdout.flush()
    except IOError:
        pass  # Nobody reads the output any more; the connections still get their answers.


def start_thread(function, *arguments):
    """Call the function in a thread, so that a slow client does not delay the others."""
    thread = threading.Thread(target=function, args=arguments, name=__name__)
    thread.daemon = True
    thread.start()


def join_threads(seconds):
    """Wait for the threads of `start_thread`, at most this long for all of them together."""
    deadline = monotonic() + seconds
    for thread in threading.enumerate():
        if thread.name == __name__:
            thread.join(max(0.0, deadline - monotonic()))
