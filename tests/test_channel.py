"""Channels: messages keep their bytes and their descriptors, and only those."""

import errno
import functools
import gc
import os
import select
import signal
import socket
import threading

import pytest
import six
from conftest import closing, header, raises_errno
from test_signals import Watched
from test_transfer import is_close_on_exec

import fdpass
from fdpass import Channel


@pytest.fixture
def ends():
    with closing(*Channel.pair()) as both:
        for end in both:
            end.settimeout(20)
        yield both


@pytest.fixture
def wire():
    """A channel, and the bare socket at its other end."""
    left, right = socket.socketpair()
    right.settimeout(20)
    channel = Channel(left)
    channel.settimeout(20)
    with closing(channel, right):
        yield channel, right


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


@pytest.fixture
def pipes():
    """253 ends of pipes, each its own."""
    numbers = []
    for _ in range(127):
        numbers += os.pipe()
    with closing(*numbers):
        yield numbers[:253]


def in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    return thread


def sends(channel, *messages):
    return in_thread(lambda: [channel.send(*message) for message in messages])


def test_a_message(ends, pipe):
    left, right = ends
    left.send(b"hello", pipe)
    message = right.recv()
    data, fds = message
    assert data == message.data == b"hello"
    assert isinstance(message, tuple)
    assert [identity(owned.fileno()) for owned in fds] == [identity(fd) for fd in pipe]
    assert not any(owned.inheritable for owned in fds)
    assert all(isinstance(owned, fdpass.FileDescriptor) for owned in fds)
    message.close()
    assert all(owned.closed for owned in fds)
    message.close()


@pytest.mark.parametrize("limit", [False, True], ids=["usual-buffer", "4KiB-buffer"])
@pytest.mark.parametrize("count", [0, 1, 253])
@pytest.mark.parametrize("length", [0, 1, 4096, 70000, 1 << 20])
def test_every_size(ends, pipes, length, count, limit):
    left, right = ends
    if limit:
        for end in ends:
            bare = fdpass.socket_from_fd(end.fileno(), dup=True)
            with closing(bare):
                bare.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    payload = os.urandom(length)
    thread = sends(left, (payload, pipes[:count]), (b"next",))
    with right.recv() as message:
        assert message.data == payload
        assert [identity(o.fileno()) for o in message.fds] == [identity(p) for p in pipes[:count]]
    assert right.recv() == (b"next", [])
    thread.join()


def test_too_many_descriptors_and_too_many_bytes(ends, null):
    left, right = ends
    with pytest.raises(ValueError, match="max_fds allows 253"):
        left.send(b"x", [null] * 254)
    with pytest.raises(ValueError, match="max_data"):
        left.send(b"x" * ((1 << 20) + 1))
    left.send(b"x")
    assert right.recv() == (b"x", [])


def test_what_a_payload_can_be(ends):
    left, right = ends
    for payload in (
        bytearray(b"abc"),
        memoryview(b"abc"),
        [b"ab", b"c"],
        [b"a", bytearray(b"b"), b"c"],
    ):
        left.send(payload)
        assert right.recv().data == b"abc"
    left.send()
    assert right.recv() == (b"", [])
    left.send(fds=iter([0]))
    with right.recv() as message:
        assert len(message.fds) == 1


BAD = [
    ((six.text_type("text"),), TypeError),
    ((b"", 1), TypeError),
    ((b"", b"12"), TypeError),
    ((b"", [-1]), ValueError),
    ((b"", [True]), TypeError),
    ((3,), TypeError),
]


@pytest.mark.parametrize("arguments, error", BAD)
def test_bad_arguments_send_nothing(ends, arguments, error):
    left, right = ends
    with pytest.raises(error):
        left.send(*arguments)
    left.send(b"good")
    assert right.recv().data == b"good"


def test_a_closed_descriptor_sends_nothing(ends):
    left, right = ends
    gone = os.dup(0)
    os.close(gone)
    with pytest.raises(socket.error, match="while passing descriptors") as caught:
        left.send(b"x", [gone])
    assert caught.value.errno == errno.EBADF
    assert not left.closed
    left.send(b"good")
    assert right.recv().data == b"good"


