"""Signals and timeouts in the middle of calls, and exceptions between any two of our lines."""

import errno
import gc
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import warnings

import pytest
import six
from conftest import closing, header, open_descriptors, raises_errno
from test_transfer import FORMS, mode, nothing_arrived, same_file

import fdpass

PACKAGE = os.path.dirname(os.path.abspath(fdpass.__file__))


def interrupt():
    raise KeyboardInterrupt


class Interrupting(object):
    """Calls act before the nth line that the package executes."""

    def __init__(self, nth, act=interrupt):
        self.left, self.act = nth, act

    def __call__(self, frame, event, argument):
        # A collection can finish an object of an earlier round at any line. The interpreter only
        # reports what __del__ raises.
        if frame.f_code.co_name == "__del__":
            return None
        # As the code objects have it, it may be relative on 2.7.
        if not os.path.abspath(frame.f_code.co_filename).startswith(PACKAGE):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.act()
        return self


def interrupted_at_every_line(call, act=interrupt, prepare=tuple):
    """What call returns, or None when it raises, for each line of the package that it executes.

    Before that line act is called, which may raise. prepare returns the arguments, anew each time.
    """
    # A collection of PyPy's takes a tenth of a second: there, not every line has its turn.
    for nth in range(1, 10000, 4 if hasattr(sys, "pypy_version_info") else 1):
        given, interrupting, result = prepare(), Interrupting(nth, act), None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a socket of ours dropped open says so
            sys.settrace(interrupting)
            try:
                result = call(*given)
            except (KeyboardInterrupt, EnvironmentError):
                pass
            finally:
                sys.settrace(None)
            if six.PY2:
                sys.exc_clear()  # 2.7 keeps the last exception, its frames and so their locals
            if hasattr(sys, "pypy_version_info"):
                gc.collect()
        yield result
        if interrupting.left > 0:
            assert nth > 3
            return


def check_tables(before, number):
    after = open_descriptors()
    assert number in after
    assert set(after) == set(before)


SENDS = {
    "send_fds": lambda sock, fd: fdpass.send_fds(sock, b"x", [fd]),
    "sendall_fds": lambda sock, fd: fdpass.sendall_fds(sock, [b"x"], [fd]),
    "sendmsg": lambda sock, fd: fdpass.sendmsg(sock, [b"x"]),
    "peer_credentials": lambda sock, fd: fdpass.peer_credentials(sock),
    "dup": lambda sock, fd: fdpass.socket_from_fd(sock, dup=True).close(),
}


@pytest.mark.parametrize("name", sorted(SENDS))
def test_an_interrupt_leaves_the_descriptor_that_was_used_as_a_socket(stream, null, untraced, name):
    number = stream[0].fileno()
    before, before_mode = open_descriptors(), mode(number)
    for _ in interrupted_at_every_line(lambda: SENDS[name](number, null)):
        check_tables(before, number)
        assert mode(number) == before_mode


@pytest.mark.rule(2)
@pytest.mark.parametrize("form", sorted(FORMS))
def test_an_interrupt_closes_what_arrived(stream, null, untraced, form):
    sock = FORMS[form](stream[1])
    before = open_descriptors()

    def receive():
        sys_trace, _ = sys.gettrace(), sys.settrace(None)
        fdpass.send_fds(stream[0], b"x", [null, null])
        sys.settrace(sys_trace)
        return fdpass.recv_fds(sock, 1000, 1000)

    for received in interrupted_at_every_line(receive):
        if received is not None:
            for fd in received.fds:
                os.close(fd)
        check_tables(before, stream[1].fileno())


@pytest.mark.rule(15)
def test_an_interrupt_leaves_a_descriptor_that_was_to_become_a_socket(stream, untraced):
    number = os.dup(stream[0].fileno())
    before = open_descriptors()
    for sock in interrupted_at_every_line(lambda: fdpass.socket_from_fd(number)):
        if sock is None:
            check_tables(before, number)
        else:
            sock.close()


class Watched(object):
    """A socket object that calls before ahead of each system call that a channel makes with it.

    2.7's binding asks it for nothing but its descriptor, as often as it makes a call.
    """

    def __init__(self, sock, before):
        self.sock, self.before = sock, before

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def fileno(self):
        if six.PY2:
            self.before()
        return self.sock.fileno()

    def send(self, *arguments):
        self.before()
        return self.sock.send(*arguments)

    def sendmsg(self, *arguments):
        self.before()
        return self.sock.sendmsg(*arguments)

    def recvmsg(self, *arguments):
        self.before()
        return self.sock.recvmsg(*arguments)


