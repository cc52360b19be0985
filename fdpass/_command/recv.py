"""The command ``recv``: a program run with the descriptors of one message."""

import errno
import fcntl
import os
import signal
import sys

from .. import Channel, FdPassError, Listener
from .._system import monotonic
from .._waiting import deadline_after
from .send import nobody, seconds

DESCRIPTION = (
    "Receive one message over the Unix socket SOCKET, and become COMMAND: the descriptors of the"
    " message are its 3, 4, 5, ..., their number is in the environment variable FDPASS_FDS, and the"
    " payload in FDPASS_DATA (where no zero byte can be, and on Linux some 128 KiB at most). With"
    " --listen it waits there for a sender of the same user (or root), 'send' for instance, and"
    " takes the first; else it connects to who listens there. Exit status: COMMAND's; 125 when"
    " nothing was received or it cannot be passed on, 126 when COMMAND cannot be run, 127 when"
    " there is none, 2 for wrong arguments."
)
USAGE = "%(prog)s SOCKET [--listen] [--timeout SECONDS] -- COMMAND [ARG ...]"
FIRST = 3


def add_arguments(parser):
    parser.usage = USAGE
    parser.add_argument("socket", metavar="SOCKET", help="path of the socket")
    parser.add_argument(
        "--listen", action="store_true", help="make SOCKET, and wait there for the sender"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="give up when no message has come for so long (default: never)",
    )


def take(options, between, after):
    """The command, which comes after ``--``; what is wrong with it, or None."""
    options.command = after
    if between:
        return "unrecognized arguments (COMMAND comes after --): " + " ".join(between)
    return None if any(after[:1]) else "no COMMAND: give one after --"


def received(options):
    """The message, from whoever connects or listens there."""
    end = deadline_after(options.timeout, monotonic)
    if options.listen:
        import logging  # which tells of those who may not come in

        logging.basicConfig(format="fdpass recv: %(message)s")
        with Listener(options.socket) as listener:
            listener.settimeout(options.timeout)
            channel = listener.accept()
    else:
        channel = Channel.connect(options.socket, options.timeout)
    with channel:
        channel.settimeout(max(end - monotonic(), 0.001))
        return channel.recv()


def place(message):
    """Put the descriptors where the command looks for them."""
    behind = FIRST + len(message.fds)
    # Behind all of those numbers first: one of the descriptors may have another's now.
    moved = [fcntl.fcntl(owned.fileno(), fcntl.F_DUPFD, behind) for owned in message.fds]
    message.close()
    for target, fd in enumerate(moved, FIRST):
        os.dup2(fd, target)
        os.close(fd)


def become(command, message):
    """exec(3); returns the exit status where that fails."""
    environment = dict(getattr(os, "environb", os.environ))
    environment[b"FDPASS_FDS"] = str(len(message.fds)).encode()
    environment[b"FDPASS_DATA"] = message.data
    place(message)
    # Python ignores these two, and a program that is executed would go on ignoring them.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        why = error.strerror
        if error.errno == errno.E2BIG:
            why += ": the payload has %d bytes, and goes into the environment" % len(message.data)
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)  # the second: a file in PATH
        return failed("%s: %s" % (command[0], why), 127 if absent else 126)


def failed(why, status=125):
    sys.stderr.write("fdpass recv: %s\n" % why)
    return status


def run(options):
    try:
        message = received(options)
    except EOFError:
        why = "the sender closed and had sent no message, or does not let this user in"
        return failed("%s: %s" % (options.socket, why))
    except EnvironmentError as error:
        why = error.strerror or error if options.listen else nobody(error)
        return failed("%s: %s" % (options.socket, why))
    except FdPassError as error:
        return failed("%s: the sender is no Channel, or a broken one: %s" % (options.socket, error))
    except ValueError as error:
        return failed(error)
    with message:
        if b"\0" in message.data:
            return failed("the payload has a zero byte, which an environment variable cannot hold")
        try:
            return become(options.command, message)
        except EnvironmentError as error:  # a limit of descriptors
            return failed(error.strerror)
