"""The floor, a program in C beside this file: built, and kept alive for the rounds."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial

from measure import Missing

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "floor.c")


def build(folder):
    """The path of the program, compiled into the folder."""
    program = os.path.join(folder, "floor")
    command = [os.environ.get("CC", "cc"), "-O2", SOURCE, "-o", program]
    try:
        subprocess.check_call(command)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing("not built (%s): install a C compiler" % error)
    return program


def seconds(process, fds, count):
    process.stdin.write(("%d %d\n" % (fds, count)).encode("ascii"))
    process.stdin.flush()
    told = process.stdout.readline()
    if not told:
        raise RuntimeError("the floor ended with status %d" % process.wait())
    return float(told)


@contextmanager
def running():
    """What makes a side of a number of descriptors; the program runs until the end of the block."""
    folder = tempfile.mkdtemp()
    try:
        process = subprocess.Popen(
            [build(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )
        try:
            yield partial(partial, seconds, process)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()
    finally:
        shutil.rmtree(folder)
