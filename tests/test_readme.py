"""The examples of the README, run as they stand there."""

import os
import subprocess
import sys

import pytest

import fdpass

README = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "README.rst")
# In a process of its own: PyPy's doctest leaves descriptors of its debugger open.
PROGRAM = """
import doctest, sys
failed, tried = doctest.testfile(sys.argv[1], module_relative=False)
assert tried > 10
sys.exit(failed > 0)
"""


@pytest.mark.skipif(not os.path.exists(README), reason="the tests are without their README")
def test_the_examples():
    environment = dict(
        os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
    )
    command = [sys.executable, "-W", "error", "-c", PROGRAM, README]
    process = subprocess.Popen(
        command,
        cwd=os.path.dirname(os.path.abspath(__file__)),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    told = process.communicate()[0].decode()
    assert (process.returncode, told) == (0, "")
