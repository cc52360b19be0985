"""Build Python 2's binding to sendmsg and recvmsg from _binding.c, by cffi in API mode.

``python PATH/fdpass/_ffi_build.py`` builds it in place, also if the package has another name there.
A setup.py lists ``PATH/fdpass/_ffi_build.py:ffibuilder`` in cffi_modules. Run this file by its path
and not with ``-m``, because ``-m`` imports the package, which needs the binding. For the same
reason this file imports nothing of the package.
"""

import os
import shutil
import sys
import tempfile

try:
    import cffi
except ImportError:
    sys.exit("fdpass's binding is built with cffi: %s -m pip install 'cffi<1.16'" % sys.executable)

HERE = os.path.dirname(os.path.abspath(__file__))

# A constant that the system lacks is -1.
CONSTANTS = [
    "F_DUPFD_CLOEXEC",
    "MSG_CMSG_CLOEXEC",
    "MSG_CONFIRM",
    "MSG_CTRUNC",
    "MSG_DONTWAIT",
    "MSG_ERRQUEUE",
    "MSG_FASTOPEN",
    "MSG_MORE",
    "MSG_NOSIGNAL",
    "MSG_TRUNC",
    "SCM_CREDENTIALS",
    "SCM_CREDS",
    "SCM_RIGHTS",
    "SOCK_CLOEXEC",
    "SOCK_NONBLOCK",
    "SO_BINDTODEVICE",
    "SO_DOMAIN",
    "SO_MARK",
    "SO_PASSCRED",
    "SO_PASSSEC",
    "SO_PEERCRED",
    "SO_PEERSEC",
    "SO_PRIORITY",
    "SO_PROTOCOL",
]

# They are included before the #ifndef of each constant, because they define it.
HEADERS = """
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <sys/socket.h>
"""


def read_source():
    with open(os.path.join(HERE, "_binding.c")) as source:
        return source.read()


def define_missing():
    """Return C code, to put before the source, that defines each missing constant as -1."""
    return HEADERS + "".join("#ifndef %s\n#define %s -1\n#endif\n" % (n, n) for n in CONSTANTS)


def find_package_name(folder):
    """Return the package's import name, found by walking up while the folders are packages."""
    names = []
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, name = os.path.split(folder)
        names.insert(0, name)
    return ".".join(names)


def make_builder():
    source = read_source()
    _, _, rest = source.partition("/* cffi reads from here: */")
    declarations, end, _ = rest.partition("/* to here. */")
    assert end, "_binding.c has lost its marks"
    builder = cffi.FFI()
    builder.cdef("".join("static const int %s;\n" % n for n in CONSTANTS) + declarations)
    builder.set_source(find_package_name(HERE) + "._binding", define_missing() + source)
    return builder


ffibuilder = make_builder()


def advice():
    """Say what a build that failed may have lacked, and how to get it."""
    from distutils import sysconfig
    from distutils.spawn import find_executable

    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    header = os.path.join(sysconfig.get_python_inc(), "Python.h")
    missing = []
    if not find_executable(command):
        missing.append("no C compiler was found (%s)" % command)
    if not os.path.exists(header):
        missing.append("Python's headers were not found (%s)" % header)
    return (
        "fdpass: on Python 2 its binding has to be compiled, and that failed: %s.\n"
        "Install a C compiler and the headers of this very Python, and repeat the command."
        " (Debian: gcc and python-dev, python2-dev or pypy-dev; Fedora: gcc and python2.7;"
        " macOS: xcode-select --install.) Python 3 needs neither."
        % ("; ".join(missing) or "the compiler's own messages are above")
    )


def build_in_place():
    """Compile in a temporary folder and copy only the finished binding here."""
    scratch = tempfile.mkdtemp()
    try:
        try:
            built = ffibuilder.compile(tmpdir=scratch)
        except cffi.VerificationError as error:
            sys.exit("%s\n%s" % (error, advice()))
        target = os.path.join(HERE, os.path.basename(built))
        # A rename, because a process may have the old binding mapped: that file stays whole.
        shutil.copyfile(built, target + ".new")
        os.rename(target + ".new", target)
    finally:
        shutil.rmtree(scratch)
    return target


if __name__ == "__main__":
    sys.stdout.write("built %s\n" % build_in_place())
