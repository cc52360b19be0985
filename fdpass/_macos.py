"""Wait for room on macOS, where sendmsg can raise EMSGSIZE for descriptors instead of waiting."""

import errno
import os
import socket
import time

from ._arguments import descriptor_of
from ._system import MSG_DONTWAIT, is_blocking, monotonic, timeout_of
from ._waiting import deadline_after

PAUSE_S = 0.01  # between two tries; poll does not help, because it says that the socket is writable


def wait_for_room(send_rights, is_stream):
    """Return a send_rights that waits for room or raises EAGAIN, as on other systems.

    EMSGSIZE means a lack of room only on a stream, because a datagram can really be too long.
    """

    def send_when_room(sock, buffers, fds, flags, address):
        deadline = None
        while True:
            try:
                return send_rights(sock, buffers, fds, flags, address)
            except socket.error as error:
                if error.errno != errno.EMSGSIZE or not is_stream(sock):
                    raise
            timeout = timeout_of(sock)
            if timeout == 0 and is_blocking(descriptor_of(sock)):
                timeout = None  # sock stands for a bare descriptor: see _python3_duplicate
            if timeout == 0 or timeout is None and flags & MSG_DONTWAIT:
                raise socket.error(errno.EAGAIN, os.strerror(errno.EAGAIN))
            if deadline is None:
                deadline = deadline_after(timeout, monotonic)
            if monotonic() >= deadline:
                raise socket.timeout("timed out")
            time.sleep(PAUSE_S)

    return send_when_room
