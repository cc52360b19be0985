"""The command, ``python -m fdpass``.

The sub-command NAME is the module ``_command.NAME``, with DESCRIPTION, add_arguments(parser), and
run(options), which returns the exit status. One that takes any number of arguments besides has
take(options, between, after): after ``--`` comes the second list; it returns what is wrong.
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
    """Where one of the three is closed, what is opened next would take its number.

    Returns the numbers of those that were.
    """
    occupied = []
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
            occupied.append(number)
    if sys.stdout is None:  # as Python 3 has it then
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w")
    return occupied


def take_no_more(options, between, after):
    return "unrecognized arguments: " + " ".join(between + after) if between or after else None


def interrupted():
    """End as one does whom Ctrl-C ends: the shell sees the signal, and there is no traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def main(arguments=None):
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    occupied = occupy_standard_streams()
    parser = argparse.ArgumentParser(
        prog="python -m " + package,
        description="Pass open file descriptors between Unix processes.",
    )
    parser.add_argument("--version", action="version", version="fdpass " + __version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS:
        command = commands.add_parser(name, help=summary)
        if name in arguments:  # and no other: the doctor has to do with few descriptors
            module = importlib.import_module("._command." + name, package)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            take = getattr(module, "take", take_no_more)
            command.set_defaults(run=module.run, take=take, error=command.error, occupied=occupied)
    if not arguments:  # to argparse an error on Python 2, and nothing at all on Python 3
        parser.print_help()
        return 2
    at = arguments.index("--") if "--" in arguments else len(arguments)
    options, between = parser.parse_known_args(arguments[:at])
    if not hasattr(options, "take"):
        parser.error("a COMMAND comes first: %s" % ", ".join(name for name, _ in COMMANDS))
    wrong = options.take(options, between, arguments[at + 1 :])
    if wrong is not None:
        options.error(wrong)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        interrupted()
    except IOError as error:
        if error.errno != errno.EPIPE:
            raise
        # Who read the output has gone. The interpreter's own last flush has to go somewhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return 1


if __name__ == "__main__":
    sys.exit(main())