def raising_timeout():
    """As a signal handler can: of a system call, TimeoutError has an errno."""
    raise socket.timeout("a handler's")


ACTS = pytest.mark.parametrize("act", [interrupt, raising_timeout])


@ACTS
def test_a_receive_that_is_interrupted_loses_no_part_of_a_message(null, untraced, act):
    """The next call gives a whole message, or the channel is closed."""
    ends, seen = [], []

    def prepare():
        ends[:] = fdpass.Channel.pair()
        for data in (b"first", b"second"):
            ends[0].send(data, [null])
        return ends[1:]

    for message in interrupted_at_every_line(fdpass.Channel.recv, act, prepare):
        with closing(*ends) as (_, right):
            try:
                with message or right.recv() as message:
                    seen.append(message.data)
                    assert [same_file(fd.fileno(), null) for fd in message.fds] == [True]
            except socket.error as error:
                assert (error.errno, right.closed) == (errno.EBADF, True)
                seen.append("closed")
    assert set(seen) >= {b"first", "closed"}
    assert seen.count(b"second") < 12  # interrupted as the message was returned


@ACTS
def test_a_send_that_is_interrupted_sends_no_part_of_a_message(null, untraced, act):
    ends, seen = [], set()

    def prepare():
        ends[:] = fdpass.Channel.pair()
        return ends[:1]

    for _ in interrupted_at_every_line(lambda left: left.send(b"first", [null]), act, prepare):
        with closing(*ends) as (left, right):
            try:
                left.send(b"second", [null])
            except socket.error as error:
                assert (error.errno, left.closed) == (errno.EBADF, True)
                seen.add("closed")
            was_closed = left.closed
            left.close()
            got = []
            for message in right:
                with message:
                    got.append(message.data)
                    assert [same_file(fd.fileno(), null) for fd in message.fds] == [True]
            assert got[-1:] != [b"second"] if was_closed else got[-1:] == [b"second"]
            assert got[:-1] in ([], [b"first"]) and len(set(got)) == len(got)
    assert seen == {"closed"}


@ACTS
@pytest.mark.parametrize(
    "call, why",
    [
        (lambda channel: channel.send(b"x"), "sent in part"),
        (lambda channel: channel.send(b"x", [0]), "sent in part"),
        (lambda channel: channel.recv(), "received in part"),
    ],
    ids=["send", "send-descriptors", "recv"],
)
def test_an_exception_within_a_call_closes_the_channel(untraced, act, call, why):
    """A second one can keep it from being closed: then the next call closes it."""
    ends, raised = [], []

    def before():
        if ends and not raised:
            raised.append(True)
            act()

    def prepare():
        del ends[:], raised[:]
        left, right = socket.socketpair()
        channel = fdpass.Channel(Watched(left, before))
        ends.extend([channel, right])
        right.sendall(header(0, 0))
        return ends[:1]

    closed = 0
    for _ in interrupted_at_every_line(call, interrupt, prepare):
        with closing(*ends) as (channel, _):
            if raised:
                with pytest.raises(socket.error, match=why):
                    call(channel)
                assert channel.closed
                closed += 1
    assert closed > 1


@pytest.mark.parametrize("part", [8, 3], ids=["whole", "in-part"])
def test_a_channel_that_is_closed_within_its_call(null, untraced, part):
    """By a handler, at any line. What is just being received is closed once, or handed out."""
    ends, owned, before = [], [], {}

    def prepare():
        before.update(open_descriptors())
        left, right = socket.socketpair()
        ends[:] = fdpass.Channel(left), right
        ends[0].settimeout(0.001)
        fdpass.send_fds(right, header(0, 2)[:part], [null, null])
        return ends[:1]

    def close():
        ends[0].close()
        owned.extend(os.dup(null) for _ in range(3))  # which would get the numbers

    for message in interrupted_at_every_line(fdpass.Channel.recv, close, prepare):
        with closing(*(owned + ends)):
            if message is None and ends[0].closed:  # at once, whoever still knows the channel
                opened = set(open_descriptors()) - set(before)
                assert opened == set(owned + [ends[1].fileno()])
            if message is not None:
                with message:
                    numbers = {fd.fileno() for fd in message.fds}
                    assert len(numbers) == 2 and not numbers.intersection(owned)
                    assert all(same_file(number, null) for number in numbers)
        del owned[:]


