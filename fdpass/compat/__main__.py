"""The command: run an unmodified program on the drop-ins."""

import argparse
import os
import sys
import types

from . import NAMES, install


def run(code, script, arguments):
    """Run it as Python itself would, as the module __main__, which stays until the end."""
    program = types.ModuleType("__main__")
    program.__file__ = script
    # Python 2 empties a module that nothing refers to, and the one here is running.
    program.__fdpass_compat__ = sys.modules["__main__"]
    sys.modules["__main__"] = program
    sys.argv[:] = [script] + arguments
    if not (getattr(sys.flags, "safe_path", 0) or getattr(sys.flags, "isolated", 0)):
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    exec(code, program.__dict__)


def main(given):
    parser = argparse.ArgumentParser(
        prog="python -m " + __package__,
        usage="%(prog)s [NAME ...] -- SCRIPT [ARGUMENT ...]",
        description="Run an unmodified Python program with fdpass in the place of %s."
        % ", ".join(NAMES),
        epilog="With no NAME, in the place of all four.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of them")
    split = given.index("--") if "--" in given else len(given)
    names, program = parser.parse_args(given[:split]).names, given[split + 1 :]
    if not program:
        parser.error("name the program's file after --")
    try:
        install(*names)
        with open(program[0], "rb") as source:
            text = source.read()
    except (ValueError, ImportError, IOError) as error:
        parser.error(str(error))
    code = compile(text, program[0], "exec", dont_inherit=True)
    run(code, program[0], program[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
