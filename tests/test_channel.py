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
from conftest import closing, header

import fdpass
from fdpass import Channel, _waiting


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


def test_a_timeout_after_as_many_reads_as_a_turn_has(wire, null, monkeypatch):
    """Each descriptor ends a read; unix(7)."""
    monkeypatch.setattr(fdpass._channel_core, "TURN", (None,) * 2)
    channel, right = wire
    channel.settimeout(0.01)
    whole = header(3, 2) + b"abc"
    for part in (whole[:1], whole[1:2]):
        fdpass.send_fds(right, part, [null])
    with pytest.raises(socket.timeout):
        channel.recv()
    fdpass.send_fds(right, whole[2:], [])
    with channel.recv() as message:
        assert (message.data, len(message.fds)) == (b"abc", 2)


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
    with pytest.raises(ValueError, match="None is for ever"):
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
    for end in ends:
        with closing(fdpass.FileDescriptor(os.dup(end.fileno()))):
            pass
        assert not fdpass._system.is_inheritable(end.fileno())


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


def until_it_waits(monkeypatch):
    """An event that is set when a thread is about to wait."""
    waiting, wait = threading.Event(), _waiting.wait

    def told(*arguments):
        waiting.set()
        return wait(*arguments)

    monkeypatch.setattr(fdpass.channel, "wait", told)
    return waiting


def test_a_second_one_that_receives(ends, monkeypatch):
    left, right = ends
    waiting, got = until_it_waits(monkeypatch), []
    thread = in_thread(lambda: got.append(right.recv()))
    waiting.wait()
    with pytest.raises(RuntimeError, match="another thread is receiving"):
        right.recv()
    left.send(b"for the first")
    thread.join()
    assert got == [(b"for the first", [])]
    left.send(b"again")
    assert right.recv().data == b"again"


def test_a_second_one_that_sends(ends, monkeypatch):
    left, right = ends
    waiting = until_it_waits(monkeypatch)
    thread = sends(left, (b"x" * (1 << 20),))
    waiting.wait()
    with pytest.raises(RuntimeError, match="another thread is sending"):
        left.send(b"")
    assert right.recv().data == b"x" * (1 << 20)
    thread.join()
    left.send(b"again")
    assert right.recv().data == b"again"


def test_closing_while_another_thread_receives(wire, null, monkeypatch):
    """What had arrived is closed by the one who waits, as soon as it wakes."""
    channel, right = wire
    waiting, raised = until_it_waits(monkeypatch), []

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


class Alarm(Exception):
    pass


@pytest.fixture
def alarms(monkeypatch):
    """A signal whose handler raises, soon after the channel has begun to wait.

    The system's own: of one that another thread sends, PyPy can tell the main thread much later.
    """
    wait = _waiting.wait

    def handler(signum, frame):
        raise Alarm

    def told(*arguments):
        monkeypatch.setattr(fdpass.channel, "wait", wait)  # one is enough
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return wait(*arguments)

    before = signal.signal(signal.SIGALRM, handler)
    monkeypatch.setattr(fdpass.channel, "wait", told)
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


def test_an_exception_after_the_call_closes_everything(wire, null, monkeypatch):
    """What was received is lost then, so nobody can know where the next message begins."""
    channel, right = wire
    fdpass.send_fds(right, header(0, 2), [null, null])

    def interrupted(fds):
        raise KeyboardInterrupt

    monkeypatch.setattr(fdpass._channel_core, "owners", interrupted)
    with pytest.raises(KeyboardInterrupt):
        channel.recv()
    assert channel.closed
    with pytest.raises(socket.error, match="not whole"):
        channel.recv()


def test_an_exception_within_the_call_of_sending_closes(ends, monkeypatch):
    left, right = ends

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fdpass._channel_core, "send_now", interrupted)
    with pytest.raises(KeyboardInterrupt):
        left.send(b"x", [0])
    assert left.closed


