"""Platforms that are not here, reached through the one seam: fdpass/_system.py.

A second copy of the package is loaded, with the names of its _system changed before the other
modules take them. What was never run for real is listed in the README.
"""

import errno
import importlib
import os
import platform
import socket
import struct
import subprocess
import sys
import threading

import pytest
import six
from conftest import child_environment, closing
from seam import copy_of_fdpass
from test_transfer import is_close_on_exec, mode, same_file

import fdpass


def test_without_an_atomic_close_on_exec(pair, null):
    mac = copy_of_fdpass(MSG_CMSG_CLOEXEC=0)
    fdpass.send_fds(pair[0], b"x", [null, null])
    received = mac.recv_fds(pair[1], 1, 2)
    with closing(*received.fds):
        assert all(map(is_close_on_exec, received.fds))
        assert received.flags == 0


def test_the_raw_call_without_an_atomic_close_on_exec(stream, null):
    mac = copy_of_fdpass(MSG_CMSG_CLOEXEC=0)
    fdpass.send_fds(stream[0], b"x", [null, null])
    _, ancdata, flags, _ = mac.recvmsg(stream[1], 1, 100)
    with closing(*struct.unpack("2i", ancdata[0][2])) as fds:
        assert all(map(is_close_on_exec, fds))
        assert flags == 0


def test_surplus_without_an_atomic_close_on_exec(stream, null):
    mac = copy_of_fdpass(MSG_CMSG_CLOEXEC=0)
    fdpass.send_fds(stream[0], b"x", [null, null])
    with pytest.raises(mac.TooManyFdsError):
        mac.recv_fds(stream[1], 1, 1)


def test_setting_close_on_exec_fails(stream, null):
    def failing(fd, inheritable):
        raise socket.error(errno.EIO, "no")

    mac = copy_of_fdpass(MSG_CMSG_CLOEXEC=0, set_inheritable=failing)
    for receive in (mac.recv_fds, mac.recvmsg):
        fdpass.send_fds(stream[0], b"x", [null, null])
        with pytest.raises(socket.error):
            receive(stream[1], 1, 100)


def dup_of(fd):
    return struct.pack("i", os.dup(fd))


def fake_receive(answer):
    """A receive whose control messages are made of real descriptors."""

    def receive(sock, bufsize, flags):
        return answer

    return receive


def test_a_control_message_cut_in_the_middle_of_a_descriptor(null):
    # macOS gives what fits, the last int cut.
    ancdata = [(socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null) + b"\1\0")]
    mac = copy_of_fdpass(receive=fake_receive((None, b"x", ancdata, fdpass.MSG_CTRUNC, None)))
    with pytest.raises(mac.LostFdsError) as caught:
        mac.recv_fds(0, 1, 5)
    assert caught.value.received == 1


def test_descriptors_in_more_than_one_control_message(null):
    ancdata = [
        (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null)),
        (socket.IPPROTO_IP, fdpass.SCM_RIGHTS, b"\377\377\377\377"),
        (socket.SOL_SOCKET, 0x7777, b"not a descriptor"),
        (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null) + dup_of(null)),
        (socket.SOL_SOCKET, 4, dup_of(null)),  # SCM_PIDFD
        (socket.SOL_SOCKET, 4, struct.pack("i", -24)),
    ]
    other = copy_of_fdpass(receive=fake_receive((None, b"x", ancdata, 0, None)))
    received = other.recv_fds(0, 1, 3)
    with closing(*received.fds):
        assert len(received.fds) == 3
        assert all(same_file(fd, null) for fd in received.fds)


def test_the_first_of_two_errors_counts(null):
    ancdata = [(socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null))]

    def failing(ancdata):
        raise MemoryError

    other = copy_of_fdpass(receive=fake_receive((None, b"x", ancdata, 0, None)))
    transfer = sys.modules[other.__name__ + "._transfer"]
    real = transfer.descriptors_in
    answers = [failing, real]
    transfer.descriptors_in = lambda ancdata: answers.pop(0)(ancdata)
    with pytest.raises(MemoryError):
        other.recv_fds(0, 1, 3)


