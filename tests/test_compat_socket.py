"""install("socket") gives each Python the names of Python 3.9's socket module.

On Python 3 most of these tests run on the socket module's own functions. So they show that the
functions that 2.7 gets do the same.
"""

import array
import copy
import errno
import fcntl
import importlib
import mmap
import os
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest
import six
from conftest import child_environment, closing, raises_errno
from seam import copy_of_fdpass

import fdpass
from fdpass import compat

if six.PY2:
    import copy_reg as copyreg
else:
    import copyreg

TEXT = b"text".decode()
METHODS = ["sendmsg", "recvmsg", "recvmsg_into"]
FUNCTIONS = ["CMSG_LEN", "CMSG_SPACE", "recv_fds", "send_fds"]
LINUX = [
    "MSG_CMSG_CLOEXEC",
    "MSG_CONFIRM",
    "MSG_ERRQUEUE",
    "MSG_FASTOPEN",
    "MSG_MORE",
    "MSG_NOSIGNAL",
    "SCM_CREDENTIALS",
    "SCM_RIGHTS",
    "SO_BINDTODEVICE",
    "SO_DOMAIN",
    "SO_MARK",
    "SO_PASSCRED",
    "SO_PASSSEC",
    "SO_PEERCRED",
    "SO_PEERSEC",
    "SO_PRIORITY",
    "SO_PROTOCOL",
]


only_python2 = pytest.mark.skipif(
    six.PY3, reason="Python 3's own sockets and arrays have the methods"
)


def owners():
    """Return the modules, classes and dicts that install("socket") may change."""
    inner = getattr(socket, "_socketobject", socket.socket)
    return [socket, inner, array]


@pytest.fixture
def unchanged():
    """After the test, undo its changes of these modules and classes."""
    before = [(owner, dict(vars(owner))) for owner in owners()]
    names, table = list(socket.__all__), dict(copyreg.dispatch_table)
    yield
    for owner, content in before:
        for name in set(vars(owner)) - set(content):
            delattr(owner, name)
        for name, value in content.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)
    socket.__all__[:] = names
    copyreg.dispatch_table.clear()
    copyreg.dispatch_table.update(table)
    assert [dict(vars(owner)) for owner in owners()] == [content for _, content in before]


@pytest.fixture
def installed(unchanged):
    compat.install("socket")


@pytest.fixture
def ends(installed):
    left, right = socket.socketpair()
    with closing(left, right):
        yield left, right


def state():
    return [dict(vars(owner)) for owner in owners()] + [list(socket.__all__)]


def test_the_names(installed):
    # 3.3 to 3.5 keep the constants that they have.
    has_constants = sys.platform.startswith("linux") and not (3, 0) < sys.version_info < (3, 6)
    for name in FUNCTIONS + LINUX * has_constants:
        assert hasattr(socket, name), name
        assert name in socket.__all__, name
    names = {}
    six.exec_("from socket import *", names)
    assert names["SCM_RIGHTS"] == fdpass.SCM_RIGHTS
    for name in METHODS:
        assert callable(getattr(socket.socket, name))
    assert socket.CMSG_SPACE(4) == fdpass.CMSG_SPACE(4)
    assert socket.SO_PEERCRED == fdpass.SO_PEERCRED
    assert not hasattr(socket, "SCM_PIDFD") or sys.version_info >= (3, 9)


def test_a_second_install_changes_nothing(installed):
    before = state()
    compat.install("socket")
    compat.install("socket", "passfd")
    assert state() == before
    assert sys.modules.pop("passfd").__name__ == "fdpass.compat.passfd"


def test_other_installs_leave_the_socket_module_alone(unchanged, monkeypatch):
    before = state()
    for name in compat.NAMES:
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    compat.install()
    compat.install("passfd")
    with pytest.raises(ValueError, match="no drop-in is called 'wrong'.*socketfromfd, socket$"):
        compat.install("socket", "wrong")
    monkeypatch.setitem(sys.modules, "fdsend", os)
    with pytest.raises(ImportError):
        compat.install("socket", "fdsend")
    assert state() == before


