"""The house: what imports what, what importing costs, and what a user finds."""

import ast
import os
import platform
import subprocess
import sys

import pytest
import six

import fdpass

PACKAGE = os.path.dirname(os.path.abspath(fdpass.__file__))
# Imports run downward only.
LAYERS = [
    ["__main__"],
    ["_demo", "_doctor", "_recv"],
    ["_demo_worker", "_send"],
    ["_demo_http"],
    ["__init__"],
    ["aio", "channel"],
    ["_channel_core", "_listener_core"],
    ["_socket_holder", "_paths"],
    ["descriptor"],
    ["_sockets", "_transfer"],
    ["_wire_format"],
    ["_raw"],
    ["_control", "_errors"],
    ["_system"],
    ["_python2_fast"],
    ["_python2", "_python3"],
    ["_python2_address", "_python3_retry"],
    ["_arguments", "_closing", "_waiting"],
    ["_ffi_build"],
]
ROOT = os.path.dirname(PACKAGE)


def modules(folder=""):
    names = os.listdir(os.path.join(PACKAGE, folder))
    # What 2.7 cannot read is not in its packages.
    return {name[:-3] for name in names if name.endswith(".py")} - ({"aio"} if six.PY2 else set())


def tree(module):
    with open(os.path.join(PACKAGE, module + ".py")) as source:
        return ast.parse(source.read())


def imported(module):
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1
            if node.module:
                yield node.module
            else:
                for alias in node.names:
                    yield alias.name if alias.name in modules() else "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert not alias.name.startswith("fdpass"), "a vendored copy has another name"


def test_imports_run_downward_only():
    depth = {name: i for i, names in enumerate(LAYERS) for name in names}
    for module in modules():
        for other in imported(module):
            if other == "_binding":
                assert module == "_python2"
                continue
            assert depth[module] < depth[other], (module, other)


def test_no_file_is_long():
    for module in modules():
        with open(os.path.join(PACKAGE, module + ".py")) as source:
            text = source.read()
        # The binding's C is a file of its own, in truth; docstrings are half of _transfer.
        before, _, after = text.partition('SOURCE = r"""')
        c, _, after = after.partition('"""')
        assert c.count("\n") <= 260
        assert (before + after).count("\n") <= (150 if c else 310)
    for module in modules("compat"):
        with open(os.path.join(PACKAGE, "compat", module + ".py")) as source:
            assert len(source.readlines()) <= 130


def run(program, *options):
    told = subprocess.check_output(
        [sys.executable] + list(options) + ["-c", program], cwd=ROOT, stderr=subprocess.STDOUT
    )
    return told.decode().split()


HEAVY = [
    "fdpass.aio",
    "fdpass.compat",
    "anyio",
    "asyncio",
    "cffi",
    "logging",
    "json",
    "argparse",
    "typing",
    "inspect",
]


@pytest.mark.skipif(six.PY2, reason="on 2.7 the binding comes with cffi's runtime")
def test_importing_loads_little():
    program = (
        "import sys, socket; before = set(sys.modules); import fdpass;"
        "print(*sorted(m for m in set(sys.modules) - before))"
    )
    loaded = run(program)
    assert not set(HEAVY) & set(loaded)
    assert ("fdpass._python3_retry" in loaded) == (platform.python_implementation() == "PyPy")


def test_the_public_names():
    assert sorted(fdpass.__all__) == fdpass.__all__
    for name in fdpass.__all__:
        assert hasattr(fdpass, name)
    public = {
        name
        for name in vars(fdpass)
        if not name.startswith("_") and not isinstance(getattr(fdpass, name), type(os))
    }
    assert public == set(fdpass.__all__)


def test_every_public_name_is_documented():
    for name in fdpass.__all__:
        thing = getattr(fdpass, name)
        if callable(thing) and name not in ("Received", "Credentials", "CMSG_LEN", "CMSG_SPACE"):
            assert thing.__doc__ and len(thing.__doc__) > 20, name
            if isinstance(thing, type):
                for method in vars(thing):
                    if not method.startswith("_"):
                        assert getattr(thing, method).__doc__, (name, method)


def test_the_version():
    parts = fdpass.__version__.split(".")
    assert len(parts) == 3
    assert all(part.isdigit() for part in parts)
