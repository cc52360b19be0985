"""A FileDescriptor and a Channel travel through multiprocessing. No other pickler takes them."""

import copy
import errno
import functools
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest
import six
from conftest import child_environment, closing, header, raises_errno
from test_signals import filled
from test_transfer import is_close_on_exec, same_file

import fdpass
from fdpass import Channel, FileDescriptor, Listener

try:
    from fdpass import aio
except ImportError:
    aio = None
try:
    from multiprocessing import resource_sharer
except ImportError:  # before 3.4
    resource_sharer = None

TRAVELLERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "travellers.py")
python3 = pytest.mark.skipif(six.PY2, reason="2.7's multiprocessing passes no descriptors")


class Named(FileDescriptor):
    pass


class Line(Channel):
    pass


class Reducing(FileDescriptor):
    """A subclass that calls the method which pickles its base."""

    def __reduce_ex__(self, protocol):
        return self.__reduce__()

    def __reduce__(self):
        return super(Reducing, self).__reduce_ex__(2)


class Slotted(FileDescriptor):
    """A subclass whose attributes have no dict."""

    __slots__ = ("label", "__secret", "unset")

    def hide(self, secret):
        self.__secret = secret

    def reveal(self):
        return self.__secret


class SlottedNamed(Slotted):
    """A subclass that has a dict beside its slots."""

    __slots__ = ("more", "__dict__")


class SlottedText(SlottedNamed):
    __slots__ = "text"


class SlottedLine(Line):
    __slots__ = ("label",)


class Keeper(object):
    """An object that copies or pickles what it keeps, in its own method for pickle."""

    def __init__(self, kept, call=None):
        self.kept, self.call = kept, call


class StateKeeper(Keeper):
    def __getstate__(self):
        return {"kept": self.call(self.kept)}


class ReducingKeeper(Keeper):
    def __reduce__(self):
        return Keeper, (self.call(self.kept),)


class Failing(object):
    """A class whose objects cannot be made in the process that receives them."""

    fails = False

    def __new__(cls, *arguments):
        if cls.fails:
            raise KeyboardInterrupt
        return super(Failing, cls).__new__(cls)


class FailingDescriptor(Failing, FileDescriptor):
    pass


class FailingChannel(Failing, Channel):
    pass


