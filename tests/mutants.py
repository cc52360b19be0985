"""Random small defects in the package, and whether the tests see them: python tests/mutants.py

Each mutant has one expression or statement changed: a comparison, a branch, a number, a flag, a
call left out. The tests run on a copy of the package with it, those of its module first, and end at
the first that fails. Prints each mutant that lived, and how many were caught. Needs Python 3.9,
pytest and what the tests need; --python2 is an interpreter that has the same, for Python 2's side
and for what lives on 3.
"""

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PACKAGE = os.path.join(ROOT, "fdpass")
SECONDS = 240  # for one run of all tests; what takes longer hangs, and is caught
# The tests to begin with, by how the module's name begins.
FIRST = {
    "_arguments": "arguments transfer channel",
    "_closing": "transfer hostile owners",
    "_control": "seam hostile transfer",
    "demo": "demo demo_processes",
    "doctor": "doctor",
    "_errors": "hostile transfer",
    "_channel_core": "channel channel_hostile aio",
    "_wire_format": "wire_format channel channel_hostile",
    "_listener_core": "listener aio",
    "_socket_holder": "channel listener",
    "_paths": "listener system_calls",
    "_python2_fast": "seam transfer signals faults",
    "_python2": "transfer sockets raw signals faults owners",
    "_python3": "transfer sockets raw seam faults owners",
    "_raw": "raw arguments",
    "recv": "shell",
    "send": "shell",
    "_sockets": "sockets seam arguments",
    "_system": "seam transfer sockets descriptor",
    "_transfer": "transfer hostile seam signals channel",
    "_waiting": "signals faults channel",
    "aio": "aio",
    "channel": "channel listener",
    "compat": "compat_fdsend compat_passfd compat_sendmsg compat_install compat_signals",
    "descriptor": "descriptor owners",
}
OTHERS = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.BitOr: [ast.BitAnd],
    ast.BitAnd: [ast.BitOr],
}


NOTHING = ("return", "return None", "return False")  # the last becomes True, as a constant


def changed(node, **fields):
    new = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node):
    """What the node could be by mistake."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in OTHERS.get(type(node.ops[0]), []):
            yield changed(node, ops=[other()])
    elif isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in OTHERS:
        yield changed(node, op=OTHERS[type(node.op)][0]())
        if isinstance(node.op, ast.BitOr):  # a flag is dropped
            yield node.left
            yield node.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, (ast.IfExp, ast.If, ast.While)):
        test = ast.UnaryOp(ast.Not(), node.test)
        if isinstance(node, ast.IfExp):
            yield changed(node, body=node.orelse, orelse=node.body)
        else:
            yield "test", node.test, test
    elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        yield ast.Constant(not node.value if type(node.value) is bool else node.value + 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and ast.unparse(node) not in NOTHING:
        yield ast.Return(ast.Constant(None))


def mutations(source):
    """(the node to replace, the text in its place) of all that could be changed there."""
    for node in ast.walk(ast.parse(source)):
        for new in variants(node):
            old = node
            if isinstance(new, tuple):
                _, old, new = new
            text = ast.unparse(ast.fix_missing_locations(new))
            if isinstance(new, ast.expr):
                text = "(" + text + ")"
            yield old, text


def applied(source, node, text):
    """The source with the text in the node's place."""
    lines = source.splitlines(True)
    start, end = node.lineno - 1, node.end_lineno - 1
    # The columns are of bytes.
    before = lines[start].encode()[: node.col_offset].decode()
    after = lines[end].encode()[node.end_col_offset :].decode()
    return "".join(lines[:start]) + before + text + after + "".join(lines[end + 1 :])


def sources():
    for folder, _, names in os.walk(PACKAGE):
        for name in sorted(names):
            if name.endswith(".py") and name != "_ffi_build.py":
                yield os.path.relpath(os.path.join(folder, name), PACKAGE)


