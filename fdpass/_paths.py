"""Unix sockets at paths: listen and connect, set the file's mode, and replace a stale file."""

import errno
import fcntl
import os
import socket
import stat
import sys
import time

from . import _arguments
from ._system import AF_UNIX, BIND_KEEPS_MODE, SOCK_STREAM, fspath, monotonic, set_inheritable
from ._waiting import WOULD_BLOCK

# connect fails with these (unix(7)), but may succeed later.
NOT_YET_MEANINGS = dict.fromkeys(WOULD_BLOCK, "all places in its backlog are taken")
NOT_YET_MEANINGS.update(dict.fromkeys((errno.ENOENT, errno.ECONNREFUSED), "nobody listens there"))
# connect returns one of these if a process has the socket at the path: 0 for success, or an errno
# if the socket is of another type, is connected to another peer, or has a full backlog (unix(7)).
ALIVE_ERRNOS = (0, errno.EPROTOTYPE, errno.EPERM) + WOULD_BLOCK
LOCK_TIMEOUT_S = 5  # any user who can read the directory can hold its lock
PAUSE_S = 0.01  # between two tries
O_PATH = getattr(os, "O_PATH", 0x200000)  # 2.7 has no name for it; asm-generic/fcntl.h


def listen_at(path, mode, backlog):
    """Return a socket that listens at path, and its `SocketFile` (None for an abstract name)."""
    sock, file = make_unix_socket(), None
    try:
        if is_abstract(path):
            call_with_path(sock.bind, path)
        else:
            file = SocketFile(path)
            try:
                bind(sock, path, mode)
            except socket.error as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                replace_stale(sock, path, mode)
            file.identify()
            file.set_mode(mode)
        sock.listen(backlog)
        return sock, file
    except BaseException:
        if file is not None:
            file.remove()
        sock.close()
        raise


def file_at(path, sock):
    """Return the `SocketFile` of a bound socket. Raise ValueError if path may be another's file."""
    path, name = check_path(path), sock.getsockname()
    if is_abstract(path):
        raise ValueError("an abstract name has no file: leave path out")
    file = SocketFile(path)
    status = os.lstat(file.path)
    file.identity = identity_of(status)
    # Compare the files, because the name may be relative, or lead through another link.
    is_same = not is_abstract(name) and identity_at(name) == file.identity
    if not is_same or not stat.S_ISSOCK(status.st_mode):
        raise ValueError("%r is not the file of this socket, whose name is %r" % (path, name))
    if has_namesake(sock, name):
        raise ValueError(
            "another socket has the name %r, too, so nobody can tell whose file is there: leave"
            " path out" % (name,)
        )
    return file


def has_namesake(sock, name):
    """Return True if another socket has this name: the file of one of them was replaced.

    The kernel keeps a name when its file is gone (unix(7)), and lists all names in proc(5). Without
    that list, nobody can tell.
    """
    try:
        with open("/proc/net/unix", "rb") as opened:
            table = opened.read()
    except EnvironmentError as error:  # 2.7: IOError
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise
        return False
    # The columns are Num RefCount Protocol Flags Type St Inode Path. What a listener has accepted
    # has its name, too, and the state 03, or 02 before that. A path may have spaces and newlines.
    inode = str(os.fstat(sock.fileno()).st_ino).encode()
    ending = b" " + getattr(os, "fsencode", bytes)(name) + b"\n"
    rows = [part.rpartition(b"\n")[2].split() for part in table.split(ending)[:-1]]
    return any(len(row) == 7 and row[5] == b"01" and row[6] != inode for row in rows)


def identity_at(path):
    """Return the identity of the file at path, or None if there is none."""
    try:
        return identity_of(os.lstat(path))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise
        return None


def try_connect(path, timeout, deadline):
    """Return (a connected socket, 0), or (None, the seconds to pause before the next try)."""
    try:
        return connect_to(path), 0
    except socket.error as error:
        may_retry = timeout is not None and error.errno in NOT_YET_MEANINGS
        left = deadline - monotonic() if may_retry else 0
        if left > 0:
            return None, min(left, PAUSE_S)
        explain_connect_error(error, path, timeout)
        if may_retry:
            raise socket.timeout("timed out; the last try said: %s" % error.strerror)
        raise


def explain_connect_error(error, path, timeout):
    """Add to the error's text what its errno means when a socket connects to path."""
    meaning = NOT_YET_MEANINGS.get(error.errno)
    if meaning is not None and timeout is None:
        meaning += "; with a timeout, connect keeps trying"
    if error.errno == errno.EPROTOTYPE:
        meaning = "the socket there is no stream socket"
    elif error.errno == errno.ECONNREFUSED and is_other_file(path):
        meaning = "the file there is no socket"
    elif error.errno == errno.ENOENT and lacks_directory(path):
        meaning = None  # call_with_path has said so
    if meaning is not None:
        _arguments.extend_error(error, after=": " + meaning)


