"""Report what this Python and system can do, and pass real descriptors to test it."""

from __future__ import print_function

import errno
import functools
import json
import os
import platform
import resource
import socket
import sys

from .. import __version__, _system, peer_credentials, recv_fds, send_fds
from .._system import MAX_FDS, MSG_CMSG_CLOEXEC, SO_DOMAIN, SO_PROTOCOL
from .._transfer import MUSL_MAX_FDS

DESCRIPTION = (
    "Tell what this Python and this system can do, and pass descriptors to try it. Exit status 0"
    " when the self-test passed, 1 otherwise."
)
ARRIVAL_TIMEOUT_S = 5
FD_FOLDERS = ("/proc/self/fd", "/dev/fd")
KINDS = (
    ("stream", socket.SOCK_STREAM),
    ("datagram", socket.SOCK_DGRAM),
    ("seqpacket", socket.SOCK_SEQPACKET),
)
# A system has these errors for a kind of socket, or a socket option, that it does not support.
UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPROTOTYPE, errno.EOPNOTSUPP)


def add_arguments(parser):
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def count_open_descriptors():
    """Return how many are open in this process, or None if the system has no list of them."""
    for folder in FD_FOLDERS:
        try:
            return len(os.listdir(folder)) - 1  # listdir itself has one open
        except OSError:
            pass  # It does not exist, or the limit leaves no descriptor to read it.
    return None


def collect_facts():
    """Return (key, label, value) of each fact."""
    soft, hard = [
        None if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    ]
    python = "%s %s" % (platform.python_implementation(), platform.python_version())
    location = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    uname = os.uname()
    atomic = bool(MSG_CMSG_CLOEXEC)
    return (
        ("python", "Python", python),
        ("executable", "executable", sys.executable),
        ("platform", "platform", " ".join([uname[0], uname[2], uname[4]])),
        ("fdpass", "fdpass", __version__),
        ("location", "loaded from", location),
        ("backend", "backend", _system.BACKEND),
        ("atomic_close_on_exec", "atomic close-on-exec (MSG_CMSG_CLOEXEC)", atomic),
        ("so_domain", "socket family from the kernel (SO_DOMAIN)", SO_DOMAIN is not None),
        ("so_protocol", "socket protocol from the kernel (SO_PROTOCOL)", SO_PROTOCOL is not None),
        ("max_fds", "descriptors in one message at most (MAX_FDS)", MAX_FDS),
        ("rlimit_nofile_soft", "descriptor limit (RLIMIT_NOFILE), soft", soft),
        ("rlimit_nofile_hard", "descriptor limit (RLIMIT_NOFILE), hard", hard),
        ("open_descriptors", "descriptors open now", count_open_descriptors()),
    )


class TrialFailure(Exception):
    """A trial of the self-test found a fault."""


def check(condition, failure):
    if not condition:
        raise TrialFailure(failure)


def check_room(count):
    """Raise EMFILE here, before the kernel would drop descriptors on arrival."""
    held = []
    try:
        while len(held) < count:
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        _system.close_all(held)


def pass_pipe(kind, count):
    """Pass the read end of a pipe count times in one message, and read from each copy."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    owned = []
    try:
        theirs.settimeout(ARRIVAL_TIMEOUT_S)
        owned += os.pipe()
        check_room(count)
        send_fds(ours, b"fdpass", owned[:1] * count)
        os.close(owned.pop(0))
        received = recv_fds(theirs, 16, count)
        owned += received.fds
        check(received.data == b"fdpass", "the data came as %r" % received.data)
        check(len(received.fds) == count, "%d of %d came" % (len(received.fds), count))
        inherited = [fd for fd in received.fds if _system.is_inheritable(fd)]
        check(not inherited, "%d of %d are not close-on-exec" % (len(inherited), count))
        for fd in received.fds:
            os.write(owned[0], b"!")
            check(os.read(fd, 1) == b"!", "descriptor %d is not the pipe that was sent" % fd)
    finally:
        _system.close_all(owned)
        ours.close()
        theirs.close()


def check_peer():
    """The peer of a socketpair is the process that made it."""
    ours, theirs = socket.socketpair()
    try:
        peer = peer_credentials(ours)
    finally:
        ours.close()
        theirs.close()
    check(peer.pid in (None, os.getpid()), "the peer's pid is %s, not our own" % peer.pid)
    check(peer.uid == os.geteuid(), "the peer's uid is %d, not our own" % peer.uid)


def pass_max_fds():
    """Pass MAX_FDS descriptors in one message, or as many as an old musl takes. Return how many."""
    count = MAX_FDS
    try:
        pass_pipe(socket.SOCK_STREAM, count)
    except socket.error as error:
        if error.errno != errno.ENOMEM:
            raise
        count = MUSL_MAX_FDS
        pass_pipe(socket.SOCK_STREAM, count)
    return "%d in one message" % count


TRIALS = [
    ("one descriptor, " + name, functools.partial(pass_pipe, kind, 1)) for name, kind in KINDS
]
TRIALS += [
    ("MAX_FDS descriptors at once", pass_max_fds),
    ("peer credentials", check_peer),
]


def run_trial(trial):
    """Return (outcome, detail); the outcome is "passed", "failed", or "skipped" if impossible."""
    try:
        return "passed", trial() or ""
    except EnvironmentError as error:  # 2.7: OSError and socket.error
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return "skipped", "the limit on open descriptors is too small for it"
        if error.errno in UNSUPPORTED:
            return "skipped", "this system has no such thing: %s" % error
        return "failed", str(error)
    except Exception as error:  # The report shows any error, and the other trials run.
        return "failed", "%s: %s" % (type(error).__name__, error)


def print_text(facts, report):
    words = {"None": "-", "True": "yes", "False": "no"}
    for _, label, value in facts:
        print("%-46s %s" % (label, words.get(str(value), value)))
    for part in report["self_test"]:
        detail = part["detail"] and ": " + part["detail"]
        print("self-test: %-35s %s%s" % (part["name"], part["outcome"], detail))
    print("self-test %s" % ("passed" if report["passed"] else "did not pass"))


def run(options):
    """Run the command; return its exit status."""
    facts = collect_facts()
    report = {key: value for key, _, value in facts}
    report["self_test"] = [
        dict(zip(("name", "outcome", "detail"), (name,) + run_trial(trial)))
        for name, trial in TRIALS
    ]
    outcomes = [part["outcome"] for part in report["self_test"]]
    # If no descriptor could be passed, we do not know whether anything works.
    report["passed"] = "failed" not in outcomes and "passed" in outcomes[: len(KINDS)]
    if options.json:
        print(json.dumps(report, sort_keys=True))
    else:
        print_text(facts, report)
    return 0 if report["passed"] else 1
