"""Short soaks, and a channel that does not grow, in processes of their own; and what soaks find."""

import os
import subprocess
import sys

import soak_descriptors
from conftest import closing

HERE = os.path.dirname(os.path.abspath(__file__))
SOAK = os.path.join(HERE, "soak.py")
SOAK_DESCRIPTORS = os.path.join(HERE, "soak_descriptors.py")
STEADY = "import sys; sys.path.insert(0, sys.argv[1]); import soak; print(soak.steady(100000))"
GROWTH = 1 << 20  # bytes; the smallest object for each message would take more


def run(*arguments):
    """The standard output of a Python process that has to end well and quietly."""
    process = subprocess.Popen(
        [sys.executable] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        output, errors = process.communicate()
    finally:
        if process.poll() is None:  # it hangs
            process.kill()
    assert (process.returncode, errors) == (0, b""), (output, errors)
    return output.decode("ascii")


def test_messages_in_both_directions_among_signals_and_timeouts():
    assert "soak, " in run(SOAK, "--seconds", "20")


def test_many_messages_take_no_more_memory_than_a_few():
    assert int(run("-c", STEADY, HERE)) < GROWTH


def test_descriptors_through_each_path_among_signals():
    lines = run(SOAK_DESCRIPTORS, "--descriptors", "2000").splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == sorted(soak_descriptors.PATHS)
    told, _, count = lines[-1].partition("; signals: ")
    assert told == "all is well"
    assert int(count) > 0


def leaks(monkeypatch, count, keep):
    """What is wrong with a path on which keep is called with the descriptors of each message."""

    def leaking(left, right, fds):
        keep(fds)
        return soak_descriptors.plain(left, right, fds)

    monkeypatch.setitem(soak_descriptors.PATHS, "leaking", (soak_descriptors.objects, leaking, 1))
    return soak_descriptors.soaked("leaking", count, 1.0)


def test_descriptors_left_open_are_told(monkeypatch):
    kept = []
    wrong = leaks(monkeypatch, 10, lambda fds: kept.append(os.dup(fds[0])))
    with closing(*kept):
        assert [line.partition(":")[0] for line in wrong] == ["leaking"]


def test_memory_that_is_kept_is_told(monkeypatch):
    kept = []
    monkeypatch.setattr(soak_descriptors, "LONG", 5000)
    # 160 MB, which is more than what earlier tests have left free.
    wrong = leaks(monkeypatch, 5000, lambda fds: kept.append(os.urandom(1 << 15)))
    assert wrong == ["leaking: memory grew by more than 1 MiB"]
