"""Whose descriptor it is: temporaries, threads, copies, and arguments that change meanwhile."""

import codecs
import copy
import errno
import fcntl
import gc
import os
import pickle
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import warnings

import pytest
import six
from conftest import closing, open_descriptors, raises_errno
from test_signals import bothered, filled, interrupted_at_every_line
from test_transfer import same_file

import fdpass


class Bag(object):
    """Owns a descriptor, has fileno(), and iterates as its number."""

    def __init__(self, number):
        self.number = os.dup(number)

    def fileno(self):
        return self.number

    def __iter__(self):
        return iter([self.number])

    def __del__(self):
        os.close(self.number)


def test_a_temporary_lives_until_its_duplicate_is_made(stream):
    number = stream[0].fileno()
    with closing(fdpass.socket_from_fd(Bag(number), dup=True)) as (sock,):
        assert same_file(sock.fileno(), number)


class Iterable(Bag):
    """One that is no descriptor itself."""

    fileno = property()


def test_a_temporary_iterable_lives_until_all_is_sent(stream, null):
    fdpass.send_fds(stream[0], b"x", Iterable(null))
    with closing(*fdpass.recv_fds(stream[1], 1, 1).fds) as fds:
        assert len(fds) == 1


def test_a_file_descriptor_is_not_copied(null):
    with fdpass.FileDescriptor(os.dup(null)) as owned:
        for copied in (copy.copy, copy.deepcopy, lambda one: pickle.dumps(one, 2)):
            with pytest.raises(TypeError, match="dup"):
                copied(owned)
        with pytest.raises(ValueError, match="already"):
            owned.__init__(null)


def test_a_subclass_that_fails_to_take_a_duplicate(null):
    class Named(fdpass.FileDescriptor):
        def __init__(self, fd, name):
            fdpass.FileDescriptor.__init__(self, fd)

    with Named(os.dup(null), "name") as owned, pytest.raises(TypeError):
        owned.dup()


@pytest.mark.parametrize("take", ["close", "detach"])
def test_one_of_several_threads_has_it(null, take):
    for _ in range(50):
        owned = fdpass.FileDescriptor(os.dup(null))
        taken, start = [], threading.Event()

        def ending(owned=owned, taken=taken, start=start):
            start.wait()
            try:
                taken.append(getattr(owned, take)())
            except ValueError:
                pass

        threads = [threading.Thread(target=ending) for _ in range(3)]
        for thread in threads:
            thread.start()
        start.set()
        for thread in threads:
            thread.join()
        assert owned.closed
        if take == "detach":
            assert len(taken) == 1
            os.close(taken[0])


def while_it_waits(sender, change, call):
    """Run call, which waits since sender is full, in a thread; change something, then let it go."""
    left, right = sender
    filled(left)
    left.settimeout(30)
    result = []
    thread = threading.Thread(target=lambda: result.append(call()))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    change()
    data, fds = b"", []
    right.settimeout(30)
    while not data.endswith(b"MSG"):
        received = fdpass.recv_fds(right, 1 << 20, 9)
        data += received.data
        fds += received.fds
    thread.join()
    return data, fds


class Owner(object):
    """Closes its descriptor when nothing refers to it any more."""

    def __init__(self):
        self.fd, other = os.pipe()
        os.close(other)

    def fileno(self):
        return self.fd

    def __del__(self, close=os.close):
        close(self.fd)


@pytest.mark.parametrize("count", [1, 2])
def test_a_list_of_descriptors_that_changes_while_the_call_waits(stream, count):
    """The list held the only reference to what owns them."""
    given = [Owner() for _ in range(count)]
    _, fds = while_it_waits(
        stream,
        lambda: given.__delitem__(slice(None)),
        lambda: fdpass.send_fds(stream[0], b"MSG", given),
    )
    with closing(*fds):
        assert len(fds) == count
        assert all(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in fds)


def test_a_bytearray_that_changes_while_the_call_waits(stream):
    given = bytearray(b"MSG")

    def change():
        try:
            del given[:]
        except BufferError:  # Python 3 refuses it
            pass

    data, _ = while_it_waits(stream, change, lambda: fdpass.send_fds(stream[0], given, []))
    assert data.endswith(b"MSG")


