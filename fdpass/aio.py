"""The async twins, over anyio: for asyncio, uvloop and trio. Python 3.9 and later.

Each call is tried at once, and waits only after EAGAIN (``connect`` with a timeout also waits while
nobody listens). For a timeout, use a cancel scope of your library (``asyncio.timeout``,
``anyio.fail_after``, ``trio.fail_after``).
"""

import sys

if sys.version_info < (3, 9):
    raise ImportError(
        "%s needs Python 3.9 or later, and this is Python %d.%d"
        % ((__name__,) + sys.version_info[:2])
    )

from ._aio import Channel, Listener, recv_fds, send_fds, sendall_fds  # noqa: E402

__all__ = ["Channel", "Listener", "recv_fds", "send_fds", "sendall_fds"]
