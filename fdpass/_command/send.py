"""The command ``send`` sends descriptors of a shell over a Channel."""

import errno
import fcntl
import os
import stat
import sys

from .. import MAX_FDS, Channel, FdPassError, _arguments

DESCRIPTION = (
    "Send one message to whoever listens on the Unix socket SOCKET: the descriptors of the FILEs,"
    " which are opened for reading, and of each @FD, a number that the shell has open (@0 is"
    " standard input), in that order; and TEXT. The receiver is 'recv --listen', or any program"
    " with a fdpass.Listener. Exit status: 0 when it was sent (that it was received, only an answer"
    " could tell), 1 when not, and for an @FD that is none, 2 for other wrong arguments."
)
USAGE = "%(prog)s SOCKET [FILE | @FD ...] [--write | --append] [--data TEXT] [--timeout SECONDS]"
READ = os.O_RDONLY
WRITE = os.O_WRONLY | os.O_CREAT
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def seconds(text):
    return _arguments.check_timeout("timeout", float(text))


def add_arguments(parser):
    parser.usage = USAGE
    parser.add_argument("socket", metavar="SOCKET", help="path where the receiver listens")
    way = parser.add_mutually_exclusive_group().add_argument
    text = "open the FILEs for writing, made or emptied as by the shell's >"
    way("--write", dest="flags", action="store_const", const=WRITE, default=READ, help=text)
    text = "open the FILEs for appending, as by the shell's >>"
    way("--append", dest="flags", action="store_const", const=APPEND, help=text)
    parser.add_argument("--data", metavar="TEXT", default="", help="payload of the message")
    text = "keep trying for so long while nobody listens there yet (default: one try); a FILE that"
    text += " is a FIFO is waited for all the same"
    parser.add_argument("--timeout", metavar="SECONDS", type=seconds, help=text)


def take_arguments(options, before, after):
    """Collect the FILEs and @FDs; return an error message or None."""
    unknown = [word for word in before if word.startswith("-")]
    options.given = before + after
    if unknown:
        return "unrecognized arguments: " + " ".join(unknown)
    if len(options.given) > MAX_FDS:  # before a file is opened, or emptied
        return "a message carries at most %d descriptors, not %d" % (MAX_FDS, len(options.given))
    return None


def parse_fd(word, options):
    """Return the descriptor that an @FD names."""
    try:
        fd = int(word[1:])
    except ValueError:
        sys.exit(
            "fdpass send: %s: after @ comes a number (a file of that name is ./%s)" % (word, word)
        )
    try:
        if fd in options.occupied:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except (EnvironmentError, OverflowError, ValueError):
        sys.exit("fdpass send: %s: the shell has no such descriptor open" % word)
    return fd


def truncate(fds):
    for fd in fds:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)


def explain_error(error, path):
    """Return an error's text without the path, which the report begins with."""
    return str(error.strerror or error).replace(": %r" % (path,), "")


def run(options):
    # First the @FDs, because a file that we open may get a descriptor that the shell has not.
    fds = [parse_fd(word, options) if word[:1] == "@" else None for word in options.given]
    opened, name = [], None
    try:
        for index, name in enumerate(options.given):
            if fds[index] is None:
                fds[index] = os.open(name, options.flags, 0o666)
                opened.append(fds[index])
        name = None
        with Channel.connect(options.socket, options.timeout) as channel:
            if options.flags == WRITE:
                truncate(opened)  # only when there is a receiver
            channel.settimeout(options.timeout)
            channel.send(getattr(os, "fsencode", bytes)(options.data), fds)
    except EnvironmentError as error:
        why = error.strerror if name else explain_error(error, options.socket)
        sys.exit("fdpass send: %s: %s" % (name or options.socket, why))
    except (ValueError, FdPassError) as error:
        sys.exit("fdpass send: %s" % error)
    finally:
        for fd in opened:
            os.close(fd)
    return 0
