"""What bench/figures.py writes: the page and its charts, from what bench/points.py measured."""

from collections import namedtuple

from chart import Line, chart

# The colours of the lines, by what they show.
STYLES = {
    "C floor": "grey",
    "by hand": "purple",
    "C extension": "purple",
    "fdpass": "blue",
    "standard library": "orange",
    "fdpass.Channel": "teal",
    "python-passfd": "olive",
    "multiprocessing": "red",
}
STYLES_OF_PYTHONS = ("purple", "orange", "blue", "teal", "red", "olive")

INTRODUCTION = """.. Written by bench/figures.py, from what it measured.

Figures
=======

What it costs to pass descriptors. The times apply to this machine only; their ratios should carry
over to others.

:Date: {date}
:Processor: {processor}
:System: {system}
:Pythons: {names}
:fdpass: {fdpass}
:Rounds: {rounds}
:Remake: ``python bench/figures.py`` measures and writes all of this anew: see ``bench/README.rst``.
    ``figures.json`` has what was measured.

Every message has one byte, and the number of descriptors that the line says. It is sent over a
stream socketpair and received in the same process, and every received descriptor is closed. In each
round every point of a Python's charts has one turn, so that a disturbance of the machine hits all
points alike. The figures are the medians of the rounds. Their quartiles are in brackets, and are
the band around a line.

C floor
    ``bench/floor.c``: the same system calls, and next to nothing around them

by hand
    ``sendmsg`` and ``recvmsg`` in Python, with care but no library: ``bench/by_hand.py``

C extension
    with the interface of python-fdsend, for Python 2.7: ``bench/fdsend_shape.c``

fdpass
    ``fdpass.send_fds`` and ``fdpass.recv_fds``

standard library
    ``socket.send_fds`` and ``socket.recv_fds``, with ``os.set_inheritable``, without which a
    received descriptor is inheritable

fdpass.Channel
    framed messages; each descriptor comes with an object that owns it

python-passfd
    version 0.2, a C extension for Python 2. It passes one descriptor in a message: N
    descriptors are N messages

multiprocessing
    ``Connection.send_bytes`` and ``recv_bytes``, then ``send_handle`` and ``recv_handle``,
    which pass one descriptor in a message: for N descriptors, N calls of each

"""
HANDED_OVER = """An accepted TCP connection is sent, received, made a socket object by
``socket_from_fd`` and closed. Beside it: what it costs to connect, accept and close one.
Microseconds.

"""
IMPORTED = """``import fdpass`` beside ``import socket``, which is part of it, each in a fresh
interpreter that finds the bytecode written. On CPython 2.7 it includes the runtime of cffi.
Milliseconds.

"""

# file: its name. about: what it shows, for readers who do not see it.
Plot = namedtuple("Plot", "file about svg")


def page(told):
    """Return the text of the page."""
    pythons = told["pythons"]
    names = ", ".join(one["python"] for one in pythons)
    parts = [INTRODUCTION.format(names=names, fdpass=pythons[0]["fdpass"], **told)]
    parts += [heading("A message by its number of descriptors", "-"), image(plot_all(pythons))]
    for one in pythons:
        parts += python_section(one)
    parts += [
        heading("Handing a connection over", "-") + HANDED_OVER,
        row_table(pythons, "hand-over", "fdpass", "connect, accept, close", 1e-6),
        heading("Importing", "-") + IMPORTED,
        row_table(pythons, "import", "import fdpass", "import socket", 1e-3),
    ]
    return "".join(parts).rstrip("\n") + "\n"


def charts(told):
    """Return the plots of the page."""
    return sum(map(plot_python, told["pythons"]), [plot_all(told["pythons"])])


def python_section(told):
    sides = [side for side in told["sides"] if "times" in side]
    columns = [[spread(times, 1e-6) for times in side["times"]] for side in sides]
    yield heading(told["python"], "~")
    for plot in plot_python(told):
        yield image(plot)
    for side in told["sides"]:
        if "note" in side:
            yield "Without %s: %s.\n\n" % (side["name"], side["note"])
    yield "Microseconds:\n\n"
    yield table(
        ["descriptors"] + [side["name"] for side in sides],
        *zip(map(str, told["counts"]), *columns),
    )


def row_table(pythons, row, ours, theirs, unit):
    rows = [
        [told["python"], spread(told[row]["ours"], unit), spread(told[row]["theirs"], unit)]
        for told in pythons
    ]
    return table(["Python", ours, theirs], *rows)


def plot_python(told):
    """Plot the times of one Python, and their ratios to the floor's."""
    name = told["python"]
    file = name.lower().replace(" ", "-").rpartition(".")[0]  # cpython-3.15
    times, floors = lines_of(told, "times"), lines_of(told, "floors")[1:]
    return [
        plot(file, name + ": time of a message", told["counts"], times, duration),
        plot(file + "-floor", name + ": times the C floor", told["counts"], floors, multiple),
    ]


def plot_all(pythons):
    """Plot fdpass on each Python."""
    lines = [
        Line(told["python"], style, line.points)
        for told, style in zip(pythons, STYLES_OF_PYTHONS)
        for line in lines_of(told, "floors")
        if line.name == "fdpass"
    ]
    title = "fdpass on each Python: times the C floor"
    return plot("pythons", title, pythons[0]["counts"], lines, multiple)


def lines_of(told, what):
    return [
        Line(side["name"], STYLES[side["name"]], side[what])
        for side in told["sides"]
        if "times" in side
    ]


def plot(name, title, counts, lines, unit):
    last = ", ".join("%s %s" % (line.name, unit(line.points[-1][1])) for line in lines)
    about = "%s, with %d descriptors: %s." % (title, counts[-1], last)
    svg = chart(title, about, "descriptors in the message", counts, lines, unit)
    return Plot("figures-%s.svg" % name, about, svg)


def duration(seconds):
    return "%.3g ms" % (1e3 * seconds) if seconds >= 1e-3 else "%.3g \u00b5s" % (1e6 * seconds)


def multiple(value):
    return "%.3g\u00d7" % value


def heading(words, line):
    return "%s\n%s\n\n" % (words, line * len(words))


def image(plot):
    return ".. image:: %s\n   :alt: %s\n   :width: 100%%\n\n" % (plot.file, plot.about)


def table(*rows):
    """Return a simple table of RST; the first row is the headings."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule] + lines[1:] + [rule]) + "\n\n"


def spread(times, unit):
    """The median and the quartiles of seconds, in the unit."""
    if times is None:
        return "\\-"
    return "%s (%s to %s)" % tuple(number(times[i] / unit) for i in (1, 0, 2))


def number(value):
    """With three digits, or all of those before the point."""
    return "%.*f" % (max(0, 3 - len("%d" % abs(value))), value)
