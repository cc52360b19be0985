"""The usual call on Python 2, in one function: each call inside costs a tenth of what C peers take.

Usual are a socket of the standard library, bytes, and a list of one int or socket. Anything else
goes to the general function before a system call is made; the checks are those that it makes.
"""

import errno
import functools
import socket

from ._arguments import INT_MAX
from ._python2 import (
    AF_UNIX,
    DATA_ROOM,
    MSG_DONTWAIT,
    CSocket,
    Wrapper,
    again,
    failed,
    ffi,
    lib,
    taken,
)
from ._waiting import AGAIN, POLLOUT

spare = []  # to receive into: making one takes as long as half a system call


def room():
    """A message to receive into, and its arrays: looking one up makes an object each time."""
    message = ffi.new("fdpass_message *")
    return message, ffi.buffer(message.data), message.fds


def unusual(message, size, flags):
    """What arrived, as receive gives it. The message is not used again, and discards nothing."""
    # One expression: an exception in between would lose the descriptors or close them twice.
    return (
        taken(message, message.data, size, message.control),
        setattr(message, "controllen", 0),
    )[0]


# The parameters with defaults are for the closures alone: from there a name comes without a look
# into the module's dictionary and the builtins', which is worth another fiftieth of the whole.


def sender(
    general,
    explain,
    AF_UNIX=AF_UNIX,
    CSocket=CSocket,
    INT_MAX=INT_MAX,
    MSG_DONTWAIT=MSG_DONTWAIT,
    NO_FLAGS=0,
    Wrapper=Wrapper,
    bytes=bytes,
    int=int,
    len=len,
    list=list,
    send=lib.fdpass_send_one,
    type=type,
):
    """general, which is send_fds, quicker where the call is the usual one."""

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
            (passed,) = fds  # and held: another thread may take it out of fds
        except ValueError:
            return general(sock, data, fds, flags, address)
        fd = passed if type(passed) is int else passed.fileno() if type(passed) is Wrapper else -1
        if not 0 <= fd <= INT_MAX:
            return general(sock, data, fds, flags, address)
        number = inner.fileno()
        actual = MSG_DONTWAIT if flags or inner.gettimeout() else 0
        sent = send(number, data, len(data), fd, actual)
        if sent >= 0:
            return sent
        try:
            deadline = None
            while sent < 0:
                deadline = again(-sent, sock, number, POLLOUT, flags, deadline)
                number = inner.fileno()  # closed meanwhile, the number may be another's
                sent = send(number, data, len(data), fd, actual)
            return sent
        except socket.error as error:
            explain(error)
            raise

    return send_fds


def receiver(
    general,
    judged,
    Received,
    MSG_CMSG_CLOEXEC,
    close_all,
    CSocket=CSocket,
    DATA_ROOM=DATA_ROOM,
    MSG_DONTWAIT=MSG_DONTWAIT,
    NO_FLAGS=0,
    Wrapper=Wrapper,
    give=spare.append,
    int=int,
    new=tuple.__new__,
    receive=lib.fdpass_recv,
    take=spare.pop,
    type=type,
):
    """general, which is recv_fds, quicker where the call and the message are the usual ones."""
    if not MSG_CMSG_CLOEXEC:  # then there is work to do on each descriptor
        return general
    # Whether the socket waits is asked when there is something to wait for.
    at_once = MSG_CMSG_CLOEXEC | MSG_DONTWAIT

    @functools.wraps(general)
    def recv_fds(sock, bufsize, maxfds, flags=0):
        inner = sock._sock if type(sock) is Wrapper else sock
        if (
            type(inner) is not CSocket
            or type(bufsize) is not int
            or type(maxfds) is not int
            or (flags is not NO_FLAGS and flags is not MSG_DONTWAIT)
            or not 0 < bufsize <= DATA_ROOM
            or maxfds < 0
        ):
            return general(sock, bufsize, maxfds, flags)
        try:
            message, data, numbers = mine = take()
        except IndexError:  # to ask first would not do: another thread can come in between
            message, data, numbers = mine = room()
        fd = inner.fileno()
        # A handler's exception can come as the call returns, and nobody sees what it returned.
        message.controllen, received = 0, None
        try:
            size = receive(fd, bufsize, at_once, message)
            if size < 0:
                mine = give(mine)
                if -size in AGAIN or -size == errno.EINTR:  # to wait is not usual
                    return general(sock, bufsize, maxfds, flags)
                raise failed(-size)
            count = message.usual
            if 0 <= count <= maxfds:
                fds = [numbers[0]] if count == 1 else ffi.unpack(numbers, count)
                received = new(Received, (data[:size], fds, 0, None))
                give(mine)
                return received
            return judged(unusual, at_once, message, size, maxfds)
        except BaseException:
            # The message may be another thread's by now. Only a signal gets here.
            if received is not None:  # pragma: no cover (its tests run untraced)
                close_all(received.fds)
            elif mine is not None:
                lib.fdpass_discard(message.control, message.controllen)
            raise

    return recv_fds


def at_once(send_fds, recv_fds):
    """The two without waiting, EAGAIN where they would; the first takes a list of one buffer."""

    def send_now(sock, buffers, fds):
        return send_fds(sock, buffers[0], fds, MSG_DONTWAIT)

    def receive_now(sock, bufsize, maxfds):  # functools.partial is written in Python on PyPy
        return recv_fds(sock, bufsize, maxfds, MSG_DONTWAIT)

    return send_now, receive_now
