"""A program that uses every public name, for mypy to check against the stubs."""

import array
import io
import mmap
import os
import socket
import subprocess
from typing import List, Optional, Tuple

import fdpass
from fdpass import aio, compat
from fdpass.compat import fdsend, passfd, sendmsg, socketfromfd


def front(worker: socket.socket, connection: socket.socket, head: bytes) -> int:
    fdpass.sendall_fds(worker, [head, bytearray(b"x")], (connection, connection.fileno()))
    return fdpass.send_fds(worker.fileno(), head, [connection], socket.MSG_DONTWAIT, "/address")


def worker(sock: socket.socket) -> Optional[bytes]:
    try:
        received: fdpass.Received = fdpass.recv_fds(sock, 65536, fdpass.MAX_FDS)
    except fdpass.LostFdsError as lost:
        return lost.data
    except fdpass.FdPassError as error:
        print(error.received, error.flags, error.address)
        return None
    fds: List[int] = received.fds
    connection: socket.socket = fdpass.socket_from_fd(fds[0], type=socket.SOCK_STREAM)
    connection.close()
    fdpass.socket_from_fd(connection, dup=True).close()
    return received.data


def owner(fd: int) -> None:
    with fdpass.FileDescriptor(fd) as owned:
        owned.inheritable = not owned.inheritable
        other: fdpass.FileDescriptor = owned.dup()
        number: int = other.detach()
        os.close(number)
        with owned.dup().to_file("rb") as opened:
            print(opened.read())
        with owned.dup().to_file() as text:
            print(text.read().upper())
        raw_file: io.FileIO = owned.dup().to_file("r+b", buffering=0)
        with raw_file, owned.dup().to_file("r+b") as updated, owned.dup().to_file("wb") as written:
            files: Tuple[io.BufferedRandom, io.BufferedWriter] = updated, written
            print(files)
        sock: socket.socket = owned.to_socket()
        sock.close()
        print(owned.closed)


class OwnDescriptor(fdpass.FileDescriptor):
    name = "pipe"


def subclass(owned: OwnDescriptor) -> str:
    with owned.dup() as copy:
        return copy.name


def raw(sock: socket.socket) -> Tuple[bytes, int]:
    rights = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, array.array("i", [0]))
    sent: int = fdpass.sendmsg(sock, [b"x"], [rights]) + sock.sendmsg([b"x"], fdpass.rights([sock]))
    fds: List[int] = fdpass.fds_from_ancdata(sock.recvmsg(1, 100)[1], maxfds=1)
    print(fds)
    with mmap.mmap(-1, 10) as mapped:
        fdpass.sendmsg(sock, (memoryview(b"x"), bytearray(b"x"), array.array("i", [0]), mapped))
        fdpass.send_fds(sock, mapped, {sock, 0})
    data, ancdata, flags, _ = fdpass.recvmsg(sock, 1, fdpass.CMSG_SPACE(4))
    for level, kind, content in ancdata:
        print(level, kind, len(content) + fdpass.CMSG_LEN(0))
    return data, sent + (flags & fdpass.MSG_CTRUNC)


def peer(sock: socket.socket) -> bool:
    credentials: fdpass.Credentials = fdpass.peer_credentials(sock)
    pid: Optional[int] = credentials.pid
    return pid is not None and credentials.uid == os.getuid()


def written_for_the_originals(sock: socket.socket) -> Tuple[int, bytes]:
    compat.install("passfd", "fdsend")
    sent: int = fdsend.sendfds(sock, "text", fds=[sock, 0]) + passfd.sendfd(sock, 0)
    message, fds = fdsend.recvfds(fd=sock, len=100, numfds=sent)
    ends: Tuple[int, int] = fdsend.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    sendmsg.sendmsg(ends[0], message, 0, (socket.SOL_SOCKET, sendmsg.SCM_RIGHTS, b""))
    data, flags, ancillary = sendmsg.recvmsg(ends[1], maxsize=10)
    made: socket.socket = socketfromfd.fromfd(fds[0], keep_fd=False)
    made.close()
    socketfromfd.fromfd(made).close()
    level, kind, content = ancillary[0]
    print(data, flags, level, kind, content)
    return passfd.recvfd(sock, msg_buf=10)


def framed(path: str, connection: socket.socket) -> Optional[int]:
    with fdpass.Listener(path, mode=0o660, allow=lambda peer: peer.uid == 0) as listener:
        listener.settimeout(1.5)
        with fdpass.Channel.connect(path, timeout=2, max_fds=10) as channel:
            channel.send([b"head", b"rest"], [connection])
        for accepted in listener:
            accepted.settimeout(None)
            for message in accepted:
                with message as taken:
                    sock: socket.socket = taken.fds[0].to_socket()
                    sock.close()
            return accepted.peer.pid
    left, right = fdpass.Channel.pair(max_data=100)
    left.send(array.array("B", b"data"))
    subprocess.Popen(["true"], stdin=right.fileno()).wait()
    last: fdpass.Message = left.recv()
    last.close()
    return right.fileno()


async def framed_async(path: str, sock: socket.socket) -> bytes:
    await aio.sendall_fds(sock, b"x", [0])
    sent: int = await aio.send_fds(sock, b"x", [0])
    received: fdpass.Received = await aio.recv_fds(sock, sent, 1)
    async with aio.Listener.from_socket(sock) as listener:
        channel: aio.Channel = await aio.Channel.connect(path)
        await channel.send(received.data, received.fds)
        async for accepted in listener:
            async for message in accepted:
                return message.data
    await channel.aclose()
    return b""