def is_other_file(path):
    """Return True if path holds a file that is no socket."""
    try:
        return not is_abstract(path) and not stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def lacks_directory(path):
    return not is_abstract(path) and not os.path.isdir(os.path.dirname(path) or ".")


def pause_after(error, deadline):
    """Return the seconds to pause before the next try, or raise socket.timeout."""
    left = deadline - monotonic()
    if left <= 0:
        raise socket.timeout("timed out; the last try said: %s" % os.strerror(error.errno))
    return min(left, PAUSE_S)


def connect_to(path):
    """Return a socket connected to the listener at path, without waiting."""
    sock = make_unix_socket()
    try:
        call_with_path(sock.connect, path)
        return sock
    except BaseException:
        sock.close()
        raise


def check_path(path):
    """Return path as text or bytes that can be an address, or raise TypeError or ValueError."""
    path = fspath(path)
    if not isinstance(path, (bytes, _arguments.TEXT)):
        raise TypeError("a path is text, bytes or a path object, not %s" % type(path).__name__)
    zero = zero_like(path)
    if not path or path == zero:
        raise ValueError("the path is empty: give the file name of the socket")
    if is_abstract(path):
        if not sys.platform.startswith("linux"):
            raise ValueError("only Linux has abstract names (a zero byte first): give a file name")
    elif zero in path:
        raise ValueError("a path must not have a zero byte: %r" % (path,))
    return path


def is_abstract(path):
    return path[:1] == zero_like(path)


def zero_like(path):
    """Return a zero byte of path's type."""
    return b"\0" if isinstance(path, bytes) else b"\0".decode()


def absolute_path(path):
    """Return the absolute path, without abspath, which removes "a/.." even if a is a link."""
    if os.path.isabs(path):
        return path  # without getcwd, which fails if the working directory is gone
    getcwd = getattr(os, "getcwdb", os.getcwd) if isinstance(path, bytes) else os.getcwd
    return os.path.join(getcwd(), path)


def make_unix_socket(type=SOCK_STREAM):
    """Return a non-blocking Unix socket, which is close-on-exec."""
    sock = socket.socket(AF_UNIX, type)
    try:
        set_inheritable(sock.fileno(), False)  # before 3.4 it is inheritable (PEP 446)
        sock.settimeout(0)
    except BaseException:
        sock.close()
        raise
    return sock


def call_with_path(call, path):
    """Call with path. Add the path to the text of an error."""
    try:
        call(path)
    except socket.error as error:
        if error.errno is None and "too long" in str(error):  # raised by Python itself
            raise ValueError(
                "%s: %r. The system takes some 100 bytes: use a shorter path, or a relative one"
                % (error, path)
            )
        if error.errno is not None:
            reason = ": its directory does not exist"
            is_missing = error.errno == errno.ENOENT and lacks_directory(path)
            _arguments.extend_error(error, after=": %r%s" % (path, reason if is_missing else ""))
        raise


def bind(sock, path, mode):
    """Bind sock to path, and make the file with this mode, less the bits of the umask."""
    if BIND_KEEPS_MODE:
        os.fchmod(sock.fileno(), mode)
        call_with_path(sock.bind, path)
        return
    before = os.umask(0o777)
    try:
        os.umask(before | (0o777 & ~mode))  # for all threads, so no bit of before is cleared
        call_with_path(sock.bind, path)
    finally:
        os.umask(before)


def replace_stale(sock, path, mode):
    """Bind sock to a path that is in use, if what is there is a stale socket."""
    find_stale(path)  # raises before the lock, which needs the right to read the directory
    with DirectoryLock(os.path.dirname(absolute_path(path))):
        if find_stale(path):
            os.unlink(path)
        bind(sock, path, mode)


