"""The pieces of the usual call on Python 2: see pieces.py."""

import importlib
import os
from itertools import repeat

from found import fdpass

USUAL = "_python2_fast.py"
# (what it is, [(file of fdpass, its text there, the text without it)])
PIECES = [
    (
        "send: the arguments may be of any kind, and are checked",
        [
            (
                USUAL,
                """
            type(inner) is not CSocket
            or type(data) is not bytes
            or type(fds) is not list
            or (flags is not NO_FLAGS and flags is not MSG_DONTWAIT)
            or address is not None
            or not data
            or inner""",
                """
            inner""",
            )
        ],
    ),
    (
        "send: that the kernel takes them with this socket",
        [(USUAL, "            or inner.family != AF_UNIX\n", "")],
    ),
    (
        "send: fds may be any iterable, and is checked: at most 253 descriptors",
        [
            (
                USUAL,
                """
        try:
            (passed,) = fds  # and held: another thread may take it out of fds
        except ValueError:
            return general(sock, data, fds, flags, address)
        fd = passed""",
                """
        (fd,) = fds
        fd = passed""",
            ),
            (
                USUAL,
                "fd = passed if type(passed) is int else"
                " passed.fileno() if type(passed) is Wrapper else -1",
                "pass",
            ),
            (USUAL, "if not 0 <= fd <= INT_MAX:", "if False:"),
        ],
    ),
    (
        "send: the socket may have a timeout",
        [
            (
                USUAL,
                """
        actual = MSG_DONTWAIT if flags or inner.gettimeout() else 0
        sent = send(""",
                """
        actual = 0
        sent = send(""",
            )
        ],
    ),
    (
        "receive: the arguments may be of any kind, and are checked",
        [
            (
                USUAL,
                """
            type(inner) is not CSocket
            or type(bufsize) is not int
            or type(maxfds) is not int
            or (flags is not NO_FLAGS and flags is not MSG_DONTWAIT)
            or not 0 < bufsize <= DATA_ROOM
            or maxfds < 0
""",
                """
            False
""",
            )
        ],
    ),
    (
        "receive: each thread receives into a room of its own",
        [
            (USUAL, "    take=spare.pop,\n", "    own=room(),\n"),
            (
                USUAL,
                "message, data, numbers = mine = take()",
                "message, data, numbers = mine = own",
            ),
            (
                USUAL,
                """
                give(mine)
                return received
""",
                """
                return received
""",
            ),
        ],
    ),
    (
        "receive: flags, an address, other control messages, too many descriptors",
        [
            (USUAL, "count = message.usual\n", "count = 1\n"),
            (USUAL, "if 0 <= count <= maxfds:", "if True:"),
        ],
    ),
    (
        "receive: a named tuple (in its place an attribute is set)",
        [
            (
                USUAL,
                "received = new(Received, (data[:size], fds, 0, None))",
                "recv_fds.fds, _ = fds, data[:size]",
            ),
            (
                USUAL,
                """
                return received
            return""",
                """
                return recv_fds
            return""",
            ),
        ],
    ),
]


def prepared(left, right, data, fds):
    """The two calls of the binding alone: all that can be made before is made before."""
    binding = importlib.import_module(fdpass.__name__ + "._binding")
    send, receive, close = binding.lib.fdpass_send_one, binding.lib.fdpass_recv, os.close
    message = binding.ffi.new("fdpass_message *")
    numbers, size, flags = message.fds, len(data), binding.lib.MSG_CMSG_CLOEXEC
    (fd,) = fds
    near, far = left.fileno(), right.fileno()

    def loop(count):
        for _ in repeat(None, count):
            send(near, data, size, fd, 0)
            receive(far, size, flags, message)
            close(numbers[0])

    return loop