def test_the_end_between_messages(ends):
    left, right = ends
    left.send(b"1")
    left.send(b"2")
    left.close()
    assert [message.data for message in right] == [b"1", b"2"]
    for _ in range(2):
        with pytest.raises(EOFError, match="between two messages"):
            right.recv()
    assert not right.closed


def test_what_is_not_taken_is_closed(ends, pipe):
    left, right = ends
    left.send(b"x", list(pipe) + [pipe[0]])
    with right.recv() as message:
        taken = message.fds[0].detach()
        opened = message.fds[1].to_file("wb")
    assert message.fds[2].closed
    opened.write(b"through")
    opened.close()
    assert os.read(taken, 10) == b"through"
    os.close(taken)


def test_closing_a_message_goes_on_after_an_error(ends, null, monkeypatch):
    left, right = ends
    left.send(b"", [null] * 3)
    message = right.recv()
    os.close(message.fds[1].fileno())  # close(2) of it says EBADF
    message.close()
    assert all(owned.closed for owned in message.fds)


@pytest.mark.filterwarnings("ignore")
def test_a_forgotten_message_leaks_nothing(ends, null):
    left, right = ends
    left.send(b"", [null] * 3)
    right.recv()
    gc.collect()
    gc.collect()


def test_a_connection_handed_over(ends):
    left, right = ends
    connection, client = socket.socketpair()
    with closing(client):
        with closing(connection):
            left.send(b"GET /", [connection])
        with right.recv() as message:
            sock = message.fds[0].to_socket()
        with closing(sock):
            sock.sendall(b"served")
            assert client.recv(10) == b"served"


def test_nothing_beyond_the_message_is_taken(wire):
    channel, right = wire
    right.sendall(header(3, 0) + b"abc" + b"raw bytes")
    assert channel.recv().data == b"abc"
    bare = fdpass.socket_from_fd(channel.fileno(), dup=True)
    with closing(bare):
        assert bare.gettimeout() is None
        assert bare.recv(100) == b"raw bytes"
    assert select.select([channel], [], [], 0)[0] == []
    right.sendall(header(0, 0))
    assert select.select([channel], [], [], 0)[0] == [channel]
    assert channel.recv() == (b"", [])


def test_the_bytes_on_the_wire(wire, null):
    channel, right = wire
    channel.send(b"hello", [null, null])
    received = fdpass.recv_fds(right, 100, 10)
    assert received.data == b"\0\0\0\x05\0\x02\x01\0hello"
    with closing(*received.fds):
        assert len(received.fds) == 2


def test_a_timeout_can_be_gone_on_from(wire, null):
    channel, right = wire
    channel.settimeout(0.01)
    whole = header(3, 2) + b"abc"
    for i in range(len(whole)):
        with pytest.raises(socket.timeout):
            channel.recv()
        assert fdpass.send_fds(right, whole[i : i + 1], [null, null] if i == 3 else []) == 1
    with channel.recv() as message:
        assert message.data == b"abc"
        assert len(message.fds) == 2


def test_a_timeout_before_the_first_byte_of_sending(ends):
    left, right = ends
    left.settimeout(0.01)
    with pytest.raises(socket.timeout):
        while True:
            left.send()  # eight bytes, all or nothing of them
    assert not left.closed
    assert right.recv() == (b"", [])
    left.settimeout(20)
    left.send(b"again")
    while not right.recv().data:
        pass


def test_a_timeout_within_a_message_closes(ends, null):
    left, right = ends
    left.settimeout(0.01)
    with pytest.raises(socket.timeout):
        left.send(b"x" * (1 << 20), [null])
    assert left.closed
    with pytest.raises(socket.error, match="sent in part") as caught:
        left.send(b"x")
    assert caught.value.errno == errno.EBADF
    with pytest.raises(fdpass.ProtocolError, match="ended inside"):
        right.recv()
    assert right.closed


def test_timeouts_of_an_own_socket():
    left, right = socket.socketpair()
    left.settimeout(0.01)
    with closing(Channel(left), right) as (channel, _):
        with pytest.raises(socket.timeout):
            channel.recv()
        channel.settimeout(None)
        right.sendall(header(0, 0))
        assert channel.recv() == (b"", [])


