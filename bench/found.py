"""fdpass: the one that is installed, or else the one of the checkout that this lies in."""

import os
import shutil
import sys

try:
    import fdpass
except ImportError:
    sys.path.insert(1, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    import fdpass


def copy_to(folder):
    """Copy the package to folder, without what Python has compiled."""
    shutil.copytree(
        os.path.dirname(os.path.abspath(fdpass.__file__)),
        folder,
        ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
    )
