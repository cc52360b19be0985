"""What bench/figures.py writes: the page and its charts."""

import os
import textwrap

import plots

SIDES = [
    ("C floor", "``bench/floor.c``: the same system calls, and next to nothing around them"),
    (
        "by hand",
        "``sendmsg`` and ``recvmsg`` in Python, with care but no library: ``bench/by_hand.py``",
    ),
    (
        "C extension",
        "with the interface of python-fdsend, for Python 2.7: ``bench/fdsend_shape.c``",
    ),
    ("fdpass", "``fdpass.send_fds`` and ``fdpass.recv_fds``"),
    (
        "standard library",
        "``socket.send_fds`` and ``socket.recv_fds``, with ``os.set_inheritable``, without which a"
        " received descriptor is inheritable",
    ),
    ("fdpass.Channel", "framed messages; each descriptor comes with an object that owns it"),
    (
        "python-passfd",
        "version 0.2, a C extension for Python 2. It passes one descriptor a message: N descriptors"
        " are N messages",
    ),
    (
        "multiprocessing",
        "``Connection.send_bytes`` and ``recv_bytes``, then ``send_handle`` and ``recv_handle``,"
        " which pass one descriptor a message: for N descriptors, N calls of each",
    ),
]
PROFILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "profile.rst")
TABLES = ".. the tables\n"  # the place of what was measured in there

INTRODUCTION = """.. Written by bench/figures.py, from what it measured and from bench/profile.rst.

Figures
=======

What it costs to pass descriptors. The times are those of this machine; what holds elsewhere too are
their proportions.

:Date: {date}
:Processor: {processor}
:System: {system}
:Pythons: {names}
:fdpass: {fdpass}
:Rounds: {rounds}
:Remake: ``python bench/figures.py`` measures and writes all of this anew: see ``bench/README.rst``.
    ``figures.json`` has what was measured.

A message has one byte and so many descriptors. It is sent over a stream socketpair and received in
the same process, and every received descriptor is closed. In each round every point of a Python's
charts has one turn, so that what else the machine does hits all of them alike. Given are the
medians of the rounds and their quartiles: in brackets, and as the band around a line.

"""
HANDED_OVER = """An accepted TCP connection is sent, received, made a socket object by
``socket_from_fd`` and closed. Beside it: what it costs to connect, accept and close one.
Microseconds.

"""
IMPORTED = """``import fdpass`` beside ``import socket``, which is part of it, each in a fresh
interpreter that finds the bytecode written. On CPython 2.7 the runtime of cffi is part of it, too.
Milliseconds.

"""


def heading(words, line):
    return "%s\n%s\n\n" % (words, line * len(words))


def filled(words):
    return textwrap.fill(
        words,
        96,
        initial_indent="    ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def table(*rows):
    """A simple table of RST; the first row is the headings."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule] + lines[1:] + [rule]) + "\n\n"


def number(value):
    """With three digits, or all of those before the point."""
    return "%.*f" % (max(0, 3 - len("%d" % abs(value))), value)


def spread(times, unit, told=number):
    """Seconds, as so many units."""
    if times is None:
        return "\\-"
    return "%s (%s to %s)" % tuple(told(times[i] / unit) for i in (1, 0, 2))


def whole(value):
    return "%.0f" % value


def image(plot):
    return ".. image:: %s\n   :alt: %s\n   :width: 100%%\n\n" % (plot.file, plot.about)


def of_python(told):
    sides = [side for side in told["sides"] if "times" in side]
    rows = zip(*[[spread(times, 1e-6) for times in side["times"]] for side in sides])
    yield heading(told["python"], "~")
    for plot in plots.of_python(told):
        yield image(plot)
    for side in told["sides"]:
        if "note" in side:
            yield "Without %s: %s.\n\n" % (side["name"], side["note"])
    yield "Microseconds:\n\n"
    yield table(
        ["descriptors"] + [side["name"] for side in sides],
        *[[str(count)] + list(row) for count, row in zip(told["counts"], rows)],
    )


def of_row(pythons, row, ours, theirs, unit):
    return table(
        ["Python", ours, theirs],
        *[
            [told["python"]] + [spread(told[row][side], unit) for side in ("ours", "theirs")]
            for told in pythons
        ],
    )


def nanoseconds(pythons, part, first):
    rows = zip(*[one["pieces"][part] for one in pythons])
    return table(
        [first] + [one["python"] for one in pythons],
        *[[row[0][0]] + [spread(times, 1e-9, whole) for _, times in row] for row in rows],
    )


def of_pieces(pythons):
    """Two tables for each major version, whose pieces are the same."""
    for version in ("CPython 2", "CPython 3"):
        those = [one for one in pythons if one["pieces"] and one["python"].startswith(version)]
        if those:
            yield nanoseconds(those, "sides", "one descriptor")
            yield nanoseconds(those, "pieces", "of fdpass, for")


def charts(told):
    """(file name, SVG) of each."""
    made = [plots.of_all(told["pythons"])]
    for one in told["pythons"]:
        made += plots.of_python(one)
    return [(plot.file, plot.svg) for plot in made]


def page(told):
    pythons = told["pythons"]
    names = ", ".join(one["python"] for one in pythons)
    with open(PROFILE, encoding="utf-8") as opened:
        before, _, after = opened.read().partition(TABLES)
    parts = [
        INTRODUCTION.format(names=names, fdpass=pythons[0]["fdpass"], **told),
        "".join("%s\n%s\n\n" % (name, filled(what)) for name, what in SIDES),
        heading("A message by its number of descriptors", "-"),
        image(plots.of_all(pythons)),
    ]
    for one in pythons:
        parts += of_python(one)
    parts += [
        heading("Handing a connection over", "-") + HANDED_OVER,
        of_row(pythons, "hand-over", "fdpass", "connect, accept, close", 1e-6),
        heading("Importing", "-") + IMPORTED,
        of_row(pythons, "import", "import fdpass", "import socket", 1e-3),
        before,
    ]
    return "".join(parts + list(of_pieces(pythons)) + [after])
