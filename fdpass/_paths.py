"""Unix sockets on paths: the file's mode, a stale one's replacement, its end."""

import errno
import fcntl
import os
import socket
import stat
import sys
import time

from . import _arguments
from ._system import (
    AF_UNIX,
    BORN_WITH_MODE,
    SOCK_STREAM,
    fspath,
    monotonic,
    set_inheritable,
)
from ._waiting import AGAIN

# What connect says while nobody listens there yet, and while the backlog is full (unix(7)).
NOT_YET = (errno.ENOENT, errno.ECONNREFUSED) + AGAIN
# What these answers of connect mean.
ANSWERS = {
    errno.ENOENT: "nobody listens there; with a timeout, connect keeps trying",
    errno.ECONNREFUSED: "nobody listens there; with a timeout, connect keeps trying",
    errno.EAGAIN: "all places in its backlog are taken; with a timeout, connect keeps trying",
    errno.EPROTOTYPE: "what is there is no stream socket",
}
PATIENCE = 5  # seconds to wait for the lock of a directory, which any user who reads it can hold
PAUSE = 0.01
O_PATH = getattr(os, "O_PATH", 0x200000)  # 2.7 has no name for it; asm-generic/fcntl.h


def checked_path(path):
    """path as text or bytes that can be an address, or an error."""
    path = fspath(path)
    if not isinstance(path, (bytes, _arguments.TEXT)):
        raise TypeError("a path is text, bytes or a path object, not %s" % type(path).__name__)
    zero = zero_of(path)
    if not path or path == zero:
        raise ValueError("the path is empty: give the file name of the socket")
    if is_abstract(path):
        if not sys.platform.startswith("linux"):
            raise ValueError("abstract names (a zero byte first) are Linux's: give a file name")
    elif zero in path:
        raise ValueError("a zero byte ends a path: %r" % (path,))
    return path


def zero_of(path):
    return b"\0" if isinstance(path, bytes) else b"\0".decode()


def is_abstract(path):
    return path[:1] == zero_of(path)


def absolute(path):
    """path from the root on, as it is now; abspath would take link/.. for nothing."""
    if os.path.isabs(path):
        return path  # the working directory may be gone
    here = getattr(os, "getcwdb", os.getcwd) if isinstance(path, bytes) else os.getcwd
    return os.path.join(here(), path)


def unix_socket():
    """A Unix stream socket that does not block."""
    sock = socket.socket(AF_UNIX, SOCK_STREAM)
    try:
        set_inheritable(sock.fileno(), False)  # Python 2's is not close-on-exec
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return sock


def addressed(call, path, meanings=()):
    """call(path), whose errors then name the path, and what their errno means here."""
    try:
        call(path)
    except socket.error as error:
        if error.errno is None and "too long" in str(error):  # Python's own word
            raise ValueError(
                "%s: %r. The system takes some 100 bytes: use a shorter path, or a relative one"
                % (error, path)
            )
        if error.errno is not None:
            error.strerror = "%s: %r" % (os.strerror(error.errno), path)
            if error.errno in meanings:
                error.strerror += ": " + meanings[error.errno]
            error.args = error.errno, error.strerror
        raise


