"""What the sync names, their async twins and the stubs say is the same, method by method."""

import ast
import importlib
import inspect
import os
import sys

import pytest

import fdpass

if sys.version_info[0] == 2:
    pytest.skip("2.7 has no inspect.signature", allow_module_level=True)
try:
    from fdpass import aio
except ImportError:
    aio = None

PACKAGE = os.path.dirname(os.path.abspath(fdpass.__file__))
SYNC_ONLY = {"settimeout", "next", "__iter__", "__next__", "__enter__", "__exit__"}
ASYNC_ONLY = {"aclose", "__aiter__", "__anext__", "__aenter__", "__aexit__"}
COROUTINES = {"accept", "connect", "recv", "recv_fds", "send", "send_fds", "sendall_fds"}
# The sources take *exc_info where the stubs give its three parts; __del__ keeps the globals that it
# needs when the interpreter ends; the two macros are functions in C, which have no signature.
OTHER_IN_STUBS = {"__exit__", "__aexit__", "__del__", "CMSG_LEN", "CMSG_SPACE"}
MISSING = object()


def methods(cls):
    """The names of a class that callers use, and not those that every object has."""
    public = {name for name in dir(cls) if name[0] != "_"}
    special = {name for name in dir(cls) if name[:2] == "__" and callable(getattr(cls, name))}
    return public | (special - set(dir(object))) | {"__init__"}


def parameters(function):
    """The names and defaults of what callers give; None for a property."""
    if isinstance(function, property):
        return None
    found = inspect.signature(function).parameters.values()
    return [
        (one.name, MISSING if one.default is one.empty else one.default)
        for one in found
        if one.name != "self"
    ]


@pytest.mark.skipif(aio is None, reason="fdpass.aio needs anyio")
@pytest.mark.parametrize("name", ["send_fds", "sendall_fds", "recv_fds"])
def test_the_functions_are_twins(name):
    sync, twin = getattr(fdpass, name), getattr(aio, name)
    assert parameters(sync) == parameters(twin)
    assert inspect.iscoroutinefunction(twin) and not inspect.iscoroutinefunction(sync)


@pytest.mark.skipif(aio is None, reason="fdpass.aio needs anyio")
@pytest.mark.parametrize("name", ["Channel", "Listener"])
def test_the_classes_are_twins(name):
    sync, twin = getattr(fdpass, name), getattr(aio, name)
    assert methods(sync) - methods(twin) == SYNC_ONLY
    assert methods(twin) - methods(sync) == ASYNC_ONLY
    for method in methods(sync) & methods(twin):
        one, other = getattr(sync, method), getattr(twin, method)
        assert parameters(one) == parameters(other), method
        assert not inspect.iscoroutinefunction(one)
        assert inspect.iscoroutinefunction(other) == (method in COROUTINES), method


STUBS = ["__init__", "__main__", "aio", "channel", "descriptor", "compat.__init__", "compat.fdsend"]
STUBS += ["compat.__main__", "compat.passfd", "compat.sendmsg", "compat.socketfromfd"]


def in_stub(node):
    """The names and defaults of a function in a stub: Ellipsis where it does not say which."""
    names = [one.arg.lstrip("_") for one in node.args.args + node.args.kwonlyargs]
    defaults = [MISSING] * (len(node.args.args) - len(node.args.defaults))
    for value in node.args.defaults + node.args.kw_defaults:
        if value is None:  # a keyword-only argument that has to be given
            defaults.append(MISSING)
            continue
        try:
            defaults.append(ast.literal_eval(value))
        except ValueError:  # 3.6 and 3.7 do not read "..." as a literal
            defaults.append(Ellipsis)
    if node.args.vararg:
        names.append(node.args.vararg.arg)
        defaults.append(MISSING)
    return [pair for pair in zip(names, defaults) if pair[0] not in ("self", "cls")]


def check_function(node, thing):
    assert inspect.iscoroutinefunction(thing) == isinstance(node, ast.AsyncFunctionDef), node.name
    if node.name in OTHER_IN_STUBS:
        return
    decorators = {one.id for one in node.decorator_list if isinstance(one, ast.Name)}
    assert isinstance(thing, property) == ("property" in decorators), node.name
    if not isinstance(thing, property):
        # An overload may require more arguments, and may require them by name.
        is_overload = "overload" in decorators
        assert is_overload or not node.args.kwonlyargs, node.name
        stub, source = in_stub(node), parameters(thing)
        assert [name for name, _ in stub] == [name for name, _ in source], node.name
        for (name, told), (_, value) in zip(stub, source):
            if told is Ellipsis:
                assert value is not MISSING, (node.name, name)
            elif told is not MISSING or not is_overload:
                assert told == value, (node.name, name)


def check_names(nodes, owner, runtime):
    """Check what nodes say of the names of owner. The public ones of runtime have to be there."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    named = set()
    for node in nodes:
        if isinstance(node, functions + (ast.ClassDef,)):
            named.add(node.name)
        if isinstance(node, functions):
            if not any(isinstance(one, ast.Attribute) for one in node.decorator_list):  # a setter
                check_function(node, getattr(owner, node.name))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            cls = getattr(owner, node.name)
            fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
            has_fields = hasattr(cls, "_fields")
            assert not has_fields or fields == set(cls._fields), node.name
            # A named tuple has its own methods, and an exception what Exception has.
            made = set() if issubclass(cls, (tuple, Exception)) else methods(cls)
            check_names(node.body, cls, made)
        elif isinstance(node, ast.AnnAssign) and inspect.ismodule(owner):
            assert hasattr(owner, node.target.id)
            named.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            named.update(alias.asname for alias in node.names)
    assert runtime <= named, (owner, runtime - named)


@pytest.mark.parametrize("name", STUBS)
def test_a_stub_says_what_the_source_has(name):
    if name == "aio" and aio is None:
        pytest.skip("fdpass.aio needs anyio")
    path = os.path.join(PACKAGE, *name.split(".")) + ".pyi"
    module = importlib.import_module(("fdpass." + name).replace(".__init__", ""))
    with open(path) as source:
        nodes = ast.parse(source.read()).body
    check_names(nodes, module, set(getattr(module, "__all__", [])))


def test_each_stub_is_compared():
    found = {
        os.path.relpath(os.path.join(folder, file), PACKAGE)[:-4].replace(os.sep, ".")
        for folder, _, files in os.walk(PACKAGE)
        for file in files
        if file.endswith(".pyi")
    }
    assert found == set(STUBS)
