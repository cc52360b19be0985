"""Retry calls after a signal, for PyPy and for CPython before 3.5."""

import _socket
import errno
import time

from ._arguments import descriptor_of
from ._kinds import object_timeout
from ._python3_green import timeout_after_eagain
from ._waiting import POLLOUT, deadline_after, wait

monotonic = time.monotonic


def retry(call, event):
    """Return a function that repeats call after a signal, under the socket's timeout.

    The timeout counts over the whole call, and the waiting is done here. After a wait to send, the
    bare descriptor is used: on a socket with a timeout, PyPy's sendmsg waits again when all is
    sent, and raises if the socket does not become writable.
    """

    def call_again(sock, *arguments):
        timeout = object_timeout(sock)
        deadline = deadline_after(timeout, monotonic)
        is_standard = getattr(type(sock), "sendmsg", None) == _socket.socket.sendmsg
        by_descriptor = timeout and is_standard and event == POLLOUT
        must_wait = timeout
        while True:
            try:
                if must_wait:
                    wait(descriptor_of(sock), event, deadline, monotonic, sock)
                return call(descriptor_of(sock) if by_descriptor else sock, *arguments)
            except InterruptedError:
                pass
            except BlockingIOError:
                if timeout_after_eagain(sock, arguments[2]) == 0:
                    raise
                must_wait = True
            except OSError as error:
                if not by_descriptor or error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                by_descriptor = False  # the process has no descriptor left for a duplicate

    return call_again