def bothered(call, handler):
    """What call returns, while another process sends this one SIGUSR1 again and again."""
    # Nothing, and yet a function: of a signal that came before a change to SIG_IGN, Python 3 may
    # say only after it that it was "ignored due to race condition".
    before = signal.signal(signal.SIGUSR1, nothing)
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(writable)
            while not select.select([readable], [], [], 0.01)[0]:
                os.kill(os.getppid(), signal.SIGUSR1)
        finally:
            os._exit(0)
    os.close(readable)
    try:
        signal.signal(signal.SIGUSR1, handler)
        return call()
    finally:
        signal.signal(signal.SIGUSR1, nothing)
        os.close(writable)
        reap(child)
        signal.signal(signal.SIGUSR1, before)  # when no more can come


def nothing(signum, frame):
    pass


def reap(child):
    while True:
        try:
            return os.waitpid(child, 0)
        except OSError as error:  # 2.7
            if error.errno != errno.EINTR:
                raise


class Counter(object):
    """A signal handler that counts."""

    count = 0

    def __call__(self, signum, frame):
        self.count += 1


@pytest.fixture
def usr1():
    return Counter()


@pytest.mark.rule(13)
@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_receive_goes_on_after_signals(stream, null, usr1, form):
    left, right = stream

    def later():
        while usr1.count < 10:
            time.sleep(0.01)
        fdpass.send_fds(left, b"x", [null])

    sender = threading.Thread(target=later)

    def receive():
        sender.start()
        return fdpass.recv_fds(FORMS[form](right), 1, 1)

    received = bothered(receive, usr1)
    sender.join()
    with closing(*received.fds):
        assert received.data == b"x"
        assert usr1.count >= 10


@pytest.mark.rule(10)
@pytest.mark.parametrize("timeout", [None, 60])
def test_a_send_of_much_goes_on_after_signals(stream, null, usr1, timeout):
    left, right = stream
    left.settimeout(timeout)
    data = os.urandom(1 << 16) * 32
    chunks, fds = [], []

    def slowly():
        while sum(map(len, chunks)) < len(data):
            if usr1.count < 10:
                time.sleep(0.01)
            received = fdpass.recv_fds(right, 1 << 16, 9)
            chunks.append(received.data)
            fds.extend(received.fds)

    reader = threading.Thread(target=slowly)

    def send():
        reader.start()
        fdpass.sendall_fds(left, data, [null])
        reader.join()

    bothered(send, usr1)
    with closing(*fds):
        assert len(fds) == 1
        assert b"".join(chunks) == data


class Stop(Exception):
    pass


@pytest.mark.rule(13)
def test_a_handler_that_raises_gets_through(stream):
    for timeout in (None, 60):
        raised = []

        def stop(signum, frame, raised=raised):
            if not raised:
                raised.append(signum)
                raise Stop

        stream[0].settimeout(timeout)
        with pytest.raises(Stop):
            bothered(lambda: fdpass.recv_fds(stream[0], 1, 1), stop)


CALLS = {
    "recv_fds": lambda sock, fd: fdpass.recv_fds(sock, 1, 1),
    "recvmsg": lambda sock, fd: fdpass.recvmsg(sock, 1),
}


@pytest.mark.rule(13)
@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_timeout_counts_over_signals(pair, usr1, name, null):
    pair[0].settimeout(0.15)
    with pytest.raises(socket.timeout):
        bothered(lambda: CALLS[name](pair[0], null), usr1)


def filled(sock):
    """Send until there is no more room; how many bytes that were."""
    sock.setblocking(False)
    total = 0
    try:
        while True:
            total += sock.send(b"x" * 4096)
    except socket.error as error:
        assert error.errno in (errno.EAGAIN, errno.EWOULDBLOCK)
    return total


FULL = {
    "send_fds": lambda sock, fd: fdpass.send_fds(sock, b"x", [fd]),
    "sendall_fds": lambda sock, fd: fdpass.sendall_fds(sock, b"x", [fd]),
    "sendmsg": lambda sock, fd: fdpass.sendmsg(sock, [b"x"]),
}


