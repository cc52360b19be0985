"""The command ``send``: descriptors from a shell, over a Channel."""

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
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--write",
        dest="flags",
        action="store_const",
        const=WRITE,
        default=READ,
        help="open the FILEs for writing, made or emptied as by the shell's >",
    )
    ways.add_argument(
        "--append",
        dest="flags",
        action="store_const",
        const=APPEND,
        help="open the FILEs for appending, as by the shell's >>",
    )
    parser.add_argument("--data", metavar="TEXT", default="", help="payload of the message")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        help="keep trying for so long while nobody listens there yet (default: one try); a FILE"
        " that is a FIFO is waited for all the same",
    )


def take(options, between, after):
    """The FILEs and @FDs, from all places; what is wrong with them, or None."""
    unknown = [one for one in between if one.startswith("-")]
    options.things = between + after
    if unknown:
        return "unrecognized arguments: " + " ".join(unknown)
    if len(options.things) > MAX_FDS:  # before a file is opened, or emptied
        return "a message carries at most %d descriptors, not %d" % (MAX_FDS, len(options.things))
    return None


def number_of(thing, options):
    """The number that an @FD names."""
    try:
        number = int(thing[1:])
    except ValueError:
        sys.exit(
            "fdpass send: %s: after @ comes a number (a file of that name is ./%s)" % (thing, thing)
        )
    try:
        if number in options.occupied:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        fcntl.fcntl(number, fcntl.F_GETFD)
    except (EnvironmentError, OverflowError, ValueError):
        sys.exit("fdpass send: %s: the shell has no such descriptor open" % thing)
    return number


def empty(fds):
    for fd in fds:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, 0)


def nobody(error):
    """What an error of connecting says, plainer than the system does."""
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
        return "nobody listens there (%s)" % os.strerror(error.errno)
    return error.strerror or error


def run(options):
    # The shell's first: a file that is opened can get a number that the shell has not.
    numbers = [number_of(one, options) if one[:1] == "@" else None for one in options.things]
    own, thing = [], None
    try:
        for place, thing in enumerate(options.things):
            if numbers[place] is None:
                numbers[place] = os.open(thing, options.flags, 0o666)
                own.append(numbers[place])
        thing = None
        with Channel.connect(options.socket, options.timeout) as channel:
            if options.flags == WRITE:
                empty(own)  # not before there is somebody to write to them
            channel.settimeout(options.timeout)
            channel.send(getattr(os, "fsencode", bytes)(options.data), numbers)
    except EnvironmentError as error:
        why = nobody(error) if thing is None else error.strerror
        sys.exit("fdpass send: %s: %s" % (thing or options.socket, why))
    except (ValueError, FdPassError) as error:
        sys.exit("fdpass send: %s" % error)
    finally:
        for number in own:
            os.close(number)
    return 0