def drawn(count, dice):
    """So many mutants: (file, line, the old text, the new text, the whole new source)."""
    everything = []
    for path in sources():
        with open(os.path.join(PACKAGE, path), encoding="utf-8") as opened:
            source = opened.read()
        for node, text in mutations(source):
            everything.append((path, node, text, source))
    dice.shuffle(everything)
    for path, node, text, source in everything[:count]:
        old = " ".join(ast.get_source_segment(source, node).split())
        yield path, node.lineno, old, text, applied(source, node, text)


def test_files(path, python):
    """All of the tests, those of the module first; the soak, which is of no use here, never."""
    name = "compat" if path.startswith("compat") else os.path.basename(path)[:-3]
    longest = max((start for start in FIRST if name.startswith(start)), key=len, default=None)
    first = ["test_%s.py" % one for one in FIRST.get(longest, "").split()]
    rest = [
        one
        for one in sorted(os.listdir(HERE))
        if one.startswith("test_") and one.endswith(".py") and one not in first
    ]
    skipped = ["test_soak.py", "test_structure.py", "test_vendored.py", "test_bench.py"]
    if python != sys.executable:
        skipped.append("test_aio.py")  # its syntax is not 2.7's
    return [one for one in first + rest if one not in skipped]


def failing(folder, tests, python):
    """The first of these tests that fails with the package in the folder; None if none does."""
    environment = dict(os.environ, PYTHONPATH=folder, PYTHONDONTWRITEBYTECODE="1")
    process = subprocess.Popen(
        [python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"] + tests,
        cwd=HERE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        told = process.communicate(timeout=SECONDS)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "what hangs"
    if not process.returncode:
        return None
    # Of one with parameters, the test with all of them.
    failed = re.search("^(?:FAILED|ERROR) ([^\\s\\[]+)", told, re.M)
    return failed.group(1) if failed else "no import"


def sure_failure(folder, path, python):
    """The same of all tests, for a change of that module; None too if it does not fail again.

    By itself, then: what fails once only does so by chance.
    """
    by = failing(folder, test_files(path, python), python)
    if by and "::" in by and not failing(folder, [by.replace("tests/", "", 1)], python):
        print("by chance: %s" % by)
        return None
    return by


def caught_by(path, source, python):
    """The first test that fails with that source in place of the module's; None if none does."""
    folder = tempfile.mkdtemp()
    try:
        target = os.path.join(folder, "fdpass")
        shutil.copytree(PACKAGE, target)
        with open(os.path.join(target, path), "w", encoding="utf-8") as opened:
            opened.write(source)
        return sure_failure(folder, path, python)
    finally:
        shutil.rmtree(folder)


def sides(path, python2):
    """The interpreters whose tests can see a change of that module."""
    if path.startswith("_python2"):
        pythons = [python2]
    elif path.startswith("_python3") or path == "aio.py":
        pythons = [sys.executable]
    else:
        pythons = [sys.executable, python2]
    return [python for python in pythons if python]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many mutants (200)")
    parser.add_argument("--seed", type=int, default=None, help="the same ones again")
    parser.add_argument("--python2", default=None, help="an interpreter, for what 3 has not caught")
    parser.add_argument("--verbose", action="store_true", help="tell which test caught each")
    parser.add_argument("--only", default="", help="how the names of the modules begin")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print("seed %d" % seed)
    sys.stdout.flush()
    for python in sides("", options.python2):
        by = sure_failure(ROOT, "", python)
        if by:
            sys.exit("%s fails on %s without any defect" % (by, python))
    caught = lived = 0
    for path, line, old, new, source in drawn(options.count, random.Random(seed)):
        pythons = sides(path, options.python2)
        if not pythons or not path.startswith(options.only):
            continue
        by = next(filter(None, (caught_by(path, source, python) for python in pythons)), None)
        caught += by is not None
        lived += by is None
        if by is None or options.verbose:
            print("%s: %s:%d: %s -> %s" % (by or "LIVED", path, line, old, new))
        sys.stdout.flush()
    print("%d of %d caught" % (caught, caught + lived))


if __name__ == "__main__":
    main()