def test_a_tls_socket_is_refused(stream):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if six.PY3 else ssl.PROTOCOL_SSLv23)
    if six.PY3:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with closing(socket.socket()) as (listener,):
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        served, _ = listener.accept()
        wrapped = context.wrap_socket(client, do_handshake_on_connect=False)
        with closing(wrapped, served, client):
            for call in (
                lambda: fdpass.send_fds(wrapped, b"secret", []),
                lambda: fdpass.sendmsg(wrapped, [b"secret"]),
                lambda: fdpass.recv_fds(wrapped, 1, 1),
            ):
                with pytest.raises(NotImplementedError):
                    call()
            served.setblocking(False)
            with pytest.raises(socket.error):
                served.recv(1)


def test_the_locks_of_a_file_that_is_taken_for_a_socket(tmpdir):
    path = str(tmpdir.join("locked"))
    program = (
        "import fcntl, sys\n"
        "try: fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except EnvironmentError: print('locked')"
    )
    with open(path, "a") as opened:
        fcntl.lockf(opened, fcntl.LOCK_EX)
        for call in (
            lambda: fdpass.socket_from_fd(opened.fileno()),
            lambda: fdpass.peer_credentials(opened),
            lambda: fdpass.send_fds(opened, b"x", [0]),
            lambda: fdpass.recv_fds(opened, 1, 1),
        ):
            with raises_errno(errno.ENOTSOCK):
                call()
        assert subprocess.check_output([sys.executable, "-c", program, path]).strip() == b"locked"


def test_a_signal_handler_that_fails_in_a_call_of_its_own(stream):
    """Its errno is not taken for that of the call that it interrupted."""
    broken, gone = socket.socketpair()
    gone.close()
    came = []

    def handler(signum, frame):
        came.append(signum)
        with pytest.raises(socket.error):
            fdpass.send_fds(broken, b"x", [0])
        if len(came) == 3:
            stream[0].send(b"x")

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert bothered(lambda: fdpass.recv_fds(stream[1], 1, 1), handler).data == b"x"
    finally:
        signal.signal(signal.SIGUSR1, before)
        broken.close()


def test_many_receivers_at_once(null):
    pairs = [socket.socketpair() for _ in range(8)]
    failures = []

    def receive(left, right):
        try:
            with pytest.raises(socket.error):
                fdpass.recv_fds(right, 1, 1, socket.MSG_DONTWAIT)
            for _ in range(200):
                fdpass.send_fds(left, b"x", [null])
                for fd in fdpass.recv_fds(right, 1, 1).fds:
                    os.close(fd)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=receive, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for left, right in pairs:
        left.close()
        right.close()
    assert failures == []


def test_a_child_of_another_thread_inherits_nothing(stream, null):
    """Children are started without close_fds while descriptors arrive and become sockets."""
    program = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
    done, told = threading.Event(), []
    # What the children may have: what was inheritable before.
    allowed = {
        fd for fd in open_descriptors() if not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    }

    def start():
        try:
            for _ in range(4):
                told.append(
                    subprocess.Popen(
                        [sys.executable, "-c", program], close_fds=False, stdout=subprocess.PIPE
                    )
                )
        finally:
            done.set()

    thread = threading.Thread(target=start)
    thread.start()
    received = []
    number = os.dup(stream[0].fileno())
    fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    while not done.is_set():
        fdpass.send_fds(stream[0], b"x", [number])
        (fd,) = fdpass.recv_fds(stream[1], 1, 1).fds
        received.append(fd)
        fdpass.socket_from_fd(fd).close()
    thread.join()
    os.close(number)
    for process in told:
        output = process.communicate()[0].decode()
        # stdout of the child, and the descriptor that listdir has open, come beside.
        extra = set(eval(output)) - allowed
        assert len(extra) <= 1 + six.PY2, output


@pytest.mark.parametrize("level", [1 << 40, -(1 << 40)])
def test_numbers_of_control_messages_that_fit_no_int(stream, level):
    for item in ((level, 1, b""), (1, level, b"")):
        with pytest.raises(ValueError, match="fit a C int"):
            fdpass.sendmsg(stream[0], [b"x"], [item])


