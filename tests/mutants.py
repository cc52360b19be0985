"""Put random small defects into the package and see whether a test fails: python tests/mutants.py

Each mutant changes one expression or statement: a comparison, a branch, a number, a flag, a call.
All tests must pass without a defect first; coverage.py tells which of their files execute a line.
Then the tests run on a copy of the package with each mutant. They start with the files that execute
its line, and end at the first test that fails, which must fail twice. The output is each mutant
that lived, and how many were caught. Needs Python 3.9, pytest, coverage and what the tests need.
--python2 is an interpreter that has the same. It tests Python 2's side, and what lived on 3.
"""

import argparse
import ast
import copy
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PACKAGE = os.path.join(ROOT, "fdpass")
# They are slow, or test other things than the code of the package.
SKIPPED = ["test_soak.py", "test_structure.py", "test_vendored.py", "test_bench.py"]
# In such a pair each is a likely mistake for the other.
PAIRS = [(ast.Lt, ast.LtE), (ast.Lt, ast.GtE), (ast.Gt, ast.GtE), (ast.Gt, ast.LtE)]
PAIRS += [(ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.And, ast.Or)]
PAIRS += [(ast.Add, ast.Sub), (ast.BitOr, ast.BitAnd)]
PAIRS += [pair[::-1] for pair in PAIRS]
PYTEST = ["-m", "pytest", "-x", "-q"]
# A plugin of pytest: coverage.py notes the file of the test with each line. (Its dynamic_context
# would write to its database within a test, which may have no descriptor left.)
CONTEXTS = """
import coverage

def pytest_runtest_logstart(nodeid):
    coverage.Coverage.current().switch_context(nodeid.split("::")[0].split("/")[-1])
"""
NOTHING = ("return", "return None", "return False")  # the last becomes True, as a constant

# modules: the lines that each test file executes, as {module: {test file: lines}}.
Interpreter = namedtuple("Interpreter", "python tests modules timeout_s")
# old is the node, new the text in its place.
Mutant = namedtuple("Mutant", "module old new source")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="how many mutants (200)")
    parser.add_argument("--seed", type=int, default=None, help="make the same mutants again")
    parser.add_argument("--python2", default=None, help="an interpreter, for what 3 has not caught")
    parser.add_argument("--verbose", action="store_true", help="print the test that caught each")
    parser.add_argument("--only", default="", help="how the names of the modules begin")
    options = parser.parse_args()
    seed = random.randrange(1 << 30) if options.seed is None else options.seed
    print("seed %d" % seed, flush=True)
    interpreters = [try_without_defect(p) for p in (sys.executable, options.python2) if p]
    modules = set().union(*[interpreter.modules for interpreter in interpreters])
    mutants = [
        mutant
        for module in sorted(modules)
        if module.startswith(options.only)
        for mutant in list_mutants(module)
    ]
    random.Random(seed).shuffle(mutants)
    caught = 0
    for mutant in mutants[: options.count]:
        test = find_catch(mutant, interpreters)
        caught += test is not None
        if test is None or options.verbose:
            old = " ".join(ast.get_source_segment(mutant.source, mutant.old).split())
            place = "%s:%d" % (mutant.module, mutant.old.lineno)
            print("%s: %s: %s -> %s" % (test or "LIVED", place, old, mutant.new), flush=True)
    print("%d of %d caught" % (caught, len(mutants[: options.count])))


def try_without_defect(python):
    """Run all tests under coverage; exit if one fails."""
    tests = [name for name in sorted(os.listdir(HERE)) if is_test(name, python)]
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        with open(os.path.join(folder, "settings"), "w") as opened:
            opened.write("[run]\ninclude = %s/*\ndata_file = %s/data\n" % (PACKAGE, folder))
        with open(os.path.join(folder, "contexts.py"), "w") as opened:
            opened.write(CONTEXTS)
        call_coverage(python, folder, HERE, "run", *PYTEST, "-p", "contexts", *tests)
        call_coverage(python, folder, PACKAGE, "json", "--show-contexts", "-o", report)
        with open(report) as opened:
            files = json.load(opened)["files"]
    modules = {name: list_lines(files[name]["contexts"]) for name in files}
    return Interpreter(python, tests, modules, 2 * (time.time() - start))


def call_coverage(python, folder, where, command, *options):
    settings = os.path.join(folder, "settings")
    call = [python, "-m", "coverage", command, "--rcfile", settings] + list(options)
    if subprocess.call(call, cwd=where, env=environment(ROOT, folder)):
        sys.exit("%s: coverage %s fails without any defect" % (python, command))


