"""A program that has set SIGPIPE back to SIG_DFL, as command-line tools do, is not killed."""

import array
import errno
import os
import select
import signal
import socket
import threading

import pytest
from conftest import closing

import fdpass
from fdpass.compat import fdsend, passfd
from fdpass.compat import sendmsg as compat_sendmsg

try:
    import asyncio

    from fdpass import aio
except (ImportError, SyntaxError):  # without anyio; before Python 3.5
    aio = None

LARGE = b"x" * 1000000  # more than a socket buffer takes
RIGHTS = [(socket.SOL_SOCKET, fdpass.SCM_RIGHTS, array.array("i", [0]))]


class Holder(object):
    def __init__(self, sock):
        self.fileno = sock.fileno


def with_timeout(sock):
    sock.settimeout(30)
    return sock


def send_later(send):
    """Return a function whose first bytes arrive. The rest finds that the peer has closed."""

    def send_with_reader(left, right):
        def close_when_readable():
            select.select([right], [], [])
            right.close()

        reader = threading.Thread(target=close_when_readable)
        reader.start()
        try:
            send(left)
        finally:
            reader.join()

    return send_with_reader


# How to send on a socket whose peer has closed.
WAYS = {
    "send_fds": lambda left: fdpass.send_fds(left, b"x", [0]),
    "send_fds, DONTWAIT": lambda left: fdpass.send_fds(left, b"x", [0], socket.MSG_DONTWAIT),
    "send_fds, EOR": lambda left: fdpass.send_fds(left, b"x", [0], socket.MSG_EOR),
    "send_fds, int": lambda left: fdpass.send_fds(left.fileno(), b"x", [0]),
    "send_fds, fileno": lambda left: fdpass.send_fds(Holder(left), b"x", [0, 0]),
    "send_fds, no fds": lambda left: fdpass.send_fds(left, b"x", []),
    "send_fds, timeout": lambda left: fdpass.send_fds(with_timeout(left), b"x", [0]),
    "send_fds, two buffers": lambda left: fdpass.send_fds(left, [b"x", b"y"], [0, 0]),
    "sendall_fds": lambda left: fdpass.sendall_fds(left, b"x", [0]),
    "sendall_fds, timeout": lambda left: fdpass.sendall_fds(with_timeout(left), b"x", [0]),
    "sendmsg": lambda left: fdpass.sendmsg(left, [b"x"]),
    "sendmsg, rights": lambda left: fdpass.sendmsg(left, [b"x"], RIGHTS, socket.MSG_DONTWAIT),
    "Channel.send": lambda left: fdpass.Channel(left).send(b"x"),
    "Channel.send, fds": lambda left: fdpass.Channel(left).send(b"x", [0]),
    "Channel.send, large": lambda left: fdpass.Channel(left).send(LARGE),
    "Channel.send, large, fds": lambda left: fdpass.Channel(left).send(LARGE, [0, 0]),
    "compat.fdsend": lambda left: fdsend.sendfds(left, b"x", fds=[0]),
    "compat.passfd": lambda left: passfd.sendfd(left, 0),
    "compat.sendmsg": lambda left: compat_sendmsg.sendmsg(left.fileno(), b"x"),
}
LATER = {
    "sendall_fds, later": send_later(lambda left: fdpass.sendall_fds(left, LARGE, [0])),
    "sendall_fds, timeout, later": send_later(
        lambda left: fdpass.sendall_fds(with_timeout(left), LARGE, [0])
    ),
    "Channel.send, later": send_later(lambda left: fdpass.Channel(left).send(LARGE, [0])),
}


def async_way(call):
    def send(sock, *others):
        sock.setblocking(False)
        with closing(asyncio.new_event_loop()) as (loop,):
            loop.run_until_complete(call(sock, *others))

    return send


if aio is not None:
    WAYS["aio.send_fds"] = async_way(lambda left: aio.send_fds(left, b"x", [0]))
    WAYS["aio.sendall_fds"] = async_way(lambda left: aio.sendall_fds(left, b"x", [0]))
    WAYS["aio.Channel.send"] = async_way(lambda left: aio.Channel(left).send(b"x"))
    WAYS["aio.Channel.send, fds"] = async_way(lambda left: aio.Channel(left).send(b"x", [0]))
    LATER["aio.sendall_fds, later"] = send_later(
        async_way(lambda left: aio.sendall_fds(left, LARGE, [0]))
    )
    LATER["aio.Channel.send, later"] = send_later(
        async_way(lambda left: aio.Channel(left).send(LARGE, [0]))
    )


def errno_in_child(call):
    """Return the errno that call raises in a child with SIGPIPE at SIG_DFL, or -15 and the like."""
    child = os.fork()
    if not child:
        status = 255
        try:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            call()
        except EnvironmentError as error:  # passfd raises OSError on 2.7 too
            status = error.errno
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def test_a_plain_send_kills(stream):
    stream[1].close()
    assert errno_in_child(lambda: stream[0].send(b"x")) == -signal.SIGPIPE


@pytest.mark.rule(21)
@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_peer_that_has_closed_is_epipe(stream, way):
    stream[1].close()
    assert errno_in_child(lambda: WAYS[way](stream[0])) == errno.EPIPE


@pytest.mark.rule(21)
@pytest.mark.parametrize("way", sorted(LATER))
def test_a_peer_that_closes_inside_a_message_is_epipe(way):
    def send():
        left, right = socket.socketpair()  # the parent has no copy that would stay open
        LATER[way](left, right)

    assert errno_in_child(send) == errno.EPIPE


@pytest.mark.rule(21)
def test_a_tcp_connection_too():
    def send():
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        listener.accept()[0].close()
        while True:
            fdpass.send_fds(client, b"x", [])

    assert errno_in_child(send) in (errno.EPIPE, errno.ECONNRESET)