def test_where_there_is_no_pidfd(null):
    other = copy_of_fdpass(SCM_PIDFD=None)
    control = sys.modules[other.__name__ + "._control"]
    assert control.descriptors_in([(socket.SOL_SOCKET, 4, b"\1\0\0\0")]) == ([], [])


def test_closing_goes_on_after_an_error(null):
    system = sys.modules["fdpass._system"]
    fds = [os.dup(null), 1 << 20, os.dup(null)]
    system.close_all(fds)
    assert fds == []


def test_closing_goes_on_after_an_exception_from_elsewhere(null, monkeypatch):
    system = sys.modules["fdpass._system"]
    close, calls = os.close, []

    def interrupted(fd):
        close(fd)
        calls.append(fd)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        system.close_all([os.dup(null), os.dup(null), os.dup(null)])
    assert len(calls) == 3


NO_DOMAIN = {"SO_DOMAIN": None}
not_told_on_pypy3 = pytest.mark.skipif(
    six.PY3 and hasattr(sys, "pypy_version_info"), reason="PyPy 3 has no family without SO_DOMAIN"
)


@not_told_on_pypy3
@pytest.mark.parametrize(
    "family, kind",
    [
        ("AF_UNIX", "SOCK_STREAM"),
        ("AF_UNIX", "SOCK_DGRAM"),
        ("AF_INET", "SOCK_STREAM"),
        ("AF_INET", "SOCK_DGRAM"),
        ("AF_INET6", "SOCK_STREAM"),
    ],
)
def test_the_family_without_so_domain(family, kind):
    mac = copy_of_fdpass(here=dict(NO_DOMAIN, SO_PROTOCOL=None))
    with closing(socket.socket(getattr(socket, family), getattr(socket, kind))) as (sock,):
        with closing(mac.socket_from_fd(sock.fileno(), dup=True)) as (found,):
            assert (found.family, found.type, found.proto) == (sock.family, sock.type, 0)
        with closing(mac.socket_from_fd(sock.fileno(), proto=6, dup=True)) as (found,):
            assert found.proto == 6


@not_told_on_pypy3
def test_a_bound_unix_socket_without_so_domain(tmpdir, null):
    mac = copy_of_fdpass(here=NO_DOMAIN)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (sock,):
        sock.bind(str(tmpdir.join("sock")))
        sock.connect(str(tmpdir.join("sock")))
        mac.send_fds(sock.fileno(), b"x", [null])
        with closing(*mac.recv_fds(sock.fileno(), 1, 1).fds) as fds:
            assert same_file(fds[0], null)


def test_what_is_no_socket_without_so_domain(null):
    mac = copy_of_fdpass(here=NO_DOMAIN)
    with pytest.raises(socket.error) as caught:
        mac.socket_from_fd(null)
    assert caught.value.errno == errno.ENOTSOCK


def test_a_family_that_nothing_tells():
    unknown = copy_of_fdpass(facts_of=lambda fd: (None, socket.SOCK_STREAM, None, True))
    with closing(socket.socket()) as (sock,):
        with pytest.raises(ValueError, match="family: give it"):
            unknown.socket_from_fd(sock.fileno(), dup=True)
        with closing(unknown.socket_from_fd(sock.fileno(), socket.AF_INET, dup=True)) as (found,):
            assert found.family == socket.AF_INET


@pytest.mark.skipif(six.PY2, reason="the binding has the family from getsockname itself")
def test_a_family_that_its_own_address_does_not_tell():
    mac = copy_of_fdpass(here=NO_DOMAIN)
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)) as (sock,):
        with pytest.raises(ValueError, match="family: give it"):
            mac.socket_from_fd(sock.fileno(), dup=True)


