"""An error's text says what happened, with which argument, and what to do about it."""

import errno
import importlib
import io
import itertools
import os
import socket
import sys

import pytest
import six
from conftest import closing, header, raises_errno

import fdpass
from fdpass import Channel, Listener


class Unusual(object):
    """An object whose fileno() raises this error."""

    def __init__(self, error):
        self.error = error

    def fileno(self):
        raise self.error


def closed_socket():
    sock = socket.socket()
    sock.close()
    return sock


def unused_descriptor():
    return 1 << 20


def closed_channel():
    left, right = Channel.pair()
    with closing(left, right):
        return left


def send_by_function(fds):
    left, right = socket.socketpair()
    with closing(left, right):
        fdpass.send_fds(left, b"x", fds)


def send_by_channel(fds):
    left, right = Channel.pair()
    with closing(left, right):
        left.send(b"x", fds)


SENDERS = [send_by_function, send_by_channel]
# rights makes no system call with the descriptors.
CLOSED = list(itertools.product(SENDERS + [fdpass.rights], [closed_socket, closed_channel]))
CLOSED += [(send, unused_descriptor) for send in SENDERS]


@pytest.mark.parametrize("send, make", CLOSED)
def test_which_of_fds_is_closed(null, send, make):
    with raises_errno(errno.EBADF) as caught:
        send([null, make(), null])
    assert "fds[1]" in str(caught.value) and "fds[0]" not in str(caught.value)
    assert isinstance(caught.value, socket.error)


@pytest.mark.parametrize("given", [None, "0", -1, 1 << 31, 0.5, True], ids=repr)
def test_which_of_fds_is_wrong(null, given):
    with pytest.raises((TypeError, ValueError), match=r"^fds\[2\]: "):
        send_by_function([null, null, given])


def test_an_object_without_a_descriptor_among_fds(null):
    with pytest.raises(io.UnsupportedOperation, match=r"^fds\[1\]: fileno"):
        send_by_function([null, io.BytesIO()])


def test_an_error_that_is_raised_again(null):
    """The index is put before its text only once."""
    error = ValueError("no")
    for _ in range(2):
        with pytest.raises(ValueError) as caught:
            send_by_function([Unusual(error)])
        assert str(caught.value) == "fds[0]: no"


@pytest.mark.parametrize("name", ["send_fds", "sendall_fds", "recv_fds", "sendmsg", "recvmsg"])
@pytest.mark.parametrize("data", [b"x", bytearray(b"x")], ids=repr)
def test_a_channel_in_the_place_of_a_socket(null, name, data):
    arguments = (data, [null]) if "fds" in name else ([data],)
    if name.startswith("recv"):
        arguments = (1, 1)
    left, right = Channel.pair()
    with closing(left, right):
        with pytest.raises(TypeError, match="a Channel has messages of its own: use its send"):
            getattr(fdpass, name)(left, *arguments)
        assert fdpass.peer_credentials(left).pid == os.getpid()
        fdpass.send_fds(right.fileno(), b"x", [left])
        with closing(*fdpass.recv_fds(left.fileno(), 1, 1).fds):
            pass


@pytest.mark.parametrize("name", ["fdsend", "passfd"])
def test_a_channel_in_a_drop_in(null, name):
    module = importlib.import_module("fdpass.compat." + name)
    left, right = Channel.pair()
    with closing(left, right), pytest.raises(TypeError, match="a Channel has messages of its own"):
        if name == "passfd":
            module.sendfd(left, null)
        else:
            module.sendfds(left, b"x", [null])


def test_a_closed_file_among_fds(null):
    opened = open(os.devnull)
    opened.close()
    with pytest.raises(ValueError, match=r"^fds\[1\]: .*closed"):
        send_by_function([null, opened])


def test_an_error_that_has_no_text_of_the_usual_form(null):
    """An error of another class, or with other arguments, stays as the object raised it."""
    errors = [
        UnicodeDecodeError("ascii", b"x", 0, 1, "no"),
        ValueError(),
        ValueError(1),
        TypeError("a", "b"),
        KeyError("key"),
        OSError(),
        OSError("a handler's"),
        OSError(errno.EIO, None),
    ]
    for error in errors:
        before = error.args, str(error)
        with pytest.raises(type(error)) as caught:
            send_by_function([null, Unusual(error)])
        assert caught.value is error
        assert (error.args, str(error)) == before


@pytest.mark.parametrize("given", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0\0\0\2\0", b"hello"])
def test_a_peer_that_is_no_channel(given):
    left, right = socket.socketpair()
    with closing(Channel(left)) as (channel,):
        with closing(right):
            right.sendall(given)
        with pytest.raises(fdpass.ProtocolError, match="began with") as caught:
            channel.recv()
        assert repr(given[:8]) in str(caught.value)
        assert ("does not speak this format" in str(caught.value)) == (len(given) >= 8)


def test_an_end_in_the_payload_shows_the_header():
    left, right = socket.socketpair()
    with closing(Channel(left)) as (channel,):
        with closing(right):
            right.sendall(header(6, 0) + b"abc")
        with pytest.raises(fdpass.ProtocolError) as caught:
            channel.recv()
        assert str(caught.value).endswith("began with %r" % header(6, 0))


@pytest.mark.parametrize("mode", [600, 644, 0o1000, -1])
def test_a_mode_in_decimal(path, mode):
    with pytest.raises(ValueError, match="0o777, not %d: write it in octal, as in 0o600" % mode):
        Listener(path, mode=mode)
    assert not os.path.exists(path)


def connect_error(path, **timeout):
    with pytest.raises(socket.error) as caught:
        Channel.connect(path, **timeout)
    assert repr(path) in str(caught.value)
    return str(caught.value)


def test_a_timeout_of_connect_has_the_path_and_the_reason(path):
    told = connect_error(path, timeout=0.02)
    assert told.startswith("timed out; the last try said: %s" % os.strerror(errno.ENOENT))
    assert told.endswith("nobody listens there")


@pytest.mark.parametrize("timeout", [{}, {"timeout": 0.02}], ids=repr)
def test_connecting_where_nothing_can_listen(path, timeout):
    missing = os.path.join(path, "app.sock")
    assert connect_error(missing, **timeout).endswith("its directory does not exist")
    with open(path, "w"):
        pass
    assert connect_error(path, **timeout).endswith("the file there is no socket")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has abstract names")
def test_an_abstract_name_where_nobody_listens():
    told = connect_error("\0fdpass-nobody-%d" % os.getpid())
    assert told.endswith("nobody listens there; with a timeout, connect keeps trying")


def test_a_relative_name_where_nobody_listens(tmpdir):
    with tmpdir.as_cwd():
        assert "nobody listens there" in connect_error("app.sock")


def test_a_listener_in_a_missing_directory(path):
    with raises_errno(errno.ENOENT) as caught:
        Listener(os.path.join(path, "app.sock"))
    assert str(caught.value).endswith("its directory does not exist")


@pytest.mark.parametrize("name", ["aio", "compat"])
def test_a_submodule_that_was_not_imported(monkeypatch, name):
    monkeypatch.delattr(fdpass, name, raising=False)
    with pytest.raises(AttributeError) as caught:
        fdpass.__getattr__(name)
    assert str(caught.value) == "fdpass.%s has to be imported first: import fdpass.%s" % (
        name,
        name,
    )
    assert not six.PY3 or sys.version_info < (3, 7) or not hasattr(fdpass, name)


def test_a_name_that_the_package_lacks():
    with pytest.raises(AttributeError, match="module '?fdpass'? has no attribute 'receive_fds'"):
        fdpass.__getattr__("receive_fds")
