"""The examples of the README and of the pages, run as they stand there."""

import os
import subprocess
import sys

import pytest
from conftest import child_environment

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = [os.path.join(ROOT, "README.rst")]
PAGES += [
    os.path.join(ROOT, "docs", name + ".rst")
    for name in ("choosing", "index", "migrating", "security", "systemd", "traps")
]
# In a process of its own: PyPy's doctest leaves descriptors of its debugger open.
PROGRAM = """
import doctest, sys
failed, tried = doctest.testfile(sys.argv[1], module_relative=False)
assert tried > 5
sys.exit(failed > 0)
"""


@pytest.mark.skipif(not os.path.exists(PAGES[0]), reason="the tests are without their README")
@pytest.mark.parametrize("page", PAGES, ids=os.path.basename)
def test_the_examples(page):
    environment = child_environment()
    command = [sys.executable, "-W", "error", "-c", PROGRAM, page]
    process = subprocess.Popen(
        command,
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        close_fds=True,
    )
    told = process.communicate()[0].decode()
    assert (process.returncode, told) == (0, "")
