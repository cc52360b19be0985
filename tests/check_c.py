"""Check the C sources for warnings: python tests/check_c.py

It needs a C compiler, and cffi and cppcheck, which tox's lint environment installs. The headers of
a python2.7 on PATH are used where there is one; otherwise bench/fdsend_shape.c, an extension for
it, goes to cppcheck alone.
"""

import glob
import os
import runpy
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMPILER = os.environ.get("CC", "cc").split()
COMPILER += ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
CPPCHECK = ["cppcheck", "--quiet", "--std=c99", "--library=posix,gnu,python", "--error-exitcode=1"]
CPPCHECK += ["--enable=warning,style,performance,portability", "--inline-suppr"]
INCLUDE = "import sysconfig; print(sysconfig.get_path('include'))"


def check(command, text=None):
    try:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
    except OSError as error:
        sys.exit("%s cannot be run (%s): install it" % (command[0], error.strerror))
    process.communicate(text and text.encode("ascii"))
    if process.returncode:
        sys.exit("%s: status %d" % (" ".join(command), process.returncode))


def check_binding():
    """Check it with all constants that the system has, with none of them, and for elsewhere."""
    build = runpy.run_path(os.path.join(ROOT, "fdpass", "_ffi_build.py"))
    without = build["HEADERS"] + "".join("#undef %s\n" % name for name in build["CONSTANTS"])
    # The functions are static and their caller, cffi's part of the binding, is not there.
    command = COMPILER + ["-Wno-unused-function", "-x", "c", "-"]
    for start in "", without, "#undef __linux__\n#define __APPLE__\n":
        check(command, start + build["define_missing"]() + build["read_source"]())


def include_of_python2():
    try:
        command = ["python2.7", "-c", INCLUDE]
        return subprocess.check_output(command, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main():
    sources = sorted(glob.glob(os.path.join(ROOT, "*", "*.c")))
    sources = [os.path.relpath(path, ROOT) for path in sources]
    check_binding()
    include = include_of_python2()
    for path in sources:
        if path.startswith("fdpass"):
            continue
        if path.endswith("fdsend_shape.c"):
            if include is None:
                print("not compiled, since there is no python2.7 on PATH: " + path)
            else:
                check(COMPILER + ["-isystem", include, path])
        else:
            check(COMPILER + [path])
    check(CPPCHECK + sources)
    print("no warnings: " + " ".join(sources))


if __name__ == "__main__":
    main()
