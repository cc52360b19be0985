"""Platforms that are not here, reached through the one seam: fdpass/_system.py.

A second copy of the package is loaded, with the names of its _system changed before the other
modules take them. What was never run for real is listed in the README.
"""

import _socket
import errno
import fcntl
import importlib
import os
import platform
import re
import socket
import struct
import sys
import threading

import inside
import pytest
import six
from conftest import closing, lowered, raises_errno
from seam import copy_of_fdpass, fixed_peer
from test_transfer import is_close_on_exec, mode, same_file

import fdpass

PYPY = platform.python_implementation() != "CPython"
of_python3 = pytest.mark.skipif(six.PY2, reason="what is looked at is Python 3's side")


@pytest.fixture
def mac(monkeypatch):
    """fdpass where the socket module, or on Python 2 the binding, lacks what it lacks on macOS."""
    for name in ("MSG_CMSG_CLOEXEC", "MSG_NOSIGNAL", "SOCK_CLOEXEC", "SOCK_NONBLOCK"):
        monkeypatch.delattr(socket, name, raising=False)
    changes = {"MSG_CMSG_CLOEXEC": 0, "MSG_NOSIGNAL": 0, "TYPE_BITS": 0}
    return copy_of_fdpass(**(changes if six.PY2 else {}))


def test_without_an_atomic_close_on_exec(mac, pair, null):
    assert (mac.MSG_CMSG_CLOEXEC, mac.MSG_NOSIGNAL) == (0, 0)
    fdpass.send_fds(pair[0], b"x", [null, null])
    received = mac.recv_fds(pair[1], 1, 2)
    with closing(*received.fds):
        assert all(map(is_close_on_exec, received.fds))
        assert received.flags == 0


def test_without_msg_nosignal_the_sockets_of_fdpass_have_an_option(path):
    """macOS: fdpass sets SO_NOSIGPIPE on the sockets that it makes. SO_KEEPALIVE stands in here."""
    mac = copy_of_fdpass(MSG_NOSIGNAL=0, SO_NOSIGPIPE=socket.SO_KEEPALIVE)
    given, other = socket.socketpair()
    with closing(other, mac.Channel(given), mac.Listener(path)) as (_, on_given, listener):
        client = mac.Channel.connect(path)
        with closing(client, listener.accept(), *mac.Channel.pair()) as made:
            assert [has_keepalive(channel) for channel in made] == [1, 1, 1, 1]
            assert not has_keepalive(on_given)  # another process may hold this socket too


def has_keepalive(sock):
    with closing(fdpass.socket_from_fd(sock, dup=True)) as (made,):
        return made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_the_raw_call_without_an_atomic_close_on_exec(mac, stream, null):
    fdpass.send_fds(stream[0], b"x", [null, null])
    _, ancdata, flags, _ = mac.recvmsg(stream[1], 1, 100)
    with closing(*struct.unpack("2i", ancdata[0][2])) as fds:
        assert all(map(is_close_on_exec, fds))
        assert flags == 0


def test_surplus_without_an_atomic_close_on_exec(mac, stream, null):
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


def receiving(*ancdata, **changes):
    """fdpass where the system gives these control messages."""
    flags = changes.pop("flags", 0)
    return copy_of_fdpass(receive=lambda *given: (None, b"x", ancdata, flags, None), **changes)


def test_a_control_message_cut_in_the_middle_of_a_descriptor(null):
    # macOS gives what fits, the last int cut.
    content = dup_of(null) + b"\1\0"
    mac = receiving((socket.SOL_SOCKET, fdpass.SCM_RIGHTS, content), flags=fdpass.MSG_CTRUNC)
    with pytest.raises(mac.LostFdsError) as caught:
        mac.recv_fds(0, 1, 5)
    assert caught.value.received == 1


def test_descriptors_in_more_than_one_control_message(null):
    other = receiving(
        (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null)),
        (socket.IPPROTO_IP, fdpass.SCM_RIGHTS, b"\377\377\377\377"),
        (socket.SOL_SOCKET, 0x7777, b"not a descriptor"),
        (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null) + dup_of(null)),
        (socket.SOL_SOCKET, 4, dup_of(null)),  # SCM_PIDFD
        (socket.SOL_SOCKET, 4, struct.pack("i", -24)),
    )
    received = other.recv_fds(0, 1, 3)
    with closing(*received.fds):
        assert len(received.fds) == 3
        assert all(same_file(fd, null) for fd in received.fds)


