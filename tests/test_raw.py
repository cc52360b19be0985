"""The raw sendmsg and recvmsg: what Python 3's socket methods do, on both Pythons."""

import array
import errno
import fcntl
import os
import socket
import struct
import sys

import inside
import pytest
import six
from conftest import closing, open_descriptors
from test_transfer import FORMS, Holder, is_close_on_exec, named, same_file

import fdpass

RIGHTS = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS)
SO_TIMESTAMPNS = 35


@pytest.fixture(params=sorted(FORMS))
def form(request):
    return FORMS[request.param]


def numbers(content):
    return list(struct.unpack("%di" % (len(content) // 4), content))


def test_the_constants_are_those_of_the_socket_module():
    for name in fdpass.__all__:
        if name.isupper() and hasattr(socket, name):
            assert getattr(fdpass, name) is not None
            if name not in ("CMSG_LEN", "CMSG_SPACE"):
                assert getattr(fdpass, name) == getattr(socket, name)
                assert type(getattr(fdpass, name)) is int
    assert fdpass.SCM_RIGHTS == 1
    assert fdpass.MSG_CMSG_CLOEXEC == 0x40000000
    assert fdpass.MSG_CTRUNC == 8
    assert fdpass.MSG_NOSIGNAL == 0x4000
    assert (fdpass.SO_PASSCRED, fdpass.SO_PEERCRED) == (16, 17)
    assert (fdpass.SO_PROTOCOL, fdpass.SO_DOMAIN) == (38, 39)
    assert fdpass.SCM_CREDENTIALS == 2


@pytest.mark.rule(20)
def test_each_constant_is_an_int():
    """Not an enum, whose arithmetic costs as much as a system call."""
    for name in fdpass.__all__:
        if name.isupper() and not callable(getattr(fdpass, name)):
            assert type(getattr(fdpass, name)) is int, name
    assert fdpass.SCM_PIDFD == 4


def test_the_sizes_of_control_messages():
    word = struct.calcsize("L")
    header = struct.calcsize("Lii")
    for size in (0, 1, 4, 12, 1012):
        assert fdpass.CMSG_LEN(size) == header + size
        assert fdpass.CMSG_SPACE(size) == header + -(-size // word) * word
    most = (1 << 31) - 1  # as in the socket module, less than the type could hold
    for macro, beside in ((fdpass.CMSG_LEN, header), (fdpass.CMSG_SPACE, header + word)):
        assert macro(most - beside) > most - beside
        for size in (-1, most - beside + 1, most, 1 << 64):
            with pytest.raises(OverflowError):
                macro(size)


@pytest.mark.rule(1)
def test_there_and_back(pair, form, null):
    ancdata = [RIGHTS + (array.array("i", [null, null]),)]
    assert fdpass.sendmsg(form(pair[0]), [b"ab", bytearray(b"c")], ancdata) == 3
    data, ancdata, flags, address = fdpass.recvmsg(form(pair[1]), 10, fdpass.CMSG_SPACE(8))
    assert (data, flags, address) == (b"abc", 0, None)
    assert type(ancdata) is list
    ((level, kind, content),) = ancdata
    assert (level, kind) == RIGHTS
    assert type(content) is bytes
    with closing(*numbers(content)) as fds:
        assert len(fds) == 2
        assert all(same_file(fd, null) and is_close_on_exec(fd) for fd in fds)


def test_the_defaults(pair):
    assert fdpass.sendmsg(pair[0], [b"abc"]) == 3
    assert fdpass.recvmsg(pair[1], 9) == (b"abc", [], 0, None)


def test_a_single_buffer_and_several_messages_of_control(stream, form, null):
    stream[1].setsockopt(socket.SOL_SOCKET, fdpass.SO_PASSCRED, 1)
    mine = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
    sent = (
        (socket.SOL_SOCKET, fdpass.SCM_CREDENTIALS, bytearray(mine)),
        RIGHTS + (struct.pack("i", null),),
    )
    assert fdpass.sendmsg(form(stream[0]), b"x", iter(sent)) == 1
    data, ancdata, flags, _ = fdpass.recvmsg(stream[1], 9, 4096)
    found = {kind: content for _, kind, content in ancdata}
    with closing(*numbers(found[fdpass.SCM_RIGHTS])) as fds:
        assert same_file(fds[0], null)
        assert found[fdpass.SCM_CREDENTIALS] == mine
        assert flags == 0


class Own(socket.socket):
    """As others derive it."""


def test_a_mode_that_another_holder_has_changed(stream, path):
    """The timeout ends the call all the same."""
    with closing(Own(socket.AF_UNIX, socket.SOCK_DGRAM)) as (own,):
        for sock in tuple(stream) + (own,):
            sock.settimeout(0.05)
            # The flag is of the open file, which others share and can clear: fcntl(2).
            flags = fcntl.fcntl(sock, fcntl.F_GETFL)
            fcntl.fcntl(sock, fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
            with pytest.raises(socket.timeout):
                fdpass.recvmsg(sock, 1)
            sock.settimeout(20)
        own.bind(path)
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (left,):
            left.sendto(b"x", path)
        for _ in range(2):  # the other flags count beside it
            assert fdpass.recvmsg(own, 1, 0, socket.MSG_PEEK)[0] == b"x"
        stream[0].settimeout(0.05)
        with pytest.raises(socket.timeout):
            while True:
                fdpass.sendmsg(stream[0], [b"x" * 4096])


def test_descriptor_0_is_one_like_others(stream, form):
    fdpass.sendmsg(form(stream[0]), [b"x"], [RIGHTS + (struct.pack("i", 0),)])
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert same_file(fds[0], 0)


def test_room_too_small_says_so(stream, null):
    for room in (0, 1, fdpass.CMSG_LEN(0), fdpass.CMSG_LEN(4)):
        fdpass.sendmsg(stream[0], [b"x"], [RIGHTS + (struct.pack("3i", null, null, null),)])
        _, ancdata, flags, _ = fdpass.recvmsg(stream[1], 1, room)
        assert flags & fdpass.MSG_CTRUNC
        with closing(*(fd for _, _, content in ancdata for fd in numbers(content))) as fds:
            assert len(fds) <= 1


def test_much_room(stream, null):
    fdpass.sendmsg(stream[0], [b"x"], [RIGHTS + (struct.pack("i", null),)])
    data, ancdata, flags, _ = fdpass.recvmsg(stream[1], 100000, 100000)
    with closing(*numbers(ancdata[0][2])):
        assert (data, len(ancdata), flags) == (b"x", 1, 0)


def test_control_messages_larger_than_usual_are_the_kernels_to_judge(stream):
    with pytest.raises(socket.error):
        fdpass.sendmsg(stream[0], [b"x"], [RIGHTS + (b"\0\0\0\0" * 2000,)])


WRONG_ANCDATA = [5, None, [5], [(1, 2)], [("1", 1, b"x")], [(1, 1, six.u("text"))], [(1, 1, None)]]


@pytest.mark.parametrize("ancdata", WRONG_ANCDATA, ids=repr)
def test_ancdata_of_a_wrong_type(stream, ancdata):
    with pytest.raises(TypeError):
        fdpass.sendmsg(stream[0], [b"x"], ancdata)
    stream[0].close()
    assert stream[1].recv(1) == b""


def test_an_empty_payload_is_not_judged(stream, datagram):
    assert fdpass.sendmsg(stream[0], []) == 0
    assert fdpass.sendmsg(datagram[0], []) == 0
    assert fdpass.recvmsg(datagram[1], 0) == (b"", [], 0, None)


def test_a_timestamp_is_passed_through(datagram):
    datagram[1].setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    datagram[0].send(b"x")
    _, ancdata, _, _ = fdpass.recvmsg(datagram[1], 1, 4096)
    assert [item[:2] for item in ancdata] in ([], [(socket.SOL_SOCKET, SO_TIMESTAMPNS)])


INET = {
    "AF_INET": ("127.0.0.1", 0),
    "AF_INET6": ("::1", 0),
}


@pytest.mark.parametrize("name", sorted(INET))
def test_addresses_of_the_internet(name, form):
    family = getattr(socket, name)
    right, left = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    with closing(right, left):
        right.bind(INET[name])
        left.bind(INET[name])
        for address in {right.getsockname(), right.getsockname()[:2]}:
            fdpass.sendmsg(form(left), [b"x"], (), 0, address)
            left.sendto(b"y", address)
            received = fdpass.recvmsg(form(right), 9)
            assert received == (b"x", [], 0, left.getsockname())
            assert right.recvfrom(9)[1] == received[3]


def knows(name):
    """Return True if this machine has an address for the name: it may have no /etc/hosts."""
    try:
        return socket.gethostbyname(name) == "127.0.0.1"
    except socket.error:
        return False


def test_a_name_for_an_address():
    with closing(
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    ) as (right, left):
        right.bind(("127.0.0.1", 0))
        number = right.getsockname()[1]
        for host in ["127.1", ""] + ["localhost"] * knows("localhost"):
            fdpass.sendmsg(left, [b"x"], (), 0, (host, number))
            assert right.recv(9) == b"x"
        with pytest.raises(socket.error) as caught:  # for want of SO_BROADCAST, ip(7)
            fdpass.sendmsg(left, [b"x"], (), 0, ("<broadcast>", number))
        assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize(
    "name, address",
    [
        ("AF_INET", ["127.0.0.1", 9]),
        ("AF_INET", ("127.0.0.1",)),
        ("AF_INET", ("127.0.0.1", 9, 0)),
        ("AF_INET", "127.0.0.1"),
        ("AF_INET6", ["::1", 9]),
        ("AF_INET6", ("::1",)),
        ("AF_INET6", ("::1", 9, 0, 0, 0)),
        ("AF_NETLINK", [0, 0]),
        ("AF_NETLINK", (0,)),
        ("AF_NETLINK", 0),
    ],
)
def test_what_is_no_address(form, name, address):
    if six.PY3:
        return  # the socket module reads them
    with closing(socket.socket(getattr(socket, name), socket.SOCK_DGRAM)) as (sock,):
        with pytest.raises(TypeError):
            fdpass.sendmsg(form(sock), [b"x"], (), 0, address)


@pytest.mark.parametrize(
    "name, address, most",
    [
        ("AF_INET", ("127.0.0.1", 1 << 16), "65535"),
        ("AF_INET6", ("::1", 9, 1 << 20), "1048575"),
        ("AF_INET6", ("::1", 9, 0, 1 << 32), "4294967295"),
    ],
)
def test_a_number_in_an_address_that_is_too_high(name, address, most):
    if six.PY3 and "4" in most:
        return  # the socket module cuts this one, and tells the flow otherwise
    with closing(socket.socket(getattr(socket, name), socket.SOCK_DGRAM)) as (sock,):
        with pytest.raises(OverflowError, match="0-%s" % most):
            fdpass.sendmsg(sock, [b"x"], (), 0, address)


def test_an_address_that_is_not_the_usual_one():
    if not sys.platform.startswith("linux"):
        return  # where all of 127.0.0.0/8 is the loopback's
    right, left = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with closing(right, left):
        right.bind(("127.0.0.2", 0))
        fdpass.sendmsg(left, [b"x"], (), 0, right.getsockname())
        assert right.recv(1) == b"x"


def test_addresses_of_netlink(form):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    with closing(sock):
        sock.bind((0, 0))
        # rtnetlink(7): a dump of the links, answered by the kernel, whose pid is 0.
        request = struct.pack("=IHHIIB15x", 32, 18, 0x301, 1, 0, 0)
        fdpass.sendmsg(form(sock), [request], (), 0, (0, 0))
        data, _, _, address = fdpass.recvmsg(form(sock), 65536)
        assert len(data) > 16
        assert address == (0, 0)


def test_a_family_whose_addresses_are_not_known():
    if six.PY3:
        return  # the socket module knows them all
    with pytest.raises(ValueError, match="family 40"):
        inside.python2_address.encode(40, "/nowhere")
    assert inside.python2_address.decode(b"\x28\0" + b"x" * 20) == (40, b"x" * 14)


def test_an_unnamed_and_a_named_sender(tmpdir):
    path = str(tmpdir.join("sock"))
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(named(path), left) as (right, _):
        fdpass.sendmsg(left, [b"x"], (), 0, path)
        left.sendto(b"y", path)
        assert fdpass.recvmsg(right, 9)[3] == right.recvfrom(9)[1] is None


def test_the_longest_path(tmpdir, monkeypatch):
    """sun_path has 108 bytes, and a name in the file system ends with a NUL; unix(7)."""
    monkeypatch.chdir(tmpdir)  # the whole one would be longer still
    path = "x" * 107
    left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(named(path), left) as (right, _):
        fdpass.sendmsg(left, [b"x"], (), 0, path)
        assert right.recv(1) == b"x"
        for more in ("x", "xx"):
            with pytest.raises(socket.error, match="too long" if six.PY2 else None):
                fdpass.sendmsg(left, [b"x"], (), 0, path + more)


def test_a_path_that_is_no_text(tmpdir):
    path = str(tmpdir.join("sock"))
    with closing(named(path)) as (right,):
        left = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with closing(left):
            fdpass.sendmsg(Holder(left), [b"x"], (), 0, path.encode())
            assert right.recv(1) == b"x"


def test_peeking_at_descriptors_makes_more_of_them(stream, null):
    fdpass.send_fds(stream[0], b"x", [null])
    before = len(open_descriptors())
    first = fdpass.recvmsg(stream[1], 1, 4096, socket.MSG_PEEK)[1]
    second = fdpass.recvmsg(stream[1], 1, 4096)[1]
    with closing(*(numbers(first[0][2]) + numbers(second[0][2]))):
        assert len(open_descriptors()) == before + 2