@pytest.mark.parametrize("default", [None, 0.0, 5.0])
@pytest.mark.parametrize("blocking", [True, False])
def test_the_mode_without_sock_nonblock(stream, default, blocking):
    changes = {} if six.PY2 else {"SOCK_NONBLOCK": None}
    mac = copy_of_fdpass(here=changes, TYPE_BITS=0)
    stream[0].setblocking(blocking)
    before = mode(stream[0].fileno())
    number = os.dup(stream[0].fileno())
    socket.setdefaulttimeout(default)
    try:
        with closing(mac.socket_from_fd(number)) as (sock,):
            assert sock.gettimeout() == (None if blocking else 0.0)
            assert mode(stream[0].fileno()) == mode(sock.fileno()) == before
            assert is_close_on_exec(sock.fileno())
            assert same_file(sock.fileno(), stream[0].fileno())
    finally:
        socket.setdefaulttimeout(None)


# The peer's credentials elsewhere, from the structures in their manuals


def on_bsd(monkeypatch, name, options):
    def getsockopt(sock, level, option, size=0):
        if level == socket.SOL_SOCKET:
            return 0
        value = options[level, option]
        return value[:size] if size else value

    monkeypatch.setattr(sys, "platform", name)
    return copy_of_fdpass(getsockopt=getsockopt)


def xucred(uid, gid, tail=b""):
    # struct xucred of unix(4): version, uid, count and 16 groups, padding; FreeBSD 13 adds the pid.
    return struct.pack("=IIhxx16I", 0, uid, 1, gid, *[0] * 15) + tail


def test_the_peer_on_freebsd(monkeypatch, stream):
    for tail, pid in (
        (b"", None),
        (struct.pack("=4xi4x", 77), 77),
        (struct.pack("=4xi4x", 0), None),
    ):
        bsd = on_bsd(monkeypatch, "freebsd14", {(0, 1): xucred(1001, 20, tail)})
        assert bsd.peer_credentials(stream[0]) == (pid, 1001, 20)


def test_the_peer_on_macos(monkeypatch, stream):
    mac = on_bsd(monkeypatch, "darwin", {(0, 1): xucred(501, 20), (0, 2): 88})
    assert mac.peer_credentials(stream[0]) == (88, 501, 20)


def test_the_peer_on_a_system_that_fdpass_does_not_know(monkeypatch, stream):
    other = on_bsd(monkeypatch, "plan9", {})
    with pytest.raises(socket.error, match="does not know how") as caught:
        other.peer_credentials(stream[0])
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_peer_that_another_pid_namespace_hides(stream):
    system = sys.modules["fdpass._system"]
    hidden = copy_of_fdpass(peer_of=lambda sock: (0,) + system.peer_of(sock)[1:])
    assert hidden.peer_credentials(stream[0]) == (None, os.getuid(), os.getgid())


# Where descriptors cannot be passed at all


@pytest.mark.parametrize(
    "missing, said", [("AF_UNIX", "Unix domain sockets"), ("SCM_RIGHTS", "SCM_RIGHTS")]
)
def test_the_import_says_what_is_missing(missing, said):
    program = (
        "import sys, socket; sys.path.insert(0, %r)\n"
        "for name in ('AF_UNIX', 'SCM_RIGHTS'):\n"
        "    if name == %r and hasattr(socket, name): delattr(socket, name)\n"
        "if %r == 'SCM_RIGHTS' and sys.version_info[0] == 2:\n"
        "    print('with SCM_RIGHTS, which this')\n"
        "    sys.exit()\n"
        "try:\n"
        "    import fdpass\n"
        "except ImportError as error:\n"
        "    print(error)\n"
        % (os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__))), missing, missing)
    )
    told = subprocess.check_output([sys.executable, "-c", program]).decode()
    assert said in told
    assert told.count("\n") == 1