def test_the_first_of_two_errors_counts(null):
    failed = []

    def ints(content):
        if not failed:
            failed.append(content)
            raise MemoryError
        return inside.system.ints_in(content)

    other = receiving((socket.SOL_SOCKET, fdpass.SCM_RIGHTS, dup_of(null)), ints_in=ints)
    with pytest.raises(MemoryError):
        other.recv_fds(0, 1, 3)


def test_where_there_is_no_pidfd():
    other = receiving((socket.SOL_SOCKET, 4, struct.pack("i", 1)), SCM_PIDFD=None)
    assert other.recv_fds(0, 1, 3).fds == []
    os.fstat(1)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "lost"), KeyboardInterrupt()], ids=repr)
def test_closing_goes_on_after_an_error(stream, null, monkeypatch, error):
    """That of close(2) is not told: the descriptor is gone all the same."""
    close, closed = os.close, []

    def failing(fd):
        close(fd)
        closed.append(fd)
        if len(closed) == 1:
            raise error

    fdpass.send_fds(stream[0], b"x", [null] * 3)
    monkeypatch.setattr(os, "close", failing)
    told = fdpass.TooManyFdsError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(told):
        fdpass.recv_fds(stream[1], 1, 1)
    assert len(set(closed)) == len(closed) == 3


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
    for call in (mac.socket_from_fd, lambda fd: mac.send_fds(fd, b"x", [fd])):
        with raises_errno(errno.ENOTSOCK):
            call(null)


@of_python3
def test_a_family_that_pypy_does_not_tell(stream):
    """Without SO_DOMAIN, PyPy reads the address by the family that it should find."""
    pypy = copy_of_fdpass(here=dict(NO_DOMAIN, IS_CPYTHON=False))
    with pytest.raises(ValueError, match="family: give it"):
        pypy.socket_from_fd(stream[0], dup=True)


def test_a_family_that_nothing_tells():
    unknown = copy_of_fdpass(facts_of=lambda fd: (None, socket.SOCK_STREAM, None, True))
    with closing(socket.socket()) as (sock,):
        with pytest.raises(ValueError, match="family: give it"):
            unknown.socket_from_fd(sock.fileno(), dup=True)
        with closing(unknown.socket_from_fd(sock.fileno(), socket.AF_INET, dup=True)) as (found,):
            assert found.family == socket.AF_INET


@of_python3
def test_a_family_that_its_own_address_does_not_tell():
    mac = copy_of_fdpass(here=NO_DOMAIN)
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)) as (sock,):
        with pytest.raises(ValueError, match="family: give it"):
            mac.socket_from_fd(sock.fileno(), dup=True)


@pytest.mark.parametrize("default", [None, 0.0, 5.0])
@pytest.mark.parametrize("blocking", [True, False])
def test_the_mode_without_sock_nonblock(mac, stream, default, blocking):
    stream[0].setblocking(blocking)
    before = mode(stream[0].fileno())
    number = os.dup(stream[0].fileno())
    socket.setdefaulttimeout(default)
    try:
        with closing(mac.socket_from_fd(number)) as (sock,):
            assert sock.gettimeout() == (None if blocking else 0.0)
            assert sock.type == socket.SOCK_STREAM or not blocking
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
        sock.getpeername()  # raises ENOTCONN, as LOCAL_PEERCRED does
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
    hidden = copy_of_fdpass(peer_of=fixed_peer(0, 1, 2))
    assert hidden.peer_credentials(stream[0]) == (None, 1, 2)


@pytest.mark.rule(24)
def test_a_kernel_that_invents_peers(stream):
    """gVisor names a peer even for a socket that was never connected. fdpass asks for it once."""
    asked = []

    def invent(sock):
        asked.append(sock)
        return os.getpid(), os.getuid(), os.getgid()

    gvisor = copy_of_fdpass(peer_of=invent)
    for _ in range(2):
        with raises_errno(errno.EOPNOTSUPP):
            gvisor.peer_credentials(stream[0])
    assert len(asked) == 3


@pytest.mark.rule(24)
def test_the_peer_at_the_limit_of_descriptors(stream):
    """The package found out at its import whether the kernel invents peers."""
    linux = copy_of_fdpass()
    with lowered(0):
        assert linux.peer_credentials(stream[0]).pid == os.getpid()


# Errors of sendmsg that mean something else on another system