WRONG_ADDRESSES = {
    "AF_INET": [
        ("127.0.0.1", 1 << 16),
        ("127.0.0.1", -1),
        ("127.0.0.1", "9"),
        (None, 9),
        ("h",),
        5,
    ],
    "AF_INET6": [("::1", 9, -1), ("::1", 9, 1 << 20), ("::1", 9, "a")],
    # Python 3 itself takes a part of a number that is too high.
    "AF_NETLINK": [(0,), 5, ("a", 0)] + [(1 << 32, 0), (0, 1 << 32)] * six.PY2,
}


@pytest.mark.parametrize("name", sorted(WRONG_ADDRESSES))
def test_wrong_addresses(name):
    kind = socket.SOCK_RAW if name == "AF_NETLINK" else socket.SOCK_DGRAM
    with closing(socket.socket(getattr(socket, name), kind)) as (sock,):
        for address in WRONG_ADDRESSES[name]:
            with pytest.raises((TypeError, OverflowError, ValueError)):  # PyPy 3: ValueError
                fdpass.sendmsg(sock, [b"x"], (), 0, address)


def test_an_empty_address_is_no_abstract_name(null):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (sock,):
        with pytest.raises(socket.error):
            fdpass.send_fds(sock, b"x", [null], 0, "")


def test_a_path_that_is_unicode(tmpdir, null):
    path = str(tmpdir.join("sock"))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (sock,):
        sock.bind(path)
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with closing(sender):
            fdpass.send_fds(sender, b"x", [null], 0, six.text_type(path))
        with closing(*fdpass.recv_fds(sock, 1, 1).fds):
            pass


class Flaky(codecs.IncrementalDecoder):
    """A codec whose decoder cannot be made the second time."""

    made = []

    def __init__(self, errors="strict"):
        self.made.append(self)
        if len(self.made) % 2 == 0:
            raise KeyboardInterrupt

    def decode(self, data, final=False):
        return data.decode("ascii")


def find_flaky(name):
    if name != "fdpass_flaky":
        return None
    plain = codecs.lookup("ascii")
    # The codecs of the io module have to say that they are of text.
    return codecs.CodecInfo(
        plain.encode,
        plain.decode,
        plain.streamreader,
        plain.streamwriter,
        plain.incrementalencoder,
        Flaky,
        name,
    )


def test_a_file_whose_making_is_interrupted(null):
    """io.open closes the number then: it must not be owned any more, another may have it."""
    codecs.register(find_flaky)
    owner = fdpass.FileDescriptor(os.dup(null))
    number = owner.fileno()
    with pytest.raises(KeyboardInterrupt):
        owner.to_file("r", -1, "fdpass_flaky")
    assert owner.closed
    if six.PY2:
        sys.exc_clear()
    for _ in range(3):
        gc.collect()  # PyPy 2.7 closes it only then
    with pytest.raises(OSError):
        os.fstat(number)


class Late(fdpass.FileDescriptor):
    """Its constructor fails when it owns already, and may have closed it."""

    __slots__ = ()
    fails = closes = False

    def __init__(self, fd):
        fdpass.FileDescriptor.__init__(self, fd)
        if self.closes:
            self.close()
        if self.fails:
            raise KeyboardInterrupt


@pytest.mark.parametrize("closes", [False, True])
def test_a_duplicate_whose_constructor_fails_late_is_closed_once(null, monkeypatch, closes):
    owner = Late(os.dup(null))
    closed, close = [], os.close
    monkeypatch.setattr(Late, "fails", True)
    monkeypatch.setattr(Late, "closes", closes)
    monkeypatch.setattr(os, "close", lambda fd: (closed.append(fd), close(fd)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one that is dropped open says so
        with pytest.raises(KeyboardInterrupt):
            owner.dup()
        if six.PY2:
            sys.exc_clear()
        gc.collect()
    assert len(closed) == closes  # a dropped one closes itself by what it kept of os
    owner.close()


def test_an_interrupt_closes_nothing_twice(stream, null, untraced, monkeypatch):
    """Another thread can be given the number as soon as it is free."""
    reused, close = [], os.close

    def close_and_reuse(fd):
        assert fd in open_descriptors()
        close(fd)
        reused.append(os.open(os.devnull, os.O_RDONLY))

    monkeypatch.setattr(os, "close", close_and_reuse)
    for _ in interrupted_at_every_line(lambda: fdpass.send_fds(stream[0].fileno(), b"x", [null])):
        while reused:
            close(reused.pop())  # EBADF: it was closed again
