"""Listeners: the file's mode and place, who may come in, and what is left behind."""

import contextlib
import doctest
import errno
import fcntl
import gc
import io
import logging
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest
import six
from conftest import child_environment, closing, lowered, open_descriptors, raises_errno
from seam import copy_of_fdpass, fixed_peer
from test_transfer import is_close_on_exec

import fdpass
from fdpass import Channel, Listener

Socket = socket.socket
# The mode of a socket's file comes from fchmod on Linux and from the umask elsewhere.
LISTENERS = {"fchmod": Listener, "umask": copy_of_fdpass(BIND_KEEPS_MODE=False).Listener}

needs_abstract = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Linux alone has abstract names"
)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def stale(path):
    """Leave the file of a socket that no process has any more."""
    with closing(Socket(socket.AF_UNIX)) as (sock,):
        sock.bind(path)


@pytest.fixture
def patch_sockets(monkeypatch):
    """A function that replaces methods of each socket object that is made from then on."""

    def patch(**methods):
        monkeypatch.setattr(socket, "socket", type("Patched", (Socket,), methods))

    return patch


@contextlib.contextmanager
def locked(folder):
    """Hold the lock of the folder, as a Listener does while it replaces a file."""
    with closing(os.open(folder, os.O_RDONLY)) as (fd,):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


class Coroutine(object):
    """What is made by ``async def``, as far as it is looked at."""

    class __code__(object):
        co_flags = 0x80

    def __call__(self, credentials):
        pass


def test_a_connection(path, null):
    with Listener(path) as listener:
        listener.settimeout(20)
        assert is_close_on_exec(listener.fileno())
        with closing(Channel.connect(path)) as (client,), closing(listener.accept()) as (served,):
            assert served.peer.pid == client.peer.pid == os.getpid()
            for end in (client, served):
                assert is_close_on_exec(end.fileno())
            client.send(b"x", [null])
            with served.recv() as message:
                assert len(message.fds) == 1
    assert listener.closed
    assert not os.path.exists(path)


@contextlib.contextmanager
def another_process(path):
    """One that has a Listener there until it is killed; gives its pid."""
    ready, told = os.pipe()
    child = os.fork()
    if not child:
        try:
            listener = Listener(path)
            os.write(told, b"x")
            while listener:
                signal.pause()
        finally:
            os._exit(1)
    try:
        with closing(ready, told):
            assert os.read(ready, 1) == b"x"
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_the_peer_of_one_who_connects_is_who_listens(path):
    with another_process(path) as pid, closing(Channel.connect(path)) as (channel,):
        assert channel.peer == (pid, os.getuid(), os.getgid())


def test_the_file_of_a_killed_process_is_replaced(path):
    with another_process(path):
        in_use(path, "a process has the socket")
    assert os.path.exists(path)
    with Listener(path), closing(Channel.connect(path)) as (channel,):
        assert channel.peer.pid == os.getpid()


@pytest.mark.filterwarnings("ignore")
def test_a_forgotten_one_leaves_its_file(path):
    Listener(path)
    gc.collect()
    gc.collect()
    assert os.path.exists(path)
    with Listener(path):
        pass
    assert not os.path.exists(path)


def test_the_default_timeout_is_not_theirs(path):
    """Nor is that of connecting."""
    socket.setdefaulttimeout(0.01)
    try:
        with Listener(path) as listener:
            clients = []
            later = threading.Timer(0.1, lambda: clients.append(Channel.connect(path, 0.05)))
            later.start()
            served = listener.accept()
            later.join()
            for here, there in ((served, clients[0]), (clients[0], served)):
                later = threading.Timer(0.1, here.send, [b"late"])
                later.start()
                assert there.recv().data == b"late"
                later.join()
            for end in clients + [served]:
                end.close()
    finally:
        socket.setdefaulttimeout(None)


def test_the_channels_have_its_limits(path):
    with Listener(path, max_data=3, max_fds=1) as listener:
        with closing(Channel.connect(path, max_data=4)) as (client,):
            with closing(next(listener)) as (served,):
                for arguments in ((b"1234",), (b"", [0, 0])):
                    with pytest.raises(ValueError):
                        served.send(*arguments)
                client.send(b"1234")
                with pytest.raises(fdpass.ProtocolError):
                    served.recv()
                with pytest.raises(ValueError):
                    client.send(b"12345")


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o200, 0])
@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
@pytest.mark.parametrize("born", sorted(LISTENERS))
def test_the_mode(path, umask, mode, mask, born):
    umask(mask)
    with LISTENERS[born](path, mode=mode):
        assert mode_of(path) == mode
    assert umask(0) == mask


@pytest.mark.parametrize("born, mode", [("fchmod", 0o600), ("umask", 0o600), ("umask", 0o666)])
def test_never_a_moment_with_wider_permissions(path, umask, patch_sockets, born, mode):
    """What the file has right after bind, when nothing else has been done to it yet."""
    modes = []

    def bind(sock, name):
        Socket.bind(sock, name)
        modes.append(mode_of(name))

    umask(0o027)
    patch_sockets(bind=bind)
    LISTENERS[born](path, mode).close()
    stale(path)
    LISTENERS[born](path, mode).close()
    assert modes == [mode & ~0o027] * 2


def test_without_fchmod_the_umask_only_narrows(path, umask, monkeypatch):
    """It is that of all threads, and none ever has a wider one."""
    masks, real = [], os.umask
    umask(0o027)
    monkeypatch.setattr(os, "umask", lambda mask: (masks.append(mask), real(mask))[1])
    LISTENERS["umask"](path, mode=0o666).close()
    assert 0o027 | 0o111 in masks
    assert all(mask & 0o027 == 0o027 for mask in masks)


# There, Linux's /proc leads to the file itself. The BSDs have a call that stops at a link instead:
# test_where_links_have_a_mode, which runs everywhere.
through_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="a system with calls of its own for links"
)


@through_proc
def test_a_link_that_takes_its_place(path, folder, umask, monkeypatch):
    """What it leads to keeps its mode."""
    umask(0o022)
    victim = os.path.join(folder, "victim")
    open(victim, "w").close()
    os.chmod(victim, 0o600)
    lstat = os.lstat

    def swapped(name):
        status = lstat(name)
        if name == path and not stat.S_ISLNK(status.st_mode):
            if seen:
                os.unlink(path)
                os.symlink(victim, path)
            seen.append(name)
        return status

    seen = []
    monkeypatch.setattr(os, "lstat", swapped)
    with pytest.raises(socket.error, match="was replaced"):
        Listener(path, mode=0o666)
    assert mode_of(victim) == 0o600


