"""Retry calls after a signal, for PyPy and for CPython before 3.5."""

import errno
import socket
import time

from ._arguments import descriptor_of
from ._waiting import POLLOUT, deadline_after, wait

monotonic = time.monotonic


def retry(call, event):
    """Return a function that repeats call after a signal, under the socket's timeout.

    The timeout counts over the whole call, and the waiting is done here. After a wait to send, the
    bare descriptor is used: on a socket with a timeout, PyPy's sendmsg waits again when all is
    sent, and raises if the socket does not become writable.
    """

    def call_again(sock, *arguments):
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        deadline = deadline_after(timeout, monotonic)
        is_standard = getattr(type(sock), "sendmsg", None) == socket.socket.sendmsg
        by_descriptor = timeout and is_standard and event == POLLOUT
        while True:
            try:
                if timeout:
                    wait(descriptor_of(sock), event, deadline, monotonic)
                return call(descriptor_of(sock) if by_descriptor else sock, *arguments)
            except InterruptedError:
                pass
            except BlockingIOError:
                if not timeout:
                    raise
            except OSError as error:
                if not by_descriptor or error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                by_descriptor = False  # the process has no descriptor left for a duplicate

    return call_again
