"""Two ways to do one job, timed side by side."""

import gc
import platform
import time
from collections import namedtuple

clock = getattr(time, "perf_counter", time.time)  # the second for Python 2.7

# Seconds for one side of one round: long against the clock's grain and the loop's start, short
# against what else a shared machine does, so that a disturbance of it hits both sides alike.
ROUND = 0.008
# Seconds of warm-up for each side. PyPy compiles as it goes, and the branches last.
WARM_UP = 1.5 if platform.python_implementation() == "PyPy" else 0.1
FULL = 40  # fewer rounds than these are a try-out, and warm up for less

Measured = namedtuple("Measured", "median low high ours theirs")


def timed(loop):
    """From a function that does the job count times: what says how many seconds that took."""

    def seconds(count):
        start = clock()
        loop(count)
        return clock() - start

    return seconds


def calibrated(seconds):
    """How often to do the job so that it takes about a round."""
    count = 1
    while seconds(count) < ROUND / 2:
        count *= 2
    return count


def warmed_up(seconds, rounds):
    """calibrated, after a warm-up: what is not warm yet would be done too few times."""
    count = calibrated(seconds)
    spent = 0
    while spent < WARM_UP * min(1.0, float(rounds) / FULL):
        spent += seconds(count)
    return calibrated(seconds)


def compared(ours, theirs, compare, rounds):
    """The two sides in turns (A B, B A, A B, ...), and what compare makes of each round's pair.

    ours and theirs take a count and give seconds, compare takes the seconds of one job of each. Of
    what it gives: the median and the quartiles; of the seconds of one job of each, the median.
    """
    sides = (ours, theirs)
    counts = [warmed_up(side, rounds) for side in sides]
    pairs = []
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            pair = [None, None]
            for side in (0, 1) if number % 2 else (1, 0):
                pair[side] = sides[side](counts[side]) / counts[side]
            pairs.append(pair)
    finally:
        gc.enable()
    judged = [compare(*pair) for pair in pairs]
    return Measured(
        quantile(judged, 0.5),
        quantile(judged, 0.25),
        quantile(judged, 0.75),
        quantile([pair[0] for pair in pairs], 0.5),
        quantile([pair[1] for pair in pairs], 0.5),
    )


def quantile(values, part):
    """The value that part (0 to 1) of the values lie below, between two neighbours by its share."""
    values = sorted(values)
    place = part * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)
