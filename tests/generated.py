"""How the tests with generated examples run, and what their stateful ones share.

The examples are the same each time. FDPASS_EXAMPLES=100 in the environment makes them a hundred
times as many, new ones with each run.
"""

import os
import signal

import pytest
from conftest import open_descriptors
from test_transfer import is_close_on_exec, mode

from fdpass import FileDescriptor

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import stateful  # noqa: E402

# Even without a database it would write into the working directory.
hypothesis.configuration.set_hypothesis_home_dir(os.devnull)
TIMES = int(os.environ.get("FDPASS_EXAMPLES", "0"))
LETTERS = bytearray(b"abcdefghijklmnopqrstuvwxyz")


def examples(count, steps=50):
    """Settings for so many examples, of so many steps at most; no clock judges them."""
    return hypothesis.settings(
        max_examples=count * (TIMES or 1),
        stateful_step_count=steps,
        derandomize=not TIMES,
        database=None,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


def another_example():
    """The alarm of conftest is for one test, and here for one of its examples."""
    signal.alarm(45)


def opened():
    """Descriptors of different files, of several kinds and modes."""
    folder, null = os.open("/", os.O_RDONLY), os.open(os.devnull, os.O_RDWR)
    return [FileDescriptor(fd) for fd in (folder, null) + os.pipe() + os.pipe()]


def identity(fd):
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, mode(fd)


class Passing(stateful.RuleBasedStateMachine):
    """Files whose descriptors are passed, and what has become of those that were received."""

    def __init__(self):
        super(Passing, self).__init__()
        another_example()
        self.before = set(open_descriptors())
        self.files = opened()
        self.identities = [identity(owned.fileno()) for owned in self.files]
        self.letters = self.turns = 0
        self.held = {}  # received and not closed yet, with what each is of
        self.connect()

    def teardown(self):
        for thing in list(self.ends) + self.files:
            thing.close()
        for fd in set(open_descriptors()) - self.before:
            os.close(fd)

    def open_ends(self):
        """The numbers, 0 and 1, of those of the two ends that are open."""
        raise NotImplementedError

    def unfinished(self):
        """How many descriptors the open ends have received and not given out."""
        return 0

    @stateful.invariant()
    def the_table_holds_what_the_model_says(self):
        own = [owned.fileno() for owned in self.files] + list(self.held)
        own += [self.ends[end].fileno() for end in self.open_ends()]
        table = set(open_descriptors())
        assert table.issuperset(own)
        assert len(table - self.before.union(own)) == self.unfinished()
        assert self.before.issubset(table)
        assert all(identity(fd) == self.held[fd] for fd in self.held)

    def payload(self, length):
        """The next letters: whatever is out of order shows."""
        self.letters += length
        start = (self.letters - length) % len(LETTERS)
        return bytes((LETTERS * (length // len(LETTERS) + 2))[start : start + length])

    def things(self, count):
        """The numbers of the next files."""
        self.turns += count
        return [i % len(self.files) for i in range(self.turns - count, self.turns)]

    def given(self, things):
        return [self.files[thing] for thing in things]

    def arrived(self, fds, things, keep):
        expected = [self.identities[thing] for thing in things]
        assert [identity(fd) for fd in fds] == expected
        assert all(map(is_close_on_exec, fds))
        assert len(set(fds)) == len(fds)
        self.held.update(zip(fds, expected))
        if not keep:
            self.let_go(fds)

    def let_go(self, fds):
        for fd in fds:
            del self.held[fd]
            os.close(fd)

    @stateful.rule(keep=hypothesis.strategies.integers(0, 3))
    def close_some(self, keep):
        self.let_go(sorted(self.held)[keep:])
