"""The command: run an unmodified program on the drop-ins."""

import argparse
import os
import sys
import types
import zipfile
import zipimport

from . import NAMES, install

PY2 = sys.version_info[0] == 2


def loaded(script):
    """Of a program: its code, its name, the folder that it imports from, whether it is one file."""
    # Since 3.9 Python makes the name of its main file absolute, but for sys.argv.
    path = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    inside = os.path.join(path, "__main__.py")
    if zipfile.is_zipfile(script):
        return zipimport.zipimporter(path).get_code("__main__"), inside, path, False
    whole = not os.path.isdir(path)
    name = path if whole else inside
    with open(name, "rb") as source:
        code = compile(source.read(), name, "exec", dont_inherit=True)
    return code, name, os.path.dirname(os.path.realpath(path)) if whole else path, whole


def run(code, path):
    """Run it as Python itself would, as the module __main__, which stays until the end."""
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
    try:
        install(*names)
        code, name, folder, whole = loaded(program[0])
    except (ValueError, ImportError, IOError) as error:
        parser.error(str(error))
    sys.argv[:] = program
    # Of a folder or a zip file Python imports even where it does not beside a file (-P).
    sys.path[:own] = [folder] * max(own, not whole)
    run(code, name)


if __name__ == "__main__":
    main(sys.argv[1:])