@pytest.mark.parametrize("name", sorted(FULL))
def test_a_timeout_of_sending(stream, null, usr1, name):
    filled(stream[0])
    stream[0].settimeout(0.15)
    with pytest.raises(socket.timeout):
        bothered(lambda: FULL[name](stream[0], null), usr1)


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("name", sorted(FULL))
def test_sending_waits_for_room(stream, null, name, timeout):
    left, right = stream
    left_over = [filled(left)]
    left.settimeout(timeout)

    def drain():
        time.sleep(0.05)
        while left_over[0]:
            left_over[0] -= len(right.recv(min(65536, left_over[0])))

    reader = threading.Thread(target=drain)
    reader.start()
    sent = FULL[name](left, null)
    reader.join()
    assert sent == (None if name == "sendall_fds" else 1)
    with closing(*fdpass.recv_fds(right, 10, 1).fds) as fds:
        assert len(fds) == (name != "sendmsg")


@pytest.mark.parametrize("name", ["send_fds", "sendmsg"])
def test_a_message_whose_sending_times_out_was_not_sent(datagram, null, name):
    """PyPy 3's own sendmsg waits once more after the message that fills the socket, and raises."""
    left, right = datagram
    left.settimeout(0.05)
    right.setblocking(False)
    sent = 0
    with pytest.raises(socket.timeout):
        while True:
            FULL[name](left, null)
            sent += 1
    while sent:
        with closing(*fdpass.recv_fds(right, 1, 1).fds):
            sent -= 1
    nothing_arrived(right)


def test_a_timeout_counts_over_all_of_sendall_fds(stream, null):
    """A reader that takes a little again and again does not prolong it."""
    left, right = stream
    left.settimeout(0.3)
    done = threading.Event()

    def trickle():
        while not done.is_set():
            right.recv(32768)
            time.sleep(0.02)

    reader = threading.Thread(target=trickle)
    reader.start()
    try:
        with pytest.raises(socket.timeout):
            fdpass.sendall_fds(left, b"x" * (1 << 28), [])
    finally:
        done.set()
        left.close()
        reader.join()


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_timeout_of_the_kernels(stream, null, form):
    """SO_RCVTIMEO and SO_SNDTIMEO are not Python's: EAGAIN when they end."""
    left, right = stream
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        left.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 50000))
    sock = FORMS[form](left)
    filled(left)
    left.setblocking(True)
    for call in (
        lambda: fdpass.recv_fds(sock, 1, 1),
        lambda: fdpass.recvmsg(sock, 1),
        lambda: fdpass.send_fds(sock, b"x", [null]),
        lambda: fdpass.sendmsg(sock, [b"x"]),
    ):
        with raises_errno(errno.EAGAIN):
            call()


def test_a_timeout_although_the_other_holder_made_the_socket_blocking(stream):
    stream[0].settimeout(0.1)
    with closing(fdpass.socket_from_fd(stream[0].fileno(), dup=True)) as (other,):
        other.setblocking(True)
        with pytest.raises(socket.timeout):
            fdpass.recv_fds(stream[0], 1, 1)


@pytest.mark.rule(13)
@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("name", sorted(CALLS) + sorted(FULL))
def test_the_timeout_and_the_mode_stay_while_a_call_waits(stream, null, name, timeout):
    """Another thread would see it, were they changed for the time of the call."""
    left, right = stream
    left_over = filled(left) if name in FULL else 0
    left.settimeout(timeout)
    before = left.gettimeout(), mode(left.fileno())
    waiter = threading.Thread(target=dict(CALLS, **FULL)[name], args=(left, null))
    waiter.start()
    seen = set()
    for _ in range(50):
        seen.add((left.gettimeout(), mode(left.fileno())))
        time.sleep(0.001)
    assert waiter.is_alive()
    while left_over:
        left_over -= len(right.recv(min(65536, left_over)))
    right.send(b"x")  # which a call that receives waits for
    waiter.join()
    assert seen == {before}