def test_a_name_that_exists_stays(unchanged, monkeypatch):
    class Own(getattr(socket, "_socketobject", socket.socket)):
        def sendmsg(self):
            return "own"

    for name in ("send_fds", "CMSG_LEN", "MSG_MORE"):
        monkeypatch.setattr(socket, name, "own", raising=False)
    monkeypatch.setattr(socket, "socket", Own)
    monkeypatch.setattr(socket, "SocketType", len)  # no class
    monkeypatch.setattr(socket, "socketpair", lambda: "own")
    pair = socket.socketpair
    compat.install("socket")
    assert (socket.send_fds, socket.CMSG_LEN, socket.MSG_MORE) == ("own",) * 3
    assert socket.socketpair is pair
    with closing(Own()) as (sock,):
        assert sock.sendmsg() == "own"
        assert callable(sock.recvmsg)


@pytest.mark.skipif(six.PY2, reason="2.7's sockets have no sendmsg")
def test_a_green_socket_on_3_gets_no_method(unchanged, monkeypatch):
    """fdpass calls the methods there, so its functions cannot be the methods."""

    class Green(object):
        pass

    monkeypatch.setattr(socket, "socket", Green)
    compat.install("socket")
    assert not hasattr(Green, "sendmsg")


@pytest.fixture
def without_functions(unchanged, monkeypatch):
    """Remove the two functions that Python 3.8 lacks."""
    for name in ("send_fds", "recv_fds"):
        monkeypatch.delattr(socket, name, raising=False)
        while name in socket.__all__:
            socket.__all__.remove(name)
    compat.install("socket")


def test_the_two_functions(without_functions, null):
    assert {"send_fds", "recv_fds"} <= set(socket.__all__)
    left, right = socket.socketpair()
    with closing(left, right):
        assert socket.send_fds(left, [b"one", b"two"], [null]) == 6
        assert socket.send_fds(sock=left, buffers=[b"x"], fds=[null], flags=0, address=None) == 1
        data, fds, flags, address = socket.recv_fds(right, 6, 1)
        assert (data, len(fds), flags, not address) == (b"onetwo", 1, 0, True)
        os.close(fds[0])
        received = socket.recv_fds(sock=right, bufsize=6, maxfds=1, flags=socket.MSG_DONTWAIT)
        os.close(received[1][0])
        with pytest.raises(TypeError, match="put a single one into a list"):
            socket.send_fds(left, b"one", [null])
        socket.send_fds(left, [b"x"], [null, null])
        with pytest.raises(fdpass.TooManyFdsError):  # Python's own would lose descriptors
            socket.recv_fds(right, 6, 1)


def test_install_by_another_copy(unchanged, monkeypatch):
    other = copy_of_fdpass()
    for name in ("send_fds", "recv_fds"):
        monkeypatch.delattr(socket, name, raising=False)
    importlib.import_module(other.__name__ + ".compat").install("socket")
    assert socket.recv_fds is other.recv_fds
    before = state()
    compat.install("socket")  # the names of the first copy are there already
    assert state() == before


