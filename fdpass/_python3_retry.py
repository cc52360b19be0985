"""Waiting on Python 3 where its sockets do not see to it: PyPy, and CPython before 3.5."""

import errno
import socket
import time

from ._arguments import descriptor
from ._waiting import POLLOUT, deadline_after, wait

monotonic = time.monotonic


def patient(call, event):
    """call, made again after a signal; the socket's timeout counts over all of it, by our own wait.

    After that, the bare descriptor is sent to: PyPy's sendmsg of a socket with a timeout waits once
    more when all is sent, and raises if it cannot be sent to again.
    """

    def again(sock, *arguments):
        timeout = sock.gettimeout() if hasattr(sock, "gettimeout") else None
        deadline = deadline_after(timeout, monotonic)
        usual = getattr(type(sock), "sendmsg", None) == socket.socket.sendmsg
        bare = timeout and usual and event == POLLOUT
        while True:
            try:
                if timeout:
                    wait(descriptor(sock), event, deadline, monotonic)
                return call(descriptor(sock) if bare else sock, *arguments)
            except InterruptedError:
                pass
            except BlockingIOError:
                if not timeout:
                    raise
            except OSError as error:
                if not bare or error.errno not in (errno.EMFILE, errno.ENFILE):
                    raise
                bare = False  # there is no number left for a duplicate

    return again
