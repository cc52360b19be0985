"""The fast path on Python 2: the usual call, in one Python function.

Each further Python call would cost a tenth of a round trip of a library written in C. The fast path
serves a socket of the standard library, bytes, and a list of one int or socket. Any other call goes
to the general function before a system call is made. The checks are the general function's.
"""

import errno
import functools
import socket

from ._arguments import INT_MAX
from ._python2 import (
    AF_UNIX,
    DATA_BYTES,
    MSG_DONTWAIT,
    CSocket,
    Wrapper,
    as_received,
    error_of,
    ffi,
    lib,
    wait_to_retry,
)
from ._waiting import POLLOUT, WOULD_BLOCK

NO_FLAGS = 0  # compared by identity, because checking the type takes 4 % of a round trip
new_tuple = tuple.__new__  # skips the Python code in a namedtuple's constructor
# Message structures to receive into. Making one takes as long as half a system call.
spare_messages = []


def make_send_fds(general, explain_errno, MSG_NOSIGNAL):
    """Return send_fds: the fast path, with general for every other call."""
    if not MSG_NOSIGNAL:  # macOS, where general handles EMSGSIZE
        return general
    send, SEND_NOW_FLAGS = lib.fdpass_send_one, MSG_DONTWAIT | MSG_NOSIGNAL

    @functools.wraps(general)
    def send_fds(sock, data, fds, flags=0, address=None):
        inner = sock._sock if type(sock) is Wrapper else sock
        if (
            type(inner) is not CSocket
            or type(data) is not bytes
            or type(fds) is not list
            or (flags is not NO_FLAGS and flags is not MSG_DONTWAIT)
            or address is not None
            or not data
            or inner.family != AF_UNIX
        ):
            return general(sock, data, fds, flags, address)
        try:
            (given,) = fds  # held here, since another thread may take it out of fds
        except ValueError:
            return general(sock, data, fds, flags, address)
        passed = given if type(given) is int else given.fileno() if type(given) is Wrapper else -1
        if not 0 <= passed <= INT_MAX:
            return general(sock, data, fds, flags, address)
        fd = inner.fileno()
        flags_now = SEND_NOW_FLAGS if flags or inner.gettimeout() else MSG_NOSIGNAL
        sent = send(fd, data, len(data), passed, flags_now)
        if sent >= 0:
            return sent
        try:
            deadline = None
            while sent < 0:
                deadline = wait_to_retry(-sent, sock, fd, POLLOUT, flags, deadline)
                fd = inner.fileno()  # if sock was closed meanwhile, the old one may be reused
                sent = send(fd, data, len(data), passed, flags_now)
            return sent
        except socket.error as error:
            explain_errno(error, [passed])
            raise

    return send_fds


def make_recv_fds(general, finish_receive, Received, MSG_CMSG_CLOEXEC, close_all):
    """Return recv_fds: the fast path, with general for every other call."""
    if not MSG_CMSG_CLOEXEC:  # then each descriptor has to be made close-on-exec
        return general
    receive, take_spare, keep_spare = lib.fdpass_recv, spare_messages.pop, spare_messages.append
    # The socket's timeout matters only if the call would have to wait.
    flags_now = MSG_CMSG_CLOEXEC | MSG_DONTWAIT

    @functools.wraps(general)
    def recv_fds(sock, bufsize, maxfds, flags=0):
        inner = sock._sock if type(sock) is Wrapper else sock
        if (
            type(inner) is not CSocket
            or type(bufsize) is not int
            or type(maxfds) is not int
            or (flags is not NO_FLAGS and flags is not MSG_DONTWAIT)
            or not 0 < bufsize <= DATA_BYTES
            or maxfds < 0
        ):
            return general(sock, bufsize, maxfds, flags)
        try:
            message, data, fd_array = spare = take_spare()
        except IndexError:  # not tested before, because another thread may take the last one
            message, data, fd_array = spare = make_message()
        fd = inner.fileno()
        # If a handler raises as the call returns, size is lost; controllen says what arrived.
        message.controllen, received = 0, None
        try:
            size = receive(fd, bufsize, flags_now, message)
            if size < 0:
                spare = keep_spare(spare)  # now None
                if -size in WOULD_BLOCK or -size == errno.EINTR:
                    return general(sock, bufsize, maxfds, flags)
                raise error_of(-size)
            count = message.plain_nfds
            if 0 <= count <= maxfds:
                fds = [fd_array[0]] if count == 1 else ffi.unpack(fd_array, count)
                received = new_tuple(Received, (data[:size], fds, 0, None))
                keep_spare(spare)
                return received
            return finish_receive(take_message, flags_now, message, size, maxfds)
        except BaseException:
            # After keep_spare, another thread may use the message, so its control is left alone.
            if received is not None:  # pragma: no cover (its tests run untraced)
                close_all(received.fds)
            elif spare is not None:
                lib.fdpass_discard(message.control, message.controllen)
            raise

    return recv_fds


def make_message():
    """Return a message to receive into, and its arrays, because each access makes an object."""
    message = ffi.new("fdpass_message *")
    return message, ffi.buffer(message.data), message.fds


def take_message(message, size, flags):
    """Return what arrived, as receive does, and empty the message."""
    # One expression, because an exception in between would lose descriptors or close them twice.
    return (
        as_received(message, message.data, size, message.control),
        setattr(message, "controllen", 0),
    )[0]


def make_calls_without_wait(send_fds, recv_fds):
    """Return (send_now, receive_now), which raise EAGAIN instead of waiting."""

    def send_now(sock, buffers, fds):
        return send_fds(sock, buffers[0], fds, MSG_DONTWAIT)

    def receive_now(sock, bufsize, maxfds):  # not a functools.partial, which is slow on PyPy
        return recv_fds(sock, bufsize, maxfds, MSG_DONTWAIT)

    return send_now, receive_now