@pytest.mark.parametrize("receives", [True, False], ids=["recv", "send"])
def test_a_timeout_counts_for_the_whole_message(wire, receives):
    """A peer that gives or takes a little again and again does not prolong it."""
    channel, right = wire
    channel.settimeout(0.2)
    done = threading.Event()

    def trickle():
        while not done.is_set():
            right.send(b"x") if receives else right.recv(1024)
            done.wait(0.005)

    right.sendall(header(100000, 0))
    thread = in_thread(trickle)
    try:
        with pytest.raises(socket.timeout):
            channel.recv() if receives else channel.send(b"x" * (1 << 20))
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_wrong_timeouts(ends, timeout):
    with pytest.raises(ValueError, match="more than 0 seconds"):
        ends[0].settimeout(timeout)


def test_a_timeout_that_no_float_can_be(ends):
    with pytest.raises(ValueError, match="None means no timeout"):
        ends[0].settimeout(10**400)


def test_a_timeout_is_a_number(ends):
    with pytest.raises(TypeError, match="seconds or None"):
        ends[0].settimeout("1")


def test_sockets_that_cannot_be_channels(datagram, path):
    left, right = socket.socketpair()
    with closing(left, right):
        left.setblocking(False)
        with pytest.raises(ValueError, match="settimeout"):
            Channel(left)
        assert left.gettimeout() == 0
        left.settimeout(5)
        for limits in ({"max_data": -1}, {"max_data": 1 << 32}, {"max_fds": 254}, {"max_fds": -1}):
            with pytest.raises(ValueError, match="max_"):
                Channel(left, **limits)
        for limits in ({"max_data": "1"}, {"max_fds": 1.0}):
            with pytest.raises(TypeError, match="max_"):
                Channel(left, **limits)
        with pytest.raises(TypeError, match="socket_from_fd"):
            Channel(left.fileno())
        assert left.gettimeout() == 5
        left.send(b"still the caller's")
    with pytest.raises(ValueError, match="Unix stream socket"):
        Channel(datagram[0])
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as (listening,):
        listening.bind(path)
        listening.listen(1)
        with pytest.raises(ValueError, match="Listener.from_socket"):
            Channel(listening)
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as (tcp,):
        with pytest.raises(ValueError, match="Unix stream socket"):
            Channel(tcp)


def test_closed(ends):
    left, right = ends
    assert repr(left) == "<Channel fd=%d>" % left.fileno()
    left.close()
    left.close()
    assert left.closed
    assert repr(left) == "<Channel closed>"
    for call in (left.recv, left.send, left.fileno, lambda: left.peer, lambda: next(left)):
        with pytest.raises(socket.error, match="this Channel is closed") as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_context_manager():
    left, right = Channel.pair(max_data=3, max_fds=1)
    with left, right:
        with pytest.raises(ValueError):
            left.send(b"1234")
        with pytest.raises(ValueError):
            left.send(b"", [0, 0])
    assert left.closed
    assert right.closed


def test_limits_of_nothing():
    with closing(*Channel.pair(max_data=0, max_fds=0)) as (left, right):
        left.send()
        assert right.recv() == (b"", [])
        for arguments in ((b"x",), (b"", [0])):
            with pytest.raises(ValueError, match="max_"):
                left.send(*arguments)
        bare = fdpass.socket_from_fd(left.fileno(), dup=True)
        with closing(bare):
            bare.sendall(header(1, 0))
        with pytest.raises(fdpass.ProtocolError, match="max_data allows 0"):
            right.recv()


def test_the_peer(ends):
    for end in ends:
        assert end.peer == (os.getpid(), os.getuid(), os.getgid())


def test_what_is_made_here_is_close_on_exec(ends):
    assert all(is_close_on_exec(end.fileno()) for end in ends)


def test_the_default_timeout_is_not_theirs():
    socket.setdefaulttimeout(0)
    try:
        with closing(*Channel.pair()) as (left, right):
            sends(left, (b"x" * 500000,))
            assert len(right.recv().data) == 500000
    finally:
        socket.setdefaulttimeout(None)


