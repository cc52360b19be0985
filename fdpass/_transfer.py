"""Sending and receiving descriptors: one system call each, checked before and after."""

import errno
import os
import socket
import sys
from collections import namedtuple

from . import _arguments
from ._arguments import INT_MAX
from ._control import descriptors_in
from ._errors import LostFdsError, TooManyFdsError
from ._kinds import PLAIN_TYPES, counts_as_descriptor
from ._macos import wait_for_room
from ._raw import REPORTED_FLAGS, check_receive_flags, payload_buffers
from ._system import (
    AF_UNIX,
    ANCBUFSIZE,
    EMSGSIZE_MEANS_NO_ROOM,
    MAX_FDS,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    MSG_OOB,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    close_all,
    family_of,
    fast_path,
    getsockopt,
    is_open,
    join,
    monotonic,
    read_family,
    receive,
    send_rights,
    set_inheritable,
    skip_bytes,
    timeout_of,
    with_socket_object,
)
from ._system import sendmsg as system_sendmsg
from ._waiting import POLLOUT, deadline_after, wait

Received = namedtuple("Received", "data fds flags address")
new_tuple = tuple.__new__  # skips the Python code in a namedtuple's constructor
RECEIVE_NOW_FLAGS = MSG_DONTWAIT | MSG_CMSG_CLOEXEC
# Each send uses MSG_NOSIGNAL: a program that has set SIGPIPE back to SIG_DFL gets EPIPE (send(2)).
SEND_NOW_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL
MUSL_MAX_FDS = 252  # its sendmsg copies control messages into a buffer of 1,024 bytes
TOO_MANY_TO_SEND = "a message carries at most %d descriptors: send several" % MAX_FDS

# What an errno of sendmsg means when descriptors are sent (sendmsg(2), unix(7), and the kernel's
# net/core/scm.c and net/unix/af_unix.c).
ERRNO_MEANINGS = {
    errno.ETOOMANYREFS: "more descriptors are in flight from this user than RLIMIT_NOFILE allows;"
    " they count until the receiver has taken them",
    errno.EPERM: "the receiver refuses descriptors (SO_PASSRIGHTS is off there)",
    errno.EINVAL: "one of them may be of a kind that cannot be passed, such as an io_uring",
}


def send_fds(sock, data, fds, flags=0, address=None):
    """Send data and descriptors as one message, with one sendmsg(2).

    :param sock: a Unix domain socket: a socket object, a descriptor (int), or an object with
        ``fileno()``. If there are no descriptors to send, a socket of any family.
    :param data: the payload: a bytes-like object, or an iterable of them.
    :param fds: an iterable of descriptors: ints and objects with ``fileno()``, at most `MAX_FDS`.
        The receiver gets duplicates. Here they stay open, and yours: close them when you are done.
        (Do not call ``shutdown``: it acts on the socket that both ends now hold.)
    :param flags: as for send(2), without MSG_OOB, since the kernel drops descriptors with it.
    :param address: the destination, for an unconnected datagram socket.
    :returns: how many bytes of data were taken. A stream may take only a part. The descriptors went
        with its first byte, so send the rest without them, or use `sendall_fds`.
    :raises TypeError, ValueError: an argument is wrong; nothing was sent. On a stream, descriptors
        need at least one byte of data; a datagram may be empty. A TLS socket in fds is a TypeError,
        since the receiver would have the socket without its keys.
    :raises OSError: the operating system's error (``socket.error`` on Python 2, ``socket.timeout``
        after the socket's timeout); nothing was sent.

    Source: sendmsg(2), unix(7), cmsg(3).
    """
    buffers = [data] if type(data) is bytes else payload_buffers(data)
    if type(flags) is int and not flags:
        flags = MSG_NOSIGNAL
    else:
        flags = _arguments.check_c_int("flags", flags) | MSG_NOSIGNAL
    # An object in fds may be all that keeps its descriptor open, so given lives until the end.
    given = fds if type(fds) is list else _arguments.list_fds(fds, MAX_FDS)
    if not given:
        return system_sendmsg(sock, buffers, (), flags, address)
    if len(given) > MAX_FDS:
        raise ValueError(TOO_MANY_TO_SEND)
    if flags & MSG_OOB:
        raise ValueError("with MSG_OOB the kernel can drop descriptors: send them without it")
    passed = given
    for each in given:
        if type(each) is not int or not 0 <= each <= INT_MAX:
            given = given[:]  # the caller may change the list meanwhile
            passed = _arguments.descriptors_of(given)
            break
    try:
        is_unix = type(data) is bytes and data and read_family(sock) == AF_UNIX
    except (TypeError, AttributeError):  # not a socket object, or not of the usual class
        is_unix = False
    try:
        if is_unix:
            return send_rights(sock, buffers, passed, flags, address)
        if type(sock) not in PLAIN_TYPES:
            _arguments.check_plain_carrier(sock)
            if hasattr(sock, "sendmsg") and not counts_as_descriptor(sock):
                # Call the object's own method, whatever other methods it lacks.
                with_socket_object(sock, passed, check_carrier, buffers)
                return send_rights(sock, buffers, passed, flags, address)
        return with_socket_object(sock, passed, check_and_send, buffers, passed, flags, address)
    except socket.error as error:
        explain_errno(error, passed)
        raise


