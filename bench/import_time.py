"""How long ``import fdpass`` takes in an interpreter that has imported nothing yet."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial

from found import fdpass

# The program takes the time itself, because starting an interpreter takes many times as long.
PROGRAM = """
import sys, time
clock = getattr(time, "perf_counter", time.time)
sys.path.insert(0, sys.argv[1])
start = clock()
__import__(sys.argv[2])
print(repr(clock() - start))
"""


@contextmanager
def fresh_interpreters():
    """Yield a side that imports fdpass, and a side that imports socket."""
    folder = tempfile.mkdtemp()
    # The first run writes the bytecode, so the others find it, as where a package is installed.
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(module, count):
        command = [sys.executable, "-c", PROGRAM, folder, module]
        return sum(float(subprocess.check_output(command, env=environment)) for _ in range(count))

    try:
        package = os.path.dirname(os.path.abspath(fdpass.__file__))
        shutil.copytree(package, os.path.join(folder, "fdpass"))
        yield partial(seconds, "fdpass"), partial(seconds, "socket")
    finally:
        shutil.rmtree(folder)
