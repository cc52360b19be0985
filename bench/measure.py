"""Ways to do one job, timed side by side."""

import gc
import platform
import random
import time
from collections import namedtuple

clock = getattr(time, "perf_counter", time.time)  # the second for Python 2.7

# Seconds for one side of one round: long against the clock's grain and the loop's start, short
# against what else a shared machine does, so that a disturbance of it hits both sides alike.
ROUND = 0.008
# Seconds of warm-up for each side. PyPy compiles as it goes, and the branches last.
WARM_UP = 1.5 if platform.python_implementation() == "PyPy" else 0.1
FULL = 40  # fewer rounds than these are a try-out: with less of a warm-up, and shorter turns

Measured = namedtuple("Measured", "median low high ours theirs")


class Missing(Exception):
    """The peer is not on this machine; the text says what to install, and how."""


def timed(loop):
    """From a function that does the job count times: what says how many seconds that took."""

    def seconds(count):
        start = clock()
        loop(count)
        return clock() - start

    return seconds


def calibrated(seconds, turn):
    """How often to do the job so that it takes about a turn.

    By the best of three: a single one can be disturbed, and the job be done but once in each turn.
    """
    count = 1
    while min(seconds(count) for _ in range(3)) < turn / 2:
        count *= 2
    return count


def warmed_up(seconds, turn, warm_up):
    """calibrated, after a warm-up: what is not warm yet would be done too few times."""
    count = calibrated(seconds, turn)
    spent = 0
    while spent < warm_up:
        spent += seconds(count)
    return calibrated(seconds, turn)


def in_turns(sides, rounds, turn=ROUND, warm_up=WARM_UP):
    """Of each side its times, the seconds of one job in each round.

    A side takes a count and gives seconds. In a round each has its turn, of about so many seconds,
    in an order that is drawn: always in the same, a disturbance that comes as regularly as the
    rounds do would hit the same side again and again. The next round has it backward.
    """
    part = min(1.0, float(rounds) / FULL)
    counts = [warmed_up(side, turn * part, warm_up * part) for side in sides]
    times = [[] for _ in sides]
    order, drawing = list(range(len(sides))), random.Random(1)
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            if number % 2:
                order.reverse()
            else:
                drawing.shuffle(order)
            for side in order:
                times[side].append(sides[side](counts[side]) / counts[side])
    finally:
        gc.enable()
    return times


def compared(sides, compare, rounds):
    """Measure both sides in turns, and apply compare to the seconds that each round gives for them.

    Return the median and the quartiles of the results, and the median seconds of each side.
    """
    ours, theirs = in_turns(sides, rounds)
    low, median, high = quartiles(list(map(compare, ours, theirs)))
    return Measured(median, low, high, quantile(ours, 0.5), quantile(theirs, 0.5))


def quartiles(values):
    """(the lower one, the median, the upper one)"""
    return tuple(quantile(values, part) for part in (0.25, 0.5, 0.75))


def quantile(values, part):
    """The value that part (0 to 1) of the values lie below, between two neighbours by its share."""
    values = sorted(values)
    place = part * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)
