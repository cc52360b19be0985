"""Copy what the tests need, but not the package, to where they run: python tests/outside.py FOLDER

There they find the package that is installed and nothing of the checkout.
"""

import os
import shutil
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NEEDED = ["README.rst", "CONTRIBUTING.rst", "pyproject.toml", "tox.ini"]
NEEDED += ["bench", "docs", "examples", "tests"]


def copy(name, folder):
    source, target = os.path.join(ROOT, name), os.path.join(folder, name)
    if os.path.isdir(source):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    elif os.path.exists(source):
        shutil.copyfile(source, target)


if __name__ == "__main__":
    for name in NEEDED:
        copy(name, sys.argv[1])
