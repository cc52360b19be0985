"""The pieces of the usual call on Python 3: see pieces.py."""

import os
import socket
import struct
from itertools import repeat

# (what it is, [(file of fdpass, its text there, the text without it)])
PIECES = [
    (
        "send: data and flags may be of any kind",
        [
            ("_transfer.py", "[data] if type(data) is bytes else payload(data)", "[data]"),
            (
                "_transfer.py",
                """
    if flags is not NO_FLAGS:
        flags = _arguments.flag_bits(flags)
    # things stays""",
                """
    # things stays""",
            ),
        ],
    ),
    (
        "send: fds may be any iterable, and is checked: at most 253 descriptors",
        [
            (
                "_transfer.py",
                "fds if type(fds) is list else _arguments.listed(fds, MAX_FDS)",
                "fds",
            ),
            ("_transfer.py", "if len(things) > MAX_FDS:", "if False:"),
            ("_transfer.py", "if flags & MSG_OOB:", "if False:"),
            (
                "_transfer.py",
                """
    for thing in things:
        if type""",
                """
    for thing in ():
        if type""",
            ),
        ],
    ),
    (
        "send: that the kernel takes them with this socket and data",
        [
            (
                "_transfer.py",
                "usual = type(data) is bytes and data and read_family(sock) == AF_UNIX",
                "usual = True",
            )
        ],
    ),
    (
        "send: sock may be an int or any object; an address",
        [
            (
                "_python3.py",
                "return sendmsg(sock, buffers, (RIGHTS + (content,),), flags, address)",
                "return sock.sendmsg(buffers, (RIGHTS + (content,),), flags)",
            )
        ],
    ),
    (
        "receive: bufsize, maxfds and flags may be of any kind, and are checked",
        [
            (
                "_transfer.py",
                """
        type(bufsize) is not int
        or type(maxfds) is not int
        or flags is not NO_FLAGS
        or maxfds < 0
        or not 0 < bufsize <= LARGEST
""",
                """
        False
""",
            )
        ],
    ),
    (
        "receive: sock may be an int or any object",
        [
            (
                "_python3.py",
                "return UNREAD + recvmsg(sock, bufsize, ANCBUFSIZE, flags)",
                "return UNREAD + sock.recvmsg(bufsize, ANCBUFSIZE, flags)",
            )
        ],
    ),
    (
        "receive: all control messages are looked at, and strays closed",
        [
            (
                "_transfer.py",
                """
            fds, strays = descriptors_in(ancdata)
            if strays:
""",
                """
            fds = ints(ancdata[0][2])
            if strays:
""",
            ),
            (
                "_transfer.py",
                "    getsockopt,\n    joined,",
                "    getsockopt,\n    ints,\n    joined,",
            ),
        ],
    ),
    (
        "receive: lost or too many descriptors are an error",
        [
            ("_transfer.py", "        if not MSG_CMSG_CLOEXEC:\n", "        if False:\n"),
            ("_transfer.py", "if msg_flags & MSG_CTRUNC or len(fds) > maxfds:", "if False:"),
        ],
    ),
    (
        "receive: a named tuple (in its place an attribute is set)",
        [
            (
                "_transfer.py",
                "return new(Received, (data, fds, msg_flags & REPORTED, address))",
                "recv_fds.fds = fds\n        return recv_fds",
            )
        ],
    ),
]


def prepared(left, right, data, fds):
    """The system calls alone, from Python: all that can be made before is made before."""
    send, receive, close = left.sendmsg, right.recvmsg, os.close
    buffers, one = [data], struct.Struct("i")
    rights = [(int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS), one.pack(*fds))]
    size, room, flags = len(data), socket.CMSG_SPACE(one.size), int(socket.MSG_CMSG_CLOEXEC)
    unpack = one.unpack

    def loop(count):
        for _ in repeat(None, count):
            send(buffers, rights)
            close(*unpack(receive(size, room, flags)[1][0][2]))

    return loop
