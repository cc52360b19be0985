"""The inputs that fuzzing keeps, each through its target, on every Python."""

import os

import pytest

pytest.register_assert_rewrite("fuzz.peer", "fuzz.session", "fuzz.targets")

from fuzz.targets import TARGETS  # noqa: E402

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuzz", "corpus")
KEPT = [
    (target, name)
    for target in sorted(TARGETS)
    for name in sorted(os.listdir(os.path.join(CORPUS, target)))
]
# What comes of those that are made by hand.
TOLD = {
    ("channel", "all-descriptors"): "message end",
    ("channel", "closed-in-a-message"): "more closed",
    ("channel", "credentials-and-pidfd"): "message message end",
    ("channel", "descriptors-with-the-payload"): "broken closed",
    ("channel", "descriptors-without-a-header"): "broken closed",
    ("channel", "end-in-a-message"): "broken closed",
    ("channel", "end-of-one-direction"): "message end sent end",
    ("channel", "fewer-than-announced"): "broken closed",
    ("channel", "its-own-socket"): "message end",
    ("channel", "large"): "message end",
    ("channel", "limits-of-nothing"): "message end",
    ("channel", "limits-reached"): "message end",
    ("channel", "lost"): "lost closed",
    ("channel", "lost-with-the-payload"): "broken closed",
    ("channel", "message-in-two-parts"): "more message end",
    ("channel", "more-than-announced"): "broken closed",
    ("channel", "received-while-the-peer-sends"): "message end",
    ("channel", "reset-in-a-message"): "sent broken closed",
    ("channel", "sent"): "sent sent end",
    ("channel", "sent-in-part"): "late closed closed",
    ("channel", "sent-over-a-limit"): "over over end",
    ("channel", "sent-to-nobody"): "refused end",
    ("channel", "sent-while-the-peer-dies"): "refused closed",
    ("channel", "sent-while-the-peer-receives"): "sent end",
    ("channel", "several-control-messages"): "message end",
    ("channel", "too-many-descriptors"): "broken closed",
    ("channel", "too-much-data"): "broken closed",
    ("control", "credentials-first"): "1 0",
    ("control", "cut-short"): "1 0",
    ("control", "pidfd"): "0 1",
    ("control", "pidfd-that-is-an-errno"): "0 0",
    ("framing", "descriptors-and-the-end"): "broken",
    ("framing", "end"): "end",
    ("framing", "end-in-the-payload"): "more more broken",
    ("framing", "large"): "more more more message",
    ("framing", "limits-reached"): "more message",
    ("framing", "several-messages"): "message more message more message",
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_something_is_kept_for_each_target(target):
    assert len([1 for one, _ in KEPT if one == target]) > 5


@pytest.mark.parametrize("target, name", KEPT)
def test_what_is_kept(target, name):
    with open(os.path.join(CORPUS, target, name), "rb") as kept:
        told = TARGETS[target](kept.read())
    assert " ".join(map(str, told)) == TOLD.get((target, name), " ".join(map(str, told)))


def test_what_is_told_is_of_what_is_kept():
    assert set(TOLD) <= set(KEPT)
