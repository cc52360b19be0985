"""rights and fds_from_ancdata, for programs that call sendmsg and recvmsg themselves."""

import errno
import fcntl
import itertools
import os
import socket
import struct

import pytest
import six
from conftest import closing, open_descriptors, raises_errno
from test_signals import interrupted_at_every_line
from test_tls import wrap
from test_transfer import is_close_on_exec, same_file

import fdpass

RIGHTS = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS)
ROOM = fdpass.CMSG_SPACE(4 * fdpass.MAX_FDS)


def own_send(sock, ancdata):
    """Send one byte as programs do that know nothing of fdpass."""
    return sock.sendmsg([b"x"], ancdata) if six.PY3 else fdpass.sendmsg(sock, [b"x"], ancdata)


def own_receive(sock, room=ROOM):
    """Return (ancdata, flags). On Python 3 the descriptors are inheritable."""
    received = sock.recvmsg(1, room) if six.PY3 else fdpass.recvmsg(sock, 1, room)
    return received[1], received[2]


def passing(*fds):
    """Return a control message with duplicates of these descriptors."""
    return RIGHTS + (struct.pack("%di" % len(fds), *map(os.dup, fds)),)


@pytest.mark.parametrize("count", [0, 1, 2, 253])
def test_both_ways(stream, pipe, count):
    given = (pipe * count)[:count]
    ancdata = fdpass.rights(given)
    assert [item[:2] for item in ancdata] == ([RIGHTS] if count else [])
    assert all(type(item[2]) is bytes for item in ancdata)
    own_send(stream[0], ancdata)
    received, flags = own_receive(stream[1])
    with closing(*fdpass.fds_from_ancdata(received, flags, count)) as fds:
        assert len(fds) == count
        assert all(map(is_close_on_exec, fds))
        assert all(same_file(*ends) for ends in zip(fds, given))


@pytest.mark.parametrize("flag", [0, fdpass.MSG_CMSG_CLOEXEC])
def test_descriptors_are_close_on_exec_whatever_recvmsg_was_told(null, flag):
    message = passing(null)
    (fd,) = struct.unpack("i", message[2])
    fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC if flag else 0)
    with closing(*fdpass.fds_from_ancdata([message], flag)) as fds:
        assert is_close_on_exec(fds[0])


def test_what_fds_may_be(stream, null):
    owner = fdpass.FileDescriptor(os.dup(null))
    with owner:
        ((_, _, content),) = fdpass.rights(iter([stream[0], owner, 0]))
        assert struct.unpack("3i", content) == (stream[0].fileno(), owner.fileno(), 0)
    with closing(wrap(stream[0])) as (tls,):
        for wrong in ([True], ["0"], [1.0], b"\0", 0, [tls], None):
            with pytest.raises(TypeError):
                fdpass.rights(wrong)
    for wrong in ([-1], [1 << 31], [0] * 254, itertools.repeat(0), [owner]):
        with pytest.raises(ValueError):
            fdpass.rights(wrong)
    closed = socket.socket()
    closed.close()
    with pytest.raises(socket.error) as caught:
        fdpass.rights([closed])
    assert caught.value.errno == errno.EBADF


def test_surplus_is_closed(stream, null):
    own_send(stream[0], fdpass.rights([null] * 3))
    ancdata, flags = own_receive(stream[1])
    with pytest.raises(fdpass.TooManyFdsError, match="3 descriptors arrived where at most 2") as e:
        fdpass.fds_from_ancdata(ancdata, flags, 2)
    assert (e.value.received, e.value.data, e.value.flags) == (3, b"", 0)


@pytest.mark.parametrize("room", [0, fdpass.CMSG_SPACE(4), fdpass.CMSG_SPACE(8)])
def test_a_cut_message_is_closed(stream, null, room):
    own_send(stream[0], fdpass.rights([null] * 5))
    ancdata, flags = own_receive(stream[1], room)
    with pytest.raises(fdpass.LostFdsError, match="too little room") as caught:
        fdpass.fds_from_ancdata(ancdata, flags)
    arrived = sum(len(content) // 4 for _, _, content in ancdata)
    assert (caught.value.received, caught.value.flags) == (arrived, fdpass.MSG_CTRUNC)


def test_a_negative_descriptor(null):
    """No kernel sends a negative descriptor. The other descriptors are closed."""
    with raises_errno(errno.EBADF):
        fdpass.fds_from_ancdata([passing(null), RIGHTS + (b"\xff" * 4,)])


def test_a_maxfds_beyond_all_descriptors(null):
    with closing(*fdpass.fds_from_ancdata([passing(null)], maxfds=1 << 100)) as fds:
        assert len(fds) == 1


def test_other_control_messages_are_skipped_and_pidfds_are_closed(null):
    pidfd = (socket.SOL_SOCKET, fdpass.SCM_PIDFD, passing(null)[2])
    ancdata = [
        (socket.SOL_SOCKET, fdpass.SCM_CREDENTIALS, struct.pack("iII", 1, 2, 3)),
        pidfd,
        passing(null),
        (socket.IPPROTO_IP, fdpass.SCM_RIGHTS, struct.pack("i", null)),
        passing(null, null),
        (socket.SOL_SOCKET, fdpass.SCM_PIDFD, struct.pack("i", -24)),  # at the limit: an errno
    ]
    with closing(*fdpass.fds_from_ancdata(iter(ancdata), maxfds=3)) as fds:
        assert len(fds) == 3
    with pytest.raises(OSError):
        os.fstat(struct.unpack("i", pidfd[2])[0])


@pytest.mark.parametrize("form", [bytes, bytearray, memoryview])
def test_the_content_may_be_any_bytes(null, form):
    level, kind, content = passing(null, null)
    with closing(*fdpass.fds_from_ancdata([(level, kind, form(content))])) as fds:
        assert all(same_file(fd, null) for fd in fds)


def test_one_that_is_not_open(null):
    closed = os.dup(null)
    os.close(closed)
    message = passing(null)
    ancdata = [message, RIGHTS + (struct.pack("i", 1 << 20),)]
    with pytest.raises(EnvironmentError) as caught:
        fdpass.fds_from_ancdata(ancdata)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError):
        os.fstat(struct.unpack("i", message[2])[0])


def test_a_wrong_argument_closes_nothing(null):
    message = passing(null)
    with closing(*struct.unpack("i", message[2])) as (fd,):
        wrong = [(5,), ([5],), ([message, (1, 1, None)],), ([message], "0"), ([message], 0, "1")]
        for given in wrong:
            with pytest.raises(TypeError):
                fdpass.fds_from_ancdata(*given)
        for given in (([message], 1 << 40), ([message], 0, -1)):
            with pytest.raises(ValueError):
                fdpass.fds_from_ancdata(*given)
        assert same_file(fd, null)


def test_an_interrupt_leaves_all_open_or_none(null, untraced):
    """All, if it comes before fds_from_ancdata has looked at its arguments."""
    messages, before = [], open_descriptors()

    def prepare():
        messages.append(passing(null, null))
        return ([messages[-1]],)

    for fds in interrupted_at_every_line(fdpass.fds_from_ancdata, prepare=prepare):
        left = set(open_descriptors()) - set(before)
        assert left in (set(), set(struct.unpack("2i", messages[-1][2])))
        assert not fds or set(fds) == left
        for fd in left:
            os.close(fd)