class Locked(object):
    """Holds the lock of a directory: of several Listeners, one at a time replaces files there."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        self.fd = os.open(self.folder, os.O_RDONLY)
        try:
            set_inheritable(self.fd, False)
            self.wait(monotonic() + PATIENCE)
        except BaseException:
            os.close(self.fd)
            raise

    def wait(self, end):
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except EnvironmentError as error:  # 2.7: IOError
                if error.errno not in AGAIN + (errno.EINTR,):
                    raise
            if monotonic() >= end:
                raise socket.error(
                    errno.EAGAIN, "another process holds the lock (flock) of %r" % (self.folder,)
                )
            time.sleep(PAUSE)

    def __exit__(self, *exc_info):
        try:
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has it too
        finally:
            os.close(self.fd)


# What a socket that lives answers, and is of another type; or has a peer of its own (unix(7)).
ALIVE = (errno.EPROTOTYPE, errno.EPERM)


def asked(path):
    """The errno with which the socket that is bound there answers a datagram socket, or 0.

    Of that type, so that one who listens there sees no connection.
    """
    probe = socket.socket(AF_UNIX, socket.SOCK_DGRAM)
    try:
        probe.connect(path)
        return 0
    except socket.error as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT) + ALIVE:
            raise
        return error.errno
    finally:
        probe.close()


def bind(sock, path, mode):
    """bind(2); the file has the mode from its first moment on, but for what the umask takes off."""
    if BORN_WITH_MODE:
        os.fchmod(sock.fileno(), mode)
        addressed(sock.bind, path)
        return
    before = os.umask(0o777)
    try:
        os.umask(before | (0o777 & ~mode))  # for all threads, and so never wider than it was
        addressed(sock.bind, path)
    finally:
        os.umask(before)


def check_stale(path):
    """EADDRINUSE unless what is there is a socket that no process has; or whether it has gone."""
    try:
        there = os.lstat(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    if not stat.S_ISSOCK(there.st_mode):
        raise in_use("%r is no socket, and was left alone" % (path,))
    answer = asked(path)
    if answer in (0,) + ALIVE:
        raise in_use("a process has the socket %r" % (path,))
    # Whoever had it may have removed it meanwhile, and another may have come since.
    return answer == errno.ECONNREFUSED


def bind_over_stale(sock, path, mode):
    """bind where something is in the way: a socket that no process has any more is replaced."""
    check_stale(path)  # to be told so takes no lock, and no right to read the directory
    with Locked(os.path.dirname(absolute(path))):
        if check_stale(path):
            os.unlink(path)
        bind(sock, path, mode)


def in_use(why):
    return socket.error(errno.EADDRINUSE, "%s: %s" % (os.strerror(errno.EADDRINUSE), why))


class Place(object):
    """The file of a socket that is bound here, to be removed by who made it and nobody else."""

    file = None  # its identity, once it is bound

    def __init__(self, path):
        self.path = absolute(path)  # the working directory may change
        self.pid = os.getpid()

    def taken(self):
        """The socket is bound there now."""
        self.file = identity(os.lstat(self.path))

    def widen(self, mode):
        """Give the file the mode of which the umask has taken something off.

        By a descriptor of that very file: where others can write to the directory, a link to
        something precious can be in its place by now (open(2), O_PATH).
        """
        if stat.S_IMODE(os.lstat(self.path).st_mode) == mode:
            return
        if not BORN_WITH_MODE:  # and so not Linux
            getattr(os, "lchmod", os.chmod)(self.path, mode)
            return
        fd = os.open(self.path, O_PATH | os.O_NOFOLLOW)
        try:
            set_inheritable(fd, False)
            if identity(os.fstat(fd)) != self.file:
                raise in_use("%r was replaced while it was made" % (self.path,))
            os.chmod("/proc/self/fd/%d" % fd, mode)
        finally:
            os.close(fd)

    def remove(self):
        """Remove the file, if it is the one that was made and this the process that made it.

        To be called while the socket is open: nobody takes it for stale then, and its number cannot
        be another's. So this takes no lock.
        """
        try:
            if os.getpid() == self.pid and identity(os.lstat(self.path)) == self.file:
                os.unlink(self.path)
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's. Else it has gone, or the directory does not let us


def identity(status):
    return status.st_dev, status.st_ino


def listening(path, mode, backlog):
    """A socket that listens at path, and the `Place` of its file; None for an abstract name."""
    sock, place = unix_socket(), None
    try:
        if is_abstract(path):
            addressed(sock.bind, path)
        else:
            place = Place(path)
            try:
                bind(sock, path, mode)
            except socket.error as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                bind_over_stale(sock, path, mode)
            place.taken()
            place.widen(mode)
        sock.listen(backlog)
        return sock, place
    except BaseException:
        if place is not None:
            place.remove()
        sock.close()
        raise


def connected(path):
    """A socket that is connected to who listens there, without waiting."""
    sock = unix_socket()
    try:
        addressed(sock.connect, path, ANSWERS)
        return sock
    except BaseException:
        sock.close()
        raise


def tried(path, timeout, deadline):
    """(a socket that is connected to who listens there, or None; seconds before the next try)."""
    try:
        return connected(path), 0
    except socket.error as error:
        if timeout is None or error.errno not in NOT_YET:
            raise
        left = deadline - monotonic()
        if left <= 0:
            raise socket.timeout("timed out; the last try said: %s" % os.strerror(error.errno))
        return None, min(left, PAUSE)