def find_stale(path):
    """Return True if path holds a stale socket and False if it is gone, or raise EADDRINUSE."""
    try:
        status = os.lstat(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    if not stat.S_ISSOCK(status.st_mode):
        raise make_in_use_error("%r is no socket, and was left alone" % (path,))
    # Try a datagram socket first, because no listener notices it. gVisor refuses it even if a
    # process listens, so try a stream socket too. On Linux, no listener is there after a refusal.
    answer = probe_errno(path, socket.SOCK_DGRAM)
    if answer == errno.ECONNREFUSED:
        answer = probe_errno(path, SOCK_STREAM)
    if answer in ALIVE_ERRNOS:
        raise make_in_use_error("a process has the socket %r" % (path,))
    # After ENOENT, another process may have made the file again: bind will tell.
    return answer == errno.ECONNREFUSED


def probe_errno(path, type):
    """Return the errno of connecting a socket of this type to path, or 0 for success."""
    probe = make_unix_socket(type)
    try:
        probe.connect(path)
        return 0
    except socket.error as error:
        if error.errno not in (errno.ECONNREFUSED, errno.ENOENT) + ALIVE_ERRNOS:
            reason = ": %r exists, and nobody can tell whether a process has it" % (path,)
            _arguments.extend_error(error, after=reason)
            raise
        return error.errno
    finally:
        probe.close()


class DirectoryLock(object):
    """Holds a lock on a directory, so that only one Listener at a time replaces files there."""

    def __init__(self, directory):
        self.directory = directory

    def __enter__(self):
        self.fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)  # a FIFO would wait
        try:
            set_inheritable(self.fd, False)
            self.acquire(monotonic() + LOCK_TIMEOUT_S)
        except BaseException:
            os.close(self.fd)
            raise

    def acquire(self, deadline):
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except EnvironmentError as error:  # 2.7: IOError
                if error.errno not in WOULD_BLOCK + (errno.EINTR,):
                    raise
            if monotonic() >= deadline:
                raise socket.error(
                    errno.EAGAIN, "another process holds the lock (flock) of %r" % (self.directory,)
                )
            time.sleep(PAUSE_S)

    def __exit__(self, *exc_info):
        try:
            fcntl.flock(self.fd, fcntl.LOCK_UN)  # otherwise a child forked meanwhile keeps it
        finally:
            os.close(self.fd)


class SocketFile(object):
    """The file of a bound socket. Only the process that made it removes it, and no other file."""

    identity = None  # of the file, once the socket is bound

    def __init__(self, path):
        self.path = absolute_path(path)  # the working directory may change
        self.pid, self.pid_namespace = os.getpid(), find_pid_namespace()

    def identify(self):
        """Remember the file that the socket is bound to now."""
        status = os.lstat(self.path)
        self.check_own_socket(status)
        self.identity = identity_of(status)

    def check_own_socket(self, status):
        """Raise EADDRINUSE if status is not of a socket that has this path as its only name.

        Others who can write to the directory may have put another file there since bind: a link to
        a file of root's, for instance, to have its mode changed.
        """
        if not stat.S_ISSOCK(status.st_mode) or status.st_nlink != 1:
            raise self.make_replaced_error()

    def make_replaced_error(self):
        return make_in_use_error("%r was replaced while it was made" % (self.path,))

    def set_mode(self, mode):
        """Give the file this mode, if the umask has cleared some of its bits.

        Change it through a descriptor, because others who can write to the directory may have put
        a link to another file at the path by now (open(2), O_PATH).
        """
        if stat.S_IMODE(os.lstat(self.path).st_mode) == mode:
            return
        if not BIND_KEEPS_MODE:  # and so not Linux
            getattr(os, "lchmod", os.chmod)(self.path, mode)
            return
        fd = os.open(self.path, O_PATH | os.O_NOFOLLOW)
        try:
            set_inheritable(fd, False)
            status = os.fstat(fd)
            self.check_own_socket(status)
            if identity_of(status) != self.identity or status.st_uid != os.geteuid():
                raise self.make_replaced_error()
            os.chmod("/proc/self/fd/%d" % fd, mode)
        finally:
            os.close(fd)

    def remove(self):
        """Remove the file if it is still the one that this process made.

        Call this while the socket is open. It needs no lock, because the file of an open socket is
        not stale for anybody, and its inode is not reused.
        """
        try:
            if self.is_of_this_process() and identity_of(os.lstat(self.path)) == self.identity:
                os.unlink(self.path)
        except OSError as error:
            # With an errno, the file is gone, or this process must not remove it.
            if error.errno is None:
                raise  # an exception of a signal handler

    def is_of_this_process(self):
        """Return True if this process made the object, and not one that it was forked from.

        The pid alone does not tell, because in each PID namespace the first process has the pid 1.
        """
        namespace = find_pid_namespace()
        is_other_namespace = None not in (namespace, self.pid_namespace) and (
            namespace != self.pid_namespace
        )
        return os.getpid() == self.pid and not is_other_namespace


def find_pid_namespace():
    """Return the name of this process's PID namespace, or None if the system does not tell it."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError as error:
        if error.errno is None:
            raise  # a signal handler's exception
        return None


def identity_of(status):
    return status.st_dev, status.st_ino


def make_in_use_error(reason):
    return socket.error(errno.EADDRINUSE, "%s: %s" % (os.strerror(errno.EADDRINUSE), reason))
