"""The benchmark runs, and prints every row. No figure decides anything here."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

import pytest

try:
    import docutils
except ImportError:  # the page is checked without it, too
    docutils = None

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BENCH = os.path.join(CHECKOUT, "bench")
RUN = os.path.join(BENCH, "run.py")
COMPILER = os.environ.get("CC", "cc")

pytestmark = pytest.mark.skipif(
    not os.path.exists(RUN), reason="bench/ is in the checkout only, and this is none"
)

ROWS = [
    "library-1",
    "library-64",
    "library-253",
    "library-1-64KiB",
    "by-hand-1",
    "passfd-1",
    "c-extension-1",
    "c-extension-1-full",
    "hand-over",
    "channel-64-1",
    "channel-64",
    "channel-64KiB",
    "channel-1MiB",
    "aio-channel-64",
    "import",
]
VERDICTS = {"ok", "MISSED", "no limit here", "not here", "no peer"}


def told_by(command, given=b"", **options):
    """(exit status, standard output) of a command."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    output = process.communicate(given)[0].decode("utf-8")
    return process.returncode, output


def bench(*options):
    """(exit status, standard output) of a run that is as short as it can be."""
    return told_by([sys.executable, RUN, "--rounds", "1"] + list(options))


def test_the_table_has_every_row():
    status, output = bench()
    assert status == 0, output
    # What else a row has to say stands below it, indented.
    lines = [line.split() for line in output.splitlines() if line and not line.startswith(" ")]
    headings = [words[0] for words in lines].index("row")
    assert [words[0] for words in lines[headings + 1 :]] == ROWS


def test_json_tells_the_same_and_a_verdict_for_each_row():
    status, output = bench("--json")
    assert status == 0, output
    rows = json.loads(output)["rows"]
    assert [row["row"] for row in rows] == ROWS
    assert {row["verdict"] for row in rows} <= VERDICTS
    for row in rows:
        # A row without figures says why.
        assert row["median"] if "median" in row else row["note"]


def test_rows_are_chosen_by_name():
    status, output = bench("--rows", "hand-*")
    assert status == 0, output
    assert "hand-over" in output
    assert "library" not in output


def test_no_such_row_is_an_error():
    assert bench("--rows", "nothing")[0] == 2


