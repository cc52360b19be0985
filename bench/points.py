"""One Python's part of the figures, as JSON: ``python bench/points.py``; bench/figures.py runs it.

A point is one way to pass descriptors, a side, at one number of them. In every round each point has
one turn, so that what else the machine does hits all of them alike. Times are in seconds, each as
[lower quartile, median, upper quartile] of the rounds.
"""

import argparse
import json
import platform
import sys
from collections import namedtuple
from contextlib import contextmanager

import channels
import floor
import loops
from found import fdpass
from measure import ROUND, WARM_UP, Missing, in_turns, quartiles, timed
from rows import C_API, HAS_SEND_FDS, PYTHON_2, PYTHON_3, ROWS, stream
from run import positive

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 253)
DATA = b"x"
TURN = ROUND / 4  # there are many points, and a short turn is seldom disturbed
WARMED = WARM_UP / 4  # at every number of descriptors a side is the same code

# least: descriptors that it takes. needs: None, or what this Python is not. job: from a list of
# descriptors, what says how many seconds so many messages with them take.
Side = namedtuple("Side", "name least needs job")


def channel(near, far, data, fds):
    # Without descriptors its user would not pass an empty list.
    if fds:
        return channels.with_descriptors(near, far, data, fds)
    return channels.blocking(near, far, data)


@contextmanager
def sides():
    """The descriptors to pass, and the sides, in the order of the tables."""
    with stream(max(COUNTS)) as (left, right, opened), floor.running() as program:
        with channels.channels() as (near, far), channels.connections() as (sender, receiver):

            def looped(make, *ends):
                return lambda fds: timed(make(*(ends + (DATA, fds))))

            library = looped(loops.by_library, left, right)
            known = [
                Side("C floor", 0, None, lambda fds: program(len(fds))),
                Side("by hand", 0, PYTHON_3, looped(loops.by_hand, left, right)),
                Side("C extension", 0, C_API, looped(loops.by_extension, left, right)),
                Side("fdpass", 0, None, looped(loops.by_fdpass, left, right)),
                Side("standard library", 0, HAS_SEND_FDS, library),
                Side("fdpass.Channel", 0, None, looped(channel, near, far)),
                Side("python-passfd", 1, PYTHON_2, looped(loops.by_passfd, left, right)),
                Side("multiprocessing", 0, None, looped(channels.handles, sender, receiver)),
            ]
            yield opened, [side for side in known if side.needs is None]


def measure_sides(rounds):
    """Return for each side its name, its times at each of COUNTS, and their ratios to the floor's.

    A time is None where the side takes no such number of descriptors. A side that is not installed
    has a note instead of times.
    """
    told, points = [], []
    with sides() as (opened, known):
        for side in known:
            told.append({"name": side.name})
            try:
                made = [side.job(opened[:n]) if n >= side.least else None for n in COUNTS]
                told[-1]["times"] = made
                points += filter(None, made)
            except Missing as reason:
                told[-1]["note"] = str(reason)
        times = dict(zip(points, in_turns(points, rounds, TURN, WARMED)))
    floors = [times[point] for point in told[0]["times"]]
    for side in told:
        if "times" in side:
            taken = [times.get(point) for point in side["times"]]
            side["times"] = [one and quartiles(one) for one in taken]
            side["floors"] = [
                one and quartiles([a / b for a, b in zip(one, least)])
                for one, least in zip(taken, floors)
            ]
    return told


def measure_row(name, rounds):
    """Return the times of fdpass and of its peer in a row of run.py."""
    (row,) = [row for row in ROWS if row.name == name]
    with row.job() as both:
        return dict(zip(("ours", "theirs"), map(quartiles, in_turns(both, rounds))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=positive, default=120, help="rounds (120)")
    options = parser.parse_args()
    try:
        told = {
            "python": "%s %s" % (platform.python_implementation(), platform.python_version()),
            "fdpass": fdpass.__version__,
            "rounds": options.rounds,
            "counts": COUNTS,
            "sides": measure_sides(options.rounds),
            "hand-over": measure_row("hand-over", options.rounds),
            # Each of these rounds starts interpreters.
            "import": measure_row("import", max(1, options.rounds // 3)),
        }
    except Missing as reason:  # the floor, which every chart has
        sys.exit("bench/points.py: %s" % reason)
    print(json.dumps(told, sort_keys=True))


if __name__ == "__main__":
    main()
