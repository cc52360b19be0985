"""Wait for a descriptor, until a deadline on a monotonic clock."""

import errno
import functools
import importlib
import select
import socket

WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK)
NO_DEADLINE = float("inf")
POLLIN, POLLOUT = 0x001, 0x004  # POSIX leaves the values open, but every system agrees on them
GREEN_SELECTS = {"eventlet": "eventlet.green.select", "gevent": "gevent.select"}
MAX_POLL_MS = 0x7FFFFFFF  # poll(2) takes a C int


def deadline_after(timeout, now):
    """Return the time at which timeout (seconds, or None for no timeout) will have passed."""
    return NO_DEADLINE if timeout is None else now() + timeout


def wait(fd, event, deadline, now, sock=None):
    """Return when fd may be ready for event; raise socket.timeout if the deadline passes first.

    sock is the socket object of fd, if there is one. If it is a green one, its library waits, so
    that other green threads run even if the process was not patched.

    It uses poll, because select fails above descriptor 1,023, or select if there is no poll. Each
    call looks them up, because gevent replaces them and eventlet removes poll. An exception of a
    signal handler propagates.
    """
    module = find_select(sock)
    if hasattr(module, "poll"):
        poll = module.poll()
        poll.register(fd, event)
        is_ready = poll.poll
    else:
        is_ready = functools.partial(call_select, module.select, fd, event)
    while True:
        left = deadline - now()
        if left <= 0:
            raise socket.timeout("timed out")
        milliseconds = None if left == NO_DEADLINE else int(min(left * 1000 + 1, MAX_POLL_MS))
        try:
            if is_ready(milliseconds):
                return
        except (select.error, OSError) as error:
            # 2.7's select.error is no OSError, and has its errno in args alone (PEP 475).
            if error.args[:1] == (errno.EINTR,):
                continue
            if isinstance(error, EnvironmentError):
                raise
            raise socket.error(*error.args)


def find_select(sock):
    """Return the module select, or for a green socket the one of its library."""
    name = GREEN_SELECTS.get(type(sock).__module__.partition(".")[0])
    return select if name is None else importlib.import_module(name)


def call_select(wait_for_fds, fd, event, milliseconds):
    """Do what poll does. Return True if fd may be ready, and False after the milliseconds."""
    fds = [[fd] if event == each else [] for each in (POLLIN, POLLOUT)]
    seconds = None if milliseconds is None else milliseconds / 1000.0
    try:
        return any(wait_for_fds(fds[0], fds[1], [], seconds))
    except ValueError:
        raise ValueError(
            "select.poll is missing, and select.select takes no descriptor above 1,023, such as %d"
            % fd
        )