@pytest.fixture(scope="module")
def compiler():
    try:
        subprocess.check_output([COMPILER, "--version"])
    except OSError:
        pytest.skip("there is no C compiler")
    return [COMPILER, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture
def floor(compiler, folder):
    """The path of the program in C, compiled without a warning."""
    built = os.path.join(folder, "floor")
    subprocess.check_call(compiler + [os.path.join(BENCH, "floor.c"), "-o", built])
    return built


def limited(most):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def test_the_floor_passes_and_closes(floor):
    """More than there is room for, if any stayed open."""
    status, output = told_by([floor], b"0 9\n1 1500\n253 9\n", preexec_fn=limited(1024))
    assert status == 0
    assert [float(seconds) > 0 for seconds in output.split()] == [True] * 3


@pytest.mark.parametrize(
    "line, why", [(b"254 1", "at most 253 descriptors\n"), (b"253 1", "of 253 descriptors came\n")]
)
def test_the_floor_fails_with_what_cannot_be(floor, line, why):
    """More than the kernel takes, and more than this process has room for."""
    status, output = told_by(
        [floor], b"1 1\n" + line, stderr=subprocess.STDOUT, preexec_fn=limited(300)
    )
    assert status == 1
    assert output.endswith(why)


def test_the_points_of_this_python(compiler):
    command = [sys.executable, os.path.join(BENCH, "points.py"), "--rounds", "1"]
    status, output = told_by(command)
    assert status == 0
    told = json.loads(output)
    least = {"python-passfd": 1}
    names = [side["name"] for side in told["sides"]]
    assert {"C floor", "fdpass", "fdpass.Channel", "multiprocessing"} < set(names)
    for side in told["sides"]:
        assert ("times" in side) != ("note" in side)
        for what in ("times", "floors") if "times" in side else ():
            there = [one for one in side[what] if one]
            assert len(there) == len(told["counts"]) - least.get(side["name"], 0)
            assert all(0 < low <= median <= high for low, median, high in there)
    for row in ("hand-over", "import"):
        assert min(told[row]["ours"] + told[row]["theirs"]) > 0


@pytest.fixture(scope="module")
def figures(compiler):
    """The folder of what bench/figures.py writes in a try-out."""
    made = tempfile.mkdtemp()
    program = [sys.executable, os.path.join(BENCH, "figures.py"), "--output", made]
    status, _ = told_by(program + ["--rounds", "1", "--python", sys.executable])
    assert status == 0
    yield made
    shutil.rmtree(made)


newer = pytest.mark.skipif(sys.version_info < (3, 6), reason="bench/figures.py needs Python 3.6")


def charts(folder):
    names = sorted(name for name in os.listdir(folder) if name.endswith(".svg"))
    return {name: ElementTree.parse(os.path.join(folder, name)).getroot() for name in names}


def svg(tag):
    return "{http://www.w3.org/2000/svg}" + tag


@newer
def test_the_charts(figures):
    drawn = charts(figures)
    assert len(drawn) == 3
    for root in drawn.values():
        title, description = root[:2]
        assert (title.tag, description.tag) == (svg("title"), svg("desc"))
        assert root.get("aria-labelledby") == "%s %s" % (title.get("id"), description.get("id"))
        assert title.text and len(description.text) > len(title.text)
        width, height = map(float, root.get("viewBox").split()[2:])
        for text in root.iter(svg("text")):
            assert 0 < float(text.get("x")) < width and 0 < float(text.get("y")) < height
        names = [text for text in root.iter(svg("text")) if "name" in text.get("class")]
        places = sorted(float(text.get("y")) for text in names)
        assert all(above + 12 < below for above, below in zip(places, places[1:]))
        assert len(names) == len([1 for path in root.iter() if "line" in path.get("class", "")])


@newer
def test_the_charts_stand_alone(figures):
    """No script, and nothing from elsewhere: no font, no image, no style sheet."""
    for root in charts(figures).values():
        for element in root.iter():
            assert element.tag in map(
                svg, ("svg", "title", "desc", "style", "rect", "path", "text")
            )
            assert not any("href" in name for name in element.attrib)
        style = root.find(svg("style")).text
        assert "prefers-color-scheme:dark" in style
        assert "url(" not in style and "@import" not in style and "@font-face" not in style


@newer
def test_the_page(figures):
    path = os.path.join(figures, "figures.rst")
    with io.open(path, encoding="utf-8") as opened:
        page = opened.read()
    assert sorted(re.findall(r"image:: (\S+)", page)) == sorted(charts(figures))
    for words, line in re.findall(r"^(\w.*)\n([-=~]{4,})$", page, re.MULTILINE):
        assert len(words) == len(line)
    tables = re.findall(
        r"^(==[ =]+ =+)\n(.+?)\n\1\n(.+?)\n\1\n(?:\n|\Z)", page, re.MULTILINE | re.DOTALL
    )
    assert len(tables) >= 3
    for rule, headings, rows in tables:
        for row in [headings] + rows.splitlines():
            assert all(c == " " for gap, c in zip(rule, row) if gap == " ")
    check = "import docutils.core as core, sys; core.publish_file(source_path=sys.argv[1], **%r)"
    strict = {"settings_overrides": {"halt_level": 2}, "writer_name": "null"}
    if docutils is not None:
        assert told_by([sys.executable, "-c", check % strict, path])[0] == 0


@newer
def test_the_page_is_made_again_without_measuring(figures):
    def content():
        told = {}
        for name in os.listdir(figures):
            with open(os.path.join(figures, name), "rb") as opened:
                told[name] = opened.read()
        return told

    before = content()
    os.remove(os.path.join(figures, "figures.rst"))
    command = [sys.executable, os.path.join(BENCH, "figures.py"), "--redraw", "--output", figures]
    assert told_by(command) == (0, "")
    assert content() == before


@newer
def test_a_python_that_cannot_be_measured(folder):
    command = [sys.executable, os.path.join(BENCH, "figures.py"), "--output", folder]
    status, output = told_by(
        command + ["--python", os.path.join(folder, "python")], stderr=subprocess.STDOUT
    )
    assert status == 2
    assert "is left out" in output
    assert os.listdir(folder) == []