def with_errors(number, count, **changes):
    """Load an fdpass whose first count calls that send descriptors fail with this errno."""
    errors = [number] * count

    def send_rights(*given):
        if errors:
            error_number = errors.pop()
            raise socket.error(error_number, os.strerror(error_number))
        return inside.system.send_rights(*given)

    return copy_of_fdpass(send_rights=send_rights, MSG_NOSIGNAL=0, **changes)


def without_room(count):
    """Load an fdpass on macOS, where a stream has no room for descriptors in the first calls."""
    return with_errors(errno.EMSGSIZE, count, EMSGSIZE_MEANS_NO_ROOM=True)


def arrives(sock, null):
    received = fdpass.recv_fds(sock, 10, 2)
    with closing(*received.fds):
        return received.data == b"x" and [same_file(fd, null) for fd in received.fds] == [True]


@pytest.mark.rule(25)
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("call", ["send_fds", "sendall_fds", "by descriptor"])
def test_no_room_on_macos(stream, null, timeout, call):
    left, right = stream
    mac = without_room(3)
    left.settimeout(timeout)
    if call == "by descriptor":
        left.settimeout(None)
        assert mac.send_fds(left.fileno(), b"x", [null]) == 1
    else:
        assert getattr(mac, call)(left, b"x", [null]) in (1, None)
    assert arrives(right, null)


@pytest.mark.rule(25)
def test_no_room_for_a_channel_on_macos(null):
    with closing(*without_room(3).Channel.pair()) as (left, right):
        left.send(b"x", [null])
        with right.recv() as message:
            assert message.data == b"x" and same_file(message.fds[0].fileno(), null)


@pytest.mark.rule(25)
def test_no_room_on_macos_until_the_timeout(stream, null):
    mac = without_room(1000)
    stream[0].settimeout(0.03)
    for call in (mac.send_fds, mac.sendall_fds):
        with pytest.raises(socket.timeout):
            call(stream[0], b"x", [null])


@pytest.mark.rule(25)
def test_no_room_on_macos_without_waiting(stream, null):
    mac = without_room(1000)
    with raises_errno(errno.EAGAIN):
        mac.send_fds(stream[0], b"x", [null], socket.MSG_DONTWAIT)
    stream[0].settimeout(0)
    for sock in (stream[0], stream[0].fileno()):
        with raises_errno(errno.EAGAIN):
            mac.send_fds(sock, b"x", [null])


@pytest.mark.rule(25)
def test_a_datagram_that_is_too_long_for_macos(null):
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(*ends), raises_errno(errno.EMSGSIZE):
        without_room(1).send_fds(ends[0], b"x", [null])


@pytest.mark.rule(25)
@pytest.mark.parametrize("count, told", [(252, False), (253, True)])
def test_too_many_for_an_old_musl(stream, null, count, told):
    musl = with_errors(errno.ENOMEM, 2)
    with raises_errno(errno.ENOMEM) as caught:
        musl.send_fds(stream[0], b"x", [null] * count)
    assert ("musl before 1.2.5 takes at most 252" in str(caught.value)) == told
    assert ("fds" in str(caught.value)) == told
    with closing(*musl.Channel.pair()) as (channel, _), raises_errno(errno.ENOMEM) as caught:
        channel.send(b"x", [null] * count)
    assert ("musl before 1.2.5 takes at most 252" in str(caught.value)) == told


# Where descriptors cannot be passed at all


@pytest.mark.parametrize(
    "missing, said", [("AF_UNIX", "Unix domain sockets"), ("SCM_RIGHTS", "SCM_RIGHTS")]
)
def test_the_import_says_what_is_missing(monkeypatch, missing, said):
    def constant(name):
        return None if name == missing else inside.system.constant(name)

    if missing == "AF_UNIX":
        monkeypatch.delattr(socket, missing)
    with pytest.raises(ImportError, match=said + ".*, which this Python or system lacks"):
        copy_of_fdpass(here=None if missing == "AF_UNIX" else {"constant": constant})


def test_a_constant_that_the_system_lacks():
    assert inside.system.constant("SO_NO_SUCH_THING") is None


# Other versions of Python 3


class Failing(object):
    """A socket object whose recvmsg raises these errors before it receives."""

    def __init__(self, sock, errors):
        self.sock, self.errors, self.calls = sock, iter(errors), 0

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def recvmsg(self, *given):
        self.calls += 1
        for error in self.errors:
            raise error
        return self.sock.recvmsg(*given)


