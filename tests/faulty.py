"""Every system call that fdpass makes fails in turn, with every errno of its manual page.

``test_system_calls.py`` runs this with the library of ``faults.c`` in LD_PRELOAD. Prints a line for
each function and errno: how often the call under test raised it, and how often it was seen to. An
argument is how the names of the scenarios begin that are wanted.
"""

import collections
import ctypes
import errno
import fcntl
import gc
import os
import signal
import sys
import traceback

from conftest import open_descriptors
from faulty_scenarios import scenarios

import fdpass

library = ctypes.CDLL(None)
library.fdpass_calls.restype = ctypes.c_char_p

# What the manual pages list, section 2, and unix(7) beside; without EFAULT, which is for wrong
# pointers. accept4, fcntl64 and the like count as the function that they stand for.
ERRNOS = {
    "accept": "EAGAIN EBADF ECONNABORTED EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM ENOTSOCK"
    " EOPNOTSUPP EPERM EPROTO",
    "bind": "EACCES EADDRINUSE EADDRNOTAVAIL EBADF EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR"
    " ENOTSOCK EROFS",
    "close": "EBADF EDQUOT EINTR EIO ENOSPC",
    "connect": "EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNREFUSED"
    " EINPROGRESS EINTR EISCONN ENETUNREACH ENOTSOCK EPERM EPROTOTYPE ETIMEDOUT",
    "dup": "EBADF EMFILE ENOMEM",
    "dup2": "EBADF EBUSY EINTR EMFILE",
    "dup3": "EBADF EBUSY EINTR EINVAL EMFILE",
    "eventfd": "EINVAL EMFILE ENFILE ENODEV ENOMEM",
    "fchmod": "EBADF EIO ENOMEM ENOTDIR EPERM EROFS",
    "chmod": "EACCES EIO ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EPERM EROFS",
    "fcntl": "EACCES EAGAIN EBADF EINVAL EMFILE EPERM",
    "flock": "EAGAIN EBADF EINTR EINVAL ENOLCK",
    "fstat": "EBADF ENOMEM EOVERFLOW",
    "getcwd": "EACCES ENOENT ENOMEM",
    "getsockname": "EBADF EINVAL ENOBUFS ENOTSOCK",
    "getsockopt": "EBADF EINVAL ENOPROTOOPT ENOTSOCK",
    "ioctl": "EBADF EINVAL ENOTTY",
    "listen": "EADDRINUSE EBADF ENOTSOCK EOPNOTSUPP",
    "lstat": "EACCES EBADF ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EOVERFLOW",
    "open": "EACCES EINTR EISDIR ELOOP EMFILE ENAMETOOLONG ENFILE ENODEV ENOENT ENOMEM ENOTDIR"
    " ENXIO EOVERFLOW EPERM EROFS",
    "poll": "EINTR EINVAL ENOMEM",
    "recvmsg": "EAGAIN EBADF ECONNREFUSED EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK ECONNRESET",
    "select": "EBADF EINTR EINVAL ENOMEM",
    "send": "EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EINTR EINVAL EISCONN EMSGSIZE"
    " ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE",
    "sendmsg": "EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EINTR EINVAL EISCONN EMSGSIZE"
    " ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE EPERM EPROTOTYPE ETOOMANYREFS",
    "socket": "EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT",
    "socketpair": "EAFNOSUPPORT EMFILE ENFILE EOPNOTSUPP EPROTONOSUPPORT",
    "unlink": "EACCES EBUSY EIO EISDIR ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EPERM EROFS",
}
# After a signal these are made again, whatever the Python (PEP 475).
RETRIED = ("accept", "flock", "poll", "recvmsg", "select", "send", "sendmsg")
# What the kernel cannot say truly there, and what must be believed: scenario, function, errno.
LIES = {
    # A listener whose socket refuses has gone, and a file that is not there is in nobody's way.
    ("Listener, beside another", "connect", "ECONNREFUSED"),
    ("Listener, beside another", "connect", "ENOENT"),
    ("Listener, beside another", "lstat", "ENOENT"),
    ("Listener, stale", "lstat", "ENOENT"),
    # A socket that is of another type, has a peer or a full backlog is alive. A connect that was
    # interrupted is retried (PEP 475).
    ("Listener, stale", "connect", "EAGAIN"),
    ("Listener, stale", "connect", "EPROTOTYPE"),
    ("Listener, stale", "connect", "EPERM"),
    ("Listener, stale", "connect", "EINTR"),
    # To unlock waits for nothing.
    ("Listener, stale", "flock", "EINTR"),
    # A descriptor that is closed is not closed again.
    ("FileDescriptor.dup", "fcntl", "EBADF"),
    ("FileDescriptor.to_socket", "fcntl", "EBADF"),
    # The standard library loses the descriptor for which its socket.socket cannot be made.
    ("Channel.pair", "getsockname", "EBADF"),
    ("Channel.pair", "getsockname", "ENOTSOCK"),
    ("Listener.accept", "getsockname", "EBADF"),
    ("Listener.accept", "getsockname", "ENOTSOCK"),
}
PYPY = hasattr(sys, "pypy_version_info")
MOST = 6  # of the calls of one function in one scenario, the first so many fail in turn


