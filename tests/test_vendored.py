"""Copies of the package under other names, and the binding that Python 2 builds for each."""

import os
import shutil
import subprocess
import sys

import pytest
import six
from check_vendored import COMMAND, OTHER_PYTHON, TYPES

import fdpass

PACKAGE = os.path.dirname(os.path.abspath(fdpass.__file__))

PROGRAM = """
import os, socket, %(name)s as fdpass
left, right = socket.socketpair()
fdpass.send_fds(left, b"x", [0])
received = fdpass.recv_fds(right, 1, 1)
os.close(received.fds[0])
print(fdpass.__name__)
"""


def copied(folder, name):
    """A copy of the sources alone at the dotted name below folder; gives its path."""
    names = name.split(".")
    for depth in range(1, len(names)):
        parent = folder.join(*names[:depth])
        parent.ensure("__init__.py")
    target = str(folder.join(*names))
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("*.so", "*.pyc", "__pycache__"))
    return target


def run(folder, *arguments):
    environment = dict(os.environ, PYTHONPATH=str(folder))
    process = subprocess.Popen(
        [sys.executable] + list(arguments),
        cwd=str(folder),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return process.communicate()[0].decode(), process.returncode


NAMES = ["fdpass", "renamed", "mylib._vendor.fdpass", "a.b.c.d"]


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_under_any_name(tmpdir, name):
    target = copied(tmpdir, name)
    if six.PY2:
        told, status = run(tmpdir, "-c", PROGRAM % {"name": name})
        assert status == 1
        command = os.path.join(target, "_ffi_build.py")
        assert "ImportError" in told
        assert (sys.executable + " " + command) in told
        before = set(os.listdir(target))
        told, status = run("/", command)
        assert status == 0, told
        # The binding and nothing else.
        (built,) = set(name for name in os.listdir(target) if not name.endswith(".pyc")) - before
        assert built.startswith("_binding.")
        assert built.endswith(".so")
        # And over the one that is there.
        assert run("/", command)[1] == 0
    assert run(tmpdir, "-c", PROGRAM % {"name": name}) == (name + "\n", 0)


def test_two_copies_and_the_installed_one_in_a_process(tmpdir):
    names = ["one.fdpass", "two.fdpass"]
    for name in names:
        target = copied(tmpdir, name)
        if six.PY2:
            assert run("/", os.path.join(target, "_ffi_build.py"))[1] == 0
    program = "".join(PROGRAM % {"name": name} for name in names)
    program += "import one.fdpass, two.fdpass\n"
    program += "assert one.fdpass.LostFdsError is not two.fdpass.LostFdsError\n"
    assert run(tmpdir, "-c", program) == ("one.fdpass\ntwo.fdpass\n", 0)


PARTS = {
    "compat": ["compat"],
    "the command": COMMAND,
    "the types": TYPES,
    "the other Python": OTHER_PYTHON,
}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_what_may_be_left_out(tmpdir, part):
    target = tmpdir.join("fdpass")
    shutil.copytree(PACKAGE, str(target))
    for path in [path for pattern in PARTS[part] for path in target.listdir(pattern)]:
        path.remove()
    assert run(tmpdir, "-c", PROGRAM % {"name": "fdpass"}) == ("fdpass\n", 0)
    if part != "the command":
        told, status = run(tmpdir, "-m", "fdpass", "doctor")
        assert (told.endswith("self-test passed\n"), status) == (True, 0)


@pytest.mark.skipif(six.PY2, reason="a binding cannot be loaded from a zip file")
def test_a_copy_in_a_zip_file(tmpdir):
    copied(tmpdir.mkdir("inside"), "a.b.fdpass")
    archive = shutil.make_archive(str(tmpdir.join("packed")), "zip", str(tmpdir.join("inside")))
    elsewhere = str(tmpdir.mkdir("elsewhere"))
    program = "import sys; sys.path.insert(0, %r)\n" % archive
    program += PROGRAM % {"name": "a.b.fdpass"}
    assert run(elsewhere, "-c", program) == ("a.b.fdpass\n", 0)
