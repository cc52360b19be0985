"""Waiting for a descriptor, with a deadline on a monotonic clock."""

import errno
import select
import socket

AGAIN = (errno.EAGAIN, errno.EWOULDBLOCK)
FOREVER = float("inf")
POLLIN, POLLOUT = 0x001, 0x004  # POSIX leaves the values open, every system agrees on them
LONGEST = 0x7FFFFFFF  # poll(2) takes its milliseconds as a C int


def deadline_after(timeout, now):
    """When timeout (seconds, or None) ends."""
    return FOREVER if timeout is None else now() + timeout


def wait(fd, event, deadline, now):
    """Return when fd may be ready for event; raise socket.timeout when the deadline passes first.

    By poll, since select fails past descriptor 1,023; looked up here and not at import, so that
    gevent's patch of it counts. A signal handler that raises gets through.
    """
    poll = select.poll()
    poll.register(fd, event)
    while True:
        left = deadline - now()
        if left <= 0:
            raise socket.timeout("timed out")
        milliseconds = None if left == FOREVER else int(min(left * 1000 + 1, LONGEST))
        try:
            if poll.poll(milliseconds):
                return
        except (select.error, OSError) as error:
            # 2.7's select.error is no OSError and keeps its errno in args alone (PEP 475).
            if error.args[:1] == (errno.EINTR,):
                continue
            if isinstance(error, EnvironmentError):
                raise
            raise socket.error(*error.args)