def test_each_socket_object(installed, tmpdir, null):
    """Each way to make a socket object makes an object that has the methods."""
    left, right = socket.socketpair()
    again = socket.fromfd(left.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
    copied = right.dup()
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(1)
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    with closing(left, right, again, copied, server, client, accepted):
        for sock in (left, right, again, copied, client, accepted):
            assert isinstance(sock, socket.socket)
        assert again.sendmsg([b"data"], [(1, fdpass.SCM_RIGHTS, array.array("i", [null]))]) == 4
        data, ((level, kind, content),), flags, address = copied.recvmsg(9, socket.CMSG_LEN(4))
        (fd,) = array.array("i", content)
        os.close(fd)
        assert (data, level, kind) == (b"data", socket.SOL_SOCKET, socket.SCM_RIGHTS)
        assert client.sendmsg((part for part in (b"to", bytearray(b"gether")))) == 8
        assert accepted.recvmsg(100)[:3] == (b"together", [], 0)
        client.sendmsg([b"a line\n"])
        with closing(accepted.makefile("rb")) as (opened,):
            assert opened.readline() == b"a line\n"
    with pytest.raises(socket.error):
        socket.socketpair(socket.AF_INET)
    for method in METHODS:
        with raises_errno(errno.EBADF):
            getattr(left, method)([b""] if method == "sendmsg" else [] if "into" in method else 1)


def test_sockets_by_named_parameters(installed):
    left, right = socket.socketpair(type=socket.SOCK_DGRAM)
    again = socket.fromfd(fd=left.fileno(), family=socket.AF_UNIX, type=socket.SOCK_DGRAM, proto=0)
    with closing(left, right, again, *socket.socketpair(family=None, proto=0)):
        assert again.sendmsg([b"a"]) == left.sendmsg([b"b"]) == 1
        assert (right.recv(9), right.recv(9)) == (b"a", b"b")


@only_python2
def test_a_socket_object_around_one(installed):
    left, right = socket.socketpair()
    outer = socket.socket(_sock=left)
    assert outer.fileno() == left.fileno()
    outer.close()
    left.sendmsg([b"still open"])
    assert socket.socket(_sock=right).recvmsg(100)[0] == b"still open"
    left.close()
    assert right.recv(100) == b""
    right.close()


def test_descriptors_are_close_on_exec(ends, null):
    left, right = ends
    left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null]))])
    _, ((_, _, content),), flags, _ = right.recvmsg(
        1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
    )
    (fd,) = array.array("i", content)
    with closing(fd):
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert not flags & socket.MSG_CTRUNC


def test_the_buffers_that_sendmsg_takes(ends, path):
    left, right = ends
    mapped = mmap.mmap(-1, 4)
    singles = [b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("b", b"abc")]
    for single in singles + [TEXT, 5, None]:
        with pytest.raises(TypeError):
            left.sendmsg(single)
    with pytest.raises(TypeError):
        left.sendmsg([TEXT])
    for wrong in (5, [5], [(1, 1)], [(1, 1, TEXT)], [(1, b"", b"")]):
        with pytest.raises(TypeError):
            left.sendmsg([b"x"], wrong)
    assert left.sendmsg([]) == left.sendmsg(b"") == 0
    assert left.sendmsg(singles + [mapped], []) == 3 * 4 + 4
    assert right.recvmsg(100)[0] == b"abc" * 4 + b"\0" * 4
    mapped.close()
    with closing(*[socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]) as socks:
        socks[0].bind(path)
        assert socks[1].sendmsg([b"x"], [], socket.MSG_DONTWAIT, path) == 1
        assert socks[1].sendmsg([b"y"], (), 0, path) == 1
        assert socks[0].recvmsg(1) == (b"x", [], 0, None)
        assert socks[0].recvmsg(1, 0, socket.MSG_DONTWAIT)[0] == b"y"
    for wrong in ((-1,), (1, -1), (TEXT,), (1, TEXT)):
        with pytest.raises((TypeError, ValueError)):
            right.recvmsg(*wrong)


def test_a_timeout(ends):
    left, right = ends
    right.settimeout(0.05)
    for call in (lambda: right.recvmsg(1), lambda: right.recvmsg_into([bytearray(1)])):
        start = time.time()
        with pytest.raises(socket.timeout):
            call()
        assert 0.04 < time.time() - start < 10
    right.setblocking(0)
    with raises_errno(errno.EAGAIN):
        right.recvmsg(1)
    right.settimeout(None)
    with raises_errno(errno.EAGAIN):
        right.recvmsg_into([bytearray(1)], 0, socket.MSG_DONTWAIT)
    timer = threading.Timer(0.05, left.sendmsg, [[b"late"]])
    timer.start()
    assert right.recvmsg(9)[0] == b"late"
    timer.join()