@pytest.fixture
def high(null):
    """Two sockets whose numbers are past those that select(2) takes."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= limits[1] < 1200:  # RLIM_INFINITY is -1
        pytest.skip("the hard limit leaves no descriptor past 1,023")
    resource.setrlimit(resource.RLIMIT_NOFILE, (1200, limits[1]))
    try:
        with closing(*[os.dup(null) for _ in range(1024)]), closing(*socket.socketpair()) as ends:
            assert min(end.fileno() for end in ends) > 1023
            yield ends
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.rule(13)
@pytest.mark.parametrize("name", sorted(CALLS) + sorted(FULL) + ["Channel.recv", "Channel.send"])
def test_a_number_that_select_does_not_take(high, null, name):
    left, _ = high
    if name in FULL or name == "Channel.send":
        filled(left)
    left.settimeout(0.02)
    if name.startswith("Channel"):
        call = getattr(fdpass.Channel(left), name[8:])
    else:
        call = lambda: dict(CALLS, **FULL)[name](left, null)  # noqa: E731
    with pytest.raises(socket.timeout):
        call()


def test_other_threads_run_while_one_waits(stream, null):
    received = []
    reader = threading.Thread(target=lambda: received.append(fdpass.recv_fds(stream[1], 1, 1)))
    reader.start()
    time.sleep(0.05)
    fdpass.send_fds(stream[0], b"x", [null])
    reader.join()
    with closing(*received[0].fds) as fds:
        assert same_file(fds[0], null)


@pytest.mark.skipif(six.PY3, reason="on 3, sock.recvmsg itself waits")
def test_a_socket_with_a_way_of_its_own_to_wait(stream, null):
    """As gevent's: the descriptor is non-blocking, the timeout None, and select.poll patched."""

    class Cooperative(object):
        def __init__(self, sock):
            sock.setblocking(False)
            self.fileno = sock.fileno
            self.getsockopt = sock.getsockopt
            self.family = sock.family

        def gettimeout(self):
            return None

    polled = []

    class Poll(object):
        def register(self, fd, event):
            polled.append((fd, event))

        def poll(self, timeout):
            assert timeout is None
            fdpass.send_fds(stream[0], b"x", [null])
            return [(polled[0])]

    real, select.poll = select.poll, Poll
    try:
        received = fdpass.recv_fds(Cooperative(stream[1]), 1, 1)
    finally:
        select.poll = real
    with closing(*received.fds):
        assert polled == [(stream[1].fileno(), select.POLLIN)]
    with raises_errno(errno.EAGAIN):
        fdpass.recv_fds(Cooperative(stream[1]), 1, 1, socket.MSG_DONTWAIT)
    nothing_arrived(stream[1])


def test_a_wait_does_not_turn_in_circles_at_its_end(stream, monkeypatch):
    """poll(2) takes whole milliseconds: rounded down, the last would be a thousand calls."""
    waits, real = [], select.poll

    class Counted(object):
        def __init__(self):
            self.real = real()
            self.register = self.real.register

        def poll(self, milliseconds):
            waits.append(milliseconds)
            return self.real.poll(milliseconds)

    monkeypatch.setattr(select, "poll", Counted)
    with fdpass.Channel(stream[0]) as channel:
        channel.settimeout(0.02)
        with pytest.raises(socket.timeout):
            channel.recv()
    assert 1 <= len(waits) <= 3


def test_sendall_fds_heeds_its_timeout_whatever_others_do_to_the_mode(stream, null):
    stream[0].settimeout(0.2)
    with closing(fdpass.socket_from_fd(stream[0], dup=True)) as (other,):
        other.setblocking(True)
        with pytest.raises(socket.timeout):
            fdpass.sendall_fds(stream[0], b"x" * 5000000, [null])


def test_each_wait_is_for_its_own_event(stream, monkeypatch):
    """A send does not wake up for what can be read, nor a recv for room."""
    waits, real = [], select.poll
    filled(stream[0])
    stream[0].setblocking(True)
    stream[1].send(b"x")
    monkeypatch.setattr(select, "poll", lambda: waits.append(None) or real())
    with fdpass.Channel(stream[0]) as channel:
        channel.settimeout(0.02)
        with pytest.raises(socket.timeout):
            channel.send()
    with closing(*fdpass.Channel.pair()) as (channel, _):
        channel.settimeout(0.02)
        with pytest.raises(socket.timeout):
            channel.recv()
    assert len(waits) == 2


def test_a_wait_of_many_days(stream):
    """More milliseconds than poll(2) takes."""
    with fdpass.Channel(stream[0]) as channel:
        channel.settimeout(1e9)
        sender = threading.Timer(0.02, stream[1].sendall, [header(0, 0)])
        sender.start()
        assert channel.recv() == (b"", [])
        sender.join()


def test_a_channel_lets_no_handler_between_the_system_call_and_what_keeps_it(stream, null):
    """There one could come where a profiler is told that recvmsg has returned."""
    if six.PY2:
        return  # the binding keeps what has come

    def raising(frame, event, function):
        if event == "c_return" and function.__name__ == "recvmsg":
            raise KeyboardInterrupt

    with fdpass.Channel(stream[0]) as left, fdpass.Channel(stream[1]) as right:
        left.send(b"x", [null])
        sys.setprofile(raising)
        try:
            right.recv().close()
        except KeyboardInterrupt:  # it comes as the payload is read, beside which are none
            pass
        finally:
            sys.setprofile(None)