@python3
@pytest.mark.skipif(resource_sharer is None, reason="Python 3.3 has no start methods")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_each_start_method(method):
    """Objects travel as arguments, through a Queue and a Pipe, and to and from two pools."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", TRAVELLERS, method]
    process = subprocess.Popen(
        command,
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=True,
    )
    told = process.communicate()[0].decode()
    assert (process.returncode, told) == (0, "")


@pytest.fixture
def pass_on():
    """Return a function that sends an object through a Pipe, and returns the received object."""
    here, there = multiprocessing.Pipe()

    def pass_on(thing):
        here.send(thing)
        return there.recv()

    with closing(here, there):
        yield pass_on
        resource_sharer.stop()


@python3
def test_a_file_descriptor_arrives_with_an_owner(null, pass_on):
    with FileDescriptor(os.dup(null)) as owned, pass_on(owned) as received:
        assert type(received) is FileDescriptor
        assert received.fileno() != owned.fileno()
        assert same_file(received.fileno(), null)
        assert is_close_on_exec(received.fileno())


@python3
def test_the_attributes_of_a_subclass_arrive(null, pass_on):
    with Named(os.dup(null)) as owned:
        owned.name, owned.own = "Ada", owned
        with pass_on(owned) as received:
            assert type(received) is Named
            assert received.name == "Ada" and received.own is received
            del owned.own, received.own


@python3
def test_the_slots_of_a_subclass_arrive(null, pass_on):
    for owner_class in (Slotted, SlottedNamed, SlottedText):
        with owner_class(os.dup(null)) as owned:
            owned.label = "Ada"
            owned.hide(owned)
            if owner_class is not Slotted:
                owned.more, owned.own = 1, 2
            if owner_class is SlottedText:
                owned.text = "3"
            with pass_on(owned) as received:
                assert type(received) is owner_class and received.fileno() != owned.fileno()
                assert received.label == "Ada" and received.reveal() is received
                assert not hasattr(received, "unset")
                for name in ("more", "own", "text"):
                    assert getattr(received, name, None) == getattr(owned, name, None)
                received.hide(None)
            owned.hide(None)


@python3
def test_the_slots_of_a_channel_arrive(pass_on):
    left, right = SlottedLine.pair()
    with closing(left, right):
        left.label, left.name = "Ada", "Bob"
        with closing(pass_on(left)) as (received,):
            assert (received.label, received.name) == ("Ada", "Bob")
            received.send(b"x")
            assert right.recv().data == b"x"


@python3
def test_objects_arrive_within_others(null, pass_on):
    with FileDescriptor(os.dup(null)) as owned, Reducing(os.dup(null)) as reducing:
        call = functools.partial(FileDescriptor.fileno, owned)
        received = pass_on([Keeper({"list": [owned, (reducing,)]}, call)])[0]
        [first, (second,)] = received.kept["list"]
        with first, second:
            assert (type(first), type(second)) == (FileDescriptor, Reducing)
            assert received.call() == first.fileno() != owned.fileno()
            assert same_file(first.fileno(), null) and same_file(second.fileno(), null)


@python3
@pytest.mark.parametrize("timeout", [None, 5.5])
def test_a_channel_arrives_with_its_limits(null, pass_on, timeout):
    line, far = Line.pair(max_data=3, max_fds=1)
    with closing(line, far):
        line.settimeout(timeout)
        line.name = "Bob"
        line.send(b"one")
        assert far.recv().data == b"one"
        with closing(pass_on(line)) as (received,):
            assert type(received) is Line and received.name == "Bob"
            assert sorted(vars(received)) == sorted(vars(line))
            for arguments in ((b"1234",), (b"", [0, 0])):
                with pytest.raises(ValueError):
                    received.send(*arguments)
            received.send(b"two", [null])
            with far.recv() as message:
                assert (message.data, len(message.fds)) == (b"two", 1)
            if timeout:
                received.settimeout(0.01)
                with pytest.raises(socket.timeout):
                    received.recv()


@python3
@pytest.mark.parametrize("timeout", [None, 0])
def test_a_channel_leaves_the_mode_alone(stream, pass_on, timeout):
    """The default timeout in the process that receives the channel does not matter."""
    with closing(Channel(fdpass.socket_from_fd(stream[0], dup=True))) as (channel,):
        stream[0].settimeout(timeout)
        socket.setdefaulttimeout(1)
        try:
            received = pass_on(channel)
        finally:
            socket.setdefaulttimeout(None)
        with closing(received):
            assert os.get_blocking(stream[0].fileno()) == (timeout is None)


@python3
def test_a_message_arrives_with_its_descriptors(null, pass_on):
    left, right = Channel.pair()
    with closing(left, right):
        left.send(b"x", [null, null])
        with right.recv() as message, pass_on(message) as received:
            assert type(received) is fdpass.Message
            assert received.data == b"x"
            assert [same_file(own.fileno(), null) for own in received.fds] == [True, True]


@python3
def test_a_closed_object_does_not_travel(null, pass_on):
    owned, ends = FileDescriptor(os.dup(null)), Channel.pair()
    with closing(*ends):
        pass
    owned.close()
    with pytest.raises(ValueError, match="closed"):
        pass_on(owned)
    with raises_errno(errno.EBADF):
        pass_on(ends[0])


@python3
def test_an_error_on_arrival_leaves_nothing_open(stream, pass_on, monkeypatch):
    """The fixture that compares the open descriptors fails otherwise."""
    owned = FailingDescriptor(os.dup(stream[0].fileno()))
    channel = FailingChannel(fdpass.socket_from_fd(stream[0], dup=True))
    monkeypatch.setattr(Failing, "fails", True)
    with closing(owned, channel):
        for thing in (owned, channel):
            with pytest.raises(KeyboardInterrupt):
                pass_on(thing)


REFUSED = "cannot be copied or pickled"


def things(path, null):
    """Return one object of each class that owns a descriptor."""
    left, right = Channel.pair()
    made = [left, right, FileDescriptor(os.dup(null)), Listener(path)]
    if aio is not None:
        made += list(aio.Channel.pair()) + [aio.Listener(path + "2")]
    return made


def dumps_in_python(thing):
    return pickle._dumps(thing)  # pickle.dumps is this on PyPy, and written in C on CPython


def reduce_by_hand(thing):
    return thing.__reduce_ex__(2)


CALLS = [pickle.dumps, dumps_in_python, copy.copy, copy.deepcopy, reduce_by_hand]


@python3
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("keeper", [StateKeeper, ReducingKeeper])
def test_a_copy_within_multiprocessing_is_refused(null, pass_on, keeper, call):
    """Otherwise the copy, and not only the receiver, would own the descriptor of a spawned process.

    When the copy is forgotten, it would close a descriptor that is not its own.
    """
    with closing(*Channel.pair()) as ends, FileDescriptor(os.dup(null)) as owned:
        for thing in (owned, ends[0]):
            with pytest.raises(TypeError, match=type(thing).__name__ + " " + REFUSED):
                pass_on([keeper(thing, call)])


def test_a_thread_that_began_in_c_is_refused(null, monkeypatch):
    """The calling frames end before one says which pickler this is."""
    monkeypatch.setattr(sys, "stderr", six.StringIO())
    monkeypatch.setattr(sys, "unraisablehook", getattr(sys, "__unraisablehook__", None), False)
    with FileDescriptor(os.dup(null)) as owned:
        six.moves._thread.start_new_thread(owned.__reduce_ex__, (2,))
        deadline = time.time() + 20
        while REFUSED not in sys.stderr.getvalue() and time.time() < deadline:
            time.sleep(0.01)
        assert REFUSED in sys.stderr.getvalue()


@pytest.mark.parametrize("call", [pickle.dumps, copy.copy, copy.deepcopy])
def test_nothing_is_copied_or_pickled(path, null, call):
    with closing(*things(path, null)) as made:
        for thing in made:
            with pytest.raises(TypeError, match=type(thing).__name__ + " " + REFUSED):
                call(thing)


@python3
def test_objects_that_refuse_to_travel(path, null, pass_on):
    with closing(*things(path, null)) as made:
        for thing in made[3:]:
            with pytest.raises(TypeError, match="socket_from_fd.*" + type(thing).__name__):
                pass_on(thing)


@python3
def test_a_message_that_is_half_received_holds_its_channel(stream, null, pass_on):
    with closing(Channel(fdpass.socket_from_fd(stream[0], dup=True))) as (channel,):
        channel.settimeout(0.01)
        for part in (header(2, 1)[:3], header(2, 1)[3:], b"x"):
            fdpass.sendall_fds(stream[1], part, [null] if len(part) == 3 else [])
            with pytest.raises(socket.timeout):
                channel.recv()
            with pytest.raises(TypeError, match="middle of a message"):
                pass_on(channel)
        stream[1].sendall(b"y")
        channel.recv().close()
        pass_on(channel).close()


@python3
def test_a_call_that_is_under_way_holds_its_channel(pass_on):
    left, right = Channel.pair()
    with closing(left, right):
        thread = threading.Thread(target=right.recv)
        thread.start()
        try:
            with pytest.raises(TypeError, match="middle of a message"):
                while True:  # until the thread has begun to receive
                    pass_on(right).close()
        finally:
            left.send(b"x")
            thread.join()
        pass_on(right).close()


@python3
def test_a_send_that_has_not_begun_holds_its_channel(stream, pass_on):
    size = filled(stream[0]) + len(header(1, 0)) + 1
    stream[0].setblocking(True)
    with closing(Channel(fdpass.socket_from_fd(stream[0], dup=True))) as (channel,):
        thread = threading.Thread(target=channel.send, args=(b"x",))
        thread.start()
        try:
            with pytest.raises(TypeError, match="middle of a message"):
                while True:
                    pass_on(channel).close()
        finally:
            while size:
                size -= len(stream[1].recv(size))
            thread.join()


@python3
def test_a_message_that_is_half_sent_holds_its_channel(pass_on):
    """The send waits for room, and another thread tries to pass the channel on."""
    left, right = Channel.pair(max_data=1 << 24)
    with closing(left, right):
        thread = threading.Thread(target=left.send, args=(b"x" * (1 << 23),))
        thread.start()
        try:
            with pytest.raises(TypeError, match="middle of a message"):
                while True:
                    pass_on(left).close()
        finally:
            assert len(right.recv().data) == 1 << 23
            thread.join()
        pass_on(left).close()


def answer_through(channel, owned):
    os.write(owned.fileno(), b"x")
    channel.send(b"from the child", [owned])


@pytest.mark.skipif(six.PY3, reason="Python 3 has tests of its own for multiprocessing")
def test_an_argument_on_2(pipe):
    """The child inherits the argument."""
    left, right = Channel.pair()
    with closing(left, right), FileDescriptor(os.dup(pipe[1])) as owned:
        process = multiprocessing.Process(target=answer_through, args=(right, owned))
        process.start()
        with left.recv() as message:
            assert (message.data, len(message.fds)) == (b"from the child", 1)
        process.join()
        assert (process.exitcode, os.read(pipe[0], 10)) == (0, b"x")


@pytest.mark.skipif(six.PY3, reason="Python 3 has tests of its own for multiprocessing")
def test_a_pipe_on_2(null):
    here, there = multiprocessing.Pipe()
    with closing(here, there, FileDescriptor(os.dup(null))) as (_, _, owned):
        with pytest.raises(TypeError, match="a Channel passes one to another process"):
            here.send(owned)