def test_receiving_into_buffers(ends, null):
    left, right = ends
    head, body, numbers = bytearray(4), bytearray(b"0123456789"), array.array("i", [-1, -1])
    mapped = mmap.mmap(-1, 4)
    buffers = [head, memoryview(body)[2:6], bytearray(0), numbers, mapped]
    left.sendmsg([b"headbody" + b"\0" * 8 + b"ma"], fdpass.rights([null]))
    size, ancdata, flags, address = right.recvmsg_into(iter(buffers), socket.CMSG_SPACE(4))
    os.close(fdpass.fds_from_ancdata(ancdata)[0])
    assert (size, flags & ~fdpass.MSG_CMSG_CLOEXEC) == (18, 0)
    assert (head, body) == (bytearray(b"head"), bytearray(b"01body6789"))
    assert (numbers.tolist(), mapped[:]) == ([0, 0], b"ma\0\0")
    mapped.close()
    left.sendmsg([b"short"])
    assert right.recvmsg_into([head, body])[0] == 5
    assert (head, body) == (bytearray(b"shor"), bytearray(b"t1body6789"))
    left.sendmsg([b"more"])
    assert right.recvmsg_into([])[:3] == (0, [], 0)


def test_a_buffer_that_cannot_be_written(ends):
    left, right = ends
    left.sendmsg([b"data"])
    for wrong in (b"bytes", TEXT, memoryview(b"bytes"), 5):
        for buffers in ([wrong], [bytearray(2), wrong]):
            with pytest.raises((TypeError, BufferError)):
                right.recvmsg_into(buffers)
    with pytest.raises(TypeError):
        right.recvmsg_into(bytearray(2))
    assert right.recvmsg(9)[0] == b"data"


@only_python2  # Python 3 holds the buffers during the call
def test_a_buffer_that_goes_meanwhile(ends, null):
    """The descriptors that arrived are closed."""
    left, right = ends
    mapped = mmap.mmap(-1, 4)

    class Closing(socket.socket):
        def gettimeout(self):
            mapped.close()
            return socket.socket.gettimeout(self)

    left.sendmsg([b"data"], fdpass.rights([null]))
    with pytest.raises(ValueError):
        Closing(_sock=right._sock).recvmsg_into([mapped], 100)


@only_python2
def test_arrays(unchanged):
    before = array.array
    early = array.array("i", [1, 2])
    compat.install("socket")
    late = array.array("i")
    late.frombytes(early.tostring())
    assert late == early and late.tobytes() == early.tostring()
    for one in (early, late, late[1:]):
        assert isinstance(one, array.array) and isinstance(one, array.ArrayType)
        assert copy.copy(one) == copy.deepcopy(one) == one
        for protocol in range(3):
            assert pickle.loads(pickle.dumps(one, protocol)) == one
    assert issubclass(before, array.array) and not isinstance([], array.array)
    assert repr(late) == "array('i', [1, 2])"

    results = [late[1:], late[::-1], late + early, late * 2, 2 * late]
    results += [copy.copy(late), copy.deepcopy(late), pickle.loads(pickle.dumps(late))]
    told = [[2], [2, 1], [1, 2, 1, 2], [1, 2, 1, 2], [1, 2, 1, 2], [1, 2], [1, 2], [1, 2]]
    assert [made.tolist() for made in results] == told
    for made in results:
        made.frombytes(made.tobytes())
    assert [made.tolist() for made in results] == [2 * numbers for numbers in told]
    assert (late[0], array.array("u", TEXT)[1:].tounicode(), late.tolist()) == (1, TEXT[1:], [1, 2])
    with pytest.raises(TypeError):
        late + [1]

    class Own(array.array):
        pass

    assert isinstance(Own("i"), Own) and issubclass(Own, array.array)
    assert not isinstance(late, Own) and not issubclass(array.array, Own)