class Outcome(object):
    """What the call under test returned, or raised."""

    def __init__(self, call, fault):
        self.result = self.error = None
        self.function, first, times, number = self.fault = fault
        library.fdpass_fault(self.function.encode(), first, times, number)
        try:
            self.result = call()
        except (EnvironmentError, fdpass.ProtocolError) as error:  # 2.7's socket.error is one
            self.error = error
        finally:
            self.calls = library.fdpass_calls().decode().split()

    def check(self):
        """Raised is the errno of the fault, and of EINTR nothing is seen."""
        if self.error is None:
            return
        assert self.function in self.calls, repr(self.error)
        if isinstance(self.error, fdpass.ProtocolError):  # the end, inside a message
            assert (self.function, self.fault[3]) == ("recvmsg", errno.ECONNRESET)
            return
        assert self.error.errno == self.fault[3], (self.error.errno, repr(self.error))
        assert self.error.errno != errno.EINTR or self.function not in RETRIED


def blocking_modes():
    """Of all open descriptors."""
    table = {}
    for fd in open_descriptors():
        try:
            table[fd] = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
        except EnvironmentError:  # a thread of the scenario has just closed it
            pass
    return table


def run(scenario, fault):
    """The Outcome of the scenario under that fault."""
    at_first = open_descriptors()
    running = scenario()
    call = next(running)
    before = blocking_modes()
    outcome = Outcome(call, fault)
    after = blocking_modes()
    assert all(before[fd] == after[fd] for fd in set(before) & set(after)), "a mode was changed"
    outcome.check()
    try:
        running.send(outcome)
    except StopIteration:
        pass
    if PYPY and open_descriptors() != at_first:
        gc.collect()
    assert open_descriptors() == at_first
    return outcome


def faults(name, calls):
    """Each of the calls fails once and twice, with each errno."""
    for function in sorted(set(calls)):
        if PYPY and function == "fcntl":
            # Its sockets are made by it, and one that is half made has a number that it closes
            # whenever it is collected.
            continue
        for first in range(1, min(calls.count(function), MOST) + 1):
            for one in ERRNOS[function].split():  # KeyError: it needs a row there
                if (name.partition(", waiting")[0], function, one) not in LIES:
                    for times in (1, 2):
                        yield function, first, times, getattr(errno, one)


def main(names):
    tally = collections.Counter()
    for name, scenario in sorted(scenarios().items()):
        if not name.startswith(tuple(names)):
            continue
        for fault in faults(name, run(scenario, ("nothing", 1, 1, 0)).calls):
            signal.alarm(30)  # seconds for one that waits for ever
            try:
                outcome = run(scenario, fault)
            except BaseException:
                traceback.print_exc()
                told = name, fault[1], fault[0], fault[2], errno.errorcode[fault[3]]
                sys.exit("%s: call %d of %s, which failed %d times with %s" % told)
            tally[fault[0], errno.errorcode[fault[3]], outcome.error is not None] += 1
    for function, one in sorted({key[:2] for key in tally}):
        print(
            "%s %s %d %d" % (function, one, tally[function, one, True], tally[function, one, False])
        )


if __name__ == "__main__":
    main(sys.argv[1:] or [""])
