"""The page of figures and its charts, measured anew: ``python bench/figures.py``.

Needs Python 3.6 and a C compiler, and on PATH the interpreters to measure, whatever their version.
"""

import argparse
import glob
import json
import os
import platform
import subprocess
import sys
import time

import page
from run import positive

BENCH = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(os.path.dirname(BENCH), "docs")
PYTHONS = ("python2.7", "python3.14", "python3.15", "pypy3.11")


def starts(python):
    """Whether it is on PATH, and more than a shim."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        return not subprocess.call([python, "-c", ""], **quiet)
    except OSError:
        return False


def points(python, rounds):
    """What bench/points.py measures there; None, when it has said why it cannot."""
    print("%s ..." % python, flush=True)
    command = [python, os.path.join(BENCH, "points.py"), "--rounds", str(rounds)]
    try:
        return json.loads(subprocess.check_output(command).decode("utf-8"))
    except (OSError, subprocess.CalledProcessError) as error:
        print("%s is left out: %s" % (python, error), file=sys.stderr)


def processor():
    """How many, and as what Linux knows them."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            named = [line.partition(":")[2].strip() for line in lines if "model name" in line]
        name = named[0] if named else name
    return "%d x %s" % (os.cpu_count(), name)


def measured(pythons, rounds):
    """All that the page tells, as JSON can hold it, and whether an interpreter is missing in it."""
    told = [points(python, rounds) for python in pythons]
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processor": processor(),
        "system": " ".join((platform.system(), platform.release(), platform.machine())),
        "rounds": rounds,
        "pythons": list(filter(None, told)),
    }, None in told


def write(folder, name, content):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as opened:
        opened.write(content)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--python",
        action="append",
        help="an interpreter to measure; can be repeated (%s, where found)" % ", ".join(PYTHONS),
    )
    parser.add_argument("--rounds", type=positive, default=120, help="rounds (120)")
    parser.add_argument("--output", default=DOCS, help="the folder to write to (docs)")
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="measure nothing: take the figures.json of that folder",
    )
    options = parser.parse_args()
    missing = False
    if options.redraw:
        with open(os.path.join(options.output, "figures.json"), encoding="utf-8") as opened:
            told = json.load(opened)
    else:
        told, missing = measured(options.python or filter(starts, PYTHONS), options.rounds)
        if not told["pythons"]:
            parser.error("none of the interpreters could be measured")
        write(options.output, "figures.json", json.dumps(told, sort_keys=True) + "\n")
    for old in glob.glob(os.path.join(options.output, "figures-*.svg")):
        os.remove(old)
    for plot in page.charts(told):
        write(options.output, plot.file, plot.svg)
    write(options.output, "figures.rst", page.page(told))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
