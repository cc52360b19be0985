"""A front that answers quick requests itself, and hands the others to a pool of workers.

    python offload.py --port 8000 --workers 2

The front accepts HTTP connections and reads the head of each request. It answers ``/`` itself; the
connection of a ``/report/...`` goes to a worker process, with the bytes that were read already, and
the worker answers the client directly.

A connection is handed over when the worker has said that it has it. Until then the front keeps its
copy and the bytes. So a worker that is killed with a connection unread loses nothing: the front
starts another one and sends it the same. Python 2.7 and 3.
"""

import argparse
import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import fdpass

try:
    import queue
except ImportError:  # Python 2
    import Queue as queue

HOST = "127.0.0.1"
HEAD_LIMIT = 16 * 1024  # bytes
PATIENCE = 30  # seconds for a client to send its head, and to take its answer
GRACE = 15  # seconds for the workers to finish, when the front ends
TICK = 0.2  # seconds between two looks at what nobody tells
TRIES = 3  # workers in a row that may be lost over one connection
MOST = 100  # connections that a worker serves at once, so that it has descriptors for them
TAKEN = b"taken"
# accept(2): a signal came (PyPy 2.7 makes EAGAIN of it), the client has gone already, or there is
# no descriptor left just now.
PASSING = (errno.EINTR, errno.EAGAIN, errno.ECONNABORTED, errno.EMFILE, errno.ENFILE)
LOST = (EnvironmentError, EOFError, fdpass.FdPassError)  # what the end of a worker shows up as
REQUEST_LINE = re.compile(b"[A-Z]+ (/[!-~]*) HTTP/1[.][01]\r\n")

clock = getattr(time, "monotonic", time.time)  # Python 2 has only the second


def say(text):
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except EnvironmentError:
        pass  # who read it has gone; connections are served all the same


# HTTP, as much as is needed here.


def read_head(connection):
    """What the client sent until its head was complete, or until it stopped or sent too much."""
    read, end = b"", clock() + PATIENCE
    while b"\r\n\r\n" not in read and len(read) < HEAD_LIMIT:
        connection.settimeout(max(end - clock(), 0.001))
        chunk = connection.recv(4096)
        if not chunk:
            break
        read += chunk
    return read


def path_of(read):
    """The path of a complete request head, None if it is none."""
    line = REQUEST_LINE.match(read)
    return line.group(1).decode("ascii") if line and b"\r\n\r\n" in read else None


def answer(connection, status, text):
    head = "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close"
    head %= status, len(text) + 1
    connection.settimeout(PATIENCE)
    connection.sendall(("%s\r\n\r\n%s\n" % (head, text)).encode("ascii"))
    # To close with bytes unread resets the connection, and the client may lose the answer: so it
    # may close first. Not by shutdown(), which no holder of a shared socket does.
    end = clock() + 1
    connection.settimeout(1)
    while clock() < end and connection.recv(65536):
        pass


# The worker.


