"""What the pages promise of themselves: each rule its section, each name its entry."""

import io
import os
import re

import pytest

import fdpass
from fdpass import compat

try:
    from fdpass import aio
except ImportError:  # without anyio, or before Python 3.9
    aio = None

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCS = os.path.join(ROOT, "docs")

pytestmark = pytest.mark.skipif(
    not os.path.exists(DOCS), reason="the tests are without their README"
)


def read(*names):
    with io.open(os.path.join(ROOT, *names), encoding="utf-8") as source:
        return source.read()


def test_each_rule_has_its_section_with_an_experiment():
    parts = re.split(r"\n([0-9]+)\. .+\n~+\n", read("docs", "traps.rst"))[1:]
    rules = re.findall(r"^([0-9]+)[.] ", read("docs", "promises.rst"), re.M)
    assert parts[::2] == rules and len(rules) > 20
    for number, story in zip(parts[::2], parts[1::2]):
        assert "    >>> " in story, number
        assert "fdpass" in story.replace("import fdpass", ""), number


def entries(text):
    """The names that have one, those of a directive's further lines too."""
    for block in re.findall(r"^\.\. (?:auto\w+|py:\w+):: (.+\n(?: {13}\w+\n)*)", text, re.M):
        for line in block.splitlines():
            yield line.strip().partition("(")[0]


def parts_of_the_reference():
    core, _, rest = read("docs", "reference.rst").partition("\nfdpass.aio\n")
    return (core,) + rest.partition("\nfdpass.compat\n")[::2]


def test_every_public_name_has_its_entry():
    core, _, drop_ins = parts_of_the_reference()
    assert sorted(entries(core)) == sorted(fdpass.__all__ + ["fdpass"])
    assert set(entries(drop_ins)) >= {"fdpass.compat." + name for name in compat.NAMES}


@pytest.mark.skipif(aio is None, reason="fdpass.aio needs anyio")
def test_every_name_of_aio_has_its_entry():
    _, own, _ = parts_of_the_reference()
    assert sorted(entries(own)) == sorted(aio.__all__ + ["fdpass.aio"])


def test_the_guide_quotes_the_example_as_it_is():
    source = [line.strip() for line in read("examples", "offload.py").splitlines()]
    blocks = re.findall(
        r"^\.\. code-block:: python\n\n((?:    .*\n|\n)+)", read("docs", "offloading.rst"), re.M
    )
    assert len(blocks) > 3
    for block in blocks:
        quoted = [line.strip() for line in block.strip().splitlines()]
        places = range(len(source))
        assert any(source[at : at + len(quoted)] == quoted for at in places), block


def pages():
    for folder in ("", "docs", "examples"):
        for name in os.listdir(os.path.join(ROOT, folder)):
            if name.endswith(".rst"):
                yield folder, name, read(folder, name)


def test_links_to_pages_and_pictures_lead_somewhere():
    for folder, name, text in pages():
        found = re.findall(r"<([^<>:\s]+\.rst)(?:#[\w-]+)?>`", text)
        for target in found + re.findall(r"image:: (.+)", text):
            assert os.path.exists(os.path.join(ROOT, folder, target)), (name, target)


def test_no_row_of_a_table_is_two():
    # In a simple table every line with something in its first column is a row of its own.
    for _, name, text in pages():
        for table in re.findall(r"^=+  =[= ]*\n(?:.+\n)+", text, re.M):
            width = table.index("  ")
            for line in table.splitlines():
                assert not line[:width].strip() or line[width:].strip(), (name, line)
