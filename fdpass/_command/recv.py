"""The command ``recv`` runs a program with the descriptors of one message."""

import errno
import fcntl
import os
import signal
import sys

from .. import Channel, FdPassError, Listener
from .._system import monotonic
from .._waiting import deadline_after
from .send import explain_error, seconds

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
FIRST_FD = 3


def add_arguments(parser):
    parser.usage = USAGE
    parser.add_argument("socket", metavar="SOCKET", help="path of the socket")
    text = "make SOCKET, and wait there for the sender"
    parser.add_argument("--listen", action="store_true", help=text)
    text = "give up when no message has come for so long (default: never)"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help=text)


def take_arguments(options, before, after):
    """Store the command, which comes after ``--``; return an error message or None."""
    options.command = after
    if before:
        return "unrecognized arguments (COMMAND comes after --): " + " ".join(before)
    return None if any(after[:1]) else "no COMMAND: give one after --"


def receive(options):
    """Return the message of the sender, which connects or listens at SOCKET."""
    deadline = deadline_after(options.timeout, monotonic)
    if options.listen:
        import logging  # The listener logs each peer that it refuses.

        logging.basicConfig(format="fdpass recv: %(message)s", level=logging.INFO)
        with Listener(options.socket) as listener:
            listener.settimeout(options.timeout)
            channel = listener.accept()
    else:
        channel = Channel.connect(options.socket, options.timeout)
    with channel:
        channel.settimeout(max(deadline - monotonic(), 0.001))
        return channel.recv()


def move_descriptors(message):
    """Move the descriptors to FIRST_FD and the following, where the command expects them."""
    above = FIRST_FD + len(message.fds)
    # Move all descriptors above the target range first, because a target number may be in use by
    # another descriptor of this message.
    moved = [fcntl.fcntl(owned.fileno(), fcntl.F_DUPFD, above) for owned in message.fds]
    message.close()
    for target, fd in enumerate(moved, FIRST_FD):
        os.dup2(fd, target)
        os.close(fd)


def run_command(command, message):
    """Replace this process with the command; return the exit status if that fails."""
    environment = dict(getattr(os, "environb", os.environ))
    environment[b"FDPASS_FDS"] = str(len(message.fds)).encode()
    environment[b"FDPASS_DATA"] = message.data
    move_descriptors(message)
    # Python ignores these two signals, and the command would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        why = error.strerror
        if error.errno == errno.E2BIG:
            why += ": the payload has %d bytes, and goes into the environment" % len(message.data)
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)  # ENOTDIR: a file in PATH
        return report_error("%s: %s" % (command[0], why), 127 if absent else 126)


def report_error(why, status=125):
    sys.stderr.write("fdpass recv: %s\n" % why)
    return status


def run(options):
    try:
        message = receive(options)
    except EOFError:
        why = "the sender closed and had sent no message, or does not let this user in"
        return report_error("%s: %s" % (options.socket, why))
    except EnvironmentError as error:
        return report_error("%s: %s" % (options.socket, explain_error(error, options.socket)))
    except FdPassError as error:
        why = "the sender is no Channel, or a broken one: %s" % error
        return report_error("%s: %s" % (options.socket, why))
    except ValueError as error:
        return report_error(error)
    with message:
        if b"\0" in message.data:
            why = "the payload has a zero byte, which an environment variable cannot hold"
            return report_error(why)
        try:
            return run_command(options.command, message)
        except EnvironmentError as error:  # the limit of descriptors
            return report_error(error.strerror)