@through_proc
def test_no_child_gets_what_widens(path, umask, monkeypatch):
    seen, chmod = [], os.chmod

    def looked_at(name, mode):
        seen.append(is_close_on_exec(int(os.path.basename(name))))
        chmod(name, mode)

    monkeypatch.setattr(os, "chmod", looked_at)
    umask(0o022)
    with Listener(path, mode=0o666):
        assert seen == [True]


def test_where_links_have_a_mode(path, umask, monkeypatch):
    """As on the BSDs, with a call of theirs."""
    changed = []
    monkeypatch.setattr(os, "lchmod", lambda *arguments: changed.append(arguments), raising=False)
    umask(0o022)
    LISTENERS["umask"](path, mode=0o666).close()
    assert changed == [(path, 0o666)]


def test_a_working_directory_that_has_gone(path, folder):
    """Only a relative path would need it."""
    gone = os.path.join(folder, "gone")
    os.mkdir(gone)
    with closing(os.open(".", os.O_RDONLY)) as (here,):
        os.chdir(gone)
        os.rmdir(gone)
        try:
            Listener(path).close()
            with pytest.raises(OSError):
                Listener("relative")
        finally:
            os.fchdir(here)
    assert os.listdir(folder) == []


@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_socket_that_goes_while_it_is_asked(path, monkeypatch, patch_sockets, when):
    """Its file has gone then, and whoever comes in its place is left alone.

    A datagram and a stream socket try to connect each time. The third try is under the lock.
    """
    first, asked, others = Listener(path), [], []

    def connect(sock, name):
        asked.append(name)
        if len(asked) < when:
            raise socket.error(errno.ECONNREFUSED, "nobody listens")
        monkeypatch.undo()
        first.close()
        try:
            Socket.connect(sock, name)
        finally:
            others.append(Listener(path))

    patch_sockets(connect=connect)
    in_use(path, "in use")
    with closing(*others):
        assert len(others) == 1
        Channel.connect(path).close()


@pytest.mark.parametrize("method, call", [("bind", Listener), ("connect", Channel.connect)])
def test_a_handlers_error_is_not_explained(path, patch_sockets, method, call):
    """It has no errno, as the system's own word has."""

    def interrupted(sock, name):
        raise socket.error("a handler's")

    patch_sockets(**{method: interrupted})
    with pytest.raises(socket.error) as caught:
        call(path)
    assert caught.value.args == ("a handler's",)


def refuse_datagrams(sock, name):
    """Connect as gVisor does, which refuses each datagram socket at a path of another type."""
    if sock.type & socket.SOCK_DGRAM:
        raise socket.error(errno.ECONNREFUSED, "nobody listens")
    return Socket.connect(sock, name)


@pytest.mark.rule(24)
@pytest.mark.parametrize("free", [True, False])
def test_a_stream_socket_that_a_datagram_socket_does_not_find(path, patch_sockets, free):
    """A listener whose backlog is full is alive too."""
    with closing(socket.socket(socket.AF_UNIX)) as (listening,):
        listening.bind(path)
        listening.listen(0)
        clients = [Channel.connect(path)]
        while not free:
            try:
                clients.append(Channel.connect(path))
            except socket.error:
                break
        patch_sockets(connect=refuse_datagrams)
        if free:
            listening.accept()[0].close()
        in_use(path, "a process has the socket")
        for client in clients:
            client.close()


@pytest.mark.rule(24)
def test_a_stale_file_where_datagram_sockets_find_nothing(path, patch_sockets):
    stale(path)
    patch_sockets(connect=refuse_datagrams)
    with Listener(path), closing(Channel.connect(path)):
        pass


@pytest.mark.rule(24)
def test_nobody_comes_in_where_the_kernel_invents_peers(path):
    """gVisor returns the caller's own credentials as those of every socket's peer."""
    own = os.getpid(), os.geteuid(), os.getegid()
    gvisor = copy_of_fdpass(peer_of=lambda sock: own)
    with gvisor.Listener(path) as listener, closing(Channel.connect(path)) as (client,):
        with raises_errno(errno.EOPNOTSUPP) as caught:
            listener.accept()
        assert "its peer credentials cannot be trusted" in str(caught.value)
        with pytest.raises(EOFError):
            client.recv()


