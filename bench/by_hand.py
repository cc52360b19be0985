"""The peer on Python 3: sendmsg and recvmsg, used by hand and with care.

This is what a program holds that does without a library: whatever the kernel does wrong is noticed
here, and nothing is checked that only a wrong argument could bring about. The flags are plain ints,
made once: the socket module's own are enums, whose arithmetic takes as long as the system call.
"""

import array
import os
import socket

MSG_CMSG_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
MSG_CTRUNC = int(getattr(socket, "MSG_CTRUNC", 0))


def send_by_hand(sock, data, fds):
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
    return sock.sendmsg([data], [rights])


def receive_by_hand(sock, bufsize, maxfds):
    fds = array.array("i")
    data, ancdata, flags, _address = sock.recvmsg(
        bufsize, socket.CMSG_SPACE(maxfds * fds.itemsize), MSG_CMSG_CLOEXEC
    )
    for level, kind, content in ancdata:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if flags & MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise OSError("descriptors were lost on the way")
    return data, list(fds)