def test_signals_where_the_interpreter_does_not_retry(stream):
    """Python 3.4, before PEP 475, and PyPy: their calls are made again here."""
    if six.PY2:
        return
    patient = importlib.import_module("fdpass._python3_retry").patient
    left, right = stream

    class Interrupted(object):
        timeout = 30.0
        calls = 0

        def gettimeout(self):
            return self.timeout

        def fileno(self):
            return right.fileno()

    sock = Interrupted()

    def call(given, *arguments):
        assert given is sock
        sock.calls += 1
        if sock.calls < 3:
            raise InterruptedError(errno.EINTR, "signal")
        return arguments

    def not_ready(given):
        sock.calls += 1
        raise BlockingIOError(errno.EAGAIN, "not ready")

    left.send(b"x")
    again = patient(call, 1)
    assert again(sock, "argument") == ("argument",)
    sock.timeout, sock.calls = None, 0
    assert again(sock) == ()
    for timeout in (None, 0.0):
        sock.timeout, sock.calls = timeout, 0
        with pytest.raises(BlockingIOError):
            patient(not_ready, 1)(sock)
        assert sock.calls == 1
    sock.timeout, sock.calls = 0.05, 0
    with pytest.raises(socket.timeout):
        patient(not_ready, 1)(sock)
    assert sock.calls > 1
    right.recv(1)
    with pytest.raises(socket.timeout):
        again(sock)
    number, seen = right.fileno(), []

    def of_a_number(given):
        seen.append(given)
        if len(seen) < 2:
            raise InterruptedError(errno.EINTR, "signal")

    patient(of_a_number, 1)(number)
    assert seen == [number, number]


def test_a_bare_descriptor_for_which_no_number_is_left(stream):
    """Python 3.4, and PyPy: the socket object itself is used then."""
    if six.PY2:
        return
    patient = importlib.import_module("fdpass._python3_retry").patient
    stream[0].settimeout(30)
    given = []

    def call(sock, number):
        given.append(sock)
        if sock == stream[0].fileno():
            raise OSError(number, "no number")
        return "sent"

    for number in (errno.EMFILE, errno.ENFILE):
        assert patient(call, 4)(stream[0], number) == "sent"
    assert given == [stream[0].fileno(), stream[0]] * 2
    with pytest.raises(OSError) as caught:
        patient(call, 4)(stream[0], errno.EPIPE)
    assert caught.value.errno == errno.EPIPE


