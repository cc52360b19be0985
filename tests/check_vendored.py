"""Build, install and run packages that carry copies of fdpass: python tests/check_vendored.py

Each is a package as a host would write it, in a temporary folder; its wheel is installed and used
from elsewhere. It needs pip, setuptools and wheel, on Python 2 cffi and a C compiler; tox has them.
fdpass itself may be installed beside.
"""

from __future__ import print_function

import glob
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile

PY2 = sys.version_info[0] == 2
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SETUP = """
import sys
from setuptools import find_packages, setup

options = dict(
    name="host",
    version="1.0",
    package_dir={"": %(source)r},
    packages=find_packages(%(source)r),
    package_data={name: ["*.pyi", "py.typed", "_binding.c"] for name in %(names)r},
    zip_safe=False,
)
if sys.version_info[0] == 2:
    options["cffi_modules"] = [path + "/_ffi_build.py:ffibuilder" for path in %(copies)r]
    options["install_requires"] = ["cffi; platform_python_implementation != 'PyPy'"]
setup(**options)
"""

# Passes a descriptor with each copy; the installed one, where there is one, is a copy too.
PROGRAM = """
import importlib, os, socket, sys
names = sys.argv[1:]
copies = [importlib.import_module(name) for name in names]
try:
    copies.append(importlib.import_module("fdpass"))
except ImportError:
    pass
for copy in copies:
    left, right = socket.socketpair()
    copy.send_fds(left, b"x", [left])
    received = copy.recv_fds(right, 1, 1)
    sock = copy.socket_from_fd(received.fds[0])
    assert sock.type == socket.SOCK_STREAM
    owner = copy.FileDescriptor(os.dup(0))
    owner.close()
    for end in (left, right, sock):
        end.close()
assert len(set(copy.LostFdsError for copy in copies)) == len(copies)
print("ok")
"""

# A program that was written for python-passfd.
WRITTEN_FOR_PASSFD = """
import os, socket
import passfd
left, right = socket.socketpair()
passfd.sendfd(left, 0)
fd, message = passfd.recvfd(right)
os.close(fd)
left.close()
right.close()
print(passfd.__name__)
"""

COMMAND = ["__main__.py", "_command"]
TYPES = ["__init__.pyi", "aio.pyi", "channel.pyi", "descriptor.pyi", "py.typed"]
AIO = ["_aio.py", "aio.py"]
PYTHON_2 = ["_binding.c", "_ffi_build.py", "_python2*.py"]
OTHER_PYTHON = ["_python3*.py"] if PY2 else PYTHON_2 + AIO
# Each has a name, the copies by their dotted names, the folder of the host's sources, and patterns
# of the files that the host has left out.
HOSTS = [
    ("nested", ["host._vendor.fdpass"], ".", []),
    ("renamed", ["host.handing"], ".", []),
    ("deep", ["host.a.b.c.d.fdpass"], "src", []),
    ("two copies", ["host._vendor.fdpass", "host.other.passing"], ".", []),
    ("at the top", ["passing_for_host"], "src", []),
    ("without the drop-ins", ["host._vendor.fdpass"], ".", ["compat"]),
    ("without the command and the types", ["host.fdpass"], ".", COMMAND + TYPES),
    (
        "with the least",
        ["host.fdpass"],
        ".",
        ["compat"] + COMMAND + TYPES + OTHER_PYTHON,
    ),
]


def write(path, text):
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with open(path, "w") as target:
        target.write(text)


def told(command, folder, succeeds=True, **more):
    """What the command prints, its complaints among it; another end than that ends it all."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment.update(more)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = process.communicate()[0].decode("utf-8", "replace")
    if (process.returncode == 0) != succeeds:
        sys.exit("%s: status %d\n%s" % (" ".join(command), process.returncode, output))
    assert "SyntaxError" not in output, output
    return output


def copied(folder, source, name, left_out):
    """A copy of the sources at that dotted name below folder/source; its path from folder."""
    names = name.split(".")
    for depth in range(1, len(names)):
        write(os.path.join(folder, source, *(names[:depth] + ["__init__.py"])), "")
    path = os.path.join(source, *names)
    # What 2.7 cannot read, a host that runs there leaves out.
    ignored = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__", *AIO * PY2)
    shutil.copytree(os.path.join(ROOT, "fdpass"), os.path.join(folder, path), ignore=ignored)
    for pattern in left_out:
        for part in glob.glob(os.path.join(folder, path, pattern)):
            if os.path.isdir(part):
                shutil.rmtree(part)
            else:
                os.remove(part)
    return path


def build(folder, names, source, left_out):
    """The path of the host's wheel, which is built from its sdist."""
    copies = [copied(folder, source, name, left_out) for name in names]
    host = {"source": source, "copies": copies, "names": names}
    write(os.path.join(folder, "setup.py"), SETUP % host)
    told([sys.executable, "setup.py", "sdist"], folder)
    (sdist,) = os.listdir(os.path.join(folder, "dist"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    told(command + ["-w", "wheels", os.path.join("dist", sdist)], folder)
    (wheel,) = os.listdir(os.path.join(folder, "wheels"))
    assert wheel.endswith("-py3-none-any.whl") != PY2, wheel
    wheel = os.path.join(folder, "wheels", wheel)
    with zipfile.ZipFile(wheel) as content:
        bindings = [name for name in content.namelist() if name.endswith(".so")]
    assert len(bindings) == (len(names) if PY2 else 0), bindings
    return wheel


def check(names, source, left_out):
    folder = tempfile.mkdtemp()
    pip = [sys.executable, "-m", "pip"]
    try:
        wheel = build(folder, names, source, left_out)
        elsewhere = os.path.join(folder, "elsewhere")
        os.mkdir(elsewhere)
        told(pip + ["install", "--no-deps", "--force-reinstall", wheel], elsewhere)
        run = [sys.executable, "-W", "error::ImportWarning", "-c", PROGRAM] + names
        assert told(run, elsewhere) == "ok\n"
        for name in names:
            if "__main__.py" not in left_out:
                output = told([sys.executable, "-m", name, "doctor"], elsewhere)
                assert output.endswith("self-test passed\n"), output
            if "compat" not in left_out:
                program = os.path.join(elsewhere, "program.py")
                write(program, WRITTEN_FOR_PASSFD)
                run = [sys.executable, "-m", name + ".compat", "passfd", "--", program]
                assert told(run, elsewhere) == name + ".compat.passfd\n"
        told(pip + ["uninstall", "--yes", "host"], elsewhere)
        if not PY2:  # as it is, from the zipped wheel; a binding cannot be loaded from there
            run = "import sys; sys.path.insert(0, %r)\n%s" % (wheel, PROGRAM)
            assert told([sys.executable, "-c", run] + names, elsewhere) == "ok\n"
    finally:
        shutil.rmtree(folder)


def main():
    passed = 0
    for what, names, source, left_out in HOSTS:
        check(names, source, left_out)
        passed += 1
        print("%s: %s" % (what, ", ".join(names)))
    print("%d passed, 0 failed" % passed)


if __name__ == "__main__":
    main()