def test_a_file_that_goes_as_it_refuses(path, patch_sockets):
    def refused(sock, name):
        raise socket.error(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

    patch_sockets(connect=refused)
    with raises_errno(errno.ECONNREFUSED) as caught:
        Channel.connect(path)
    assert "nobody listens there" in str(caught.value)


def test_a_datagram_socket_is_alive(path):
    """connect(2) of another says EPERM where it has a peer."""
    kinds = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    with closing(*kinds) as (server, client):
        server.bind(path + "2")
        client.bind(path)
        client.connect(path + "2")
        in_use(path, "a process has the socket")
        in_use(path + "2", "a process has the socket")


@pytest.mark.parametrize("what", ["nothing", "stale", "datagram", "full"])
def test_what_connecting_says(path, what):
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(listening, datagram):
        told = "nobody listens there; with a timeout"
        if what == "stale":
            stale(path)
        elif what == "datagram":
            datagram.bind(path)
            told = "no stream socket"
        elif what == "full":
            listening.bind(path)
            listening.listen(0)
            told = "backlog are taken; with a timeout"
        clients = []
        with pytest.raises(socket.error, match=told) as caught:
            while True:
                clients.append(Channel.connect(path))
        for client in clients:
            client.close()
        assert os.path.basename(path) in str(caught.value)


def test_a_stale_file_is_replaced(path):
    stale(path)
    with Listener(path), closing(Channel.connect(path)):
        pass


def in_use(path, match):
    with pytest.raises(socket.error, match=match) as caught:
        Listener(path)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
@pytest.mark.parametrize("listens", [False, True])
def test_a_live_one_is_left_alone(path, kind, listens):
    with closing(socket.socket(socket.AF_UNIX, kind)) as (sock,):
        sock.bind(path)
        if listens and kind != socket.SOCK_DGRAM:
            sock.listen(1)
        in_use(path, "a process has the socket")
        assert os.path.exists(path)
        if listens and kind != socket.SOCK_DGRAM:
            sock.setblocking(False)
            with raises_errno(errno.EAGAIN):
                sock.accept()  # no connection came of the asking


def test_what_is_no_socket_is_left_alone(path, folder):
    with open(path, "w") as there:
        there.write("precious")
    in_use(path, "is no socket, and was left alone")
    with open(path) as there:
        assert there.read() == "precious"
    os.unlink(path)
    os.mkdir(path)
    in_use(path, "is no socket")
    os.rmdir(path)
    stale(path + "2")
    os.symlink(path + "2", path)
    in_use(path, "is no socket")
    assert os.path.islink(path)
    os.unlink(path)
    os.symlink(path + "3", path)  # to nothing
    in_use(path, "is no socket")


def test_what_comes_and_goes_in_between(path, patch_sockets):
    """The file was in the way, and is gone when the lock is held."""

    def bind(sock, name):
        try:
            Socket.bind(sock, name)
        except socket.error:
            os.unlink(name)
            raise

    stale(path)
    patch_sockets(bind=bind)
    Listener(path).close()


def test_what_cannot_be_looked_at(path, monkeypatch):
    lstat = os.lstat

    def denied(name):
        if name == path:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return lstat(name)

    stale(path)
    monkeypatch.setattr(os, "lstat", denied)
    with raises_errno(errno.EACCES, OSError):
        Listener(path)


def test_a_socket_that_may_not_be_asked(path, patch_sockets):
    def denied(sock, name):
        raise socket.error(errno.EACCES, os.strerror(errno.EACCES))

    stale(path)
    patch_sockets(connect=denied)
    with raises_errno(errno.EACCES):
        Listener(path)
    assert os.path.exists(path)


def test_only_the_own_file_is_removed(path):
    listener = Listener(path)
    os.unlink(path)
    with Listener(path) as other:
        listener.close()
        assert os.path.exists(path)
        with closing(Channel.connect(path)), closing(other.accept()):
            pass
    listener = Listener(path)
    os.unlink(path)
    listener.close()


def test_after_a_fork_the_file_is_the_parents(path):
    with Listener(path) as listener:
        child = os.fork()
        if not child:
            listener.close()
            os._exit(os.path.exists(path))
        assert os.waitpid(child, 0)[1] == 1 << 8
        with closing(Channel.connect(path)), closing(listener.accept()):
            pass


def test_another_process_removes_nothing(path, monkeypatch):
    listener = Listener(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        listener.close()
    assert os.path.exists(path)


IN_A_PID_NAMESPACE = """
import ctypes, os, sys, fdpass
assert os.getpid() == 1
listener = fdpass.Listener(sys.argv[1], allow=bool)
if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
    sys.exit(7)
child = os.fork()
if not child:
    assert os.getpid() == 1
    listener.close()
    os._exit(os.path.exists(sys.argv[1]))
assert os.waitpid(child, 0)[1] == 1 << 8
listener.close()
sys.exit(os.path.exists(sys.argv[1]))
"""


def test_a_child_of_another_pid_namespace_removes_nothing(path):
    """Parent and child both have the pid 1."""
    command = ["unshare", "-U", "-r", "-p", "-f", sys.executable, "-c", IN_A_PID_NAMESPACE, path]
    try:
        process = subprocess.Popen(command, env=child_environment(), stderr=subprocess.PIPE)
    except OSError:
        pytest.skip("there is no unshare(1) here")
    told = process.communicate()[1]
    if process.returncode == 7 or b"unshare" in told:
        pytest.skip("this process may make no namespaces")
    assert (process.returncode, told) == (0, b"")


@pytest.mark.parametrize("missing", [1, 2])
def test_closing_where_the_namespace_is_not_told(path, monkeypatch, missing):
    real, calls = os.readlink, []

    def readlink(name):
        calls.append(name)
        if len(calls) == missing:
            raise OSError(errno.ENOENT, "no")
        return real(name)

    monkeypatch.setattr(os, "readlink", readlink)
    Listener(path).close()
    assert not os.path.exists(path) and len(calls) == 2


def test_a_handlers_error_while_the_namespace_is_read(path, monkeypatch):
    def interrupted(name):
        raise OSError("a handler's")

    monkeypatch.setattr(os, "readlink", interrupted)
    with pytest.raises(OSError, match="a handler's"):
        Listener(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize("what", ["a file", "a second name", "a link"])
def test_another_file_in_the_place_after_bind(path, patch_sockets, what):
    """Somebody who can write to the directory exchanges it for a link to a file of root's."""
    other = path + "2"

    def bind(sock, name):
        Socket.bind(sock, name)
        if what == "a second name":
            os.link(path, other)
            return
        os.unlink(path)
        with open(other, "w"):
            pass
        os.chmod(other, 0o600)
        (os.link if what == "a file" else os.symlink)(other, path)

    patch_sockets(bind=bind)
    with raises_errno(errno.EADDRINUSE) as caught:
        Listener(path, mode=0o666)
    assert "was replaced while it was made" in str(caught.value)
    assert what == "a second name" or mode_of(other) == 0o600
    os.unlink(other)


def test_a_socket_of_another_user_in_the_place_after_bind(path, monkeypatch):
    """Its mode is not changed."""
    before = os.umask(0o077)
    try:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with raises_errno(errno.EADDRINUSE):
            Listener(path, mode=0o666)
    finally:
        os.umask(before)
    assert not os.path.exists(path)


def test_a_handlers_error_while_it_closes(path, monkeypatch):
    listener = Listener(path)

    def interrupted(path):
        raise OSError("a handler's")

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", interrupted)
        with pytest.raises(OSError, match="a handler's"):
            listener.close()
    assert listener.closed


def test_a_path_through_a_link_and_back(folder):
    os.makedirs(os.path.join(folder, "a", "b"))
    os.symlink(os.path.join(folder, "a", "b"), os.path.join(folder, "link"))
    with Listener(os.path.join(folder, "link", "..", "socket")):
        assert os.path.exists(os.path.join(folder, "a", "socket"))
    assert not os.path.exists(os.path.join(folder, "a", "socket"))


def test_after_a_chdir_the_path_is_still_right(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        listener = Listener("socket")
        assert os.path.exists(os.path.join(folder, "socket"))
        os.chdir("/")
        listener.close()
    finally:
        os.chdir(before)
    assert os.listdir(folder) == []


class Clock(object):
    """A clock that stands still but for what is slept."""

    now = 0.0

    def sleep(self, seconds):
        self.now += seconds


def test_a_lock_that_another_holds(path, folder, monkeypatch):
    """Any user who may read the directory can hold it: that is an error, and not a stop."""
    clock, tries, flock = Clock(), [], fcntl.flock
    hurried = copy_of_fdpass(monotonic=lambda: clock.now).Listener
    stale(path)
    with locked(folder):
        with monkeypatch.context() as patched:
            patched.setattr(time, "sleep", clock.sleep)
            patched.setattr(fcntl, "flock", lambda *told: tries.append(told) or flock(*told))
            with pytest.raises(socket.error, match="holds the lock") as caught:
                hurried(path)
        assert caught.value.errno == errno.EAGAIN
        assert 1 < clock.now < 10  # seconds
        assert 10 < len(tries) < 10000
        os.unlink(path)
        listener = Listener(path)  # nothing is in the way, so nothing is to be replaced
        listener.close()  # for which it is not needed either
    assert not os.path.exists(path)


def test_a_lock_that_another_gives_back(path, folder):
    stale(path)
    other = locked(folder)
    other.__enter__()
    late = threading.Timer(0.05, other.__exit__, (None, None, None))
    late.start()
    Listener(path).close()
    late.join()


def test_that_a_path_is_taken_is_told_whoever_holds_the_lock(path, folder):
    with Listener(path), locked(folder):
        in_use(path, "a process has the socket")


def test_no_child_inherits_what_asks_a_socket_file(path, monkeypatch):
    seen = []

    class Watched(socket.socket):
        def connect(self, address):
            seen.append(is_close_on_exec(self.fileno()))
            super(Watched, self).connect(address)

    with closing(fdpass.Listener(path)):
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", Watched)
            with pytest.raises(socket.error):
                fdpass.Listener(path)
    assert seen == [True]


def test_no_child_of_allow_inherits_the_peer(path):
    before, seen = set(), []

    def allow(credentials):
        seen.extend(is_close_on_exec(fd) for fd in set(open_descriptors()) - before)
        return False

    with closing(fdpass.Listener(path, allow=allow)) as (listener,):
        listener.settimeout(0.01)
        with closing(fdpass.Channel.connect(path)):
            before.update(open_descriptors())
            with pytest.raises(socket.timeout):
                listener.accept()
    assert seen == [True]


def test_no_child_inherits_what_locks(path, monkeypatch):
    seen = []
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: seen.append(is_close_on_exec(fd)))
    stale(path)
    Listener(path).close()
    assert set(seen) == {True}


def test_a_child_does_not_keep_the_lock(path, folder, monkeypatch):
    """One that another thread forks while the file is replaced has the descriptor too."""
    children, unlink = [], os.unlink
    reader, writer = os.pipe()

    def forking(name):
        children.append(os.fork())
        if not children[0]:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        unlink(name)

    with closing(reader):
        with closing(writer):
            stale(path)
            with monkeypatch.context() as patched:
                patched.setattr(os, "unlink", forking)
                listener = Listener(path)
            with closing(listener), locked(folder):
                pass
    assert [os.waitpid(child, 0)[1] for child in children] == [0]


def test_a_lock_that_cannot_be_had(path, monkeypatch):
    def refused(fd, operation):
        raise IOError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    stale(path)
    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(EnvironmentError, match=os.strerror(errno.ENOLCK)):
        Listener(path)


RACER = """
import os, sys, time
import fdpass
path, go = sys.argv[1:]
while not os.path.exists(go):
    time.sleep(0.001)
try:
    listener = fdpass.Listener(path)
except EnvironmentError as error:
    print("lost %s" % error.errno)
else:
    print("won")
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.mark.parametrize("rounds", [4])
def test_a_race_for_one_path(path, folder, rounds):
    """One process of six has it, the others are told so, and connections get through."""
    environment = child_environment()
    for number in range(rounds):
        stale(path)
        go = os.path.join(folder, "go%d" % number)
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, path, go],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                close_fds=True,
            )
            for _ in range(6)
        ]
        open(go, "w").close()
        told = sorted(racer.stdout.readline().decode().strip() for racer in racers)
        assert told == ["lost %d" % errno.EADDRINUSE] * 5 + ["won"]
        Channel.connect(path).close()
        for racer in racers:
            racer.communicate()
            assert racer.returncode == 0
        os.unlink(path)  # none of them closed it


def test_who_may_come_in(path, monkeypatch, caplog):
    asked = []

    def allow(credentials):
        asked.append(credentials)
        return len(asked) > 2

    with Listener(path, allow=allow) as listener:
        clients = [Channel.connect(path) for _ in range(3)]
        with closing(*clients):
            with caplog.at_level(logging.INFO):
                served = listener.accept()
            with closing(served):
                for refused in clients[:2]:
                    with pytest.raises(EOFError):
                        refused.recv()
                clients[2].send(b"in")
                assert served.recv().data == b"in"
    assert asked == [(os.getpid(), os.getuid(), os.getgid())] * 3
    assert [(each.name, each.levelname) for each in caplog.records] == [("fdpass", "INFO")]
    assert "uid=%d" % os.getuid() in caplog.records[0].getMessage()


def test_a_refused_peer_is_not_read(path):
    """The descriptors that it has sent are closed, and it is told of unread bytes."""
    reader, writer = os.pipe()
    with Listener(path, allow=lambda _: False) as listener, closing(reader):
        listener.settimeout(0.01)
        with closing(Channel.connect(path)) as (client,):
            with closing(writer):
                client.send(b"secret", [writer])
            with pytest.raises(socket.timeout):
                listener.accept()
            with raises_errno(errno.ECONNRESET):
                client.recv()
            assert os.read(reader, 1) == b""


def test_refused_peers_do_not_prolong_the_timeout(path):
    done = threading.Event()

    def knock():
        while not done.is_set():
            try:
                Channel.connect(path).close()
            except socket.error as error:
                assert error.errno == errno.EAGAIN
            done.wait(0.002)

    with Listener(path, allow=lambda _: False) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=knock)
        thread.start()
        try:
            with pytest.raises(socket.timeout):
                listener.accept()
        finally:
            done.set()
            thread.join()


@pytest.mark.parametrize(
    "uid, allowed",
    [(0, True), (1000, True), (1, False), (12345, False)],
    ids=["root", "the same", "another", "somebody else"],
)
def test_who_may_come_in_by_default(path, monkeypatch, uid, allowed):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    other = copy_of_fdpass(peer_of=fixed_peer(1, uid, uid))
    with other.Listener(path) as listener, closing(Channel.connect(path)):
        listener.settimeout(0.01)
        if allowed:
            listener.accept().close()
        else:
            with pytest.raises(socket.timeout):
                listener.accept()


def test_another_user_is_refused(other_user, path, folder):
    os.chmod(folder, 0o755)
    with Listener(path, mode=0o666) as listener:
        listener.settimeout(0.05)
        child = os.fork()
        if not child:
            try:
                os.setgid(12345)
                os.setuid(12345)
                Channel.connect(path).recv()
            except EOFError:
                os._exit(7)
            finally:
                os._exit(1)
        ended = 0, 0
        while ended == (0, 0):
            with pytest.raises(socket.timeout):
                listener.accept()
            ended = os.waitpid(child, os.WNOHANG)
        assert ended == (child, 7 << 8)


@pytest.mark.parametrize("answer", [None, 0, 1, "no"])
def test_allow_says_true_or_false(path, answer):
    """A return that was forgotten would refuse everybody, and nobody would know why."""
    with Listener(path, allow=lambda _: answer) as listener:
        with closing(Channel.connect(path)) as (client,):
            with pytest.raises(TypeError, match="True or False"):
                listener.accept()
            with pytest.raises(EOFError):
                client.recv()


def test_what_allow_raises(path):
    def allow(credentials):
        raise KeyError("which")

    with Listener(path, allow=allow) as listener, closing(Channel.connect(path)) as (client,):
        with pytest.raises(KeyError):
            listener.accept()
        with pytest.raises(EOFError):
            client.recv()


def test_an_answer_that_is_a_coroutine(path):
    """It is true, whatever it would come to say."""

    class Awaitable(object):
        def __await__(self):
            pass

    with Listener(path, allow=lambda _: Awaitable()) as listener:
        with closing(Channel.connect(path)) as (client,):
            with pytest.raises(TypeError, match="True or False"):
                listener.accept()
            with pytest.raises(EOFError):
                client.recv()


@needs_abstract
@pytest.mark.parametrize("name", [b"\0fdpass-test-%d", "\0fdpass-test-%d"], ids=["bytes", "str"])
def test_an_abstract_name(name):
    if isinstance(name, bytes):
        name = name.replace(b"%d", str(os.getpid()).encode())
    else:
        name %= os.getpid()
    with Listener(name) as listener:
        with closing(Channel.connect(name)), closing(listener.accept()):
            pass
        with raises_errno(errno.EADDRINUSE):
            Listener(name)
    with pytest.raises(ValueError, match="no mode"):
        Listener(name, mode=0o666)


def test_an_abstract_name_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ValueError, match="Linux"):
        Listener("\0name")


@pytest.mark.parametrize(
    "path, error, told",
    [
        ("", ValueError, "empty"),
        (b"\0", ValueError, "empty"),
        ("/tmp/a\0b", ValueError, "zero byte"),
        (3, TypeError, "path"),
        (None, TypeError, "path"),
        ("/tmp/" + "x" * 200, ValueError, "too long.*shorter"),
    ],
)
def test_paths_that_cannot_be(path, error, told):
    for call in (Listener, Channel.connect):
        with pytest.raises(error, match=told):
            call(path)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"mode": 0o1000}, ValueError),
        ({"mode": "600"}, TypeError),
        ({"allow": 1}, TypeError),
        ({"allow": Coroutine()}, TypeError),
        ({"max_fds": 254}, ValueError),
        ({"max_data": -1}, ValueError),
        ({"backlog": -1}, ValueError),
        ({"backlog": "1"}, TypeError),
    ],
)
def test_wrong_arguments_leave_nothing(path, options, error):
    with pytest.raises(error):
        Listener(path, **options)
    assert not os.path.exists(path)


def test_text_bytes_and_path_objects(folder):
    class Path(object):
        def __fspath__(self):
            return os.path.join(folder, "p")

    paths = [os.path.join(folder, "b").encode(), six.text_type(os.path.join(folder, "t"))]
    for path in paths + [Path()] * six.PY3:
        with Listener(path) as listener, closing(Channel.connect(path)):
            listener.accept().close()
    assert os.listdir(folder) == []


def test_a_folder_that_is_not_there(path):
    for call in (Listener, Channel.connect):
        with raises_errno(errno.ENOENT):
            call(os.path.join(path, "x"))


def test_a_failure_to_listen_leaves_nothing(path, patch_sockets):
    def deaf(sock, backlog):
        raise socket.error(errno.EADDRINUSE, "another took it")

    patch_sockets(listen=deaf)
    with pytest.raises(socket.error, match="another took it"):
        Listener(path)
    assert not os.path.exists(path)


def test_a_socket_that_cannot_be_prepared(patch_sockets):
    made, before = [], open_descriptors()

    def interrupted(sock, timeout):
        made.append(sock)
        raise KeyboardInterrupt

    patch_sockets(settimeout=interrupted)
    with pytest.raises(KeyboardInterrupt):
        Channel.connect("/nowhere")
    assert made and open_descriptors() == before


def test_one_that_listens_already(path, stream):
    with closing(socket.socket(socket.AF_UNIX)) as (sock,):
        sock.bind(path)
        with pytest.raises(ValueError, match="call listen"):
            Listener.from_socket(sock)
        sock.listen(5)
        with pytest.raises(TypeError, match="socket_from_fd"):
            Listener.from_socket(sock.fileno())
        with pytest.raises(TypeError, match="function of Credentials"):
            Listener.from_socket(sock, allow=1)
        assert sock.gettimeout() is None
        with Listener.from_socket(sock, max_fds=1) as listener:
            # accept(2) never waits: who was seen waiting may be another process's by then.
            assert sock.gettimeout() == 0
            with closing(Channel.connect(path)), closing(listener.accept()) as (served,):
                with pytest.raises(ValueError):
                    served.send(b"", [0, 0])
        assert os.path.exists(path)
    with pytest.raises(ValueError, match="call listen"):
        Listener.from_socket(stream[0])
    with closing(socket.socket()) as (tcp,):
        tcp.listen(1)
        with pytest.raises(ValueError, match="Unix stream socket"):
            Listener.from_socket(tcp)


@contextlib.contextmanager
def listening(path):
    """Make a socket that listens at path, as another process would make it."""
    with closing(socket.socket(socket.AF_UNIX)) as (sock,):
        sock.bind(path)
        sock.listen(5)
        yield sock


def test_closing_that_leaves_the_file(path):
    with Listener(path) as listener:
        taken_over = Listener.from_socket(fdpass.socket_from_fd(listener, dup=True))
        listener.close(remove=False)
    with closing(taken_over), closing(Channel.connect(path)), closing(taken_over.accept()):
        pass
    assert os.path.exists(path)


def test_detach(path):
    """The file stays, and so does a peer that waits."""
    with Listener(path) as listener, closing(Channel.connect(path)) as (client,):
        number = listener.fileno()
        sock = listener.detach()
        assert listener.closed
        with pytest.raises(socket.error, match="this Listener is closed") as caught:
            listener.detach()
        assert caught.value.errno == errno.EBADF
        listener.close()
        assert (sock.fileno(), sock.gettimeout(), sock.getsockname()) == (number, 0, path)
        with Listener.from_socket(sock, path=path) as again, closing(again.accept()) as (served,):
            client.send(b"x")
            assert served.recv().data == b"x"
    assert not os.path.exists(path)


def test_detach_while_a_thread_waits(path):
    """The thread wakes when the next peer comes, and leaves the peer to the socket's new owner."""
    failures = []

    def accept():
        try:
            listener.accept()
        except socket.error as error:
            failures.append(error.errno)

    with Listener(path) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        time.sleep(0.05)
        with closing(listener.detach()) as (sock,), closing(Channel.connect(path)):
            thread.join()
            sock.accept()[0].close()
    assert failures == [errno.EBADF]


class PathObject(object):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


FORMS = {
    "text": lambda path: path,
    "bytes": lambda path: path.encode(),
    "relative": lambda path: os.path.relpath(path),
    "through a link": lambda path: os.path.join(os.path.dirname(path), "link", "socket"),
}
if six.PY3:
    FORMS["path object"] = PathObject


@pytest.mark.parametrize("bound", ["text", "relative", "through a link"])
@pytest.mark.parametrize("form", sorted(FORMS))
def test_the_file_of_a_socket_that_listens_already(path, folder, form, bound):
    os.symlink(folder, os.path.join(folder, "link"))
    with listening(FORMS[bound](path)) as sock:
        listener = Listener.from_socket(sock, path=FORMS[form](path))
        with closing(Channel.connect(path)), closing(listener.accept()):
            pass
        listener.close()
        assert not os.path.exists(path)


def test_the_file_of_a_socket_is_removed_by_its_process_alone(path):
    with listening(path) as sock, Listener.from_socket(sock, path=path) as listener:
        child = os.fork()
        if not child:
            listener.close()
            os._exit(os.path.exists(path))
        assert os.waitpid(child, 0)[1] == 1 << 8
    assert not os.path.exists(path)


def test_the_file_that_took_the_place_of_a_sockets_own(path):
    with listening(path) as sock, Listener.from_socket(sock, path=path) as listener:
        os.unlink(path)
        with Listener(path):
            listener.close()
            assert os.path.exists(path)


# What may have the name of a socket whose file was removed.
NAMESAKES = {
    "a listener": (socket.SOCK_STREAM, True),
    "one that does not listen yet": (socket.SOCK_STREAM, False),
    "a datagram socket": (socket.SOCK_DGRAM, False),
}
needs_names = pytest.mark.skipif(
    not os.path.exists("/proc/net/unix"), reason="the system does not list the names of sockets"
)


@needs_names
@pytest.mark.parametrize("ending", [b"", b" 01 \n\xff"], ids=["plain", "odd"])
@pytest.mark.parametrize("what", sorted(NAMESAKES))
def test_a_path_that_may_be_another_sockets(path, what, ending):
    """Closing the Listener would otherwise remove the file of a living server."""
    kind, listens = NAMESAKES[what]
    path = path.encode() + ending
    with listening(path) as sock:
        os.unlink(path)
        with closing(socket.socket(socket.AF_UNIX, kind)) as (server,):
            server.bind(path)
            if listens:
                server.listen(1)
            with pytest.raises(ValueError, match="another socket has the name.*leave path out"):
                Listener.from_socket(sock, path=path)
            assert sock.gettimeout() is None
            Listener.from_socket(fdpass.socket_from_fd(sock, dup=True)).close()
            assert os.path.exists(path)


@needs_names
@pytest.mark.parametrize("ending", [b"", b" 01 \n\xff"], ids=["plain", "odd"])
def test_names_that_are_its_own_or_only_look_alike(path, ending):
    path = path.encode() + ending
    others = path + b"2", b"\0other " + path, b"\0other\n " + path
    socks = [socket.socket(socket.AF_UNIX) for _ in others]
    with Listener(path) as listener, closing(Channel.connect(path), Channel.connect(path), *socks):
        for sock, other in zip(socks, others):
            sock.bind(other)
        with closing(listener.accept()):
            duplicate = fdpass.socket_from_fd(listener, dup=True)
            with closing(Listener.from_socket(duplicate, path=path)):
                listener.close(remove=False)
    assert not os.path.exists(path)


@pytest.mark.parametrize("number, is_raised", [(errno.ENOENT, False), (errno.EMFILE, True)])
def test_the_list_of_names_that_cannot_be_read(path, monkeypatch, number, is_raised):
    def fail(*arguments):
        raise IOError(number, os.strerror(number))

    monkeypatch.setattr(six.moves.builtins, "open", fail)
    with listening(path) as sock:
        if is_raised:
            with raises_errno(number, IOError):
                Listener.from_socket(sock, path=path)
            assert sock.gettimeout() is None
        else:
            Listener.from_socket(sock, path=path).close()
            assert not os.path.exists(path)


def link_to(path):
    os.symlink(path, path + "link")
    return path + "link"


def regular_file(path):
    open(path + "file", "w").close()
    return path + "file"


def file_in_its_place(path):
    os.unlink(path)
    open(path, "w").close()
    return path


def file_after_it(path):
    os.rename(path, path + "moved")
    return path + "moved"


def another_socket(path):
    stale(path + "2")
    return path + "2"


NOT_ITS_FILE = {
    "a link to it": (link_to, ValueError, "not the file of this socket"),
    "a file": (regular_file, ValueError, "not the file of this socket"),
    "a file in its place": (file_in_its_place, ValueError, "not the file of this socket"),
    "moved": (file_after_it, ValueError, "not the file of this socket"),
    "another socket": (another_socket, ValueError, "not the file of this socket"),
    "nothing": (lambda path: path + "2", OSError, os.strerror(errno.ENOENT)),
    "below it": (lambda path: path + "/x", OSError, os.strerror(errno.ENOTDIR)),
    "empty": (lambda path: "", ValueError, "empty"),
    "an int": (lambda path: 3, TypeError, "path"),
    "an abstract name": (lambda path: "\0" + path, ValueError, "abstract name has no file"),
}


@pytest.mark.parametrize("what", sorted(NOT_ITS_FILE))
def test_a_path_that_is_not_the_sockets(path, what):
    make, error, told = NOT_ITS_FILE[what]
    if what == "an abstract name" and not sys.platform.startswith("linux"):
        told = "only Linux"
    with listening(path) as sock:
        given = make(path)
        with pytest.raises(error, match=told):
            Listener.from_socket(sock, path=given)
        assert sock.gettimeout() is None
        sock.fileno()


@needs_abstract
def test_an_abstract_socket_has_no_file(path):
    stale(path)
    with closing(socket.socket(socket.AF_UNIX)) as (sock,):
        sock.bind("\0" + path)
        sock.listen(1)
        with pytest.raises(ValueError, match="not the file of this socket"):
            Listener.from_socket(sock, path=path)


def test_a_file_that_cannot_be_looked_at(path, monkeypatch):
    """It cannot be known then whether the path is the socket's."""
    lstat = os.lstat

    def denied(name):
        if not name.startswith(os.sep):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return lstat(name)

    with listening(os.path.relpath(path)) as sock:
        monkeypatch.setattr(os, "lstat", denied)
        with raises_errno(errno.EACCES, OSError):
            Listener.from_socket(sock, path=path)


def test_a_timeout(path):
    with Listener(path) as listener:
        listener.settimeout(0.01)
        with pytest.raises(socket.timeout):
            listener.accept()
        for wrong, error in ((0, ValueError), ("1", TypeError)):
            with pytest.raises(error):
                listener.settimeout(wrong)
        listener.settimeout(None)
        Channel.connect(path).close()
        listener.accept().close()


def test_closed(path):
    listener = Listener(path)
    assert repr(listener) == "<Listener fd=%d>" % listener.fileno()
    assert iter(listener) is listener
    listener.close()
    listener.close()
    assert repr(listener) == "<Listener closed>"
    for call in (listener.accept, listener.fileno):
        with pytest.raises(socket.error, match="this Listener is closed") as caught:
            call()
        assert caught.value.errno == errno.EBADF


class Failing(object):
    """A socket object whose accept raises these errors first."""

    def __init__(self, sock, *numbers):
        self.sock, self.numbers = sock, list(numbers)

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def accept(self):
        if self.numbers:
            number = self.numbers.pop(0)
            raise socket.error(number, os.strerror(number))
        return self.sock.accept()


def test_an_error_of_accept(path):
    sock = Socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(1)
    numbers = errno.EINTR, errno.ECONNABORTED, errno.EAGAIN, errno.EMFILE
    with Listener.from_socket(Failing(sock, *numbers)) as listener:
        with closing(Channel.connect(path)):
            with raises_errno(errno.EMFILE):
                listener.accept()
            listener.accept().close()


def test_at_the_limit_of_descriptors_who_waits_stays_in_the_backlog(path):
    with Listener(path) as listener, closing(Channel.connect(path)) as (client,):
        with lowered(0):
            with pytest.raises(socket.error) as caught:
                listener.accept()
        assert caught.value.errno == errno.EMFILE
        client.send(b"still here")
        with closing(listener.accept()) as (served,):
            assert served.recv().data == b"still here"


AT_LIMIT = errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM


def test_a_loop_at_the_limit_pauses_and_goes_on(path, caplog):
    with listening(path) as sock, Listener.from_socket(Failing(sock, *AT_LIMIT)) as listener:
        with closing(Channel.connect(path)) as (client,):
            with caplog.at_level(logging.WARNING):
                started = time.time()
                with closing(next(listener)) as (served,):
                    assert time.time() - started >= 0.03
                    client.send(b"x")
                    assert served.recv().data == b"x"
    assert [record.name for record in caplog.records] == ["fdpass"]
    message = caplog.records[0].getMessage()
    assert os.strerror(errno.EMFILE) in message and "peers may wait" in message


def test_nothing_is_logged_where_logging_cannot_be_imported(path, monkeypatch, caplog):
    """An import could find no descriptor. The peers are refused all the same."""
    answers = [False, True]
    with listening(path) as sock:
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "logging", None)
            listener = Listener.from_socket(
                Failing(sock, errno.EMFILE), allow=lambda _: answers.pop(0)
            )
        with listener, closing(Channel.connect(path), Channel.connect(path)):
            with caplog.at_level(logging.INFO):
                next(listener).close()
    assert not caplog.records and not answers


def test_logging_is_imported_before_it_is_needed(path):
    """After a chroot or at the limit of descriptors it would be too late."""
    program = """
import sys, fdpass
assert "logging" not in sys.modules
fdpass.Listener(sys.argv[1], allow=lambda peer: False).close()
assert "logging" in sys.modules
"""
    subprocess.check_call([sys.executable, "-c", program, path], env=child_environment())


def test_refusals_are_logged_once_a_second_for_each_user(path, caplog):
    uids, now = [7] * 5 + [8] * 5 + [7] * 2, [100.0]

    def peer_of(sock):
        return fixed_peer(1, uids[0], uids[0])(sock)

    def allow(credentials):
        now[0] += 0.12
        uids.pop(0)
        return not uids

    other = copy_of_fdpass(peer_of=peer_of, monotonic=lambda: now[0])
    with other.Listener(path, allow=allow) as listener:
        with closing(*[Channel.connect(path) for _ in uids]), caplog.at_level(logging.INFO):
            listener.accept().close()
    assert re.findall("uid=([78])", caplog.text) == ["7", "8", "7"]


@pytest.mark.rule(28)
@pytest.mark.parametrize(
    "uid_map, overflow, has_proc, allowed",
    [
        ("0 0 4294967295\n", "65534\n", True, True),
        ("0 1000 1\n", "65534\n", True, False),
        ("0 100000 65536\n", "65534\n", True, False),
        ("0 0 10\n20 20 4294967285\n", "65534\n", True, True),
        ("0 0 1000\n", "65533\n", True, True),
        (None, None, False, False),
        (None, None, True, True),
    ],
)
def test_the_uid_that_stands_for_everybody(path, monkeypatch, uid_map, overflow, has_proc, allowed):
    """In a user namespace that does not map all users (user_namespaces(7))."""
    files = {"/proc/self/uid_map": uid_map, "/proc/sys/kernel/overflowuid": overflow}
    other = copy_of_fdpass(peer_of=fixed_peer(1, 65534, 65534))
    real_open, real_isdir = open, os.path.isdir

    def open_fake(name, *others):
        if name not in files:
            return real_open(name, *others)
        if files[name] is None:
            raise EnvironmentError(errno.ENOENT, "no")
        return io.StringIO(six.ensure_text(files[name]))

    with monkeypatch.context() as patched:
        patched.setattr(six.moves.builtins, "open", open_fake)
        patched.setattr(
            os.path, "isdir", lambda name: has_proc if name == "/proc/self" else real_isdir(name)
        )
        listener = other.Listener(path)
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with listener, closing(Channel.connect(path)):
        listener.settimeout(0.01)
        if allowed:
            listener.accept().close()
        else:
            with pytest.raises(socket.timeout):
                listener.accept()


def test_another_system_has_no_user_namespaces(path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    other = copy_of_fdpass(peer_of=fixed_peer(1, 65534, 65534), BIND_KEEPS_MODE=False)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "freebsd14")
        listener = other.Listener(path)
    with listener, closing(Channel.connect(path)):
        listener.accept().close()


def test_a_loop_at_the_limit_has_its_timeout(path):
    with listening(path) as sock:
        failing = Failing(sock, *[errno.EMFILE] * 1000)
        with Listener.from_socket(failing) as listener:
            listener.settimeout(0.05)
            with pytest.raises(socket.timeout, match=os.strerror(errno.EMFILE)):
                next(listener)
            assert 1000 - 20 < len(failing.numbers) < 1000


def test_pauses_do_not_prolong_the_timeout_of_a_loop(path, monkeypatch):
    clock = Clock()

    class Poll(object):
        def register(self, fd, event):
            pass

        def poll(self, milliseconds):
            clock.sleep(milliseconds / 1000.0)

    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(select, "poll", Poll, raising=False)
    other = copy_of_fdpass(monotonic=lambda: clock.now).Listener
    with listening(path) as sock:
        with other.from_socket(Failing(sock, *[errno.EMFILE] * 90)) as listener:
            listener.settimeout(1)
            with pytest.raises(socket.timeout):
                next(listener)
            assert 1 <= clock.now < 1.1


def test_at_the_limit_what_allow_raises_ends_the_loop(path):
    def allow(credentials):
        raise OSError(errno.EMFILE, "allow's own")

    with Listener(path, allow=allow) as listener, closing(Channel.connect(path)) as (client,):
        with pytest.raises(OSError, match="allow's own"):
            next(listener)
        with pytest.raises(EOFError):
            client.recv()


def test_a_loop_calls_the_accept_of_a_subclass(path):
    class Named(Listener):
        def accept(self):
            return "accepted", Listener.accept(self)

    with Named(path) as listener, closing(Channel.connect(path)):
        word, channel = next(listener)
        channel.close()
        assert word == "accepted"


LIMITED = """
import errno, os, resource, socket, sys, threading, time
import fdpass

class Counting(object):
    accepts = 0

    def __init__(self, sock):
        self.sock = sock

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def accept(self):
        self.accepts += 1
        return self.sock.accept()

sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen(5)
counting = Counting(sock)
listener = fdpass.Listener.from_socket(counting)
client = fdpass.Channel.connect(sys.argv[1])
filling = []
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
try:
    while True:
        filling.append(os.dup(0))
except OSError:
    pass
%s
client.send(b"let in")
assert channel.recv().data == b"let in"
print(counting.accepts)
"""
LOOP = """
started = time.time()
threading.Timer(0.5, os.close, [filling.pop()]).start()
channel = next(listener)
assert time.time() - started > 0.4
"""
RECIPE = """
%s
class Idle(object):
    def close(self):
        os.close(filling.pop())
channel = accept_next(listener, [Idle()])
"""


def run_limited(path, program):
    """Run a program at its limit of open descriptors; return how often it called accept."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", LIMITED % program, path],
        env=child_environment(),
        stdout=subprocess.PIPE,
        close_fds=True,
    )
    told = process.communicate()[0]
    assert process.returncode == 0
    return int(told)


def test_a_loop_at_a_real_limit_does_not_spin(path):
    assert 2 < run_limited(path, LOOP) <= 60  # in half a second


SECURITY = os.path.join(os.path.dirname(os.path.dirname(__file__)), "docs", "security.rst")


@pytest.mark.skipif(not os.path.exists(SECURITY), reason="the tests are without their README")
def test_the_recipe_for_the_limit(path):
    with io.open(SECURITY, encoding="utf-8") as page:
        examples = doctest.DocTestParser().get_examples(page.read())
    (recipe,) = [each.source for each in examples if each.source.startswith("def accept_next")]
    assert run_limited(path, RECIPE % recipe) == 2


def test_connecting_to_nobody(path):
    for number in (errno.ENOENT, errno.ECONNREFUSED):
        with raises_errno(number):
            Channel.connect(path)
        with pytest.raises(socket.timeout, match="the last try said: .*%s" % os.strerror(number)):
            Channel.connect(path, timeout=0.03)
        if number == errno.ENOENT:
            stale(path)


def test_between_two_tries_the_processor_is_for_others(path, patch_sockets):
    tries = []
    patch_sockets(connect=lambda sock, name: tries.append(name) or Socket.connect(sock, name))
    with pytest.raises(socket.timeout):
        Channel.connect(path, timeout=0.05)
    assert 1 <= len(tries) < 10


def test_connecting_where_the_backlog_is_full(path):
    with Listener(path, backlog=0) as listener:
        waiting = []
        with pytest.raises(socket.error) as caught:
            while True:
                waiting.append(Channel.connect(path))
        with closing(*waiting):
            assert caught.value.errno == errno.EAGAIN
            with pytest.raises(socket.timeout):
                Channel.connect(path, timeout=0.03)
            thread = threading.Timer(0.1, lambda: listener.accept().close())
            thread.start()
            Channel.connect(path, timeout=20).close()
            thread.join()


def test_connecting_before_anybody_listens(path):
    stale(path)
    made = []
    thread = threading.Timer(0.1, lambda: made.append(Listener(path)))
    thread.start()
    with closing(Channel.connect(path, timeout=20)) as (channel,):
        thread.join()
        with closing(made[0]) as (listener,), closing(listener.accept()) as (served,):
            channel.send(b"x")
            assert served.recv().data == b"x"


def test_a_short_timeout_is_for_more_than_one_try(path, patch_sockets):
    tries, made = [], []

    def connect(sock, name):
        tries.append(name)
        if len(tries) == 2:
            made.append(Listener(path))
        Socket.connect(sock, name)

    patch_sockets(connect=connect)
    with closing(Channel.connect(path, timeout=0.9)):
        made[0].close()
    assert len(tries) == 2


@pytest.mark.parametrize("timeout, error", [(0, ValueError), (-1, ValueError), ("1", TypeError)])
def test_wrong_timeouts_of_connecting(path, timeout, error):
    with pytest.raises(error, match="timeout must be"):
        Channel.connect(path, timeout)


def test_connecting_to_what_is_no_stream(path):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (sock,):
        sock.bind(path)
        with raises_errno(errno.EPROTOTYPE):
            Channel.connect(path, timeout=5)


def test_the_path_of_a_socket_that_may_not_be_asked(path, patch_sockets):
    """The socket is another user's, for instance. The error has the path."""
    stale(path)

    def refused(sock, name):
        raise socket.error(errno.EACCES, os.strerror(errno.EACCES))

    patch_sockets(connect=refused)
    with raises_errno(errno.EACCES) as caught:
        Listener(path)
    assert "%r exists, and nobody can tell whether a process has it" % path in str(caught.value)
