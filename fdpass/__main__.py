"""The command, ``python -m fdpass``.

The sub-command NAME is the module ``_NAME``, with DESCRIPTION, add_arguments(parser), and
run(options), which returns the exit status.
"""

import argparse
import importlib
import sys

from . import __name__ as package
from . import __version__

COMMANDS = (
    ("demo", "hand an accepted TCP connection to another process, and time it"),
    ("doctor", "tell what this Python and system can do, and try it"),
)


def main(arguments=None):
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
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
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