def test_a_bare_descriptor_where_the_constructor_sets_the_mode(stream, null):
    """PyPy 3, and systems without SOCK_NONBLOCK: one that blocks is waited for, as in the call."""
    if six.PY2:
        return
    mac = copy_of_fdpass(here={"QUIET": 0})
    left, right = (sock.fileno() for sock in stream)
    late = threading.Timer(0.05, mac.send_fds, (left, b"x", [null]))
    late.start()
    with closing(*mac.recv_fds(right, 1, 1).fds) as fds:
        assert len(fds) == 1
    late.join()
    with closing(sys.modules[mac.__name__ + "._python3"].borrowed(socket.AF_UNIX, left)) as (own,):
        assert own.gettimeout() == 0 and not os.get_inheritable(own.fileno())
    assert os.get_blocking(left)
    closed = os.dup(left)
    os.close(closed)
    for call in (lambda: mac.send_fds(closed, b"x", []), lambda: mac.recv_fds(closed, 1, 1)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_socket_module_without_what_macos_lacks():
    if six.PY2:
        return  # its constants are the binding's
    program = """
import os, socket
for name in ("MSG_CMSG_CLOEXEC", "MSG_NOSIGNAL", "SOCK_CLOEXEC", "SOCK_NONBLOCK"):
    if hasattr(socket, name):
        delattr(socket, name)
import fdpass
from fdpass import _system
assert (fdpass.MSG_CMSG_CLOEXEC, _system.MSG_NOSIGNAL, _system.TYPE_BITS) == (0, 0, 0)
left, right = socket.socketpair()
fdpass.send_fds(left, b"x", [left])
received = fdpass.recv_fds(right, 1, 1)
assert (received.data, received.flags) == (b"x", 0)
with fdpass.socket_from_fd(received.fds[0]) as made, left, right:
    assert not made.get_inheritable() and made.type == socket.SOCK_STREAM
"""
    command = [sys.executable, "-W", "error", "-c", program]
    subprocess.check_call(command, env=child_environment())


@pytest.mark.parametrize("version", [(3, 4, 10), (3, 5, 0), (3, 6, 15), (3, 7, 0), (3, 15, 0)])
def test_what_an_old_python_needs(stream, monkeypatch, version):
    """Up to 3.6 a socket's type has SOCK_NONBLOCK in it, and before 3.5 a signal ends a call."""
    if six.PY2:
        return
    monkeypatch.setattr(sys, "version_info", version)
    old = copy_of_fdpass()
    with closing(old.socket_from_fd(stream[0], dup=True)) as (made,):
        own = version < (3, 7) and hasattr(socket, "SOCK_NONBLOCK")
        assert (type(made) is not socket.socket) == own
        assert (made.type, made.family) == (socket.SOCK_STREAM, socket.AF_UNIX)
        assert type(made.type) is type(socket.SOCK_STREAM)
    side = sys.modules[old.__name__ + "._python3"]
    waits = platform.python_implementation() != "CPython" or version < (3, 5)
    assert (side.recvmsg.__name__ == side.sendmsg.__name__ == "again") == waits


def test_a_constant_that_the_system_lacks():
    if six.PY2:
        assert sys.modules["fdpass._python2"].constant("SO_NO_SUCH_THING") is None


def test_waiting_again_is_under_the_first_deadline(stream, monkeypatch):
    """Where there is something, and another has taken it when it is asked for."""
    if six.PY3:
        return
    deadlines = []

    def nothing_there(fd, event, deadline, now):
        deadlines.append(deadline)
        if len(deadlines) == 3:
            raise socket.timeout("timed out")

    monkeypatch.setattr(sys.modules["fdpass._python2"], "wait", nothing_there)
    stream[1].settimeout(5)
    with pytest.raises(socket.timeout):
        fdpass.recvmsg(stream[1], 1)
    assert len(deadlines) == 3 and len(set(deadlines)) == 1


def test_who_waits():
    """CPython's own calls do, since 3.5; not even a function of ours stands between."""
    if six.PY2:
        return
    python3 = sys.modules["fdpass._python3"]
    own = platform.python_implementation() == "CPython"
    for call in (python3.sendmsg, python3.recvmsg):
        assert (call.__name__ != "again") == own


def test_the_usual_message_takes_the_short_way(stream, null, monkeypatch):
    with closing(fdpass.Channel(stream[0]), fdpass.Channel(stream[1])) as (left, right):
        monkeypatch.setattr(fdpass._transfer, "judged", None)
        left.send(b"x", [null])
        with right.recv() as message:
            assert (message.data, len(message.fds)) == (b"x", 1)


def test_the_usual_call_takes_the_short_way_on_python_2(stream, null):
    """Where there is no other, and with memory that serves again."""
    if six.PY3:
        return

    def never(*arguments):
        raise AssertionError("the long way")

    usual, received = sys.modules["fdpass._python2_fast"], fdpass._transfer.Received
    del usual.spare[:]
    send = usual.sender(never, never)
    recv = usual.receiver(never, never, received, fdpass.MSG_CMSG_CLOEXEC, never)
    with closing(socket.socket()) as (passed,):
        for thing in (null, passed, 0):
            for flags in (0, socket.MSG_DONTWAIT):
                for size in (1, usual.DATA_ROOM):
                    assert send(stream[0], b"x", [thing], flags) == 1
                    message = recv(stream[1], size, 1, flags)
                    with closing(*message.fds):
                        assert (message.data, len(message.fds)) == (b"x", 1)
                    assert len(usual.spare) == 1
    stream[0].send(b"x")
    assert recv(stream[1], 1, 0) == (b"x", [], 0, None)
