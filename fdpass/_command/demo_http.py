"""The HTTP of the demo, and its worker and client, which run in child processes."""

import contextlib
import importlib
import os
import platform
import re
import socket
import sys
import threading

from .. import Channel, FdPassError, socket_from_fd
from .._system import monotonic

http_client = importlib.import_module("httplib" if sys.version_info[0] < 3 else "http.client")

HOST = "127.0.0.1"
HEAD_LIMIT = 64 * 1024  # bytes
TIMEOUT_S = 10  # how long a connection, or the other process, may be silent
PYTHON = "%s %s" % (platform.python_implementation(), platform.python_version())
# A whole request head: its method with its path, and its path
REQUEST = re.compile(b"([A-Z]+ ([!-~]+)) HTTP/1[.][01]\r\n(?:.*\r\n)?\r\n", re.DOTALL)
CONTENT_LENGTH = re.compile(b"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
REQUESTS = (
    ("GET", "/", None),
    ("GET", "/report/2026", None),
    ("POST", "/report/2026", b"x" * 300000),
)


def run_worker():
    """Run the worker process; return its exit status, or what ended it."""
    try:
        # The channel is our standard input. We keep 0 in use, so that no received connection
        # becomes standard input.
        with Channel(socket_from_fd(0, dup=True)) as channel:
            channel.send(("pid %d, %s" % (os.getpid(), PYTHON)).encode("ascii"))
            for message in channel:
                with message:
                    connection = message.fds[0].to_socket()
                channel.send(b"taken")  # Without this receipt, the front answers.
                thread = threading.Thread(target=answer_report, args=(connection, message.data))
                thread.daemon = True
                thread.start()
    except (FdPassError, EnvironmentError) as error:
        return "worker  takes no more connections: %s" % error
    return 0


def answer_report(connection, read):
    """Answer a request; read is its head, with any further bytes that the front has read."""
    head, _, begun = read.partition(b"\r\n\r\n")
    length = CONTENT_LENGTH.search(head + b"\r\n")
    left = int(length.group(1)) - len(begun) if length else 0
    with contextlib.closing(connection):
        try:
            # All holders of a socket share O_NONBLOCK, and the front has set it by its timeout.
            connection.settimeout(TIMEOUT_S)
            line = REQUEST.match(read).group(1).decode("ascii")
            facts = line, os.getpid(), PYTHON, len(read), drop_bytes(connection, left)
            text = "%s by the worker, pid %d, %s; of the request, the front had read %d bytes and"
            text += " the worker read %d"
            send_answer(connection, read, "200 OK", text % facts)
        except socket.error:
            pass  # The client has closed the connection, or was silent for too long.


def run_client(port):
    """Run the client process; return its exit status."""
    statuses = []
    print_line("client", "pid %d, %s" % (os.getpid(), PYTHON))
    for method, path, body in REQUESTS:
        connection = http_client.HTTPConnection(HOST, int(port), timeout=6 * TIMEOUT_S)
        with contextlib.closing(connection):
            began = monotonic()
            connection.request(method, path, body)
            response = connection.getresponse()
            text = response.read().decode("ascii").strip()
        facts = method, path, response.status, 1000 * (monotonic() - began), text
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


def drop_bytes(connection, limit):
    """Read up to the limit or to the end, and drop what comes; return its size in bytes."""
    size, chunk = 0, b"."
    while chunk and size < limit:
        chunk = connection.recv(min(65536, limit - size))
        size += len(chunk)
    return size


def send_answer(connection, read, status, text):
    body = text + "\n"
    answer = "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n" % (
        status,
        len(body),
    )
    answer += "Connection: close\r\n\r\n" + ("" if read.startswith(b"HEAD ") else body)
    connection.sendall(answer.encode("ascii"))
    # Closing with bytes unread would reset the connection, and the client could lose the answer
    # (RFC 9112, 9.6). So the client may close first. A shutdown would act on every holder's copy.
    connection.settimeout(1)
    drop_bytes(connection, 4 << 20)


def print_line(role, text):
    try:
        sys.stdout.write("%-7s %s\n" % (role, text))
        sys.stdout.flush()
    except IOError:
        pass  # Nobody reads the output any more; the connections still get their answers.