def sendall_fds(sock, data, fds, flags=0):
    """Send all of data; the descriptors travel exactly once, with its first byte.

    The arguments are those of `send_fds`. sock must block or have a timeout, which counts over the
    whole call. On a datagram or seqpacket socket this sends one message, as `send_fds` does.

    :raises ValueError: besides the reasons of `send_fds`, sock is non-blocking.
    :raises OSError: the operating system's error, or ``socket.timeout``. As with
        ``socket.sendall``, you cannot know how much was sent, nor whether the descriptors were, so
        close the connection.
    """
    if type(sock) not in PLAIN_TYPES:
        _arguments.check_plain_carrier(sock)
    timeout = timeout_of(sock)
    if timeout == 0:
        raise ValueError(
            "sendall_fds needs a socket that blocks or has a timeout: call settimeout first, or use"
            " send_fds"
        )
    flags = _arguments.check_c_int("flags", flags)
    if flags & MSG_DONTWAIT:
        raise ValueError("sendall_fds waits until all is sent: MSG_DONTWAIT contradicts that")
    if timeout:  # another holder may have made the socket a blocking one
        flags |= MSG_DONTWAIT
    deadline = deadline_after(timeout, monotonic)
    buffers = payload_buffers(data)
    size = sum(map(len, buffers))
    sent = send_fds(sock, buffers, fds, flags)
    if sent < size:
        send_rest(sock, join(buffers) if len(buffers) > 1 else buffers[0], sent, flags, deadline)


def recv_fds(sock, bufsize, maxfds, flags=0):
    """Receive data and descriptors, with one recvmsg(2).

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param bufsize: most bytes of data to take. 0 is for datagrams only.
    :param maxfds: most descriptors to accept; 0 refuses them. A larger one counts as `MAX_FDS`.
    :param flags: as for recv(2), without MSG_TRUNC. With MSG_PEEK you get duplicates of
        descriptors, which the next call returns again.
    :returns: ``Received(data, fds, flags, address)``. fds is a list of ints, close-on-exec; you
        must close each. flags is 0 unless something was unusual (MSG_TRUNC: a datagram was longer
        than bufsize). address is the sender's, as ``recvfrom`` returns it.
    :raises TypeError, ValueError: an argument is wrong; nothing was received.
    :raises LostFdsError: the kernel dropped descriptors; those that arrived are closed.
    :raises TooManyFdsError: more than maxfds arrived; all are closed.
    :raises OSError: the operating system's error, unchanged; nothing was received.

    On a stream, a read is not a message: bytes that were sent before a message with descriptors
    arrive with it, and a plain ``recv`` throws descriptors away. Empty data without descriptors
    means the end of the stream. A datagram may be empty. On a seqpacket socket, an empty message
    looks like the end.

    Source: recvmsg(2), unix(7), cmsg(3).
    """
    if (
        type(bufsize) is not int
        or type(maxfds) is not int
        or type(flags) is not int
        or flags
        or maxfds < 0
        or not 0 < bufsize <= sys.maxsize
    ):
        bufsize, maxfds, flags = check_receive_arguments(sock, bufsize, maxfds, flags)
    return finish_receive(receive, flags | MSG_CMSG_CLOEXEC, sock, bufsize, maxfds)


def check_and_send(sock, buffers, fds, flags, address):
    check_carrier(sock, buffers)
    return send_rights(sock, buffers, fds, flags, address)


def check_carrier(sock, buffers):
    """Raise ValueError if the kernel would take the payload and drop the descriptors."""
    if family_of(sock) != AF_UNIX:
        raise ValueError(
            "descriptors travel over Unix domain sockets (AF_UNIX) only: any other kind would send"
            " the payload and drop them"
        )
    if not any(map(len, buffers)) and is_stream(sock):
        raise ValueError(
            "on a stream socket descriptors need at least one byte of data: with none, nothing at"
            " all is sent"
        )


def is_stream(sock):
    return getsockopt(sock, SOL_SOCKET, SO_TYPE) == SOCK_STREAM


def explain_errno(error, passed):
    """Add to the error's text what its errno means when these descriptors are sent."""
    meaning = ERRNO_MEANINGS.get(error.errno)
    if error.errno == errno.EBADF:
        closed = ["fds[%d]" % index for index, fd in enumerate(passed) if not is_open(fd)]
        meaning = "%s is closed" % (closed[0] if closed else "the socket")
    if error.errno == errno.ENOMEM and len(passed) > MUSL_MAX_FDS:
        meaning = (
            "musl before 1.2.5 takes at most %d in one call: send fds in two messages"
            % MUSL_MAX_FDS
        )
    if meaning is not None:
        _arguments.extend_error(error, after=": while passing descriptors, " + meaning)