def work():
    """Serve the connections that come over stdin, until the front has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the front says what it means
    free = threading.Semaphore(MOST)
    # A duplicate: 0 stays in use, so no connection becomes stdin.
    with fdpass.Channel(fdpass.socket_from_fd(0, dup=True)) as channel:
        try:
            for message in channel:
                free.acquire()
                with message:
                    connection = message.fds[0].to_socket()
                # Before the first byte of the answer: without this, the front gives it to another.
                channel.send(TAKEN)
                # Python waits for the threads when it ends.
                threading.Thread(target=report, args=(connection, message.data, free)).start()
        except EnvironmentError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # the front has gone
                raise


def report(connection, read, free):
    try:
        text = "%s answered by worker %d, after %d bytes read by the front"
        # answer() sets the timeout: O_NONBLOCK is shared by all who hold the socket, and the front
        # has set it.
        answer(connection, "200 OK", text % (path_of(read), os.getpid(), len(read)))
    except socket.error:
        pass  # the client has gone, or is too slow
    finally:
        connection.close()
        free.release()


# The front.


class Worker(object):
    """A worker process, and the channel to it."""

    def __init__(self):
        self.channel, theirs = fdpass.Channel.pair()
        try:
            with theirs:
                # Without close_fds, Python 2 gives it the front's connections and channels too.
                command = [sys.executable, os.path.abspath(__file__), "--as-worker"]
                self.process = subprocess.Popen(command, stdin=theirs.fileno(), close_fds=True)
        except BaseException:
            self.channel.close()
            raise
        say("worker %d started" % self.process.pid)

    def take(self, connection, read):
        """Return when the worker has the connection; raise one of LOST if it has not got it."""
        self.channel.send(read, [connection])
        say("%s sent to worker %d" % (path_of(read), self.process.pid))
        self.channel.recv()

    def kill(self):
        try:
            self.process.kill()
        except EnvironmentError:
            pass  # it has gone first

    def end(self):
        """Let it finish what it serves: the end of its channel tells it."""
        self.channel.close()
        self.process.wait()


class Slot(object):
    """One place in the pool: a thread that gives connections to a worker, one after the other."""

    def __init__(self, jobs):
        self.jobs = jobs  # shared by all slots: whoever is ready takes the next
        self.worker, self.over = None, False
        self.mend()
        self.thread = threading.Thread(target=self.run)
        self.thread.daemon = True
        self.thread.start()

    def run(self):
        while True:
            try:
                job = self.jobs.get(timeout=TICK)
            except queue.Empty:
                self.mend()
                continue
            if job is None:
                break
            self.hand_over(*job)
        if self.worker is not None:
            self.worker.end()

    def mend(self):
        """Start a worker if there is none, or if it has ended."""
        if self.worker is not None and self.worker.process.poll() is not None:
            self.drop("its status is %d" % self.worker.process.returncode)
        if self.worker is None:
            try:
                self.worker = Worker()
            except EnvironmentError as error:
                say("no worker: %s" % error)

    def drop(self, why):
        worker, self.worker = self.worker, None
        worker.kill()
        worker.end()
        say("worker %d has gone: %s" % (worker.process.pid, why))

    def hand_over(self, connection, read):
        with contextlib.closing(connection):
            tries, end = TRIES, clock() + PATIENCE
            while tries and clock() < end and not self.over:
                self.mend()
                if self.worker is None:  # no descriptor left for one, maybe, until clients leave
                    time.sleep(TICK)
                    continue
                try:
                    return self.worker.take(connection, read)
                except LOST as error:
                    self.drop(error)
                    tries -= 1
            try:
                answer(connection, "503 Service Unavailable", "no worker took the connection")
            except socket.error:
                pass

    def end(self, deadline):
        """Wait for the thread to end, as it was told to; after the deadline kill its worker."""
        self.thread.join(max(deadline - clock(), 0))
        while self.thread.is_alive():
            self.over, worker = True, self.worker
            if worker is not None:
                worker.kill()
            self.thread.join(TICK)


def attend(connection, jobs):
    """Read the head of a request, and answer it or pass it on."""
    try:
        read = read_head(connection)
        path = path_of(read)
        if path is not None and path.startswith("/report/"):
            say("%s is for a worker" % path)
            return jobs.put((connection, read))  # and who takes it closes it
        if path == "/":
            answer(connection, "200 OK", "/ answered by front %d" % os.getpid())
        elif path is not None:
            answer(connection, "404 Not Found", "there are / and /report/...")
        elif read:
            answer(connection, "400 Bad Request", "that is no HTTP/1 request, or too long a head")
    except socket.error:
        pass  # the client has gone, or is too slow
    connection.close()


def listen(port):
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    listener.listen(128)
    listener.settimeout(TICK)
    return listener


def serve(port, workers):
    """Be the front, until a signal comes."""
    stopped, jobs = [], queue.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    with contextlib.closing(listen(port)) as listener:
        slots = [Slot(jobs) for _ in range(workers)]
        say("listening on http://%s:%d" % listener.getsockname())
        while not stopped:
            try:
                connection, _ = listener.accept()
            except socket.timeout:
                continue
            except socket.error as error:
                if error.errno not in PASSING:
                    raise
                time.sleep(TICK)
                continue
            thread = threading.Thread(target=attend, args=(connection, jobs))
            thread.daemon = True
            thread.start()
    for _ in slots:
        jobs.put(None)
    deadline = clock() + GRACE
    for slot in slots:
        slot.end(deadline)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--workers", type=int, default=2, help="how many processes (default: 2)")
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.as_worker:
        work()
    else:
        serve(options.port, options.workers)


if __name__ == "__main__":
    main()
