"""Every test runs under a check of the descriptor table."""

import contextlib
import errno
import gc
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

import pytest

try:
    import fdpass
except ImportError:  # not installed: the checkout's, whatever starts pytest
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import fdpass

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell has it for what it runs by "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A user may have as many descriptors in flight as a process may open, and Debian's 1,024 are soon
# reached by two runs at once (unix(7), ETOOMANYREFS).
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if 0 <= soft < 8192:  # RLIM_INFINITY is -1
    most = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

# It has assertions too, but no test.
pytest.register_assert_rewrite("generated")
# The syntax of their coroutines is not 2.7's, and anyio 4.10 needs Python 3.9.
collect_ignore = ["test_aio.py", "test_aio_sockets.py"] if sys.version_info < (3, 9) else []

KINDS = {
    "stream": socket.SOCK_STREAM,
    "datagram": socket.SOCK_DGRAM,
    "seqpacket": socket.SOCK_SEQPACKET,
}
TIMEOUTS = {"blocking": None, "timeout": 30.0, "nonblocking": 0.0}


def child_environment(**changes):
    """The environment for a child that is to have the fdpass under test, wherever it starts."""
    parent = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
    return dict(os.environ, PYTHONPATH=parent, **changes)


def repr_without_address(value):
    """The id of a parameter; an address would differ between pytest-xdist's workers."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))


def open_descriptors():
    """The open descriptors of this process by name, with what they refer to."""
    table = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            table[int(name)] = os.readlink("/proc/self/fd/" + name)
        except OSError:  # the one that listdir itself had open
            pass
    return table


@pytest.fixture(autouse=True)
def descriptor_table():
    before = open_descriptors()
    yield
    after = open_descriptors()
    if set(after) != set(before):
        gc.collect()  # PyPy closes a forgotten socket object only then
        gc.collect()
        after = open_descriptors()
    left = {fd: after[fd] for fd in after if fd not in before}
    gone = {fd: before[fd] for fd in before if fd not in after}
    assert (left, gone) == ({}, {}), "descriptors left open, and closed that were not the test's"


@pytest.fixture(autouse=True)
def no_hang():
    """A call that should have returned long ago fails its test instead of stopping all of them."""

    def hangs(signum, frame):
        raise AssertionError("the test hangs")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(45)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def header(length, count):
    """Of a Channel's message, as the page on the wire format has it."""
    return struct.pack("!IHBB", length, count, 1, 0)


@contextlib.contextmanager
def raises_errno(number, error=socket.error):
    with pytest.raises(error) as caught:
        yield caught
    assert caught.value.errno == number


@contextlib.contextmanager
def closing(*things):
    """Close descriptors (ints) and objects at the end."""
    try:
        yield things
    finally:
        for thing in things:
            if isinstance(thing, int):
                os.close(thing)
            else:
                thing.close()


@contextlib.contextmanager
def lowered(room):
    """Fill the descriptor table so that only room more descriptors can be opened.

    A limit below 1,000 would also refuse what this user sends while another run has many in flight.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1000 if limits[1] == resource.RLIM_INFINITY else min(1000, limits[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    filling = []
    try:
        try:
            while True:
                filling.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            assert error.errno == errno.EMFILE
        for _ in range(room):
            os.close(filling.pop())
        yield
    finally:
        for fd in filling:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


@pytest.fixture(params=sorted(TIMEOUTS))
def timeout(request):
    return TIMEOUTS[request.param]


@pytest.fixture
def pair(kind, timeout):
    """Two connected sockets of each kind, in each mode."""
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with closing(left, right):
        left.settimeout(timeout)
        right.settimeout(timeout)
        yield left, right


@pytest.fixture
def stream():
    left, right = socket.socketpair()
    with closing(left, right):
        yield left, right


@pytest.fixture
def datagram():
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(left, right):
        yield left, right


@pytest.fixture
def pipe():
    with closing(*os.pipe()) as ends:
        yield ends


@pytest.fixture
def null():
    with closing(os.open(os.devnull, os.O_RDWR)) as (fd,):
        yield fd


@pytest.fixture
def folder():
    made = tempfile.mkdtemp()  # tmpdir's paths can be too long for a socket
    yield made
    shutil.rmtree(made)


@pytest.fixture
def path(folder):
    return os.path.join(folder, "socket")


@pytest.fixture(scope="session")
def other_user():
    """For tests that become another user; in a container, root may be without CAP_SETUID."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
            os._exit(0)
        finally:
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        pytest.skip("only root can become another user")


@pytest.fixture(scope="session")
def compiler():
    """The command of a C compiler that can build a program; a gcc without libc6-dev cannot."""
    command = os.environ.get("CC", "cc").split()
    folder = tempfile.mkdtemp()
    try:
        process = subprocess.Popen(
            command + ["-x", "c", "-", "-o", os.path.join(folder, "program")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError:
        pytest.skip("there is no C compiler")
    else:
        process.communicate(b'#include <stdio.h>\nint main(void) { return puts(""); }\n')
    finally:
        shutil.rmtree(folder)
    if process.returncode:
        pytest.skip("there is no C compiler that builds a program: %s fails" % " ".join(command))
    return command


@pytest.fixture
def untraced():
    """Coverage's own tracing stands back."""
    tracing = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracing)


def pytest_configure(config):
    # A worker of pytest-xdist gets its orders in a thread, and Python 3.12 warns when a process
    # with a thread forks. Without xdist the warning stays an error: no test forks beside a thread.
    if hasattr(config, "workerinput"):
        config.addinivalue_line("filterwarnings", "ignore:.*use of fork:DeprecationWarning")


def pytest_collection_modifyitems(items):
    """Tests that stop coverage's tracing come last: on 3.6 it does not come back whole."""
    items.sort(key=lambda item: "untraced" in getattr(item, "fixturenames", ()))


def pytest_terminal_summary(terminalreporter):
    """Name the long files of the package; a long file is no failure."""
    package, long_files = os.path.dirname(os.path.abspath(fdpass.__file__)), []
    for folder, _, names in os.walk(package):
        for path in [os.path.join(folder, name) for name in names if name.endswith(".py")]:
            with open(path, "rb") as source:
                lines = len(source.readlines())
            if lines > 250:
                long_files.append("%s (%d)" % (os.path.relpath(path, package), lines))
    if long_files:
        told = "no failure, but more than 250 lines: "
        terminalreporter.line(told + ", ".join(sorted(long_files)))
