"""The only place where tests name private modules; each line says why."""
# ruff: noqa: F401

import six

from fdpass import (
    _python2_address,  # families of which no socket can be made here
    _system,  # what a fake at the seam stands in front of
)

if six.PY3:
    from fdpass import _python3_retry  # what it does where the system's file table is full
