"""A short soak, and a channel that does not grow. Both in processes of their own."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOAK = os.path.join(HERE, "soak.py")
STEADY = "import sys; sys.path.insert(0, sys.argv[1]); import soak; print(soak.steady(100000))"
GROWTH = 1 << 20  # bytes; the smallest object for each message would take more


def run(*arguments):
    """The standard output of a Python process that has to end well and quietly."""
    process = subprocess.Popen(
        [sys.executable] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = process.communicate()
    assert (process.returncode, errors) == (0, b""), (output, errors)
    return output.decode("ascii")


def test_messages_in_both_directions_among_signals_and_timeouts():
    assert "soak, " in run(SOAK, "--seconds", "20")


def test_many_messages_take_no_more_memory_than_a_few():
    assert int(run("-c", STEADY, HERE)) < GROWTH