def is_test(name, python):
    # The syntax of test_aio is not 2.7's.
    skipped = SKIPPED + ["test_aio.py"] * (python != sys.executable)
    return name.startswith("test_") and name.endswith(".py") and name not in skipped


def list_lines(contexts):
    """Return {file of tests: lines} from {line: files of tests}."""
    lines = {}
    for line, tests in contexts.items():
        for test in tests:
            lines.setdefault(test, set()).add(int(line))
    return lines


def list_mutants(module):
    with open(os.path.join(PACKAGE, module), encoding="utf-8") as opened:
        source = opened.read()
    for node in ast.walk(ast.parse(source)):
        for old, new in list_changes(node):
            text = ast.unparse(ast.fix_missing_locations(new))
            yield Mutant(module, old, "(%s)" % text if isinstance(new, ast.expr) else text, source)


def list_changes(node):
    """Yield what a mistake there could be: a node of the source, and the node in its place."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for operator in list_others(node.ops[0]):
            yield node, copy_with(node, ops=[operator])
    elif isinstance(node, (ast.BoolOp, ast.BinOp)):
        for operator in list_others(node.op):
            yield node, copy_with(node, op=operator)
        if isinstance(node.op, ast.BitOr):  # a flag is missing
            yield node, node.left
            yield node, node.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, node.operand
    elif isinstance(node, ast.IfExp):
        yield node, copy_with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, (ast.If, ast.While)):
        yield node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        yield node, ast.Constant(not node.value if type(node.value) is bool else node.value + 1)
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield node, ast.Pass()
    elif isinstance(node, ast.Return) and ast.unparse(node) not in NOTHING:
        yield node, ast.Return(ast.Constant(None))


def list_others(operator):
    return [other() for one, other in PAIRS if isinstance(operator, one)]


def copy_with(node, **fields):
    new = copy.copy(node)
    vars(new).update(fields)
    return new


def find_catch(mutant, interpreters):
    """Return the first test that fails with the mutant on an interpreter, or None."""
    with tempfile.TemporaryDirectory() as folder:
        package = os.path.join(folder, "fdpass")
        shutil.copytree(PACKAGE, package)
        with open(os.path.join(package, mutant.module), "wb") as opened:
            opened.write(change_source(mutant))
        for interpreter in interpreters:
            if mutant.module in interpreter.modules:
                test = find_sure_failure(interpreter, folder, order_tests(mutant, interpreter))
                if test:
                    return test


def change_source(mutant):
    old, lines = mutant.old, mutant.source.encode().splitlines(True)  # a node's columns are bytes
    before = lines[: old.lineno - 1] + [lines[old.lineno - 1][: old.col_offset]]
    after = [lines[old.end_lineno - 1][old.end_col_offset :]] + lines[old.end_lineno :]
    return b"".join(before + [mutant.new.encode()] + after)


def order_tests(mutant, interpreter):
    """Return all files of tests: those that execute the line first, the most specific in front.

    A specific file executes much of the module, and little of other modules.
    """
    executed = interpreter.modules[mutant.module]
    lines = set(range(mutant.old.lineno, mutant.old.end_lineno + 1))

    def rank(test):
        own = executed.get(test, set())
        total = sum(len(tests.get(test, ())) for tests in interpreter.modules.values())
        return not own & lines, -(len(own) ** 2) / max(total, 1)

    return sorted(interpreter.tests, key=rank)


def find_sure_failure(interpreter, folder, tests):
    """Return the first test that fails; None if none does, or if it does not fail again alone."""
    test = find_failure(interpreter, folder, tests)
    if test and not find_failure(interpreter, folder, [test] if ".py" in test else tests):
        print("by chance: %s" % test)
        return None
    return test


def find_failure(interpreter, folder, tests):
    process = subprocess.Popen(
        [interpreter.python] + PYTEST + tests,
        cwd=HERE,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = process.communicate(timeout=interpreter.timeout_s)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return "what hangs"
    if not process.returncode:
        return None
    # A test with parameters is repeated with all of them.
    failed = re.search("^(?:FAILED|ERROR) (?:tests/)?([^\\s\\[]+)", output, re.M)
    return failed.group(1) if failed else "no import"


def environment(*folders):
    """Return the environment in which the package of the first folder is tested."""
    return dict(os.environ, PYTHONPATH=os.pathsep.join(folders), PYTHONDONTWRITEBYTECODE="1")


if __name__ == "__main__":
    main()
