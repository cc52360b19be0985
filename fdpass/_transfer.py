"""Sending and receiving descriptors: one system call each, judged before and after."""

import errno
import os
import socket
import sys
from collections import namedtuple

from . import _arguments
from ._arguments import INT_MAX
from ._control import descriptors_in
from ._errors import LostFdsError, TooManyFdsError
from ._raw import REPORTED, payload, receive_flags
from ._system import (
    AF_UNIX,
    ANCBUFSIZE,
    MAX_FDS,
    MSG_CMSG_CLOEXEC,
    MSG_CTRUNC,
    MSG_DONTWAIT,
    MSG_OOB,
    SO_TYPE,
    SOCK_STREAM,
    SOL_SOCKET,
    USUAL,
    close_all,
    domain_of,
    getsockopt,
    joined,
    monotonic,
    read_family,
    receive,
    send_rights,
    set_inheritable,
    skip,
    timeout_of,
)
from ._system import sendmsg as system_sendmsg
from ._waiting import POLLOUT, deadline_after, wait

LARGEST = sys.maxsize
AT_ONCE = MSG_DONTWAIT | MSG_CMSG_CLOEXEC
ROOM_AT_ONCE, FLAGS_AT_ONCE = (ANCBUFSIZE,), (AT_ONCE,)
NO_FLAGS = 0  # to compare by identity: another zero is as good, and checked
Received = namedtuple("Received", "data fds flags address")
new = tuple.__new__  # past the Python of a namedtuple's constructor

# What the errors of sendmsg mean when descriptors travel (sendmsg(2), unix(7), and the kernel's
# net/core/scm.c and net/unix/af_unix.c).
MEANINGS = {
    errno.EBADF: "the socket or one of them is closed",
    errno.ETOOMANYREFS: "more descriptors are in flight from this user than RLIMIT_NOFILE allows;"
    " they count until the receiver has taken them",
    errno.EPERM: "the receiver refuses descriptors (SO_PASSRIGHTS is off there)",
    errno.EINVAL: "one of them may be of a kind that cannot be passed, as an io_uring",
}


def explain(error):
    """Extend the error's text by what its errno means where descriptors are sent."""
    meaning = MEANINGS.get(error.errno)
    if meaning is not None:
        error.strerror = "%s: while passing descriptors, %s" % (error.strerror, meaning)
        error.args = (error.errno, error.strerror)


def is_stream(sock):
    return getsockopt(sock, SOL_SOCKET, SO_TYPE) == SOCK_STREAM


def check_carrier(sock, buffers):
    """ValueError where the kernel would take the payload and drop the descriptors."""
    if domain_of(sock) != AF_UNIX:
        raise ValueError(
            "descriptors travel over Unix domain sockets (AF_UNIX) only: any other kind would send"
            " the payload and drop them"
        )
    if not any(map(len, buffers)) and is_stream(sock):
        raise ValueError(
            "on a stream socket descriptors need at least one byte of data: with none, nothing at"
            " all is sent"
        )


def send_fds(sock, data, fds, flags=0, address=None):
    """Send data and descriptors as one message, with one sendmsg(2).

    :param sock: a Unix domain socket: a socket object, a descriptor (int), or an object with
        ``fileno()``. With no descriptors to send, a socket of any family.
    :param data: the payload: a bytes-like object, or an iterable of them.
    :param fds: an iterable of descriptors: ints and objects with ``fileno()``, at most `MAX_FDS`.
        They are duplicated into the receiver and stay open, and yours, here: close them when you
        are done. (``shutdown`` would act on the socket that both ends now hold.)
    :param flags: as for send(2); not MSG_OOB, with which the kernel drops descriptors.
    :param address: where an unconnected datagram socket sends to.
    :returns: how many bytes of data were taken. On a stream that can be fewer than all; the
        descriptors went with the first, so send the rest alone, or use `sendall_fds`.
    :raises TypeError, ValueError: an argument is wrong; nothing was sent. On a stream, descriptors
        need at least one byte of data; a datagram may be empty.
    :raises OSError: the system's own word (``socket.error`` on Python 2, ``socket.timeout`` after
        the socket's timeout); nothing was sent.

    Source: sendmsg(2), unix(7), cmsg(3).
    """
    buffers = [data] if type(data) is bytes else payload(data)
    if flags is not NO_FLAGS:
        flags = _arguments.flag_bits(flags)
    # things stays until all is sent: it may be what keeps the descriptors open.
    things = fds if type(fds) is list else _arguments.listed(fds, MAX_FDS)
    if not things:
        return system_sendmsg(sock, buffers, (), flags, address)
    if len(things) > MAX_FDS:
        raise ValueError("a message carries at most %d descriptors: send several" % MAX_FDS)
    if flags & MSG_OOB:
        raise ValueError("with MSG_OOB the kernel can drop descriptors: send them without it")
    numbers = things
    for thing in things:
        if type(thing) is not int or not 0 <= thing <= INT_MAX:
            things = things[:]  # the caller's list may change meanwhile
            numbers = [_arguments.descriptor(thing) for thing in things]
            break
    try:
        usual = type(data) is bytes and data and read_family(sock) == AF_UNIX
    except (TypeError, AttributeError):  # no socket object, or not of the usual class
        usual = False
    try:
        if not usual:
            check_carrier(sock, buffers)
        return send_rights(sock, buffers, numbers, flags, address)
    except socket.error as error:
        explain(error)
        raise


