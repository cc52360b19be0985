"""The command, ``python -m fdpass``.

The sub-command NAME is the module ``_NAME``, with DESCRIPTION, add_arguments(parser), and
run(options), which returns the exit status.
"""

import argparse
import errno
import importlib
import os
import sys

from . import __name__ as package
from . import __version__

COMMANDS = (
    ("demo", "hand an accepted TCP connection to another process, and time it"),
    ("doctor", "tell what this Python and system can do, and try it"),
)


def occupy_standard_streams():
    """Where one of the three is closed, what is opened next would take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    if sys.stdout is None:  # as Python 3 has it then
        sys.stdout = os.fdopen(1, "w")


def main(arguments=None):
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    occupy_standard_streams()
    parser = argparse.ArgumentParser(
        prog="python -m " + package,
        description="Pass open file descriptors between Unix processes.",
    )
    parser.add_argument("--version", action="version", version="fdpass " + __version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, summary in COMMANDS:
        command = commands.add_parser(name, help=summary)
        if name in arguments:  # and no other: the doctor has to do with few descriptors
            module = importlib.import_module("._" + name, package)
            command.description = module.DESCRIPTION
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    if not arguments:  # to argparse an error on Python 2, and nothing at all on Python 3
        parser.print_help()
        return 2
    options = parser.parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
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
