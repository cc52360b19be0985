"""The contract of python-passfd, and its faults that must be gone."""

import errno
import os
import socket

import pytest
import six
from conftest import closing, raises_errno
from test_transfer import FORMS, is_close_on_exec, nothing_arrived, same_file

import fdpass
from fdpass.compat import passfd


@pytest.mark.parametrize("form", sorted(FORMS))
def test_a_descriptor_and_its_message(pair, form, pipe):
    left, right = (FORMS[form](sock) for sock in pair)
    assert passfd.sendfd(left, pipe[0], b"message") == 7
    fd, message = passfd.recvfd(right)
    with closing(fd):
        assert message == b"message"
        assert type(message) is bytes
        assert type(fd) is int
        assert same_file(fd, pipe[0])
        assert not is_close_on_exec(fd)


def test_how_much_is_received_unless_more_is_said(datagram, null):
    passfd.sendfd(datagram[0], null, b"x" * 4100)
    fd, message = passfd.recvfd(datagram[1])
    with closing(fd):
        assert len(message) == 4096


def test_every_name_is_a_keyword(stream, null):
    assert passfd.sendfd(sock=stream[0], fd=null, message=b"12345") == 5
    fd, message = passfd.recvfd(sock=stream[1], msg_buf=2)
    with closing(fd):
        assert message == b"12"


def test_the_message_that_goes_by_itself(stream):
    with open(os.devnull) as thing:
        assert passfd.sendfd(stream[0], thing) == 4
        fd, message = passfd.recvfd(stream[1])
        with closing(fd):
            assert message == b"NONE"
            assert same_file(fd, thing.fileno())


@pytest.mark.parametrize("empty", [b"", b"".decode(), bytearray()])
def test_an_empty_message_sends_nothing(pair, null, empty):
    pair[1].setblocking(False)
    assert passfd.sendfd(pair[0], null, empty) == 0
    nothing_arrived(pair[1])


def test_text(stream, null):
    text = b"caf\xc3\xa9".decode("utf-8")
    if six.PY2:
        with pytest.raises(UnicodeEncodeError):
            passfd.sendfd(stream[0], null, text)
        text = text[:3]
    assert passfd.sendfd(stream[0], null, text) == len(text.encode("utf-8"))
    fd, message = passfd.recvfd(stream[1])
    with closing(fd):
        assert message == text.encode("utf-8")


@pytest.mark.parametrize("wrong", [None, 1.5, "1", object()])
def test_what_a_descriptor_may_not_be(stream, null, wrong):
    for call in (
        lambda: passfd.sendfd(wrong, null),
        lambda: passfd.sendfd(stream[0], wrong),
        lambda: passfd.sendfd(stream[0], wrong, b""),
        lambda: passfd.recvfd(wrong),
    ):
        with pytest.raises(TypeError):
            call()
    nothing_arrived(stream[1])


@pytest.mark.parametrize("wrong", [None, 5, [b"x"]])
def test_what_a_message_may_not_be(stream, null, wrong):
    with pytest.raises(TypeError):
        passfd.sendfd(stream[0], null, wrong)
    nothing_arrived(stream[1])


def test_a_socket_of_another_family(null):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as (udp,):
        for call in (
            lambda: passfd.sendfd(udp, null),
            lambda: passfd.sendfd(udp.fileno(), null),
            lambda: passfd.recvfd(udp),
        ):
            with pytest.raises(ValueError):
                call()


def test_the_systems_errors_are_oserror_itself(stream, null):
    closed = os.dup(null)
    os.close(closed)
    gone = socket.socketpair()
    for sock in gone:
        sock.close()
    for call, number in (
        (lambda: passfd.sendfd(closed, null), errno.EBADF),
        (lambda: passfd.sendfd(-1, null), errno.EBADF),
        (lambda: passfd.sendfd(gone[0], null), errno.EBADF),
        (lambda: passfd.sendfd(stream[0], closed), errno.EBADF),
        (lambda: passfd.sendfd(stream[0], -1), errno.EBADF),
        (lambda: passfd.sendfd(stream[0], gone[0]), errno.EBADF),
        (lambda: passfd.sendfd(null, null), errno.ENOTSOCK),
        (lambda: passfd.recvfd(closed), errno.EBADF),
        (lambda: passfd.recvfd(-1), errno.EBADF),
        (lambda: passfd.recvfd(null), errno.ENOTSOCK),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number
        assert os.strerror(number) in str(caught.value)
    nothing_arrived(stream[1])


def test_nothing_there_is_eagain_at_once_whatever_the_timeout(pair):
    for timeout in (0.0, 30.0):
        pair[1].settimeout(timeout)
        with raises_errno(errno.EAGAIN, OSError):
            passfd.recvfd(pair[1])


@pytest.mark.parametrize("count", [0, 2, 3])
def test_anything_but_one_descriptor(pair, null, count):
    """The original leaked both where two came."""
    fdpass.send_fds(pair[0], b"x", [null] * count)
    with pytest.raises(RuntimeError):
        passfd.recvfd(pair[1])
    pair[1].setblocking(False)
    nothing_arrived(pair[1])


def test_the_end_of_a_stream(stream):
    stream[0].close()
    with pytest.raises(RuntimeError):
        passfd.recvfd(stream[1])