def sendall_fds(sock, data, fds, flags=0):
    """Send all of data; the descriptors travel exactly once, with its first byte.

    The arguments are those of `send_fds`. sock has to block or have a timeout, which counts over
    the whole call. On a datagram or seqpacket socket it is one message, as with `send_fds`.

    :raises ValueError: besides what `send_fds` says, sock is non-blocking.
    :raises OSError: the system's own word, ``socket.timeout`` among it. As with ``socket.sendall``,
        how much was sent, and so whether the descriptors were, cannot be told: give the connection
        up.
    """
    timeout = timeout_of(sock)
    if timeout == 0:
        raise ValueError(
            "sendall_fds needs a socket that blocks or has a timeout: call settimeout first, or use"
            " send_fds"
        )
    flags = _arguments.flag_bits(flags)
    if flags & MSG_DONTWAIT:
        raise ValueError("sendall_fds waits until all is sent: MSG_DONTWAIT contradicts that")
    if timeout:  # another holder may have made the socket a blocking one
        flags |= MSG_DONTWAIT
    deadline = deadline_after(timeout, monotonic)
    buffers = payload(data)
    left = sum(map(len, buffers))
    sent = send_fds(sock, buffers, fds, flags)
    if sent < left:
        send_rest(sock, joined(buffers) if len(buffers) > 1 else buffers[0], sent, flags, deadline)


def send_rest(sock, whole, sent, flags, deadline):
    while sent < len(whole):
        # A signal, or its timeout, cut the call before short: never the descriptors again.
        wait(_arguments.descriptor(sock), POLLOUT, deadline, monotonic)
        sent += system_sendmsg(sock, [skip(whole, sent)], (), flags, None)


def recv_fds(sock, bufsize, maxfds, flags=0):
    """Receive data and descriptors, with one recvmsg(2).

    :param sock: a socket object, a descriptor (int), or an object with ``fileno()``.
    :param bufsize: most bytes of data to take. 0 is for datagrams only.
    :param maxfds: most descriptors to accept, 0 to refuse them. More than `MAX_FDS` never come.
    :param flags: as for recv(2), without MSG_TRUNC. MSG_PEEK gives duplicates of descriptors that
        come again with the next call.
    :returns: ``Received(data, fds, flags, address)``. fds is a list of ints, close-on-exec, and
        each is yours to close. flags is 0 unless something was unusual (MSG_TRUNC: a datagram was
        longer than bufsize). address is the sender's, as ``recvfrom`` gives it.
    :raises TypeError, ValueError: an argument is wrong; nothing was received.
    :raises LostFdsError: the kernel dropped descriptors; those that came are closed.
    :raises TooManyFdsError: more than maxfds came; all are closed.
    :raises OSError: the system's own word; nothing was received.

    On a stream, a read is not a message: bytes sent before a message with descriptors come with
    it, and a plain ``recv`` throws descriptors away. There, empty data with no descriptors is the
    end. A datagram may be empty; an empty message on a seqpacket socket looks like its end.

    Source: recvmsg(2), unix(7), cmsg(3).
    """
    if (
        type(bufsize) is not int
        or type(maxfds) is not int
        or flags is not NO_FLAGS
        or maxfds < 0
        or not 0 < bufsize <= LARGEST
    ):
        bufsize, maxfds, flags = checked(sock, bufsize, maxfds, flags)
    return judged(receive, flags | MSG_CMSG_CLOEXEC, sock, bufsize, maxfds)