def send_rest(sock, payload, sent, flags, deadline):
    """Send the payload from byte sent on, without waiting for longer than the deadline."""
    while sent < len(payload):
        wait(_arguments.descriptor_of(sock), POLLOUT, deadline, monotonic, sock)
        sent += system_sendmsg(sock, [skip_bytes(payload, sent)], (), flags | MSG_NOSIGNAL, None)


def check_receive_arguments(sock, bufsize, maxfds, flags):
    bufsize = _arguments.check_size("bufsize", bufsize)
    if not bufsize and with_socket_object(sock, (), is_stream):
        raise ValueError("bufsize must be at least 1 on a stream: 0 would look like its end")
    maxfds = min(_arguments.check_int("maxfds", maxfds), MAX_FDS)
    if maxfds < 0:
        raise ValueError("maxfds must be at least 0 (which refuses them), not %d" % maxfds)
    return bufsize, maxfds, check_receive_flags(flags)


def finish_receive(receive, flags, source, size, maxfds):
    """Call receive and return a Received; close all that arrived if it cannot be handed out."""
    fds, pidfds, ancdata = None, [], ()
    try:
        fds, data, ancdata, msg_flags, address = receive(source, size, flags)
        if fds is None:
            fds, pidfds = descriptors_in(ancdata)
            if pidfds:
                close_all(pidfds)
        if not flags & MSG_CMSG_CLOEXEC:
            for fd in fds:
                set_inheritable(fd, False)
        reported_flags = msg_flags & REPORTED_FLAGS
        if msg_flags & MSG_CTRUNC or len(fds) > maxfds:
            raise make_refusal(data, fds, reported_flags, address, maxfds)
        return new_tuple(Received, (data, fds, reported_flags, address))
    except BaseException:
        if fds is None:
            fds, pidfds = descriptors_in(ancdata)
        close_all(fds)
        close_all(pidfds)
        raise


def make_refusal(data, fds, flags, address, maxfds):
    """Return the error for descriptors that cannot be handed out."""
    arrived = len(fds)
    if flags & MSG_CTRUNC:
        kind = LostFdsError
        text = (
            "the kernel dropped descriptors of this message; %d arrived and are closed. The limit"
            " of this process is %d open descriptors (RLIMIT_NOFILE): raise it or close some, and"
            " have the message sent again. A security module can be the cause too, or too little"
            " room for control messages in a recvmsg of your own."
            # sysconf, because an import of resource may find no descriptor free.
            % (arrived, os.sysconf("SC_OPEN_MAX"))
        )
    else:
        kind = TooManyFdsError
        text = (
            "%d descriptors arrived where at most %d were asked for; all are closed. Raise maxfds"
            " if the peer may send as many." % (arrived, maxfds)
        )
    return kind(text, data, flags, address, arrived)


def send_now(sock, buffers, fds):
    """Do what send_fds does, with checked arguments. Raise EAGAIN instead of waiting."""
    try:
        return send_rights(sock, buffers, fds, SEND_NOW_FLAGS, None)
    except socket.error as error:
        explain_errno(error, fds)
        raise


def receive_now(sock, bufsize, maxfds):
    """Return (data, descriptors, ...), with checked arguments. Raise EAGAIN instead of waiting.

    sock is a socket object whose timeout is None or 0, so that its recvmsg does not wait.
    """
    arrived = []
    try:
        if maxfds:
            # map calls recvmsg, so that no signal handler runs between that call and the list.
            arrived += map(sock.recvmsg, (bufsize,), (ANCBUFSIZE,), (RECEIVE_NOW_FLAGS,))
        else:  # faster by 2 % of a message's time; no descriptors may come with a payload
            arrived.append(sock.recvmsg(bufsize, ANCBUFSIZE, RECEIVE_NOW_FLAGS))
        data, ancdata, flags, _address = arrived[0]
        fds, pidfds = descriptors_in(ancdata) if ancdata else ((), ())
        if pidfds or flags & REPORTED_FLAGS or len(fds) > maxfds or not MSG_CMSG_CLOEXEC:
            return finish_receive(pop_arrived, RECEIVE_NOW_FLAGS, arrived, bufsize, maxfds)
        return data, fds
    except BaseException:
        close_arrived(arrived)
        raise


def close_arrived(arrived):
    for _data, ancdata, _flags, _address in arrived:
        close_all(sum(descriptors_in(ancdata), []))


def pop_arrived(arrived, bufsize, flags):
    """Return the message that arrived before, as receive does."""
    return (None,) + arrived.pop()


if EMSGSIZE_MEANS_NO_ROOM:
    send_rights = wait_for_room(send_rights, is_stream)
if fast_path is not None:
    send_fds = fast_path.make_send_fds(send_fds, explain_errno, MSG_NOSIGNAL)
    recv_fds = fast_path.make_recv_fds(
        recv_fds, finish_receive, Received, MSG_CMSG_CLOEXEC, close_all
    )
    send_now, receive_now = fast_path.make_calls_without_wait(send_fds, recv_fds)
