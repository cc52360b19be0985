"""One scenario of test_green.py, in a process that eventlet or gevent has patched.

python green_program.py LIBRARY SCENARIO "library first"|"fdpass first"; it prints nothing.
"""

from __future__ import print_function

import errno
import os
import shutil
import socket
import sys
import tempfile
import time

TIMEOUT_S = 0.1


class Ticks(object):
    """A green thread that counts while others wait."""

    def __init__(self):
        self.count, self.stopped = 0, False
        self.thread = spawn(self.run)

    def run(self):
        while not self.stopped:
            self.count += 1
            time.sleep(0.01)


def check(call, error=None, waits=True):
    """Make the call, and check its error, how long it took, and that other green threads ran.

    If waits is False, check that the call did not wait.
    """
    ticks, start, raised = Ticks(), time.time(), None
    try:
        return call()
    except (socket.error, RuntimeError) as caught:
        raised = caught
    finally:
        took = time.time() - start
        ticks.stopped = True
        if error is None:
            assert raised is None, raised
        elif isinstance(error, int):
            assert raised is not None and raised.errno == error, raised
        else:
            assert isinstance(raised, error), raised
        assert (ticks.count >= 2) == waits, ticks.count
        if error is socket.timeout:
            assert TIMEOUT_S * 0.99 <= took < TIMEOUT_S * 20, took


def later(call, *arguments):
    def run():
        time.sleep(0.06)
        return call(*arguments)

    return spawn(run)


def fill(sock):
    size, timeout = 0, sock.gettimeout()
    sock.settimeout(0)
    try:
        while True:
            size += sock.send(b"x" * 4096)
    except socket.error as error:
        assert error.errno == errno.EAGAIN
    sock.settimeout(timeout)
    return size


def empty(sock, size):
    while size:
        size -= len(sock.recv(min(size, 65536)))


def close_fds(received):
    assert len(received.fds) == 1
    os.close(received.fds[0])


def receives(fdpass):
    left, right = socket.socketpair()
    assert type(left) is socket.socket
    sender = later(fdpass.send_fds, right, b"x", [0])
    close_fds(check(lambda: fdpass.recv_fds(left, 1, 1)))
    join(sender)
    sender = later(fdpass.sendmsg, right, [b"x"])
    assert check(lambda: fdpass.recvmsg(left, 1))[0] == b"x"
    join(sender)
    left.settimeout(TIMEOUT_S)
    check(lambda: fdpass.recv_fds(left, 1, 1), socket.timeout)
    check(lambda: fdpass.recvmsg(left, 1), socket.timeout)
    left.settimeout(0)
    check(lambda: fdpass.recv_fds(left, 1, 1), errno.EAGAIN, waits=False)


def sends(fdpass):
    left, right = socket.socketpair()
    for send in (
        lambda: fdpass.send_fds(left, b"x", [0]),
        lambda: fdpass.sendall_fds(left, b"x", [0]),
        lambda: fdpass.sendmsg(left, [b"x"], fdpass.rights([0])),
    ):
        left.settimeout(None)
        size = fill(left)
        reader = later(empty, right, size)
        check(send)
        join(reader)
        close_fds(fdpass.recv_fds(right, 10, 1))
        size = fill(left)
        left.settimeout(TIMEOUT_S)
        check(send, socket.timeout)
        empty(right, size)
    left.settimeout(None)
    reader = later(empty, right, 1000000)
    check(lambda: fdpass.sendall_fds(left, b"x" * 1000000, []))
    join(reader)
    left.settimeout(0)
    fill(left)
    check(lambda: fdpass.send_fds(left, b"x" * 4096, [0]), errno.EAGAIN, waits=False)


def sockets(fdpass):
    """A socket that socket_from_fd made waits like the library's own socket."""
    left, right = socket.socketpair()
    assert fdpass.peer_credentials(left).pid == os.getpid()
    made = fdpass.socket_from_fd(os.dup(left.fileno()))
    assert type(made) is socket.socket
    writer = later(right.send, b"x")
    assert check(lambda: made.recv(1)) == b"x"
    join(writer)
    made.settimeout(TIMEOUT_S)
    check(lambda: fdpass.recv_fds(made, 1, 1), socket.timeout)


def channels(fdpass):
    check_channels(*fdpass.Channel.pair())
    check_channels(*[fdpass.Channel(end) for end in socket.socketpair()])


def check_channels(left, right):
    sender = later(left.send, b"hello", [0])
    with check(right.recv) as message:
        assert message.data == b"hello"
        assert len(message.fds) == 1
    join(sender)
    reader = later(right.recv)
    check(lambda: left.send(b"x" * 1000000))
    assert len(join(reader).data) == 1000000
    reader = spawn(right.recv)
    time.sleep(0.05)
    check(right.recv, RuntimeError, waits=False)  # one green thread receives already
    left.send(b"x")
    assert join(reader).data == b"x"
    left.settimeout(TIMEOUT_S)
    check(left.recv, socket.timeout)
    check(lambda: left.send(b"x" * 1000000), socket.timeout)
    assert left.closed
    right.close()


def listeners(fdpass):
    folder = tempfile.mkdtemp()
    path, clients = os.path.join(folder, "socket"), []
    try:
        listener = fdpass.Listener(path)
        client = later(lambda: clients.append(fdpass.Channel.connect(path)))
        channel = check(listener.accept)
        join(client)
        sender = later(clients[0].send, b"x", [0])
        with check(channel.recv) as message:
            assert len(message.fds) == 1
        join(sender)
        listener.settimeout(TIMEOUT_S)
        check(listener.accept, socket.timeout)
        for each in (listener, channel, clients[0]):
            each.close()
        check(lambda: fdpass.Channel.connect(path, timeout=TIMEOUT_S), socket.timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(path)
        sock.listen(1)
        with fdpass.Listener.from_socket(sock) as listener:
            client = later(fdpass.Channel.connect, path)
            check(listener.accept).close()
            join(client).close()
    finally:
        shutil.rmtree(folder)


def drop_ins(fdpass):
    from fdpass.compat import fdsend, passfd

    left, right = socket.socketpair()
    assert fdsend.sendfds(left, b"x", fds=[0]) == 1
    os.close(passfd.recvfd(right)[0])
    check(lambda: fdsend.recvfds(right, 1), errno.EAGAIN, waits=False)


SCENARIOS = {
    function.__name__: function
    for function in (receives, sends, sockets, channels, listeners, drop_ins)
}


if __name__ == "__main__":
    library, scenario, first = sys.argv[1:]
    if first == "fdpass first":
        import fdpass
    if library == "eventlet":
        import eventlet

        eventlet.monkey_patch()
        spawn, join = eventlet.spawn, eventlet.greenthread.GreenThread.wait
    else:
        import gevent
        import gevent.monkey

        gevent.monkey.patch_all()
        spawn, join = gevent.spawn, gevent.Greenlet.get
    import fdpass

    SCENARIOS[scenario](fdpass)
