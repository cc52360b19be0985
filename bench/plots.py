"""Which charts there are, from what bench/points.py measured on each Python."""

from collections import namedtuple

from chart import Line, chart

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
OF_PYTHONS = ("purple", "orange", "blue", "teal", "red", "olive")

# file: its name. about: what it shows, for who does not see it.
Plot = namedtuple("Plot", "file title about svg")


def duration(seconds):
    return "%.3g ms" % (1e3 * seconds) if seconds >= 1e-3 else "%.3g \u00b5s" % (1e6 * seconds)


def multiple(value):
    return "%.3g\u00d7" % value


def plot(name, title, counts, lines, unit):
    about = "%s, with %d descriptors: %s." % (
        title,
        counts[-1],
        ", ".join("%s %s" % (line.name, unit(line.points[-1][1])) for line in lines),
    )
    svg = chart(title, about, "descriptors in the message", counts, lines, unit)
    return Plot("figures-%s.svg" % name, title, about, svg)


def lines_of(told, what):
    return [
        Line(side["name"], STYLES[side["name"]], side[what])
        for side in told["sides"]
        if "times" in side
    ]


def of_python(told):
    """Its times, and how many times the floor they are."""
    name = told["python"]
    file = name.lower().replace(" ", "-").rpartition(".")[0]  # cpython-3.15
    times, floors = lines_of(told, "times"), lines_of(told, "floors")[1:]
    return [
        plot(file, name + ": time of a message", told["counts"], times, duration),
        plot(file + "-floor", name + ": times the C floor", told["counts"], floors, multiple),
    ]


def of_all(pythons):
    """fdpass on each Python."""
    lines = [
        Line(told["python"], style, line.points)
        for told, style in zip(pythons, OF_PYTHONS)
        for line in lines_of(told, "floors")
        if line.name == "fdpass"
    ]
    title = "fdpass on each Python: times the C floor"
    return plot("pythons", title, pythons[0]["counts"], lines, multiple)