def test_a_pair_that_cannot_be_made_is_closed():
    with pytest.raises(ValueError):
        Channel.pair(max_fds=1000)


def test_what_cannot_be_made_is_closed(path):
    """At once, whoever still knows the socket."""
    kept = []

    class Failing(Channel):
        def __init__(self, sock, max_data, max_fds):
            kept.append(sock)
            raise KeyboardInterrupt

    with fdpass.Listener(path):
        for make in (Failing.pair, functools.partial(Failing.connect, path)):
            with pytest.raises(KeyboardInterrupt):
                make()
    assert len(kept) == 2
    for sock in kept:
        with pytest.raises(EnvironmentError):
            os.fstat(sock.fileno())


def test_one_sends_while_another_receives(ends):
    left, right = ends
    payload = os.urandom(300000)
    threads = [sends(end, *[(payload,)] * 5) for end in ends]
    got = []
    threads += [in_thread(lambda: [got.append(left.recv().data) for _ in range(5)])]
    for _ in range(5):
        assert right.recv().data == payload
    for thread in threads:
        thread.join()
    assert got == [payload] * 5


@pytest.fixture
def waiting(monkeypatch):
    """An event that is set when a thread is about to wait."""
    event, poll = threading.Event(), select.poll
    monkeypatch.setattr(select, "poll", lambda: event.set() or poll())
    return event


def test_a_second_one_that_receives(ends, waiting):
    (left, right), got = ends, []
    thread = in_thread(lambda: got.append(right.recv()))
    waiting.wait()
    with pytest.raises(RuntimeError, match="another thread is receiving"):
        right.recv()
    left.send(b"for the first")
    thread.join()
    assert got == [(b"for the first", [])]
    left.send(b"again")
    assert right.recv().data == b"again"


def test_a_second_one_that_sends(ends, waiting):
    left, right = ends
    thread = sends(left, (b"x" * (1 << 20),))
    waiting.wait()
    with pytest.raises(RuntimeError, match="another thread is sending"):
        left.send(b"")
    assert right.recv().data == b"x" * (1 << 20)
    thread.join()
    left.send(b"again")
    assert right.recv().data == b"again"


def test_closing_while_another_thread_receives(wire, null, waiting):
    """What had arrived is closed by the one who waits, as soon as it wakes."""
    (channel, right), raised = wire, []

    def receives():
        with pytest.raises(socket.error) as caught:
            channel.recv()
        raised.append(caught.value.errno)

    fdpass.send_fds(right, b"\0\0", [null, null])
    thread = in_thread(receives)
    waiting.wait()
    channel.close()
    right.close()
    thread.join()
    assert raised == [errno.EBADF]


def test_closing_while_another_thread_sends(ends, waiting):
    """The thread gets EBADF when it wakes, and the peer a message that is not whole."""
    (left, right), raised = ends, []

    def sends():
        with pytest.raises(socket.error) as caught:
            left.send(b"x" * (1 << 20))
        raised.append(caught.value.errno)

    thread = in_thread(sends)
    waiting.wait()
    left.close()
    with pytest.raises(fdpass.ProtocolError, match="ended inside a message"):
        right.recv()
    thread.join()
    assert raised == [errno.EBADF]


class Alarm(Exception):
    pass


@pytest.fixture
def alarms(monkeypatch):
    """A signal whose handler raises, soon after the channel has begun to wait.

    The system's own: of one that another thread sends, PyPy can tell the main thread much later.
    """
    poll = select.poll

    def handler(signum, frame):
        raise Alarm

    def soon():
        monkeypatch.setattr(select, "poll", poll)  # one is enough
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return poll()

    before = signal.signal(signal.SIGALRM, handler)
    monkeypatch.setattr(select, "poll", soon)
    yield
    signal.signal(signal.SIGALRM, before)


def test_a_signal_while_it_waits_loses_nothing(wire, null, alarms):
    channel, right = wire
    fdpass.send_fds(right, header(2, 1), [null])
    with pytest.raises(Alarm):
        channel.recv()
    right.sendall(b"ab")
    with channel.recv() as message:
        assert message.data == b"ab"
        assert len(message.fds) == 1