class Failing(object):
    """A socket whose calls fail once with that errno."""

    def __init__(self, sock, number):
        self.sock, self.number = sock, number

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def send(self, *arguments):
        if self.number is None:
            return self.sock.send(*arguments)
        number, self.number = self.number, None
        raise socket.error(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.EINTR, errno.EAGAIN])
def test_what_is_tried_again(ends, number):
    left, right = ends
    left._sock = Failing(left._sock, number)
    left.send(b"abc")
    assert right.recv().data == b"abc"


def test_a_message_that_goes_byte_by_byte(ends, null):
    """As where the peer takes some of it before each try: it waits now and then all the same."""
    left, right = ends

    class Trickling(Failing):
        def send(self, data, flags):
            return self.sock.send(data[:1], flags)

    left._sock = Trickling(left._sock, None)
    for fds in ([], [null]):
        left.send(b"0123456789" * 3, fds)
        with right.recv() as message:
            assert message.data == b"0123456789" * 3
            assert len(message.fds) == len(fds)


def test_an_error_before_the_first_byte(ends):
    left, right = ends
    left._sock = Failing(left._sock, errno.ENOBUFS)
    with pytest.raises(socket.error):
        left.send(b"abc")
    left.send(b"def")
    assert right.recv().data == b"def"


def test_the_peer_has_gone(ends):
    left, right = ends
    right.close()
    with pytest.raises(socket.error) as caught:
        left.send(b"x")
    assert caught.value.errno == errno.EPIPE
    assert not left.closed
    with pytest.raises(EOFError):
        left.recv()


def test_the_peer_closed_without_reading(ends):
    left, right = ends
    right.send(b"last words")
    left.send(b"unread")
    right.close()
    assert left.recv().data == b"last words"
    with pytest.raises(socket.error) as caught:
        left.recv()
    assert caught.value.errno == errno.ECONNRESET


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


# A handler can raise when the call has done its work: the errno says nothing about the call then.
HANDLERS = [None, errno.EAGAIN, errno.EINTR, errno.EPIPE, errno.ECONNRESET]


@pytest.mark.parametrize("number", HANDLERS)
def test_a_handlers_oserror_is_not_the_kernels(ends, null, monkeypatch, number):
    left, right = ends
    receive_now = fdpass._channel_core.receive_now

    def interrupted(*arguments):
        received.append(receive_now(*arguments))
        raise socket.error(number, "a handler's")

    received = []
    left.send(b"x")
    monkeypatch.setattr(fdpass._channel_core, "receive_now", interrupted)
    with pytest.raises(socket.error, match="a handler's"):
        right.recv()
    assert len(received) == 1
    assert right.closed


@pytest.mark.parametrize("number", HANDLERS)
def test_a_handlers_oserror_while_sending(ends, number):
    left, right = ends

    def interrupted(*arguments):
        sock.send(*arguments)
        raise socket.error(number, "a handler's")

    left._sock = Failing(left._sock, None)
    sock = left._sock.sock
    # Written in C, as a socket's own: no frame of it comes before the handler's.
    left._sock.send = functools.partial(interrupted)
    with pytest.raises(socket.error, match="a handler's"):
        left.send(b"x")
    assert left.closed
    assert right.recv().data == b"x"


def test_a_handlers_oserror_out_of_fdpass_itself(ends, stream, monkeypatch):
    left, right = ends
    receive_now = fdpass._channel_core.receive_now
    stream[0].setblocking(False)

    def interrupted(*arguments):
        received.append(receive_now(*arguments))
        fdpass.recv_fds(stream[0], 1, 1)  # EAGAIN: nothing is there

    received = []
    left.send(b"x")
    monkeypatch.setattr(fdpass._channel_core, "receive_now", interrupted)
    with pytest.raises(socket.error) as caught:
        right.recv()
    assert caught.value.errno == errno.EAGAIN
    assert received and right.closed


