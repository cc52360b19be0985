"""Make docs/promises.rst of tests/promises.txt and of the tests: python tests/promises.py

Where each test runs is read from its sources: what skips it, and what tests/skips.txt says of that.
On Python 3, since 2.7 cannot read the tests of fdpass.aio.
"""

import ast
import io
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PAGE = os.path.join(ROOT, "docs", "promises.rst")
OPENING = """\
What is promised and how it is tested
=====================================

Each promise with the tests that hold it, in the folder ``tests``. This page is made of
``tests/promises.txt`` and of the tests (``python tests/promises.py``), and a test fails where it is
not what they make: where a test has gone, or a rule, a public name or a method is in no promise.

Where nothing else is said, a test runs on CPython 2.7 and 3.6 to 3.15 and on PyPy 2.7 and 3.11, on
Linux. Some are skipped where they cannot run, for a reason that is given here as the test gives it.
``python tests/everywhere.py`` runs them all, on every interpreter on ``PATH``; a skip that
``tests/skips.txt`` does not list is an error there.
"""


def read(*names):
    with io.open(os.path.join(ROOT, *names), encoding="utf-8") as source:
        return source.read()


class Entry(object):
    """A promise with its tests, evidence with its command, or what is not tested."""

    def __init__(self, lines):
        self.missing = lines[0].startswith("! ")
        self.about, self.tests, self.commands = [], [], []
        told = []
        for line in lines:
            if line.startswith(": "):
                self.about += line[2:].split(", ")
            elif line.startswith("$ "):
                self.commands.append(line[2:])
            elif re.match(r"test_\w+\.py::test_\w+\Z", line):
                self.tests.append(tuple(line.split("::")))
            else:
                told.append(line)
        self.text = " ".join(told)[2 if self.missing else 0 :]


def entries():
    """(title of the section, its entries) for each."""
    sections = []
    lines = [line for line in read("tests", "promises.txt").split("\n") if line[:2] != "##"]
    for block in re.split(r"\n\n+", "\n".join(lines).strip()):
        if block.startswith("= "):
            sections.append((block[2:], []))
        else:
            sections[-1][1].append(Entry(block.split("\n")))
    return sections


def rules():
    """The number of each rule, with the place of its section."""
    titles = re.findall(r"^([0-9]+)\. (.+)\n~+$", read("docs", "traps.rst"), re.M)
    return {number: re.sub("[^a-z0-9]+", "-", title.lower()).strip("-") for number, title in titles}


def skips():
    """What each known reason to skip begins with."""
    lines = read("tests", "skips.txt").splitlines()
    return [line.split(" | ")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def texts(node):
    """The literals of text in it, to the first place that a % would fill."""
    for part in ast.walk(node):
        try:
            value = ast.literal_eval(part)
        except ValueError:
            continue
        if isinstance(value, str) and value:
            yield value.split("%")[0]


class Source(object):
    """A file of tests: its functions, and what its names are given."""

    def __init__(self, name):
        self.name = name
        self.functions, self.names = {}, {}
        for node in ast.parse(read("tests", name)).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self.functions[node.name] = node
            for part in ast.walk(node):
                if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
                    self.names.setdefault(part.targets[0].id, []).append(part.value)

    def reasons(self, test):
        """Why it is skipped somewhere, as far as tests/skips.txt knows."""
        said = set()
        for node in self.parts(test):
            said.update(texts(node))
        return sorted(text.strip() for text in said if text.startswith(tuple(skips())))

    def parts(self, test):
        """The code that can skip it: its marks, its body and its fixtures."""
        function = self.functions[test]
        found, wanted, seen = list(self.names.get("pytestmark", ())), [function], set()
        while wanted:
            one = wanted.pop()
            found.append(one)
            given = [argument.arg for argument in one.args.args]
            marks = [n.id for d in one.decorator_list for n in ast.walk(d) if hasattr(n, "id")]
            for name in set(given + marks) - seen:
                seen.add(name)
                found += self.names.get(name, [])
                wanted += [self.functions[name]] if name in self.functions else []
        # A reason can be a name that is given elsewhere.
        inner = [n.id for mark in found for n in ast.walk(mark) if isinstance(n, ast.Name)]
        given = [self.names.get(name, []) for name in sorted(set(inner)) if name.isupper()]
        return sum(given, found)

    def alone_on(self, test):
        """The Python that it runs on alone: by its mark, or since it returns at once elsewhere."""
        if self.name == "test_aio.py":  # conftest's collect_ignore
            return "Python 3.9 and later"
        conditions = [
            node.args[0]
            for part in self.parts(test)
            for node in ast.walk(part)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "skipif"
        ]
        for node in self.functions[test].body:
            if isinstance(node, ast.If) and isinstance(node.body[0], ast.Return):
                conditions.append(node.test)
        for condition in conditions:
            if isinstance(condition, ast.Attribute):
                return {"PY2": "Python 3 alone", "PY3": "Python 2.7 alone"}[condition.attr]
        return None


def where(source, test):
    """On which interpreters and systems it runs, in words; nothing for all."""
    alone = source.alone_on(test)
    if alone is not None:
        return "on " + alone
    said = source.reasons(test)
    return "can be skipped: " + "; ".join(said) if said else ""


def subjects(entry, sections):
    for name in entry.about:
        number = name[5:] if name.startswith("rule ") else None
        yield "`%s <traps.rst#%s>`__" % (name, sections[number]) if number else "``%s``" % name


def page():
    """The text of docs/promises.rst."""
    sources, places, lines = {}, rules(), [OPENING]
    for title, block in entries():
        lines += [title, "-" * len(title), ""]
        for entry in block:
            lines += ["- " + entry.text, ""]
            if entry.about:
                lines += ["  About: %s" % ", ".join(subjects(entry, places)), ""]
            for name, test in entry.tests:
                if name not in sources:
                    sources[name] = Source(name)
                limits = where(sources[name], test)
                lines.append("  - ``%s`` ``%s``%s" % (name, test, limits and " (%s)" % limits))
            for command in entry.commands:
                lines.append("  ``%s``" % command)
            lines += [""] if entry.tests or entry.commands else []
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    with io.open(PAGE, "w", encoding="utf-8") as target:
        target.write(page())
    print("wrote " + os.path.relpath(PAGE, ROOT))
