"""Each system call fails: the run of faulty.py, which leaves out none that the package makes."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest
import six
from test_structure import modules, tree

HERE = os.path.dirname(os.path.abspath(__file__))
PYPY = hasattr(sys, "pypy_version_info")
# What each function that the package calls comes to in the C library; and which ask it for nothing
# that could fail.
SEAM = {
    "_socket.fromfd": ["dup"],
    "_socket.socket": ["socket"],
    "fcntl.fcntl": ["fcntl"],
    "fcntl.flock": ["flock"],
    "lib.fdpass_dummy": ["eventfd"],
    "lib.fdpass_dup_over": ["dup3"],
    "lib.fdpass_facts": ["fcntl", "getsockopt"],
    "lib.fdpass_getsockopt": ["getsockopt"],
    "lib.fdpass_recv": ["recvmsg"],
    "lib.fdpass_recvmsg": ["recvmsg"],
    "lib.fdpass_send": ["sendmsg"],
    "lib.fdpass_send_one": ["sendmsg"],
    "lib.fdpass_sendmsg": ["sendmsg"],
    "os.chmod": ["chmod"],
    "os.close": ["close"],
    "os.dup2": ["dup2" if sys.version_info < (3, 4) else "dup3"],
    "os.fchmod": ["fchmod"],
    "os.fstat": ["fstat"],
    "os.getcwd": ["getcwd"],
    "os.lstat": ["lstat"],
    "os.open": ["open"],
    "os.unlink": ["unlink"],
    "select.poll": ["poll"],
    "select.select": ["select"],
    "socket.socket": ["socket"],
    "socket.socketpair": ["socketpair"],
    # Methods of sockets.
    "accept": ["accept"],
    "bind": ["bind"],
    "close": ["close"],
    "connect": ["connect"],
    "getsockopt": ["getsockopt"],
    "listen": ["listen"],
    "recvmsg": ["recvmsg"],
    "send": ["send"],
    "sendmsg": ["sendmsg"],
    "settimeout": ["fcntl" if PYPY or sys.version_info < (3, 4) else "ioctl"],
}
# close(2) in the binding's fdpass_discard is for descriptors that nobody is told of. getsockname is
# for systems without SO_DOMAIN, and setsockopt for macOS. getaddrinfo reads addresses that are
# numbers. os.stat is called to choose the text of an error, and os.readlink may fail.
HARMLESS = {
    "lib": "cmsg_len cmsg_space discard monotonic sockname_family walk",
    "os": "closerange geteuid getpid path readlink stat strerror sysconf umask",
    "socket": "error getaddrinfo getdefaulttimeout inet_ntop inet_pton timeout _socketobject",
    "select": "error",
    None: "detach family fileno getsockname gettimeout recv setsockopt type",
}
STARTS = ["Channel", "FileDescriptor", "Listener", "peer", "recv", "send", "socket_from_fd"]
MODULES = ("os", "fcntl", "socket", "_socket", "select", "lib")
COMMANDS = ("__main__", "_ffi_build")
OTHER = "_python%d" % (3 if six.PY2 else 2)


def called(module):
    """The names in its source of what may be a system call."""
    methods = {name for name in dir(socket.socket) if name[0] != "_"} | {"recvmsg", "sendmsg"}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            if owner in MODULES and not is_harmless(owner, node.attr):
                yield owner + "." + node.attr
            elif (
                owner not in MODULES + ("self", "cls")
                and node.attr in methods
                and not is_harmless(None, node.attr)
            ):
                yield node.attr


def is_harmless(owner, name):
    name = name.replace("fdpass_", "") if owner == "lib" else name
    return name in HARMLESS.get(owner, "").split() or name.upper() == name  # a constant


def seam():
    """The functions of the C library that the package comes to. KeyError: SEAM needs a row."""
    reached = set()
    for module in modules():
        if not module.startswith(COMMANDS + (OTHER,)):
            for name in called(module):
                reached.update(SEAM[name])
    return reached


@pytest.fixture(scope="module")
def library(compiler):
    folder = tempfile.mkdtemp()
    built = os.path.join(folder, "faults.so")
    options = ["-std=gnu99", "-shared", "-fPIC", "-Wall", "-Wextra", "-O1", "-o", built]
    subprocess.check_call(compiler + options + [os.path.join(HERE, "faults.c")])
    yield built
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def failed(library):
    """A function that runs the scenarios whose names begin so, and gives the lines, split."""
    told = {}

    def rows(start):
        if start not in told:
            process = subprocess.Popen(
                [sys.executable, os.path.join(HERE, "faulty.py"), start],
                env=dict(os.environ, LD_PRELOAD=library),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            output = process.communicate()[0].decode("ascii", "replace")
            assert process.returncode == 0, output
            told[start] = [line.split() for line in output.splitlines()]
        return told[start]

    return rows


@pytest.mark.rule(2)
@pytest.mark.parametrize("start", STARTS)
def test_each_system_call_fails_with_each_errno(failed, start):
    # Nearly all are raised; those that are seen to are the exception.
    assert sum(int(raised) for _, _, raised, _ in failed(start)) > 50


def test_every_scenario_is_run():
    program = "import faulty_scenarios; print('\\n'.join(faulty_scenarios.scenarios()))"
    names = subprocess.check_output([sys.executable, "-c", program], cwd=HERE).decode().split("\n")
    assert all(name.startswith(tuple(STARTS)) for name in names if name)


def test_no_system_call_is_left_out(failed):
    left_out = {"fcntl"} if PYPY else set()
    assert {row[0] for start in STARTS for row in failed(start)} >= seam() - left_out
