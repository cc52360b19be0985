"""Wait for green sockets, such as eventlet's, whose own sendmsg and recvmsg do not wait."""

import _socket
import fcntl
import os
import socket
import time

from ._arguments import descriptor_of
from ._kinds import object_timeout
from ._waiting import deadline_after, wait

monotonic = time.monotonic
MSG_DONTWAIT = int(socket.MSG_DONTWAIT)


def wait_if_green(call, event):
    """Return a function that does what call does, and after EAGAIN waits for a green socket."""

    def call_or_wait(sock, *arguments):
        deadline = None
        while True:
            try:
                return call(sock, *arguments)
            except BlockingIOError:
                timeout = timeout_after_eagain(sock, arguments[2])
                if timeout == 0:
                    raise
            if deadline is None:
                deadline = deadline_after(timeout, monotonic)
            wait(descriptor_of(sock), event, deadline, monotonic, sock)

    return call_or_wait


def timeout_after_eagain(sock, flags):
    """Return the seconds to wait after a call with flags raised EAGAIN. None means forever."""
    timeout = object_timeout(sock)
    if timeout is None and (isinstance(sock, _socket.socket) or flags & MSG_DONTWAIT):
        return 0
    if timeout is None and not fcntl.fcntl(descriptor_of(sock), fcntl.F_GETFL) & os.O_NONBLOCK:
        return 0  # the call has waited already, as long as SO_RCVTIMEO or SO_SNDTIMEO allows
    return timeout
