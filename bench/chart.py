"""A chart as SVG: lines over ticks, on a logarithmic scale.

For any screen from a phone to a wide one: where the chart is wide, its text is smaller against the
rest; where the screen is dark, so is the chart, on a ground of its own. No colour tells alone: each
line has its own form of points, and its name at its end.
"""

import math
from collections import namedtuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 440, 360
LEFT, RIGHT, TOP, BOTTOM = 54, 130, 40, 48
END = WIDTH - RIGHT
APART = 14.5  # the names at the ends of the lines

# name: at the line's end. style: one of STYLES. points: of each tick (low, value, high) or None.
Line = namedtuple("Line", "name style points")

DOT = "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0 -6.4 0z"
SQUARE = "M-3 -3h6v6h-6z"
DIAMOND = "M0 -4.2L4.2 0L0 4.2L-4.2 0z"
UP = "M0 -3.8L3.8 3H-3.8z"
DOWN = "M0 3.8L3.8 -3H-3.8z"
BAR = "M-3.6 -1.2h7.2v2.4h-7.2z"
# Of a line: its colour on white and on black, each with contrast enough for text; its points.
STYLES = {
    "blue": ("#0550ae", "#79b8ff", DOT),
    "teal": ("#08705f", "#4fd1b5", SQUARE),
    "orange": ("#a84300", "#ffa657", UP),
    "purple": ("#7a3dd0", "#c9a2ff", DIAMOND),
    "grey": ("#57606a", "#a5afba", BAR),
    "red": ("#b3124a", "#ff8fab", DOWN),
    "olive": ("#6b5900", "#d9bd4a", DIAMOND),
}
DIGITS = (
    (1,),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
)
THEMES = (("#1f2328", "#ffffff", "#d8dee4"), ("#e6edf3", "#0d1117", "#30363d"))
# Last what has to win over the colours.
SHEET = """
text{font:13px system-ui,sans-serif}
.title{font-weight:600}
.tick{font-size:11px}
@media (min-width:700px){text{font-size:10px}.tick{font-size:9px}}
%s@media (prefers-color-scheme:dark){
%s}
text.name,.spread{stroke:none}
.spread{opacity:.25}
.line,.lead{fill:none}
.line{stroke-width:1.8}
.lead{stroke-width:.7}
"""
TEXT = '<text x="%.1f" y="%.1f" dy=".35em" text-anchor="%s" class="%s">%s</text>'
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="720" role="img"\
 aria-labelledby="title desc">
<title id="title">%s</title>
<desc id="desc">%s</desc>
<style>%s</style>
%s
</svg>
"""


def colours(theme):
    """The rules of the light theme (0) or of the dark one (1)."""
    told = "text{fill:%s}.ground{fill:%s}.rule{stroke:%s}\n" % THEMES[theme]
    for name, style in sorted(STYLES.items()):
        told += ".%s{fill:%s;stroke:%s}\n" % (name, style[theme], style[theme])
    return told


class Scale:
    """From values to heights."""

    def __init__(self, values):
        self.low, self.high = math.log10(min(values)) - 0.02, math.log10(max(values)) + 0.02

    def __call__(self, value):
        part = (math.log10(value) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)

    def rules(self):
        """The values that get a horizontal line: as few to a decade as make three or more."""
        for digits in DIGITS:
            values = [
                digit * 10**power
                for power in range(math.floor(self.low), math.ceil(self.high))
                for digit in digits
                if self.low <= power + math.log10(digit) <= self.high
            ]
            if len(values) > 2:
                break
        return values


def spread(places):
    """Where labels for these places go, in their order: none closer than APART to another."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved, free = list(places), TOP
    for label in order:
        moved[label] = max(moved[label], free)
        free = moved[label] + APART
    free = HEIGHT - BOTTOM
    for label in reversed(order):
        moved[label] = min(moved[label], free)
        free = moved[label] - APART
    return moved


def text(x, y, words, anchor, classes=""):
    return TEXT % (x, y, anchor, classes, escape(words))


def path(places):
    return "M" + "L".join("%.1f %.1f" % place for place in places)


def ground(title, bottom, ticks, across, scale, unit):
    yield '<rect class="ground" width="%d" height="%d"/>' % (WIDTH, HEIGHT)
    yield text(10, 18, title, "start", "title")
    for value in scale.rules():
        yield '<path class="rule" d="M%d %.1fH%d"/>' % (LEFT, scale(value), END)
        yield text(LEFT - 6, scale(value), unit(value), "end")
    for x, tick in zip(across, ticks):
        yield text(x, HEIGHT - BOTTOM + 14, str(tick), "middle", "tick")
    yield text((LEFT + END) / 2, HEIGHT - 14, bottom, "middle")


def band(line, across, scale):
    """The spread around the line."""
    there = [(x, point) for x, point in zip(across, line.points) if point]
    edge = [(x, scale(high)) for x, (_low, _value, high) in there]
    edge += [(x, scale(low)) for x, (low, _value, _high) in reversed(there)]
    return '<path class="spread %s" d="%sz"/>' % (line.style, path(edge))


def drawn(line, across, scale, label):
    """The line, its points, and its name at the height of label."""
    places = [(x, scale(point[1])) for x, point in zip(across, line.points) if point]
    yield '<path class="line %s" d="%s"/>' % (line.style, path(places))
    for place in places:
        yield '<path class="%s" transform="translate(%.1f %.1f)" d="%s"/>' % (
            (line.style,) + place + (STYLES[line.style][2],)
        )
    x, y = places[-1]
    yield '<path class="lead %s" d="%s"/>' % (line.style, path([(x + 5, y), (END + 8, label)]))
    yield text(END + 10, label, line.name, "start", "name " + line.style)


def chart(title, description, bottom, ticks, lines, unit):
    """The SVG. unit makes the text of a value on the left; bottom is what the ticks are."""
    across = [LEFT + 8 + i * (END - LEFT - 16) / (len(ticks) - 1) for i in range(len(ticks))]
    scale = Scale([value for line in lines for point in line.points if point for value in point])
    labels = spread([scale(line.points[-1][1]) for line in lines])
    body = list(ground(title, bottom, ticks, across, scale, unit))
    body += [band(line, across, scale) for line in lines]
    for line, label in zip(lines, labels):
        body += drawn(line, across, scale, label)
    sheet = SHEET % (colours(0), colours(1))
    return SVG % (WIDTH, HEIGHT, escape(title), escape(description), sheet, "\n".join(body))