def test_a_signal_while_a_send_waits(ends, alarms):
    left, right = ends
    with pytest.raises(Alarm):
        left.send(b"x" * (1 << 20))
    assert left.closed


@pytest.fixture
def watched():
    """A channel, the socket at its other end, and what is called before each system call."""
    left, right = socket.socketpair()
    right.settimeout(20)
    calls = []
    channel = Channel(Watched(left, lambda: calls and calls.pop()()))
    channel.settimeout(20)
    with closing(channel, right):
        yield channel, right, calls


def failing(number):
    def fail():
        raise socket.error(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN])
def test_what_is_tried_again(watched, null, number, count):
    """EINTR is an older Python's; and where a socket's calls are written in Python, as gevent's."""
    channel, right, calls = watched
    calls.append(failing(number))
    channel.send(b"abc", [null] * count)
    with closing(*fdpass.recv_fds(right, 100, 9).fds) as fds:
        assert len(fds) == count
    fdpass.send_fds(right, header(0, count), [null] * count)
    calls.append(failing(number))
    with channel.recv() as message:
        assert len(message.fds) == count
    assert not calls


@pytest.mark.parametrize("count", [0, 253])
def test_an_error_loses_nothing(watched, pipes, count):
    """Neither one before the first byte of sending, nor one in the middle of receiving."""
    channel, right, calls = watched
    calls.append(failing(errno.ENOBUFS))
    with pytest.raises(socket.error):
        channel.send(b"abc", pipes[:count])
    channel.send(b"def")
    assert right.recv(100) == header(3, 0) + b"def"
    fdpass.send_fds(right, header(0, count)[:4], pipes[:count])
    channel.settimeout(0.01)
    with pytest.raises(socket.timeout):
        channel.recv()
    right.sendall(header(0, count)[4:])
    calls.append(failing(errno.ENOMEM))
    with pytest.raises(socket.error):
        channel.recv()
    with channel.recv() as message:
        assert [identity(fd.fileno()) for fd in message.fds] == list(map(identity, pipes[:count]))


def test_a_timeout_where_there_is_always_more(watched, null):
    """The peer has sent a byte more before each call: it looks at the time all the same."""
    channel, right, calls = watched
    whole, sent = header(1 << 20, 2) + b"x" * (1 << 20), [1]

    def another_byte():
        calls.append(another_byte)
        sent[0] += right.send(whole[sent[0] : sent[0] + 1])

    fdpass.send_fds(right, whole[:1], [null, null])
    calls.append(another_byte)
    channel.settimeout(0.05)
    with pytest.raises(socket.timeout):
        channel.recv()
    del calls[:]
    channel.settimeout(20)
    thread = in_thread(right.sendall, whole[sent[0] :])
    with channel.recv() as message:
        assert (message.data, len(message.fds)) == (b"x" * (1 << 20), 2)
    thread.join()


class Trickling(Watched):
    """Its peer takes no more than a byte of each send."""

    def send(self, data, flags):
        return self.sock.send(data[:1], flags)


@pytest.mark.parametrize("count", [0, 1])
def test_a_message_that_goes_byte_by_byte(null, count):
    left, right = socket.socketpair()
    with closing(Channel(Trickling(left, int)), Channel(right)) as (channel, there):
        channel.send(b"0123456789" * 3, [null] * count)
        with there.recv() as message:
            assert message.data == b"0123456789" * 3
            assert len(message.fds) == count


def test_a_timeout_where_there_is_always_room(stream):
    """As where the peer takes a byte before each try: it looks at the time all the same."""
    sock = Watched(stream[0], int)
    sock.send = lambda data, flags: 1
    channel = Channel(sock)
    channel.settimeout(0.01)
    with pytest.raises(socket.timeout):
        channel.send(b"x" * (1 << 20))
    assert channel.closed


def test_the_peer_has_gone(ends):
    left, right = ends
    right.close()
    with raises_errno(errno.EPIPE):
        left.send(b"x")
    assert not left.closed
    with pytest.raises(EOFError):
        left.recv()


