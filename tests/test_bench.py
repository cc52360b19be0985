"""The benchmark runs, and prints every row. No figure decides anything here."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys

import pytest

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BENCH = os.path.join(CHECKOUT, "bench")
DOCS = os.path.join(CHECKOUT, "docs")
RUN = os.path.join(BENCH, "run.py")

pytestmark = pytest.mark.skipif(
    not os.path.exists(RUN), reason="bench/ is in the checkout only, and this is none"
)

VERDICTS = {"ok", "MISSED", "no limit here", "not here", "no peer"}


def told_by(command, given=b"", **options):
    """(exit status, standard output) of a command."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
    output = process.communicate(given)[0].decode("utf-8")
    return process.returncode, output


def bench(*options):
    """(exit status, standard output) of a run that is as short as it can be."""
    return told_by([sys.executable, RUN, "--rounds", "1"] + list(options))


@pytest.fixture(scope="module")
def rows():
    status, output = bench("--json")
    assert status == 0, output
    return json.loads(output)["rows"]


def test_the_table_has_every_row(rows):
    status, output = bench()
    assert status == 0, output
    # What else a row has to say stands below it, indented.
    names = [line.split()[0] for line in output.splitlines() if line[:1].strip()]
    assert names[names.index("row") + 1 :] == [row["row"] for row in rows]


def test_json_has_a_verdict_for_each_row(rows):
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


@pytest.fixture
def floor(compiler, folder):
    """The path of the program in C, compiled without a warning."""
    built = os.path.join(folder, "floor")
    strictly = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.check_call(compiler + strictly + [os.path.join(BENCH, "floor.c"), "-o", built])
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


newer = pytest.mark.skipif(sys.version_info < (3, 6), reason="bench/figures.py needs Python 3.6")


def figures(folder, *options):
    """(exit status, all output) of bench/figures.py, which writes to the folder."""
    command = [sys.executable, os.path.join(BENCH, "figures.py"), "--output", folder]
    return told_by(command + list(options), stderr=subprocess.STDOUT)


def content(folder):
    """The text of each file of the page of figures in the folder."""
    texts = {}
    for name in os.listdir(folder):
        if name.startswith("figures"):
            with io.open(os.path.join(folder, name), encoding="utf-8") as opened:
                texts[name] = opened.read()
    return texts


@newer
def test_docs_have_the_page_and_the_charts_of_their_figures(folder):
    """After a change of the text or the drawing: python bench/figures.py --redraw"""
    shutil.copy(os.path.join(DOCS, "figures.json"), folder)
    assert figures(folder, "--redraw") == (0, "")
    assert content(folder) == content(DOCS)


@newer
def test_a_python_is_measured(compiler, folder):
    status, output = figures(folder, "--rounds", "1", "--python", sys.executable)
    assert status == 0, output
    measured = content(folder)
    charts = re.findall("image:: (figures-.+[.]svg)", measured["figures.rst"])
    assert len(charts) == 3
    assert sorted(measured) == sorted(charts + ["figures.json", "figures.rst"])


@newer
def test_a_python_that_cannot_be_measured(folder):
    status, output = figures(folder, "--python", os.path.join(folder, "python"))
    assert status == 2
    assert "is left out" in output
    assert os.listdir(folder) == []