def test_a_socket_whose_calls_are_written_in_python(ends):
    """gevent's, in a module of its own; a subclass that logs. EAGAIN is theirs, and waited for."""
    left, right = ends

    class Logging(Failing):
        def send(self, *arguments):
            return self.passed_on("send", *arguments)

        def sendmsg(self, *arguments):
            return self.passed_on("sendmsg", *arguments)

        def recvmsg(self, *arguments):
            return self.passed_on("recvmsg", *arguments)

        def passed_on(self, name, *arguments):
            calls.append(name)
            return getattr(self.sock, name)(*arguments)

    for channel in ends:
        channel.settimeout(0.01)
        channel._sock = Logging(channel._sock, None)
    calls, sent = [], 0
    with pytest.raises(socket.timeout):
        right.recv()
    assert calls == ([] if six.PY2 else ["recvmsg"])  # in vain once, and then it waits
    del calls[:]
    with pytest.raises(socket.timeout):
        while True:
            left.send()
            sent += 1
    assert calls == ["send"] * (sent + 1)
    assert not (left.closed or right.closed)
    assert right.recv() == (b"", [])


def test_a_handler_that_raises_what_a_call_could(ends):
    """For real: a full pipe of one's own says EAGAIN in a handler. No message twice, none lost."""
    left, right = ends
    left.settimeout(20)
    got, sent = [], []

    def receive():
        try:
            while True:
                got.append(int(right.recv().data))
        except (EOFError, fdpass.ProtocolError, socket.error):
            pass

    def handler(signum, frame):
        if frame.f_globals.get("__name__") in ("fdpass._channel_core", "fdpass._transfer"):
            raise socket.error(errno.EAGAIN, "a handler's")

    def kick():
        while not done.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            done.wait(0.0003)

    before, done = signal.signal(signal.SIGUSR1, handler), threading.Event()
    threads = [in_thread(receive), in_thread(kick)]
    for number in range(20000):
        try:
            left.send(str(number).encode())
            sent.append(number)
        except socket.error as error:
            assert error.errno in (errno.EAGAIN, errno.EBADF)
            if left.closed:
                break
    done.set()
    left.close()
    for thread in threads:
        thread.join()
    signal.signal(signal.SIGUSR1, before)
    assert len(got) == len(set(got))
    assert set(sent) <= set(got)


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


@pytest.mark.parametrize("state", ["_sent", "_unsettled"])
def test_a_second_exception_that_keeps_the_channel_open(ends, state):
    """What broke it could not close it: the next call does."""
    left, _ = ends
    setattr(left, state, 1)
    with pytest.raises(socket.error, match="sent in part"):
        left.send(b"x")
    assert left.closed


def test_a_message_that_was_not_handed_out(ends):
    left, right = ends
    right._incoming.unsettled = True
    left.send(b"x")
    with pytest.raises(socket.error, match="not whole"):
        right.recv()
    assert right.closed


def test_the_same_thread_comes_in_again(ends):
    """An exception just behind taking its turn leaves it the owner."""
    left, right = ends
    left._own("sending", left._who())
    left.send(b"x")
    right._own("receiving", right._who())
    assert right.recv().data == b"x"


def test_a_read_that_an_older_python_is_interrupted_in(ends, monkeypatch):
    left, right = ends
    receive_now, numbers = fdpass._channel_core.receive_now, [errno.EINTR]

    def interrupted(*arguments):
        if numbers:
            raise socket.error(numbers.pop(), "interrupted")
        return receive_now(*arguments)

    monkeypatch.setattr(fdpass._channel_core, "receive_now", interrupted)
    monkeypatch.setattr(fdpass._channel_core, "has_failed", lambda sock: True)
    left.send(b"x")
    assert right.recv().data == b"x"


