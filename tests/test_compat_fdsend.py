"""The contract of python-fdsend, and its faults that must be gone."""

import errno
import inspect
import os
import socket
import sys

import pytest
import six
from conftest import closing, lowered, raises_errno
from test_transfer import FORMS, is_close_on_exec, nothing_arrived, same_file

import fdpass
from fdpass.compat import fdsend

SO_PASSCRED = fdpass.SO_PASSCRED
SO_PASSPIDFD = 76  # Linux 6.5
HUGE = 1 << 80  # to make a long of a number, on 2.7


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_message_and_descriptors(pair, form, pipe):
    left, right = (FORMS[form](sock) for sock in pair)
    assert fdsend.sendfds(left, b"message", fds=[pipe[0], pipe[1]]) == 7
    message, fds = fdsend.recvfds(right, 100)
    with closing(*fds):
        assert message == b"message"
        assert type(message) is bytes
        assert type(fds) is tuple
        assert [type(fd) for fd in fds] == [int, int]
        assert same_file(fds[0], pipe[0])
        assert same_file(fds[1], pipe[1])
        assert not any(map(is_close_on_exec, fds))


def test_every_name_is_a_keyword(stream, null):
    left, right = stream
    assert fdsend.sendfds(fd=left, msg=b"x", flags=0, fds=(null,)) == 1
    message, fds = fdsend.recvfds(fd=right, len=10, flags=socket.MSG_PEEK, numfds=1)
    with closing(*fds):
        assert (message, len(fds)) == (b"x", 1)
    message, fds = fdsend.recvfds(right, 10, 0, 1)
    with closing(*fds):
        assert (message, len(fds)) == (b"x", 1)
    with closing(*fdsend.socketpair(family=socket.AF_UNIX, type=socket.SOCK_DGRAM, proto=0)):
        pass


def test_no_descriptors(pair):
    left, right = pair
    assert fdsend.sendfds(left, b"plain") == 5
    assert fdsend.recvfds(right, 100) == (b"plain", ())
    assert fdsend.sendfds(left, b"plain", 0, []) == 5
    assert fdsend.recvfds(right, 100) == (b"plain", ())


def test_what_a_descriptor_may_be(stream, pipe):
    left, right = stream
    with open(os.devnull) as a_file:
        things = [pipe[0] + HUGE - HUGE, left, a_file, fdpass.FileDescriptor(os.dup(pipe[1]))]
        assert fdsend.sendfds(left, b"x", fds=iter(things)) == 1
        _, fds = fdsend.recvfds(right, 1)
        with closing(*fds):
            assert same_file(fds[0], pipe[0])
            for fd, thing in zip(fds[1:], things[1:]):
                assert same_file(fd, thing.fileno())
        things[3].close()


@pytest.mark.parametrize("wrong", [None, 1.5, "1", b"1", object()])
def test_what_a_descriptor_may_not_be(stream, null, wrong):
    with pytest.raises(TypeError):
        fdsend.sendfds(stream[0], b"x", fds=[wrong])
    with pytest.raises(TypeError):
        fdsend.sendfds(wrong, b"x", fds=[null])
    with pytest.raises(TypeError):
        fdsend.recvfds(wrong, 1)
    nothing_arrived(stream[1])


@pytest.mark.parametrize("wrong", [b"12", bytearray(b"12"), "12", 5, 0, b"".decode()])
def test_what_a_list_of_descriptors_may_not_be(stream, wrong):
    with pytest.raises(TypeError):
        fdsend.sendfds(stream[0], b"x", fds=wrong)
    nothing_arrived(stream[1])


def test_text(stream):
    left, right = stream
    text = b"caf\xc3\xa9".decode("utf-8")
    assert fdsend.sendfds(left, text[:3]) == 3
    assert fdsend.recvfds(right, 10) == (b"caf", ())
    if six.PY2:
        with pytest.raises(UnicodeEncodeError):
            fdsend.sendfds(left, text)
        nothing_arrived(right)
    else:
        assert fdsend.sendfds(left, text) == 5
        assert fdsend.recvfds(right, 10) == (b"caf\xc3\xa9", ())


@pytest.mark.parametrize("wrong", [None, 1, [b"x"], object()])
def test_what_a_message_may_not_be(stream, wrong):
    with pytest.raises(TypeError):
        fdsend.sendfds(stream[0], wrong)
    nothing_arrived(stream[1])


