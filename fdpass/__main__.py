"""The command, ``python -m fdpass``.

The sub-command NAME is the module ``_command.NAME``. It has DESCRIPTION, add_arguments(parser), and
run(options), which returns the exit status. If it takes more arguments than argparse can describe,
it has take_arguments(options, before, after) for those before and after ``--``, which returns an
error message or None.
"""

import argparse
import errno
import importlib
import os
import signal
import sys

from . import __name__ as package
from . import __version__

COMMANDS = (
    ("demo", "hand an accepted TCP connection to another process, and time it"),
    ("doctor", "tell what this Python and system can do, and try it"),
    ("recv", "run a program with the descriptors that were sent to a socket"),
    ("send", "send open files, and descriptors of the shell, to a socket"),
)


def occupy_standard_streams():
    """Open the null device in place of closed standard streams, and return their descriptors.

    Otherwise the next file that is opened would take the place of one.
    """
    occupied = []
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, fd
            occupied.append(fd)
    if sys.stdout is None:  # Python 3 does so for a closed stream
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
    return occupied


def take_no_arguments(options, before, after):
    return "unrecognized arguments: " + " ".join(before + after) if before or after else None


def main(arguments=None):
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    occupied = occupy_standard_streams()
    text = "Pass open file descriptors between Unix processes."
    parser = argparse.ArgumentParser(prog="python -m " + package, description=text)
    parser.add_argument("--version", action="version", version="fdpass " + __version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS:
        command = commands.add_parser(name, help=summary)
        if name in arguments:  # No other is loaded: the doctor may have few descriptors.
            module = importlib.import_module("._command." + name, package)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            take = getattr(module, "take_arguments", take_no_arguments)
            command.set_defaults(run=module.run, take_arguments=take, error=command.error)
            command.set_defaults(occupied=occupied)
    if not arguments:  # argparse reports an error on Python 2, and nothing on Python 3
        parser.print_help()
        return 2
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, before = parser.parse_known_args(arguments[:end])
    if not hasattr(options, "take_arguments"):
        parser.error("a COMMAND comes first: %s" % ", ".join(name for name, _ in COMMANDS))
    problem = options.take_arguments(options, before, arguments[end + 1 :])
    if problem is not None:
        options.error(problem)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        # Die of SIGINT, so that the shell sees the signal and the user sees no traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except IOError as error:
        if error.errno != errno.EPIPE:
            raise
        # Nobody reads the output any more. The interpreter flushes it again when it ends.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        return 1


if __name__ == "__main__":
    sys.exit(main())
