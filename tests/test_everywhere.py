"""What tests/everywhere.py says of the commands that it runs, and that it leaves none behind."""

import os
import signal
import subprocess
import sys
import sysconfig

import pytest
from conftest import closing

if sys.version_info >= (3, 6):
    import everywhere

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 6), reason="tests/everywhere.py needs Python 3.6"
)
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
HERE = os.path.dirname(os.path.abspath(__file__))


def program(text):
    return [sys.executable, "-c", text]


def test_a_silent_command_shows_life(monkeypatch, capsys):
    monkeypatch.setattr(everywhere, "SILENCE_S", 0.1)
    command = program("import time; time.sleep(0.5); print('its line')")
    assert everywhere.Run().run("resting", command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("] resting: ...")
    assert lines[-1] == "its line"


def test_environments_that_failed():
    run = everywhere.Run()
    told = "py27: OK in 2 seconds\npy36: FAIL in 1 second\nsetup: FAIL\n"
    command = program("print(%r); raise SystemExit(3)" % told)
    assert run.run("running", command, ["py27", "py36", "lint"]) == 3
    assert run.run("user", command) == 3
    assert run.ended == {"py27": "OK", "py36": "FAIL", "lint": "FAIL", "user": "FAIL"}


REPORT = """<testsuite>
<testcase classname="tests.test_a" name="test_good"/>
<testcase classname="tests.test_a" name="test_bad"><failure message="no"/></testcase>
<testcase classname="tests.test_a" name="test_ugly"><error message="no"/></testcase>
<testcase classname="tests.test_a" name="test_skipped"><skipped message="%s"/></testcase>
</testsuite>
"""


@pytest.mark.parametrize("reason, listed", [("trio is not installed", True), ("no time", False)])
def test_the_end_names_what_failed(monkeypatch, capsys, folder, reason, listed):
    monkeypatch.setattr(everywhere, "ROOT", folder)
    os.mkdir(os.path.join(folder, ".tox"))
    with open(os.path.join(folder, ".tox", "report-py27.xml"), "w") as report:
        report.write(REPORT % reason)
    run = everywhere.Run()
    run.ended = {"py27": "OK", "lint": "FAIL"}
    assert everywhere.summed_up(run, ["py27", "pairs"], ["py27"])
    out = capsys.readouterr().out
    for told in (
        "1 passed, 2 failed, 1 skipped\n",
        "FAILED: no test passed in pairs\n",
        "FAILED: tests.test_a::test_bad (py27)\n",
        "FAILED: tests.test_a::test_ugly (py27)\n",
        "FAILED environments: lint\n",
    ):
        assert told in out
    assert ("skipped: tests.test_a::test_skipped: " + reason in out) == listed
    assert ("NOT LISTED" in out) != listed


def test_a_python_without_the_gil_is_an_interpreter_of_its_own():
    found = [name for name in everywhere.ENVIRONMENTS if everywhere.runs(name, sys.executable)]
    assert [name.endswith("t") for name in found] in ([], [FREE_THREADED])


STUBBORN = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
STARTING = "import subprocess, sys; subprocess.call([sys.executable, '-c', %r], close_fds=False)"
RUNNING = """
import os, signal, sys
import everywhere
if sys.argv[1] == "SIGTERM":
    signal.signal(signal.SIGTERM, everywhere.raise_exit)
writable = int(sys.argv[2])
everywhere.Run().run("running", [sys.executable, "-c", sys.argv[3]], pass_fds=[writable])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_all_that_was_started(name):
    """Also what a command started, and what does not listen to an interrupt."""
    readable, writable = os.pipe()
    with closing(readable):
        with closing(writable):
            process = subprocess.Popen(
                program(RUNNING) + [name, str(writable), STARTING % STUBBORN],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=HERE,
                pass_fds=[writable],
            )
        with process, closing(process.stdout):
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(getattr(signal, name))
            process.stdout.read()
        assert process.returncode != 0
        assert os.read(readable, 1) == b""  # nobody holds the other end