def test_a_handler_that_closes_the_channel_it_interrupted(wire, null):
    """The usual handler of SIGTERM. What is just being received is closed once, or handed out."""
    channel, right = wire
    fdpass.send_fds(right, header(0, 2), [null, null])
    owned = []

    class Taking(channel._incoming.__class__):
        def take(self, data, fds):
            self.fds += fds
            del fds[:]
            channel.close()
            owned.extend(os.dup(null) for _ in range(3))  # which would get the numbers
            return b""

    channel._incoming = Taking(10, 10)
    with channel.recv() as message, closing(*owned):
        assert len(message.fds) == 2
        assert all(identity(one.fileno()) == identity(null) for one in message.fds)
        assert not {one.fileno() for one in message.fds} & set(owned)
    assert channel.closed


def test_closing_as_another_thread_gives_up(wire, null):
    """What it holds is closed by the one or by the other."""
    channel, right = wire
    fdpass.send_fds(right, header(0, 2)[:3], [null, null])
    channel.settimeout(0.01)

    class Owners(dict):
        def __delitem__(self, key):
            channel.close()  # by another thread, as this one is about to leave
            dict.__delitem__(self, key)

    channel._owners = Owners()
    with pytest.raises(socket.timeout):
        channel.recv()
    assert channel._incoming.fds == []


@pytest.mark.parametrize("where", ["before", "after"])
def test_descriptors_that_are_just_being_taken(wire, null, monkeypatch, where):
    """They are in one list, in the other or in both; and are closed once."""
    channel, right = wire
    fdpass.send_fds(right, header(0, 3), [null] * 3)

    class Taking(channel._incoming.__class__):
        def take(self, data, fds):
            if where == "after":
                self.fds += fds
            raise KeyboardInterrupt

    channel._incoming = Taking(10, 10)
    with pytest.raises(KeyboardInterrupt):
        channel.recv()
    assert channel.closed


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
    with pytest.raises(socket.error) as caught:
        channel.recv()
    assert caught.value.errno == errno.ECONNRESET
    with pytest.raises(EOFError):
        channel.recv()
    assert not channel.closed


def test_a_descriptor_that_is_closed_while_its_message_waits(ends, monkeypatch):
    """Its number may be another's by then."""
    left, right = ends
    waiting, owned = until_it_waits(monkeypatch), fdpass.FileDescriptor(os.dup(0))
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


def test_the_order_of_descriptors_survives_an_error(wire, pipes, monkeypatch):
    channel, right = wire
    receive_now, errors = fdpass._channel_core.receive_now, []

    def failing(*arguments):
        if errors:
            raise errors.pop()
        return receive_now(*arguments)

    monkeypatch.setattr(fdpass._channel_core, "receive_now", failing)
    monkeypatch.setattr(fdpass._channel_core, "has_failed", lambda sock: True)
    channel.settimeout(0.01)
    fdpass.send_fds(right, header(0, 253)[:4], pipes)
    with pytest.raises(socket.timeout):
        channel.recv()
    right.sendall(header(0, 253)[4:])
    errors.append(socket.error(errno.ENOMEM, "no memory"))
    with pytest.raises(socket.error):
        channel.recv()
    with channel.recv() as message:
        assert [identity(o.fileno()) for o in message.fds] == [identity(fd) for fd in pipes]


@pytest.mark.skipif(six.PY2, reason="what fails is Python 3's receiving")
def test_descriptors_that_have_just_arrived(wire, null, monkeypatch):
    """They have an owner from the system call on."""
    channel, right = wire
    descriptors_in, failures = fdpass._transfer.descriptors_in, [KeyboardInterrupt]

    def interrupted(ancdata):
        if failures:
            raise failures.pop()
        return descriptors_in(ancdata)

    monkeypatch.setattr(fdpass._transfer, "descriptors_in", interrupted)
    fdpass.send_fds(right, header(0, 3), [null] * 3)
    with pytest.raises(KeyboardInterrupt):
        channel.recv()
    assert channel.closed
