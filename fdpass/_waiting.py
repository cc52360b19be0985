"""Wait for a descriptor, until a deadline on a monotonic clock."""

import errno
import select
import socket

WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
NO_DEADLINE = float("inf")
POLLIN, POLLOUT = 0x001, 0x004  # POSIX leaves the values open, but every system agrees on them
MAX_POLL_MS = 0x7FFFFFFF  # poll(2) takes a C int


def deadline_after(timeout, now):
    """Return the time at which timeout (seconds, or None for no timeout) will have passed."""
    return NO_DEADLINE if timeout is None else now() + timeout


def wait(fd, event, deadline, now):
    """Return when fd may be ready for event; raise socket.timeout if the deadline passes first.

    It uses poll, because select fails above descriptor 1,023. poll is looked up in each call, so
    that gevent's patch of it counts. An exception of a signal handler propagates.
    """
    poll = select.poll()
    poll.register(fd, event)
    while True:
        left = deadline - now()
        if left <= 0:
            raise socket.timeout("timed out")
        milliseconds = None if left == NO_DEADLINE else int(min(left * 1000 + 1, MAX_POLL_MS))
        try:
            if poll.poll(milliseconds):
                return
        except (select.error, OSError) as error:
            # 2.7's select.error is no OSError, and has its errno in args alone (PEP 475).
            if error.args[:1] == (errno.EINTR,):
                continue
            if isinstance(error, EnvironmentError):
                raise
            raise socket.error(*error.args)
