"""The only place where tests name private modules; each line says why."""
# ruff: noqa: F401

import six

from fdpass import _control as control  # bytes that no kernel sends: hypothesis and the fuzzer
from fdpass import _python2_address as python2_address  # families of which no socket is made here
from fdpass import _system as system  # what a fake at the seam stands in front of
from fdpass import _wire_format as wire_format  # it knows no socket: every split, in memory

try:
    from fdpass import _aio as aio  # the tasks that it keeps, which nothing else shows
except (ImportError, SyntaxError):  # without anyio, or before Python 3.9
    pass
if six.PY3:
    from fdpass import _python3_retry as python3_retry  # a full file table, which nothing makes