def test_closing_many_descriptors_takes_no_stack(stream, null, monkeypatch):
    """A close_all that called itself for each descriptor left 36 of 253 open on a deep stack."""
    close, closed = os.close, []

    def interrupted(fd):
        close(fd)
        closed.append(fd)
        if len(closed) == 1:
            raise KeyboardInterrupt

    def receive_below(frames):
        return receive_below(frames - 1) if frames else fdsend.recvfds(stream[1], 1, numfds=252)

    fdsend.sendfds(stream[0], b"x", fds=[null] * 253)
    monkeypatch.setattr(os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        receive_below(sys.getrecursionlimit() - len(inspect.stack()) - 100)
    assert len(closed) == 253


@pytest.mark.parametrize("size", [0, 10])
def test_trunc_is_no_flag_to_receive_with(pair, null, size):
    fdsend.sendfds(pair[0], b"abc", fds=[null])
    with pytest.raises(ValueError):
        fdsend.recvfds(pair[1], size, socket.MSG_TRUNC)
    message, fds = fdsend.recvfds(pair[1], 10)
    with closing(*fds):
        assert (message, len(fds)) == (b"abc", 1)


def test_descriptor_0_is_one_like_others(stream):
    fdsend.sendfds(stream[0], b"x", fds=[0])
    message, fds = fdsend.recvfds(stream[1], 1)
    with closing(*fds):
        assert message == b"x" and same_file(fds[0], 0)


def test_the_systems_errors(stream, null):
    closed = os.dup(null)
    os.close(closed)
    for bad in (closed, -1, 1 << 31, 1 << 40):
        for call in (
            lambda bad=bad: fdsend.sendfds(bad, b"x"),
            lambda bad=bad: fdsend.sendfds(stream[0], b"x", fds=[bad]),
            lambda bad=bad: fdsend.recvfds(bad, 1),
        ):
            with raises_errno(errno.EBADF):
                call()
    for call in (lambda: fdsend.sendfds(null, b"x"), lambda: fdsend.recvfds(null, 1)):
        with raises_errno(errno.ENOTSOCK):
            call()
    nothing_arrived(stream[1])


@pytest.mark.parametrize("name", ["len", "numfds"])
def test_a_wrong_number(stream, name):
    stream[0].send(b"x")
    for wrong, raised in ((-1, ValueError), (1.5, TypeError), ("1", TypeError), (None, TypeError)):
        with pytest.raises(raised):
            fdsend.recvfds(stream[1], **dict({"len": 1}, **{name: wrong}))
    assert stream[1].recv(2) == b"x"


def test_nothing_there_is_eagain_at_once_whatever_the_timeout(pair):
    for timeout in (0.0, 30.0):
        pair[1].settimeout(timeout)
        with raises_errno(errno.EAGAIN):
            fdsend.recvfds(pair[1], 1)
        assert pair[1].gettimeout() == timeout


def test_a_descriptor_that_does_not_block_under_an_object_that_does(stream):
    """As gevent's sockets are."""
    with closing(fdpass.socket_from_fd(stream[1].fileno(), dup=True)) as (other,):
        other.setblocking(False)
        assert stream[1].gettimeout() is None
        with raises_errno(errno.EAGAIN):
            fdsend.recvfds(stream[1], 1)


@pytest.mark.parametrize("numfds", [0, 1, 2, 3, 500])
def test_what_fits_is_returned_and_the_rest_closed(pair, pipe, numfds):
    fdsend.sendfds(pair[0], b"x", fds=[pipe[0], pipe[1], pipe[0]])
    message, fds = fdsend.recvfds(pair[1], 10, numfds=numfds)
    with closing(*fds):
        assert message == b"x"
        assert len(fds) == min(numfds, 3)
        for fd, sent in zip(fds, (pipe[0], pipe[1], pipe[0])):
            assert same_file(fd, sent)


def test_32_descriptors_unless_said(stream, null):
    fdsend.sendfds(stream[0], b"x", fds=[null] * 40)
    _, fds = fdsend.recvfds(stream[1], 10)
    with closing(*fds):
        assert len(fds) == 32


def test_as_many_as_a_message_carries(stream, null):
    fdsend.sendfds(stream[0], b"x", fds=[null] * 253)
    _, fds = fdsend.recvfds(stream[1], 10, numfds=253)
    with closing(*fds):
        assert len(fds) == 253
    with raises_errno(errno.EINVAL):
        fdsend.sendfds(stream[0], b"x", fds=[null] * 254)
    nothing_arrived(stream[1])


def test_at_the_limit_of_descriptors_those_that_came_are_returned(stream, null):
    fdsend.sendfds(stream[0], b"x", fds=[null] * 5)
    with lowered(3):  # Python 3 may need one for itself meanwhile
        message, fds = fdsend.recvfds(stream[1], 10)
    with closing(*fds):
        assert message == b"x"
        assert 2 <= len(fds) <= 3


def test_a_length_of_nothing(pair, kind, null):
    left, right = pair
    fdsend.sendfds(left, b"first", fds=[null])
    fdsend.sendfds(left, b"second", fds=[null])
    assert fdsend.recvfds(right, 0) == (b"", ())
    message, fds = fdsend.recvfds(right, 5, numfds=1)
    with closing(*fds):
        # A datagram is taken whole, a stream is left as it is; either way the descriptor stays
        # with its message.
        assert message == (b"first" if kind == socket.SOCK_STREAM else b"secon")
        assert len(fds) == 1


def test_an_empty_message(pair, kind, null):
    left, right = pair
    assert fdsend.sendfds(left, b"", fds=[null]) == 0
    if kind == socket.SOCK_STREAM:
        nothing_arrived(right)
    else:
        message, fds = fdsend.recvfds(right, 1)
        with closing(*fds):
            assert (message, len(fds)) == (b"", 1)


def ask_for_pidfds(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    except socket.error:
        pass  # the kernel is older


@pytest.mark.skipif(SO_PASSCRED is None, reason="Linux alone has SO_PASSCRED")
def test_foreign_control_messages_lose_nothing(pair, pipe):
    """The original leaked beside one, and read past the second."""
    left, right = pair
    right.setsockopt(socket.SOL_SOCKET, SO_PASSCRED, 1)
    right.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP
    ask_for_pidfds(right)
    for numfds in (0, 1, 2):
        fdsend.sendfds(left, b"x", fds=pipe)
        message, fds = fdsend.recvfds(right, 1, numfds=numfds)
        with closing(*fds):
            assert message == b"x"
            assert len(fds) == numfds
            for fd, sent in zip(fds, pipe):
                assert same_file(fd, sent)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_socketpair(kind, null):
    ends = fdsend.socketpair(socket.AF_UNIX, kind)
    with closing(*ends):
        assert type(ends) is tuple
        assert [type(fd) for fd in ends] == [int, int]
        assert not any(map(is_close_on_exec, ends))
        fdsend.sendfds(ends[0], b"x", fds=[null])
        message, fds = fdsend.recvfds(ends[1], 1)
        with closing(*fds):
            assert (message, len(fds)) == (b"x", 1)
    with pytest.raises(TypeError):
        fdsend.socketpair(socket.AF_UNIX)
    with pytest.raises(socket.error):
        fdsend.socketpair(socket.AF_INET, kind)


@pytest.mark.parametrize("room", [1, 2, 9])
def test_the_objects_of_a_socketpair_are_closed(monkeypatch, room):
    """And not only forgotten, at the limit of descriptors too: Python 2 duplicates them."""
    kept, pair = [], socket.socketpair

    def kept_pair(*arguments):
        assert arguments == (socket.AF_UNIX, socket.SOCK_STREAM, 0)
        kept.extend(pair(*arguments))
        return kept

    monkeypatch.setattr(socket, "socketpair", kept_pair)
    with lowered(room):
        try:
            ends = fdsend.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except socket.error as error:
            assert error.errno == errno.EMFILE and room < (9 if six.PY2 else 2)
        else:
            assert room > (2 if six.PY2 else 1)
            for fd in ends:
                os.close(fd)
    for end in kept:
        with pytest.raises(EnvironmentError):
            os.fstat(end.fileno())


@pytest.mark.parametrize("timeout", [None, 0.0])
def test_at_the_limit_of_descriptors_a_socket_object_needs_none(stream, null, timeout):
    left, right = stream
    left.settimeout(timeout)
    right.settimeout(timeout)
    fdsend.sendfds(left, b"1", fds=[null] * 3)
    with lowered(0):
        message, fds = fdsend.recvfds(right, 10)
        fdsend.sendfds(left, b"2")
        assert fdsend.recvfds(right, 10) == (b"2", ())
    with closing(*fds):
        assert message == b"1"


def test_a_fileno_that_is_no_int(stream):
    class Liar(object):
        def __init__(self, number):
            self.number = number

        def fileno(self):
            return self.number

    for wrong in (3.9, "3", None):
        with pytest.raises(TypeError):
            fdsend.sendfds(stream[0], b"x", fds=[Liar(wrong)])
    nothing_arrived(stream[1])