@pytest.fixture
def python33(monkeypatch):
    """fdpass where Python lacks what 3.3 lacks; 3.4 and 3.5 lack a part of it."""
    dup2 = os.dup2
    monkeypatch.setattr(sys, "version_info", (3, 3, 7))
    monkeypatch.setattr(os, "dup2", lambda fd, target: dup2(fd, target))
    monkeypatch.delattr(fcntl, "F_DUPFD_CLOEXEC", raising=False)
    monkeypatch.delattr(socket, "SO_DOMAIN", raising=False)
    monkeypatch.delattr(socket, "SO_PROTOCOL", raising=False)
    return copy_of_fdpass


def check_calls(old, stream, null):
    """Pass descriptors, take bare ones and duplicate, with everything close-on-exec."""
    left, right = (sock.fileno() for sock in stream)
    old.sendall_fds(left, [memoryview(b"x")] * 5000, [null])
    received = old.recv_fds(right, 5000, 1)
    assert received.data == b"x" * len(received.data)
    made = old.socket_from_fd(left, dup=True), old.socket_from_fd(os.dup(left))
    owned = old.FileDescriptor(received.fds[0])
    with closing(owned, owned.dup(), *made) as everything:
        assert all(is_close_on_exec(each.fileno()) for each in everything)
        assert same_file(owned.fileno(), null)
        assert all(same_file(sock.fileno(), left) for sock in made)


@of_python3
def test_what_33_lacks(python33, stream, null):
    check_calls(python33(), stream, null)


@of_python3
def test_what_33_lacks_without_sock_nonblock(python33, stream, null, monkeypatch):
    monkeypatch.delattr(socket, "SOCK_NONBLOCK")
    check_calls(python33(), stream, null)


@of_python3
def test_a_duplicate_is_never_inheritable(python33, stream, monkeypatch):
    """dup2 of 3.3 makes inheritable descriptors, which a child of another thread could keep."""
    old = python33()
    with monkeypatch.context() as without:
        for name in ("dup",) if PYPY else ("dup", "dup2"):  # PyPy's constructor sets the mode
            without.delattr(os, name)
        with closing(old.socket_from_fd(stream[0].fileno(), dup=True)) as (sock,):
            assert old.sendmsg(sock.fileno(), [b"x"]) == 1
            assert old.recvmsg(stream[1].fileno(), 1)[0] == b"x"


@of_python3
@pytest.mark.parametrize(
    "version",
    [(3, 3, 7), (3, 4, 10), (3, 5, 0), (3, 6, 15), (3, 7, 0), (3, 15, 0), sys.version_info],
)
def test_what_an_old_python_needs(stream, monkeypatch, version):
    """Up to 3.6 a socket's type has SOCK_NONBLOCK in it, and before 3.5 a signal ends a call."""
    monkeypatch.setattr(sys, "version_info", version)
    old = copy_of_fdpass()
    with closing(old.socket_from_fd(stream[0], dup=True)) as (made,):
        own = version < (3, 7) and hasattr(socket, "SOCK_NONBLOCK")
        assert (type(made) is not socket.socket) == own
        assert (made.type, made.family) == (socket.SOCK_STREAM, socket.AF_UNIX)
        assert type(made.type) is type(socket.SOCK_STREAM)
    stream[0].send(b"x")
    sock = Failing(stream[1], [InterruptedError(errno.EINTR, "signal")])
    if PYPY or version < (3, 5):
        assert old.recvmsg(sock, 1)[0] == b"x"
    else:  # CPython's own calls go on by themselves (PEP 475): nothing of ours is around them
        with pytest.raises(InterruptedError):
            old.recvmsg(sock, 1)


@of_python3
def test_signals_where_the_interpreter_does_not_retry(stream, monkeypatch):
    """Python 3.4, before PEP 475, and PyPy: their calls are made again here."""
    monkeypatch.setattr(sys, "version_info", (3, 4, 10))
    old, (left, right) = copy_of_fdpass(), stream

    def forever(error):
        while True:
            yield error

    left.send(b"xx")
    for timeout in (30, None):
        right.settimeout(timeout)
        sock = Failing(right, [InterruptedError(errno.EINTR, "signal")] * 2)
        assert old.recvmsg(sock, 1)[0] == b"x"
        assert sock.calls == 3
    left.send(b"x")
    for timeout in (None, 0):
        right.settimeout(timeout)
        sock = Failing(right, forever(BlockingIOError(errno.EAGAIN, "not ready")))
        with pytest.raises(BlockingIOError):
            old.recvmsg(sock, 1)
        assert sock.calls == 1
    right.settimeout(0.05)
    with pytest.raises(socket.timeout):
        old.recvmsg(sock, 1)
    assert sock.calls > 2
    assert old.recvmsg(right.fileno(), 1)[0] == b"x"
    with pytest.raises(socket.timeout):
        old.recvmsg(Failing(right, []), 1)


