"""What is promised has tests: the page on it is what its source and the tests make."""

import os
import re

import pytest
import six

import fdpass

try:
    from fdpass import aio
except (ImportError, SyntaxError):  # without anyio; before Python 3.5
    aio = None
if six.PY3:
    import promises

    pytestmark = pytest.mark.skipif(
        not os.path.exists(os.path.join(promises.ROOT, "docs")),
        reason="the tests are without their README",
    )
else:
    pytestmark = pytest.mark.skip(reason="2.7 cannot read the tests of fdpass.aio")

OWNERS = ("Channel", "Listener", "FileDescriptor", "Message")


@pytest.fixture(scope="module")
def entries():
    return [entry for _, block in promises.entries() for entry in block]


@pytest.fixture(scope="module")
def about(entries):
    """What the promises say that they are about."""
    return {name for entry in entries for name in entry.about}


def test_each_promise_has_a_test(entries):
    for entry in entries:
        assert entry.text
        assert bool(entry.tests) == bool(entry.about), entry.text
        assert bool(entry.tests) + bool(entry.commands) + entry.missing == 1, entry.text
        assert len(set(entry.tests)) == len(entry.tests), entry.text


def test_each_test_is_there(entries):
    for name in {name for entry in entries for name, _ in entry.tests}:
        named = {test for entry in entries for file, test in entry.tests if file == name}
        assert named <= set(promises.Source(name).functions), name


def test_each_command_is_there(entries):
    tox = promises.read("tox.ini")
    for command in sum((entry.commands for entry in entries), []):
        for path in re.findall(r"[\w/]+\.py", command):
            assert os.path.exists(os.path.join(promises.ROOT, path)), command
        for name in command.partition("tox -e ")[2].split(","):
            assert "testenv:%s" % name.partition("-")[0] in tox, command


def test_each_rule_is_in_a_promise(about):
    rules = {"rule " + number for number in promises.rules()}
    assert len(rules) == 20
    assert {name for name in about if name.startswith("rule ")} == rules


def test_each_public_name_is_in_a_promise(about):
    plain = {name.partition(".")[0] for name in about}
    assert plain >= set(fdpass.__all__)
    for name in OWNERS:
        members = {each for each in dir(getattr(fdpass, name)) if not each.startswith("_")}
        members -= set(dir(tuple)) if name == "Message" else set()
        members -= {"data", "fds"}
        assert {each for each in about if each.startswith(name + ".")} == {
            "%s.%s" % (name, member) for member in members
        }


@pytest.mark.skipif(aio is None, reason="fdpass.aio needs anyio")
def test_each_name_of_aio_is_in_a_promise(about):
    assert {name[4:] for name in about if name.startswith("aio.")} == set(aio.__all__)


def test_the_page_is_what_they_make():
    """If not: python tests/promises.py"""
    with open(promises.PAGE, encoding="utf-8") as written:
        assert written.read() == promises.page()
