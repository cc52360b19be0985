"""The tutorial, followed as its reader does: the files written, the commands typed into a shell."""

import contextlib
import io
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from conftest import child_environment

PAGE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "tutorial.rst"
)
BLOCK = re.compile(r"^\.\. code-block:: (python|console)\n\n((?:    .*\n|\n)+)", re.M)
FILE = re.compile(r"``(\w+\.py)``[^`\n]*:\n\n\Z")  # what comes before a file
NUMBER = re.compile("[0-9]{4,}")  # a process or a port: on the page another than here
DEADLINE = 30  # seconds for what takes one


class Shell(object):
    """A shell in the folder, where ``python`` is this one and fdpass the one under test."""

    def __init__(self, folder):
        self.output = ""
        self.numbers = {}  # those of the page, and what they are here
        python = os.path.join(folder, "python")
        with open(python, "w") as script:
            script.write('#!/bin/sh\nexec "%s" "$@"\n' % sys.executable)
        os.chmod(python, 0o700)
        environment = child_environment(
            PATH=folder + os.pathsep + os.environ["PATH"], PYTHONWARNINGS="error"
        )
        self.process = subprocess.Popen(
            ["sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            close_fds=True,
            preexec_fn=os.setsid,  # so that all that it starts can be ended with it
        )

    def read(self):
        """Read some more; returns whether all processes have gone."""
        ready = select.select([self.process.stdout], [], [], max(self.end - time.time(), 0))[0]
        assert ready, "no more than: " + self.output
        chunk = os.read(self.process.stdout.fileno(), 65536).decode()
        self.output += chunk
        return not chunk

    def type(self, command, expected):
        """Type the command, and wait until all that is expected has come, and nothing else."""
        command = NUMBER.sub(lambda number: self.numbers[number.group()], command)
        self.process.stdin.write((command + "\n").encode())
        self.process.stdin.flush()
        self.end = time.time() + DEADLINE
        pattern = re.compile(self.pattern_of(expected))
        while expected and not pattern.match(self.output):
            assert not self.read(), "%s: %s" % (command, self.output)
        if expected:
            found = pattern.match(self.output).groupdict()
            self.numbers.update((name[1:], number) for name, number in found.items())
            self.output = ""

    def pattern_of(self, expected):
        """The same number on the page stands for the same number here, from its first place on."""
        seen = set()

        def one(match):
            number = match.group()
            if number in self.numbers:
                return self.numbers[number]
            if number in seen:
                return "(?P=n%s)" % number
            seen.add(number)
            return "(?P<n%s>[0-9]+)" % number

        return NUMBER.sub(one, re.escape(expected)) + r"\Z"

    def close(self):
        """End what is left; a test that has passed has left nothing."""
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except OSError:
            pass
        self.process.wait()


def steps(page):
    """("write", a file's name, its text) and ("type", a command, its output), in their order."""
    for block in BLOCK.finditer(page):
        text = re.sub("^    ", "", block.group(2), flags=re.M).strip("\n") + "\n"
        if block.group(1) == "python":
            yield "write", FILE.search(page[: block.start()]).group(1), text
        else:
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, output = part.partition("\n")
                yield "type", command, output


@pytest.mark.skipif(not os.path.exists(PAGE), reason="the tests are without their README")
def test_the_tutorial(folder):
    with io.open(PAGE, encoding="utf-8") as source:
        page = source.read()
    typed = 0
    with contextlib.closing(Shell(folder)) as shell:
        for what, name, text in steps(page):
            if what == "write":
                with io.open(os.path.join(folder, name), "w", encoding="utf-8") as target:
                    target.write(text)
            else:
                shell.type(name, text)
                typed += 1
        shell.process.stdin.close()
        while not shell.read():
            pass
        assert shell.output == ""
    assert typed == page.count("\n    $ ") > 10