@of_python3
@pytest.mark.parametrize("dup", [True, False])
def test_the_repr_has_no_mode(python33, stream, monkeypatch, dup):
    """3.3's comes from the base class, whose type has the bit of the mode until 3.6."""
    monkeypatch.setattr(socket.socket, "__repr__", _socket.socket.__repr__)
    stream[0].settimeout(0)
    number = os.dup(stream[0].fileno())
    with closing(python33().socket_from_fd(number, dup=dup)) as (sock,):
        assert re.search(r"type=(1|SocketKind\.SOCK_STREAM)\b", repr(sock))
        sock.settimeout(5)
        assert re.search(r"type=(1|SocketKind\.SOCK_STREAM)\b", repr(sock))
    if dup:
        os.close(number)


@of_python3
@pytest.mark.parametrize("level", [1, 0xFFFF])
def test_the_options_that_36_was_first_to_name(python33, monkeypatch, level):
    """On Linux, all processors have asm-generic's numbers where SOL_SOCKET is 1."""
    known = (39, 38) if level == socket.SOL_SOCKET == 1 else (None, None)
    monkeypatch.setattr(socket, "SOL_SOCKET", level)
    old = python33()
    found = old.SO_DOMAIN, old.SO_PROTOCOL
    assert found == known


FAMILIES = {
    "tcp": ("AF_INET", socket.SOCK_STREAM, 6),
    "udp": ("AF_INET6", socket.SOCK_DGRAM, 17),
    "netlink": ("AF_NETLINK", socket.SOCK_RAW, 0),
    "vsock": ("AF_VSOCK", socket.SOCK_STREAM, 0),
    "unix": ("AF_UNIX", socket.SOCK_SEQPACKET, 0),
}


@of_python3
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_facts_without_names_of_the_options(python33, name):
    family, kind, proto = FAMILIES[name]
    family = {"AF_VSOCK": 40}.get(family) or getattr(socket, family)  # AF_VSOCK is a name of 3.7
    try:
        sock = socket.socket(family, kind)
    except socket.error:
        pytest.skip("this kernel makes no socket of " + name)
    with closing(sock, python33().socket_from_fd(sock.fileno(), dup=True)) as (_, made):
        assert (made.family, made.type, made.proto) == (family, kind, proto)


def test_aio_on_a_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 3, 7))
    monkeypatch.delitem(sys.modules, "fdpass.aio", raising=False)
    with pytest.raises(ImportError, match="needs Python 3.9 or later, and this is Python 3.3"):
        importlib.import_module("fdpass.aio")


@of_python3
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EPIPE])
def test_a_bare_descriptor_for_which_no_number_is_left(stream, number):
    """Python 3.4, and PyPy: the socket object itself is used then."""
    stream[0].settimeout(30)
    given = []

    def call(sock):
        given.append(sock)
        if sock == stream[0].fileno():
            raise OSError(number, "no number")
        return "sent"

    again = inside.python3_retry.retry(call, 4)
    if number == errno.EPIPE:
        with raises_errno(errno.EPIPE, OSError):
            again(stream[0])
    else:
        assert again(stream[0]) == "sent"
        assert given == [stream[0].fileno(), stream[0]]


@of_python3
def test_a_bare_descriptor_where_the_constructor_sets_the_mode(mac, stream, null):
    """PyPy 3, and systems without SOCK_NONBLOCK: one that blocks is waited for, as in the call."""
    left, right = (sock.fileno() for sock in stream)
    late = threading.Timer(0.05, mac.send_fds, (left, b"x", [null]))
    late.start()
    with closing(*mac.recv_fds(right, 1, 1).fds) as fds:
        assert len(fds) == 1
    late.join()
    assert not mode(left) & os.O_NONBLOCK
    closed = os.dup(left)
    os.close(closed)
    for call in (lambda: mac.send_fds(closed, b"x", []), lambda: mac.recv_fds(closed, 1, 1)):
        with raises_errno(errno.EBADF, OSError):
            call()
