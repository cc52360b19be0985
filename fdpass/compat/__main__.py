"""The command: run an unmodified program on the drop-ins."""

import argparse
import os
import runpy
import sys
import types
import zipfile

from . import NAMES, install

PY2 = sys.version_info[0] == 2


def run(script):
    """Run the file as Python itself would, as the module __main__, which stays until the end."""
    # Since 3.9 Python makes the name of its main file absolute, but for sys.argv.
    path = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    with open(script, "rb") as source:
        code = compile(source.read(), path, "exec", dont_inherit=True)
    program = types.ModuleType("__main__")
    program.__file__ = path
    program.__builtins__ = sys.modules["__builtin__" if PY2 else "builtins"]
    # Python 2 empties a module that nothing refers to, and the one here is running.
    program.__fdpass_compat__ = sys.modules["__main__"]
    sys.modules["__main__"] = program
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
    # The folder that -m has put in front, where it has: the program's own comes in its place.
    safe = getattr(sys.flags, "safe_path", 0) or getattr(sys.flags, "isolated", 0)
    own = 0 if safe else 1
    split = given.index("--") if "--" in given else len(given)
    names, program = parser.parse_args(given[:split]).names, given[split + 1 :]
    if not program:
        parser.error("name the program's file after --")
    script = program[0]
    try:
        install(*names)
        if not os.path.isdir(script):
            open(script, "rb").close()
    except (ValueError, ImportError, IOError) as error:
        parser.error(str(error))
    sys.argv[:] = program
    if os.path.isdir(script) or zipfile.is_zipfile(script):
        del sys.path[:own]  # it puts the program's in front
        runpy.run_path(script, run_name="__main__")
    else:
        sys.path[:own] = [os.path.dirname(os.path.realpath(script))] * own
        run(script)


if __name__ == "__main__":
    main(sys.argv[1:])
