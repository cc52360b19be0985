"""What each piece of a call costs: copies of fdpass with one taken out, beside the whole.

A piece is text of fdpass's own source, replaced in a copy that is imported under another name. The
job is the usual one: one byte and one descriptor, sent, received and closed. Nothing in it goes
wrong, so it does not miss the piece, and the difference is what the piece takes.
"""

import importlib
import io
import os
import shutil
import sys
import tempfile
import types
from contextlib import contextmanager

import floor
import loops
from found import copy_to, fdpass
from measure import ROUND, in_turns, quartiles, timed
from rows import stream

if sys.version_info[0] == 2:
    import pieces_python2 as here

    PEER, BESIDE = "C extension", loops.by_extension
else:
    import pieces_python3 as here

    PEER, BESIDE = "by hand", loops.by_hand

NOTHING = ("nothing, in an unchanged copy: by so much this method errs", [])
TURN = ROUND / 8  # many short turns find small differences
TURNS = 5  # for each round of the points


def edited(folder, edits):
    """Make the edits, (file, text, other text), in the copy of the package in folder."""
    for name, text, other in edits:
        path = os.path.join(folder, name)
        with io.open(path, encoding="utf-8") as opened:
            source = opened.read()
        if source.count(text) != 1:
            raise ValueError("bench/%s: %s is not once in %s" % (here.__name__, text, name))
        with io.open(path, "w", encoding="utf-8") as opened:
            opened.write(source.replace(text, other))


@contextmanager
def copies(pieces):
    """The package once for each of the pieces, without it."""
    folder = tempfile.mkdtemp()
    sys.path.insert(1, folder)
    try:
        made = []
        for _what, edits in pieces:
            name = "fdpass_without_%d" % len(made)
            copy_to(os.path.join(folder, name))
            edited(os.path.join(folder, name), edits)
            made.append(importlib.import_module(name))
        yield made
    finally:
        sys.path.remove(folder)
        shutil.rmtree(folder)


def over(package):
    """The loop of fdpass, with another package under its name."""
    return types.FunctionType(loops.by_fdpass.__code__, dict(vars(loops), fdpass=package))


def measured(rounds):
    """The whole and what is beside it; of each piece, by how much the whole exceeds the rest."""
    pieces = [NOTHING] + here.PIECES
    with stream(1) as (left, right, fds), floor.running() as program, copies(pieces) as made:
        makers = [here.prepared, BESIDE, over(fdpass)] + [over(package) for package in made]
        sides = [program(1)] + [timed(make(left, right, b"x", fds)) for make in makers]
        times = in_turns(sides, rounds * TURNS, TURN)
    whole, names = times[3], ("C floor", "the system calls from Python", PEER, "fdpass")
    return {
        "sides": [(name, quartiles(values)) for name, values in zip(names, times)],
        "pieces": [
            (what, quartiles([a - b for a, b in zip(whole, values)]))
            for (what, _), values in zip(pieces, times[4:])
        ],
    }
