"""The benchmark runs, and prints every row. No figure decides anything here."""

import json
import os
import subprocess
import sys

import pytest

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = os.path.join(CHECKOUT, "bench", "run.py")

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


def bench(*options):
    """(exit status, standard output) of a run that is as short as it can be."""
    command = [sys.executable, RUN, "--rounds", "1"] + list(options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    output = process.communicate()[0].decode("utf-8")
    return process.returncode, output


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
