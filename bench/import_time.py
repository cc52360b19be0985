"""How long ``import fdpass`` takes in an interpreter that has imported nothing yet."""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager

from found import copy_to

UNWANTED = ("asyncio", "anyio", "cffi", "logging")

# Timed inside the process: how long an interpreter takes to start and end is many times the rest.
PROGRAM = """
import sys, time
clock = getattr(time, "perf_counter", time.time)
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
start = clock()
__import__(sys.argv[2])
seconds = clock() - start
loaded = set(sys.modules) - before
print(repr(seconds) + " " + ",".join(n for n in sys.argv[3].split(",") if n in loaded))
"""


@contextmanager
def fresh_interpreters():
    """What times fdpass's import, what times socket's, and which of UNWANTED fdpass loads."""
    folder = tempfile.mkdtemp()
    environment = dict(os.environ)
    # The first run compiles, and the others find what it wrote: as where a package is installed.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        copy_to(os.path.join(folder, "fdpass"))

        def run(module):
            command = [sys.executable, "-c", PROGRAM, folder, module, ",".join(UNWANTED)]
            output = subprocess.check_output(command, env=environment).decode("ascii")
            seconds, _, loaded = output.strip().partition(" ")
            return float(seconds), [name for name in loaded.split(",") if name]

        def seconds(module):
            return lambda count: sum(run(module)[0] for _ in range(count))

        yield seconds("fdpass"), seconds("socket"), run("fdpass")[1]
    finally:
        shutil.rmtree(folder)