def judged(receive, flags, source, size, maxfds):
    """What receive gives as a Received; all of it closed if it cannot be handed out."""
    fds, strays, ancdata = None, [], ()
    try:
        fds, data, ancdata, msg_flags, address = receive(source, size, flags)
        if fds is None:
            fds, strays = descriptors_in(ancdata)
            if strays:
                close_all(strays)
        if not MSG_CMSG_CLOEXEC:
            for fd in fds:
                set_inheritable(fd, False)
        if msg_flags & MSG_CTRUNC or len(fds) > maxfds:
            raise refused(data, fds, msg_flags & REPORTED, address, maxfds)
        return new(Received, (data, fds, msg_flags & REPORTED, address))
    except BaseException:
        if fds is None:
            fds, strays = descriptors_in(ancdata)
        close_all(fds)
        close_all(strays)
        raise


def checked(sock, bufsize, maxfds, flags):
    bufsize = _arguments.size("bufsize", bufsize)
    if not bufsize and is_stream(sock):
        raise ValueError("bufsize must be at least 1 on a stream: 0 would look like its end")
    maxfds = min(_arguments.integer("maxfds", maxfds), MAX_FDS)
    if maxfds < 0:
        raise ValueError("maxfds must be at least 0 (which refuses them), not %d" % maxfds)
    return bufsize, maxfds, receive_flags(flags)


def refused(data, fds, flags, address, maxfds):
    """The error for descriptors that cannot be handed out."""
    arrived = len(fds)
    if flags & MSG_CTRUNC:
        return LostFdsError(
            "the kernel dropped descriptors of this message; %d arrived and are closed. The limit"
            " of this process is %d open descriptors (RLIMIT_NOFILE): raise it or close some, and"
            " have the message sent again. A security module can be the cause too."
            # No import of resource here: there is no descriptor left to read it with.
            % (arrived, os.sysconf("SC_OPEN_MAX")),
            data,
            flags,
            address,
            arrived,
        )
    return TooManyFdsError(
        "%d descriptors arrived where at most %d were asked for; all are closed. Raise maxfds if"
        " the peer may send as many." % (arrived, maxfds),
        data,
        flags,
        address,
        arrived,
    )


def send_now(sock, buffers, fds):
    """send_fds of arguments that cannot be wrong, without waiting: EAGAIN where it would."""
    try:
        return send_rights(sock, buffers, fds, MSG_DONTWAIT, None)
    except socket.error as error:
        explain(error)
        raise


def receive_now(sock, bufsize, maxfds):
    """(data, descriptors, ...) of arguments that cannot be wrong, without waiting: EAGAIN, EINTR.

    sock is a socket object with a timeout of None or 0, which makes all of the seam unneeded here.
    """
    arrived = []
    try:
        if maxfds:
            # By map, so that no signal handler comes between the system call and the list.
            arrived += map(sock.recvmsg, (bufsize,), ROOM_AT_ONCE, FLAGS_AT_ONCE)
        else:
            arrived.append(sock.recvmsg(bufsize, ANCBUFSIZE, AT_ONCE))
        data, ancdata, flags, _address = arrived[0]
        fds, strays = descriptors_in(ancdata) if ancdata else ((), ())
        if strays or flags & REPORTED or len(fds) > maxfds or not MSG_CMSG_CLOEXEC:
            return judged(pop_arrived, AT_ONCE, arrived, bufsize, maxfds)
        return data, fds
    except BaseException:
        for told in arrived:
            close_all(sum(descriptors_in(told[1]), []))
        raise


def pop_arrived(arrived, bufsize, flags):
    """What is there already, as receive gives it."""
    return (None,) + arrived.pop()


if USUAL is not None:  # the same, quicker where the call is the usual one
    send_fds = USUAL.sender(send_fds, explain)
    recv_fds = USUAL.receiver(recv_fds, judged, Received, MSG_CMSG_CLOEXEC, close_all)
    send_now, receive_now = USUAL.at_once(send_fds, recv_fds)
