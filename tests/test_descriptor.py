"""FileDescriptor: one owner, converted or closed exactly once."""

import errno
import gc
import io
import os
import platform
import socket
import sys
import warnings

import pytest
import six
from conftest import closing, open_descriptors, raises_errno, repr_without_address
from seam import copy_of_fdpass
from test_signals import check_tables, interrupted_at_every_line
from test_transfer import is_close_on_exec, same_file

import fdpass
from fdpass import FileDescriptor

FORGOTTEN = RuntimeWarning if six.PY2 else ResourceWarning


@pytest.fixture
def owned():
    with FileDescriptor(os.open(os.devnull, os.O_RDWR)) as own:
        yield own


def is_open(number):
    return number in open_descriptors()


def test_it_closes_once(owned):
    number = owned.fileno()
    assert is_open(number)
    assert not owned.closed
    owned.close()
    assert owned.closed
    assert not is_open(number)
    with closing(os.open(os.devnull, os.O_RDONLY)) as (reused,):
        assert reused == number
        owned.close()
        del owned
        gc.collect()
        assert is_open(reused)


def test_a_context_manager():
    with FileDescriptor(os.open(os.devnull, os.O_RDONLY)) as own:
        number = own.fileno()
    assert own.closed
    assert not is_open(number)
    with pytest.raises(ValueError), own:
        pass


def test_detach(owned):
    number = owned.fileno()
    with closing(owned.detach()) as (fd,):
        assert fd == number
        assert owned.closed
        assert is_open(fd)
        owned.close()
        assert is_open(fd)


def test_dup(owned):
    with owned.dup() as other:
        assert type(other) is FileDescriptor
        assert other.fileno() != owned.fileno()
        assert same_file(other.fileno(), owned.fileno())
        assert is_close_on_exec(other.fileno())


USES = {
    "fileno": lambda own: own.fileno(),
    "detach": lambda own: own.detach(),
    "dup": lambda own: own.dup(),
    "to_socket": lambda own: own.to_socket(),
    "to_file": lambda own: own.to_file(),
    "inheritable": lambda own: own.inheritable,
    "inheritable = ": lambda own: setattr(own, "inheritable", True),
}


@pytest.mark.parametrize("use", sorted(USES))
def test_using_a_closed_one(owned, use):
    owned.close()
    with pytest.raises(ValueError, match="closed"):
        USES[use](owned)


def test_inheritable(owned):
    for value in (True, False, True):
        owned.inheritable = value
        assert owned.inheritable is value
        assert is_close_on_exec(owned.fileno()) is not value


def test_a_forgotten_one_warns_and_closes():
    own = FileDescriptor(os.open(os.devnull, os.O_RDONLY))
    number = own.fileno()
    with pytest.warns(FORGOTTEN, match="fd=%d" % number) as told:
        del own
        gc.collect()
        gc.collect()
    assert not is_open(number)
    if platform.python_implementation() == "CPython":  # where it is told at the line that forgets
        assert os.path.basename(told[0].filename).startswith("test_descriptor.py")


def test_a_forgotten_one_closes_where_the_warning_is_an_error():
    own = FileDescriptor(os.open(os.devnull, os.O_RDONLY))
    number = own.fileno()
    with pytest.raises(FORGOTTEN), warnings.catch_warnings():
        warnings.simplefilter("error")
        own.__del__()
    assert own.closed
    assert not is_open(number)


def test_an_ended_one_does_not_warn(owned):
    owned.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del owned
        gc.collect()
    assert not caught


@pytest.mark.parametrize("fd", [None, "1", b"1", 1.0, True, object()], ids=repr_without_address)
def test_owning_what_is_no_descriptor(fd):
    with pytest.raises(TypeError):
        FileDescriptor(fd)


def test_owning_what_has_an_owner(owned, stream):
    for thing in (owned, stream[0]):
        with pytest.raises(TypeError, match="owns its descriptor already"):
            FileDescriptor(thing)


def test_owning_a_negative_number():
    with pytest.raises(ValueError):
        FileDescriptor(-1)


def test_owning_a_closed_number():
    with pytest.raises(EnvironmentError) as caught:
        FileDescriptor(1 << 20)
    assert caught.value.errno == errno.EBADF


def test_repr(owned):
    assert repr(owned) == "<FileDescriptor fd=%d>" % owned.fileno()
    owned.close()
    assert repr(owned) == "<FileDescriptor closed>"


