"""fdpass against what one would use in its place, side by side: ``python bench/run.py``."""

import argparse
import fnmatch
import json
import os
import platform
import sys
import traceback

from found import fdpass
from measure import FULL, Missing, compared
from rows import ROWS

LINE = "%-20s %8s %9s  %-15s %9s %9s  %s"
HEADINGS = ("row", "limit", "measured", "quartiles", "ours/us", "theirs/us", "verdict")


def judge(row, measured):
    if row.limit is None or not row.held:
        return "no limit here"
    return "MISSED" if measured.median > row.limit else "ok"


def run(row, rounds):
    """The row as a dictionary: what --json prints, and what the table is made of."""
    told = {"row": row.name, "peer": row.peer, "limit": row.limit, "unit": row.unit}
    if row.needs is not None:
        return dict(told, verdict="not here", note=row.needs)
    try:
        with row.job() as sides:
            measured = compared(sides, row.compare, rounds)
    except Missing as reason:
        return dict(told, verdict="no peer", note=str(reason))
    except Exception as error:  # the other rows are still worth having
        traceback.print_exc()
        return dict(told, verdict="FAILED", note="%s: %s" % (type(error).__name__, error))
    return dict(told, verdict=judge(row, measured), note="", **measured._asdict())


def line(told):
    limit = "-" if told["limit"] is None else "%.2f%s" % (told["limit"], told["unit"])
    figures = ("-", "-", "-", "-")
    if "median" in told:
        figures = (
            "%.2f%s" % (told["median"], told["unit"]),
            "%.2f to %.2f" % (told["low"], told["high"]),
            "%.2f" % (1e6 * told["ours"]),
            "%.2f" % (1e6 * told["theirs"]),
        )
    text = LINE % ((told["row"], limit) + figures + (told["verdict"],))
    for more in ("against " + told["peer"], told["note"]):
        if more:
            text += "\n    " + more
    return text


def about():
    """What the figures depend on."""
    return {
        "python": "%s %s" % (platform.python_implementation(), platform.python_version()),
        "system": "%s %s %s" % (platform.system(), platform.release(), platform.machine()),
        "fdpass": "%s in %s" % (fdpass.__version__, os.path.dirname(fdpass.__file__)),
    }


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=positive, default=60, help="rounds a row (60)")
    parser.add_argument("--rows", default="*", help="only rows of this name; * and ? are wildcards")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args()
    rows = [row for row in ROWS if fnmatch.fnmatch(row.name, options.rows)]
    if not rows:
        parser.error("no such row; there are: %s" % ", ".join(row.name for row in ROWS))
    told = []
    if not options.json:
        print("%(python)s, %(system)s, fdpass %(fdpass)s" % about())
        print("%d rounds a row%s" % (options.rounds, "; a try-out" * (options.rounds < FULL)))
        print((LINE % HEADINGS).rstrip())
    for row in rows:
        told.append(run(row, options.rounds))
        if not options.json:
            print(line(told[-1]))
            sys.stdout.flush()
    if options.json:
        print(json.dumps(dict(about(), rounds=options.rounds, rows=told), indent=2, sort_keys=True))
    return 1 if any(row["verdict"] == "FAILED" for row in told) else 0


if __name__ == "__main__":
    sys.exit(main())
