"""The house: what imports what, what importing costs, and what a user finds."""

import ast
import io
import os
import platform
import re
import subprocess
import sys

import pytest
import six

import fdpass

PACKAGE = os.path.dirname(os.path.abspath(fdpass.__file__))
ROOT = os.path.dirname(PACKAGE)
# Where the package is installed, the pages are elsewhere.
ROOT_OF_TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def modules(folder=""):
    names = os.listdir(os.path.join(PACKAGE, folder))
    # Before 3.6, Python cannot read _aio, and so has no aio.
    unreadable = {"_aio", "aio"} if sys.version_info < (3, 6) else set()
    return {name[:-3] for name in names if name.endswith(".py")} - unreadable


def tree(module):
    with open(os.path.join(PACKAGE, module + ".py")) as source:
        return ast.parse(source.read())


def all_modules():
    """The modules by their dotted names from the package, a folder's own as FOLDER.__init__."""
    found = set()
    for folder, _, _ in os.walk(PACKAGE):
        if os.path.exists(os.path.join(folder, "__init__.py")):
            below = os.path.relpath(folder, PACKAGE).replace(".", "")
            found.update(os.path.join(below, name).replace(os.sep, ".") for name in modules(below))
    return found


def imported(module, known):
    """What a module imports of the package, at its top and in its functions."""
    for node in ast.walk(tree(module.replace(".", os.sep))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [] if node.level else [node.module]
        else:
            continue
        # A vendored copy has another name.
        assert not any(name.split(".")[0] == "fdpass" for name in names), module
        if isinstance(node, ast.ImportFrom) and node.level:
            above = module.split(".")[: -node.level]
            target = ".".join(above + [node.module] * bool(node.module))
            if target in known:
                yield target
            elif target == "_binding":  # built, and Python 2's alone
                assert module.startswith("_python2")
            else:
                dot = "." if target else ""
                for alias in node.names:
                    name = target + dot + alias.name
                    yield name if name in known else target + dot + "__init__"


def import_graph():
    known = all_modules()
    graph = {module: set(imported(module, known)) for module in known}
    for module, others in graph.items():
        assert others <= known, "%s imports %s" % (module, sorted(others - known))
    return graph


def reached_from(module, graph):
    reached, found = set(), [module]
    while found:
        one = found.pop()
        if one not in reached:
            reached.add(one)
            found.extend(graph[one])
    return reached


def test_imports_have_no_cycle():
    graph = import_graph()
    for module in graph:
        for other in graph[module]:
            assert module not in reached_from(other, graph), (module, other)


def test_importing_the_package_needs_no_extras():
    reached = reached_from("__init__", import_graph())
    assert len(reached) > 10
    extras = ("__main__", "_aio", "_command", "aio", "compat")
    assert not [name for name in reached if name.split(".")[0] in extras]


def contributing():
    with io.open(os.path.join(ROOT_OF_TESTS, "CONTRIBUTING.rst"), encoding="utf-8") as page:
        return page.read()


def test_the_leaves_import_nothing_of_the_package():
    (sentence,) = re.findall("The leaves (.+?) import nothing", contributing(), re.DOTALL)
    leaves = re.findall("``(.+?)[.]py``", sentence)
    graph = import_graph()
    assert len(leaves) >= 3
    for leaf in leaves:
        assert graph[leaf] == set(), leaf


def test_contributing_names_each_module():
    table = contributing().split("How the house is laid out")[1].split("\n====")[1]
    column = "".join(line.split("  ")[0] + "\n" for line in table.splitlines())
    named = set(re.findall("``(.+?)``", column))
    names = {name for name in os.listdir(PACKAGE) if name.endswith((".py", ".c"))}
    names |= {module.split(".")[0] + "/" for module in all_modules() if "." in module}
    assert not names - named, "CONTRIBUTING.rst does not name a module"
    # An installed package lacks what only the other Python needs.
    elsewhere = {"_aio.py"} if six.PY2 else {"_binding.c", "_ffi_build.py"}
    assert named - names <= elsewhere, "CONTRIBUTING.rst names what does not exist"


def test_mypy_reads_each_stub():
    with io.open(os.path.join(ROOT_OF_TESTS, "pyproject.toml"), encoding="utf-8") as settings:
        listed = settings.read().split("[[tool.mypy.overrides]]")[-1]
    stubs = set()
    for folder, _, names in os.walk(PACKAGE):
        path = os.path.relpath(folder, os.path.dirname(PACKAGE))
        stubs.update(os.path.join(path, name[:-4]) for name in names if name.endswith(".pyi"))
    stubs = {stub.replace(os.sep, ".").replace(".__init__", "") for stub in stubs}
    assert stubs == set(re.findall('"(.+)"', listed))


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
    # What only PyPy and CPython before 3.5 need says so in the first line of its file.
    first_lines = {name: (ast.get_docstring(tree(name)) or "").split("\n")[0] for name in modules()}
    of_pypy = [name for name in first_lines if "PyPy" in first_lines[name]]
    assert of_pypy
    for name in of_pypy:
        needed = platform.python_implementation() == "PyPy" or sys.version_info < (3, 5)
        assert ("fdpass." + name in loaded) == needed


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
