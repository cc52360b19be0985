"""Wrong programs. Both mypy and pyright report an error at each ignore, and at no other line.

They also report an ignore that suppresses no error, so each marked line has to be wrong for them.
"""

import socket
from typing import List

import fdpass
from fdpass import aio
from fdpass.compat import fdsend, passfd, sendmsg, socketfromfd


def text_is_no_data(channel: fdpass.Channel, sock: socket.socket) -> None:
    channel.send("text")  # type: ignore[arg-type]
    channel.send(["text"])  # type: ignore[list-item]
    channel.send(7)  # type: ignore[arg-type]
    channel.send(None)  # type: ignore[arg-type]
    fdpass.send_fds(sock, "text", [0])  # type: ignore[arg-type]
    fdpass.send_fds(sock, [b"bytes", "text"], [0])  # type: ignore[list-item]
    fdpass.sendall_fds(sock, "text", [0])  # type: ignore[arg-type]
    fdpass.sendmsg(sock, "text")  # type: ignore[arg-type]
    fdpass.sendmsg(sock, [b""], [(1, 1, "text")])  # type: ignore[list-item]
    fdpass.sendmsg(sock, [b""], [(1, b"")])  # type: ignore[list-item]
    fdpass.fds_from_ancdata([(1, 1, "text")])  # type: ignore[list-item]
    sendmsg.sendmsg(0, "text", 0, (1, 1, "text"))  # type: ignore[arg-type]


def fds_are_in_an_iterable(channel: fdpass.Channel, sock: socket.socket) -> None:
    channel.send(b"data", 0)  # type: ignore[arg-type]
    channel.send(b"data", sock)  # type: ignore[arg-type]
    channel.send(b"data", ["text"])  # type: ignore[list-item]
    channel.send(b"data", "text")  # type: ignore[arg-type]
    channel.send(b"data", [1.0])  # type: ignore[list-item]
    fdpass.send_fds(sock, b"data")  # type: ignore[call-arg]
    fdpass.send_fds(sock, b"data", fdpass.FileDescriptor(0))  # type: ignore[arg-type]
    fdpass.rights(0)  # type: ignore[arg-type]
    fdsend.sendfds(sock, b"data", fds=0)  # type: ignore[arg-type]
    passfd.sendfd(sock, [0])  # type: ignore[arg-type]


def an_object_keeps_its_descriptor(sock: socket.socket) -> None:
    fdpass.socket_from_fd(sock)  # type: ignore[call-overload]
    fdpass.socket_from_fd(sock, dup=False)  # type: ignore[call-overload]
    fdpass.FileDescriptor(sock)  # type: ignore[arg-type]
    socketfromfd.fromfd(sock, keep_fd=False)  # type: ignore[call-overload]


def owned_descriptors(message: fdpass.Message, owned: fdpass.FileDescriptor) -> None:
    numbers: List[int] = message.fds  # type: ignore[assignment]
    print(numbers)
    owned.closed = True  # type: ignore[misc]
    owned.inheritable = "yes"  # type: ignore[assignment]
    owned.to_file("r").write(b"bytes")  # type: ignore[arg-type]
    owned.to_file("wb").write("text")  # type: ignore[arg-type]
    owned.to_file("rb", buffering=0).peek()  # type: ignore[attr-defined]
    print(message[2])  # type: ignore[misc]


def what_comes_back(sock: socket.socket) -> None:
    text: str = fdpass.recv_fds(sock, 1, 1).data  # type: ignore[assignment]
    fdpass.recv_fds(sock, 1)  # type: ignore[call-arg]
    fdpass.recv_fds(sock, "1", 1)  # type: ignore[arg-type]
    print(fdpass.peer_credentials(sock).name)  # type: ignore[attr-defined]
    print(text)


async def always_true(peer: fdpass.Credentials) -> bool:
    return True


def channels(path: str, channel: fdpass.Channel) -> None:
    fdpass.Listener(path, "600")  # type: ignore[arg-type]
    fdpass.Listener(path, allow=always_true)  # type: ignore[arg-type]
    fdpass.Listener(path, allow=lambda: True)  # type: ignore[arg-type, misc]
    fdpass.Channel(0)  # type: ignore[arg-type]
    fdpass.Channel.connect(path, timeout="5")  # type: ignore[arg-type]
    channel.send(b"data").close()  # type: ignore[func-returns-value, attr-defined]
    fdpass.Channel.connect(channel)  # type: ignore[arg-type]
    channel.settimeout("5")  # type: ignore[arg-type]
    channel.peer = fdpass.Credentials(None, 0, 0)  # type: ignore[misc]


async def coroutines(channel: aio.Channel, listener: aio.Listener, sock: socket.socket) -> None:
    await channel.send("text")  # type: ignore[arg-type]
    await aio.send_fds(sock, "text", [0])  # type: ignore[arg-type]
    print((await aio.recv_fds(sock, 1, 1)).payload)  # type: ignore[attr-defined]
    print(channel.recv().data)  # type: ignore[attr-defined]
    async with listener.accept():  # type: ignore[attr-defined]
        pass
    with channel:  # type: ignore[attr-defined]
        pass