# Programs as Python 3's documentation shows them. (They run on Python 2 too, so they print little.)
PASS_DESCRIPTORS = """
import array, os, socket

def give(sock, text, numbers):
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))
    return sock.sendmsg([text], [rights])

def take(sock, size, most):
    numbers = array.array("i")
    text, ancdata, flags, address = sock.recvmsg(size, socket.CMSG_LEN(most * numbers.itemsize))
    for level, kind, content in ancdata:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    return text, list(numbers)

here, there = socket.socketpair()
readable, writable = os.pipe()
child = os.fork()
if not child:
    here.close()
    text, numbers = take(there, 100, 2)
    os.write(numbers[0], text + b" back")
    os._exit(len(numbers))
there.close()
assert give(here, b"there and", [writable, readable]) == 9
os.close(writable)
assert os.waitpid(child, 0)[1] == 2 << 8
assert os.read(readable, 100) == b"there and back"
"""
FALLBACKS = """
import array, os, socket

here, there = socket.socketpair()
found = [hasattr(socket, name) for name in ("CMSG_LEN", "CMSG_SPACE", "SCM_RIGHTS", "send_fds")]
assert all(found) and hasattr(socket.socket, "sendmsg")
try:
    here.sendmsg
except AttributeError:
    raise SystemExit("no sendmsg")
content = array.array("i", [0])
here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, content)])
_, [(_, _, content)], _, _ = there.recvmsg(1, socket.CMSG_SPACE(content.itemsize))
numbers = array.array("i")
getattr(numbers, "fromstring", numbers.frombytes)(content)
assert os.fstat(numbers[0]) == os.fstat(0)
"""
SCATTER = """
import socket

one, other = socket.socketpair()
parts = bytearray(b"...."), bytearray(b"0123456789"), bytearray(b"....")
one.send(b"a sentence")
got = other.recvmsg_into([parts[0], memoryview(parts[1])[3:7], parts[2]])
assert got[:3] == (10, [], 0)
assert parts == (bytearray(b"a se"), bytearray(b"012nten789"), bytearray(b"ce.."))
"""
CREDENTIALS = """
import os, socket, struct, tempfile

folder = tempfile.mkdtemp()
path = os.path.join(folder, "socket")
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen(1)
client = socket.socket(socket.AF_UNIX)
client.connect(path)
accepted, _ = server.accept()
os.unlink(path)
os.rmdir(folder)
ucred = struct.Struct("iII")
assert ucred.unpack(accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, ucred.size)) == (
    os.getpid(), os.getuid(), os.getgid())
accepted.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
client.sendmsg([b"x"])
data, ancdata, flags, address = accepted.recvmsg(1, socket.CMSG_SPACE(ucred.size))
[(level, kind, content)] = ancdata
assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
assert ucred.unpack(content)[0] == os.getpid()
"""
FUNCTIONS_OF_3_9 = """
from socket import *
import os

one, other = socketpair(AF_UNIX, SOCK_DGRAM)
send_fds(one, [b"with ", b"two"], [0, 1], 0)
data, fds, flags, address = recv_fds(other, 1024, maxfds=10)
assert (data, len(fds), flags) == (b"with two", 2, 0)
for fd in fds:
    os.close(fd)
"""
PROGRAMS = {
    "descriptors": PASS_DESCRIPTORS,
    "fallbacks": FALLBACKS,
    "scatter": SCATTER,
    "credentials": CREDENTIALS,
    "functions": FUNCTIONS_OF_3_9,
}


# Without fdpass, on the Pythons for which the programs were written.
@pytest.mark.parametrize("installs", [True, False] if sys.version_info >= (3, 9) else [True])
@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_program(name, installs, tmpdir):
    if name == "credentials" and fdpass.SO_PASSCRED is None:
        pytest.skip("Linux alone has SO_PASSCRED")
    tmpdir.join("program.py").write(PROGRAMS[name])
    # 3.7 and 3.8 warn of array.fromstring, which programs for 2.7 call.
    command = [sys.executable, "-W", "ignore::DeprecationWarning"]
    command += ["-m", "fdpass.compat", "socket", "--"] * installs
    process = subprocess.Popen(
        command + ["program.py"],
        cwd=str(tmpdir),
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told = process.communicate()[0].decode()
    assert (told, process.returncode) == ("", 0)
