"""Each rule of the design has a test that holds it, and that names it with a marker."""

import ast
import glob
import os
import re

import pytest
from conftest import collect_ignore

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(os.path.dirname(HERE), "docs", "promises.rst")


@pytest.mark.skipif(not os.path.exists(PAGE), reason="the tests are without their README")
def test_each_rule_has_a_test():
    with open(PAGE, "rb") as page:
        rules = re.findall(b"^([0-9]+)[.] ", page.read(), re.M)
    marked = set()
    for path in glob.glob(os.path.join(HERE, "test_*.py")):
        with open(path, "rb") as opened:
            source = opened.read()
        if os.path.basename(path) in collect_ignore:  # this Python cannot read its syntax
            marked.update(
                map(int, re.findall(b"^@pytest[.]mark[.]rule[(]([0-9]+)[)]$", source, re.M))
            )
            continue
        tree = ast.parse(source)
        marks = [n for n in ast.walk(tree) if getattr(getattr(n, "func", 0), "attr", 0) == "rule"]
        marked.update(ast.literal_eval(mark.args[0]) for mark in marks)
    assert sorted(marked) == [int(number) for number in rules]