def test_to_socket():
    left, right = socket.socketpair()
    with closing(left, right):
        own = FileDescriptor(os.dup(left.fileno()))
        with closing(own.to_socket(family=socket.AF_UNIX, type=socket.SOCK_STREAM, proto=0)) as (
            sock,
        ):
            assert own.closed
            assert isinstance(sock, socket.socket)
            sock.sendall(b"x")
            assert right.recv(1) == b"x"


@pytest.mark.parametrize("closes", [False, True])
def test_a_to_socket_that_a_signal_interrupts(stream, closes):
    """It owns its descriptor still, unless that is closed: 2.7 puts a duplicate in its place."""

    def interrupted(family, type, proto, fd, timeout, dup):
        if closes:
            os.close(fd)
        raise KeyboardInterrupt

    owner = copy_of_fdpass(make_socket=interrupted).FileDescriptor(os.dup(stream[0].fileno()))
    number = owner.fileno()
    with pytest.raises(KeyboardInterrupt):
        owner.to_socket()
    assert owner.closed == closes
    if not closes:
        assert owner.fileno() == number
        owner.close()


def test_to_socket_of_what_is_none(owned):
    number = owned.fileno()
    with raises_errno(errno.ENOTSOCK):
        owned.to_socket()
    assert owned.fileno() == number
    assert is_open(number)


@pytest.mark.parametrize(
    "arguments, kind",
    [
        ((), io.TextIOWrapper),
        (("w",), io.TextIOWrapper),
        (("rb",), io.BufferedReader),
        (("wb",), io.BufferedWriter),
        (("rb", 0), io.FileIO),
        (("r", 1, "utf-8", "strict", "\n"), io.TextIOWrapper),
    ],
)
def test_to_file(owned, arguments, kind):
    number = owned.fileno()
    with owned.to_file(*arguments) as opened:
        assert owned.closed
        assert type(opened) is kind
        assert opened.fileno() == number
        owned.close()
        assert is_open(number)
    assert not is_open(number)


def test_a_file_reads_what_the_descriptor_has(pipe):
    os.write(pipe[1], b"line\n")
    with FileDescriptor(os.dup(pipe[0])).to_file("rb") as opened:
        assert opened.readline() == b"line\n"


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    "arguments",
    [
        ("q",),
        ("rb", -1, "utf-8"),
        ("r", 0),
        ("r", -1, "no-such-encoding"),
        ("r", -1, None, None, "?"),
    ],
)
def test_a_failing_to_file_leaves_the_descriptor(owned, arguments):
    number = owned.fileno()
    with pytest.raises((ValueError, LookupError)):
        owned.to_file(*arguments)
    assert owned.fileno() == number
    assert is_open(number)


def test_to_file_of_a_directory():
    with FileDescriptor(os.open(os.curdir, os.O_RDONLY)) as own:
        number = own.fileno()
        with pytest.raises(EnvironmentError) as caught:
            own.to_file()
        assert caught.value.errno == errno.EISDIR
        assert own.fileno() == number
        assert is_open(number)


def test_sending_one(stream, owned):
    fdpass.send_fds(stream[0], b"x", [owned])
    with FileDescriptor(fdpass.recv_fds(stream[1], 1, 1).fds[0]) as received:
        assert same_file(received.fileno(), owned.fileno())
    assert not owned.closed


def test_a_forgotten_one_closes_where_warnings_have_gone(null):
    """As at the end of a 2.7 interpreter."""

    def gone(*given, **named):
        raise TypeError("'NoneType' object is not callable")

    owner = fdpass.FileDescriptor(os.dup(null))
    number = owner.fileno()
    owner.__del__(os.close, gone)
    assert owner.closed
    with pytest.raises(OSError):
        os.fstat(number)


def test_an_interrupt_leaves_no_descriptor_of_a_message(null, untraced):
    """Each is the channel's still, or owned by what closes it."""
    before, ends = open_descriptors(), []

    def receive():
        trace, _ = sys.gettrace(), sys.settrace(None)
        ends[:] = fdpass.Channel.pair()
        ends[0].send(b"x", [null, null])
        sys.settrace(trace)
        return ends[1].recv()

    for message in interrupted_at_every_line(receive):
        for thing in ends + [message] * (message is not None):
            thing.close()
        check_tables(before, null)
