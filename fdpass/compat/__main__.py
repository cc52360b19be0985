"""The command ``python -m fdpass.compat``: run an unmodified program on the drop-ins."""

import argparse
import os
import sys
import types
import zipfile
import zipimport

from . import NAMES, SOCKET, install

PY2 = sys.version_info[0] == 2


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m " + __package__,
        usage="%(prog)s [NAME ...] -- SCRIPT [ARGUMENT ...]",
        description="Run an unmodified Python program with fdpass in place of %s. The name %s gives"
        " the socket module what Python 3.9's has." % (", ".join(NAMES), SOCKET),
        epilog="With no NAME, fdpass stands in for all four add-ons.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="an add-on, or " + SOCKET)
    split = arguments.index("--") if "--" in arguments else len(arguments)
    names, program = parser.parse_args(arguments[:split]).names, arguments[split + 1 :]
    if not program:
        parser.error("name the program's file after --")
    try:
        install(*names)
        code, name, folder, is_file = load_program(program[0])
    except (ValueError, ImportError, IOError) as error:
        parser.error(str(error))
    sys.argv[:] = program
    # The option -m has put its folder first in sys.path, but not in safe or isolated mode. The
    # program's folder takes its place. For a folder or a zip file, Python adds it in any mode.
    safe = getattr(sys.flags, "safe_path", 0) or getattr(sys.flags, "isolated", 0)
    sys.path[: 0 if safe else 1] = [] if safe and is_file else [folder]
    run_as_main(code, name)


def load_program(script):
    """Return a program's code and name, the folder that it imports from, and if it is a file."""
    # Since 3.9, Python makes the name of its main file absolute, but not sys.argv[0].
    path = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    inner_main = os.path.join(path, "__main__.py")
    if zipfile.is_zipfile(script):
        return zipimport.zipimporter(path).get_code("__main__"), inner_main, path, False
    is_file = not os.path.isdir(path)
    name = path if is_file else inner_main
    with open(name, "rb") as source:
        code = compile(source.read(), name, "exec", dont_inherit=True)
    return code, name, os.path.dirname(os.path.realpath(path)) if is_file else path, is_file


def run_as_main(code, path):
    """Run the code as the module __main__, as Python itself would."""
    program = types.ModuleType("__main__")
    program.__file__ = path
    program.__builtins__ = sys.modules["__builtin__" if PY2 else "builtins"]
    # Python 2 empties a module when its last reference goes, and this module is still running.
    program.__fdpass_compat__ = sys.modules["__main__"]
    sys.modules["__main__"] = program
    exec(code, program.__dict__)


if __name__ == "__main__":
    main(sys.argv[1:])