def test_the_peer_closed_without_reading(ends):
    left, right = ends
    right.send(b"last words")
    left.send(b"unread")
    right.close()
    assert left.recv().data == b"last words"
    with raises_errno(errno.ECONNRESET):
        left.recv()


@pytest.mark.filterwarnings("ignore")
def test_one_dropped_with_a_part_of_a_message(null):
    left, right = socket.socketpair()
    channel = Channel(left)
    channel.settimeout(0.01)
    with closing(right):
        fdpass.send_fds(right, b"\0\0", [null, null])
        with pytest.raises(socket.timeout):
            channel.recv()
        del channel, left
        gc.collect()
        gc.collect()


class Patched(object):
    """A socket as gevent's is: O_NONBLOCK, and waiting by itself unless its timeout is 0."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock, self.timeout = sock, None

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def gettimeout(self):
        return self.timeout

    def settimeout(self, timeout):
        self.timeout = timeout

    def recvmsg(self, *arguments):
        assert self.timeout == 0, "would wait for ever"
        return self.sock.recvmsg(*arguments)


def test_a_socket_that_waits_in_its_own_way():
    left, right = socket.socketpair()
    with closing(Channel(Patched(left)), right) as (channel, _):
        channel.settimeout(0.01)
        with pytest.raises(socket.timeout):
            channel.recv()


def test_next_under_both_names(ends):
    ends[0].send(b"1")
    ends[0].send(b"2")
    assert ends[1].next().data == b"1"
    assert ends[1].__next__().data == b"2"


def test_a_handlers_oserror_while_closing_a_message(ends, null):
    left, right = ends
    left.send(b"", [null])
    message = right.recv()

    class Owner(object):
        def close(self):
            raise OSError("a handler's")

    message.fds.append(Owner())
    with pytest.raises(OSError, match="a handler's"):
        message.close()


@pytest.mark.parametrize("sent", [header(2, 2)[:3], header(2, 2) + b"a"], ids=["header", "payload"])
def test_a_reset_inside_a_message(wire, null, sent):
    """unix(7): a peer that closes with bytes unread is ECONNRESET here, in place of the end."""
    channel, right = wire
    channel.send(b"never read")
    fdpass.send_fds(right, sent, [null, null])
    right.close()
    with pytest.raises(fdpass.ProtocolError, match="closed inside a message") as caught:
        channel.recv()
    assert (caught.value.data, caught.value.received) == (sent, 2)
    assert channel.closed


def test_a_reset_between_messages(wire):
    channel, right = wire
    channel.send(b"never read")
    right.sendall(header(0, 0))
    right.close()
    assert channel.recv() == (b"", [])
    with raises_errno(errno.ECONNRESET):
        channel.recv()
    with pytest.raises(EOFError):
        channel.recv()
    assert not channel.closed


def test_a_descriptor_that_is_closed_while_its_message_waits(ends, waiting):
    """Its number may be another's by then."""
    (left, right), owned = ends, fdpass.FileDescriptor(os.dup(0))
    left.settimeout(0.01)
    with pytest.raises(socket.timeout):
        while True:
            left.send(b"x" * 100)
    left.settimeout(20)
    waiting.clear()
    raised = []

    def sending():
        with pytest.raises(ValueError, match="closed or was handed on"):
            left.send(b"", [owned])
        raised.append(True)

    thread = in_thread(sending)
    waiting.wait()
    owned.close()
    right.settimeout(0.1)
    with pytest.raises(socket.timeout):
        while True:
            assert right.recv() == (b"x" * 100, [])
    thread.join()
    assert raised
    assert not left.closed


def test_a_timeout_whose_mode_another_holder_has_changed():
    """The object would go on waiting in its calls, whatever their flags say."""
    left, right = socket.socketpair()
    left.settimeout(20)
    with closing(fdpass.socket_from_fd(left.fileno(), dup=True)) as (other,):
        other.setblocking(True)
    with closing(Channel(left), right) as (channel, _):
        assert left.gettimeout() is None
        channel.settimeout(0.01)
        with pytest.raises(socket.timeout):
            channel.recv()
