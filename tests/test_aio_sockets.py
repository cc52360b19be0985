"""The descriptors that an async send passes after a wait, and the sockets of the event loops."""

import asyncio
import errno
import fcntl
import os
import socket

import pytest
from conftest import closing, lowered, raises_errno
from test_aio import all_waiting, anyio, backend, bare, ends, in_loop  # noqa: F401
from test_transfer import nothing_arrived, same_file

import fdpass
from fdpass import aio


def fill(sock):
    """Fill the socket's buffer; return a function that empties its other end."""
    size = 0
    with pytest.raises(BlockingIOError):
        while True:
            size += sock.send(b"x" * 4096, socket.MSG_DONTWAIT)

    def empty(other):
        left = size
        while left:
            left -= len(other.recv(min(left, 65536)))

    return empty


async def on_channel(sock, data, fds):
    await aio.Channel(sock).send(data, fds)


SENDS = {"send_fds": aio.send_fds, "sendall_fds": aio.sendall_fds, "Channel.send": on_channel}


@pytest.fixture(params=sorted(SENDS))
def send(request):
    return SENDS[request.param]


@pytest.fixture
def two_files(folder):
    names = [os.path.join(folder, name) for name in "ab"]
    with closing(*[os.open(name, os.O_RDWR | os.O_CREAT) for name in names]) as fds:
        yield fds


def received_from(sock):
    return fdpass.recv_fds(sock, 100, 5)


@pytest.mark.rule(26)
@pytest.mark.parametrize("act", ["close", "replace"])
@in_loop
async def test_an_int_is_the_file_that_it_was(bare, two_files, send, act):  # noqa: F811
    """While the message waits, the descriptor is closed, or its number becomes another file's."""
    left, right = bare
    first, other = two_files
    given = os.dup(first)
    async with anyio.create_task_group() as tasks:
        empty = fill(left)
        tasks.start_soon(send, left, b"x", [given, other, given])
        await all_waiting()
        if act == "close":
            os.close(given)
        else:
            os.dup2(other, given)
        empty(right)
    with closing(*received_from(right).fds) as fds:
        same = [same_file(fd, sent) for fd, sent in zip(fds, (first, other, first))]
        assert same == [True, True, True]
    if act == "replace":
        os.close(given)


@pytest.mark.rule(26)
@in_loop
async def test_an_int_is_the_file_that_it_was_before_others_run(bare, two_files, send):  # noqa: F811
    """Every 16th call lets other tasks run before it sends."""
    left, right = bare
    first, other = two_files
    for _ in range(16):
        given = os.dup(first)
        async with anyio.create_task_group() as tasks:

            async def replace(fd=given):
                os.dup2(other, fd)

            async def sends(fd=given):
                tasks.start_soon(replace)
                await send(left, b"x", [fd])

            tasks.start_soon(sends)
        with closing(given, *received_from(right).fds) as (_, fd):
            assert same_file(fd, first)


@in_loop
async def test_an_object_is_asked_again(bare, two_files, send):  # noqa: F811
    left, right = bare
    owned = fdpass.FileDescriptor(os.dup(two_files[0]))
    async with anyio.create_task_group() as tasks:
        empty = fill(left)

        async def sends():
            with pytest.raises(ValueError, match="closed or was handed on"):
                await send(left, b"x", [two_files[1], owned])

        tasks.start_soon(sends)
        await all_waiting()
        owned.close()
        empty(right)
    nothing_arrived(right)


@in_loop
async def test_a_cancelled_send_leaves_no_duplicate(bare, two_files, send):  # noqa: F811
    left, right = bare
    empty = fill(left)
    before = set(os.listdir("/proc/self/fd"))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, left, b"x", two_files)
            await all_waiting()
            assert len(set(os.listdir("/proc/self/fd")) - before) >= 2
            scope.cancel()
    assert set(os.listdir("/proc/self/fd")) == before
    empty(right)
    nothing_arrived(right)


@pytest.mark.parametrize("room", [0, 1])
@in_loop
async def test_no_descriptor_is_free_for_a_duplicate(bare, two_files, room):  # noqa: F811
    left, right = bare
    empty = fill(left)
    channel = aio.Channel(left)
    for send in (aio.send_fds, aio.sendall_fds, lambda sock, *message: channel.send(*message)):
        for _ in range(17):  # one of them lets other tasks run
            with lowered(room):
                with pytest.raises(OSError, match="nothing was sent.* duplicate of each") as caught:
                    await send(left, b"x", two_files)
                assert caught.value.errno == errno.EMFILE
    empty(right)
    nothing_arrived(right)
    await channel.send(b"x", two_files)
    with closing(*received_from(right).fds) as fds:
        assert len(fds) == 2


@in_loop
async def test_a_send_that_does_not_wait_needs_no_duplicate(bare, two_files):  # noqa: F811
    left, right = bare
    channel = aio.Channel(left)
    with lowered(0):
        for send in (aio.send_fds, aio.sendall_fds, lambda sock, *message: channel.send(*message)):
            for _ in range(17):
                await send(left, b"x", two_files)
    for _ in range(3 * 17):
        with closing(*received_from(right).fds) as fds:
            assert len(fds) == 2


@in_loop
async def test_a_large_message_keeps_no_duplicate_once_it_has_begun(ends, two_files):  # noqa: F811
    left, right = ends
    for _ in range(17):
        async with anyio.create_task_group() as tasks:
            before = set(os.listdir("/proc/self/fd"))
            tasks.start_soon(left.send, b"x" * 1000000, two_files)
            await all_waiting()
            assert set(os.listdir("/proc/self/fd")) == before
            with await right.recv() as message:
                assert len(message.fds) == 2


@pytest.mark.parametrize("closed_first", [True, False])
@in_loop
async def test_a_closed_int_is_no_duplicate(bare, two_files, send, closed_first):  # noqa: F811
    """A duplicate may get the number of the closed descriptor, which must not be sent instead."""
    left, right = bare
    closed = fcntl.fcntl(two_files[0], fcntl.F_DUPFD, 0)
    os.close(closed)
    fds = [closed, two_files[0]] if closed_first else [two_files[0], closed]
    for _ in range(17):
        with raises_errno(errno.EBADF):
            await send(left, b"x", fds)
    nothing_arrived(right)


@in_loop
async def test_wrong_ints(bare, send):  # noqa: F811
    for _ in range(17):
        for wrong, error in ((True, TypeError), (-1, ValueError), (1 << 40, ValueError)):
            with pytest.raises(error):
                await send(bare[0], b"x", [wrong])
    nothing_arrived(bare[1])


@in_loop
async def test_each_call_says_the_same_of_wrong_descriptors(bare, two_files, send):  # noqa: F811
    """Each 16th call duplicates the ints first, and lets other tasks run."""
    for fds in ([True], [two_files[0], -1], [two_files[0], None], [1 << 40]):
        texts = set()
        for _ in range(17):
            with pytest.raises((TypeError, ValueError)) as caught:
                await send(bare[0], b"x", fds)
            texts.add(str(caught.value))
        assert len(texts) == 1 and texts.pop().startswith("fds[%d]: " % (len(fds) - 1))
    nothing_arrived(bare[1])


@in_loop
async def test_too_many_ints_are_not_duplicated(bare, two_files, send):  # noqa: F811
    counts = set()

    async def count():
        while True:
            counts.add(len(os.listdir("/proc/self/fd")))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await all_waiting()
        for _ in range(17):
            with pytest.raises(ValueError, match="at most"):
                await send(bare[0], b"x", two_files[:1] * (fdpass.MAX_FDS + 1))
        tasks.cancel_scope.cancel()
    assert max(counts) - min(counts) < 10
    nothing_arrived(bare[1])


def is_asyncio():
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


async def check_functions(sock, other, null):
    """Send and receive on another library's socket. Its peer, other, is a plain socket."""
    for data in (b"x", [b"x"]):
        assert fdpass.send_fds(sock, data, [null]) == 1
        assert await aio.send_fds(sock, data, [null]) == 1
    assert fdpass.sendmsg(sock, [b"x"], fdpass.rights([null])) == 1
    await aio.sendall_fds(sock, b"x", [null])
    for _ in range(6):
        with closing(*received_from(other).fds) as fds:
            assert len(fds) == 1 and same_file(fds[0], null)
            await aio.send_fds(other, b"y", fds)
    for _ in range(3):
        for received in (await aio.recv_fds(sock, 1, 1), fdpass.recv_fds(sock, 1, 1)):
            with closing(*received.fds) as fds:
                assert received.data == b"y" and same_file(fds[0], null)
    with raises_errno(errno.EAGAIN):
        fdpass.recvmsg(sock, 1)
    with pytest.raises(ValueError, match="sendall_fds needs a socket that blocks"):
        fdpass.sendall_fds(sock, b"x", [null])
    assert fdpass.peer_credentials(sock).pid == os.getpid()
    with closing(fdpass.socket_from_fd(sock, dup=True)) as (plain,):
        assert same_file(plain.fileno(), sock.fileno())
    for make in (fdpass.Channel, aio.Channel, aio.Listener.from_socket):
        with pytest.raises(TypeError, match=r"needs a plain .* socket_from_fd\(it, dup=True\)"):
            make(sock)


@in_loop
async def test_the_socket_of_a_transport(null):
    """The methods of asyncio's and uvloop's own sockets warn or raise, depending on the version."""
    if not is_asyncio():
        return
    left, right = socket.socketpair()
    with closing(right):
        right.setblocking(False)
        _, writer = await asyncio.open_connection(sock=left)
        writer.transport.pause_reading()  # the transport would take what comes
        await check_functions(writer.get_extra_info("socket"), right, null)
        for stream in (writer, writer.transport):
            with pytest.raises(TypeError, match=r"give its get_extra_info\('socket'\)"):
                await aio.send_fds(stream, b"x", [null])
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("kind", ["of the transport", "given to the transport", "int"])
@in_loop
async def test_a_wait_on_the_socket_of_a_transport(null, kind):
    """The event loop lets nobody else wait on it. A duplicate can wait, as the TypeError says."""
    if not is_asyncio():
        return
    left, right = socket.socketpair()
    with closing(right):
        left.setblocking(False)
        _, writer = await asyncio.open_connection(sock=left)
        sock = writer.get_extra_info("socket") if kind == "of the transport" else left
        writer.transport.pause_reading()
        with closing(fdpass.socket_from_fd(sock, dup=True)) as (same,):
            same.setblocking(False)
            given = sock.fileno() if kind == "int" else sock
            advice = r"transport.*socket_from_fd\(it, dup=True\).*pause_reading\(\)"
            with pytest.raises(TypeError, match=advice):
                await aio.recv_fds(given, 1, 1)
            empty = fill(same)
            for send in (aio.send_fds, aio.sendall_fds):
                with pytest.raises(TypeError, match=advice):
                    await send(given, b"x", [null])
            empty(right)
            nothing_arrived(right)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(receives_one, same, null)
                await all_waiting()
                fdpass.send_fds(right, b"y", [null])
        writer.close()
        await writer.wait_closed()


@in_loop
async def test_another_error_of_the_event_loop_stays_itself(bare, monkeypatch):  # noqa: F811
    if not is_asyncio():
        return
    loop = asyncio.get_running_loop()

    def fail(*arguments):
        raise RuntimeError("the loop is odd")

    monkeypatch.setattr(type(loop), "add_reader", fail, raising=True)
    with pytest.raises(RuntimeError, match="the loop is odd"):
        await aio.recv_fds(bare[0], 1, 1)


@in_loop
async def test_a_socket_of_trio(null):
    if is_asyncio():
        return
    import trio

    left, right = trio.socket.socketpair()
    plain = fdpass.socket_from_fd(right, dup=True)
    with closing(left, right, plain):
        plain.setblocking(False)
        await check_functions(left, plain, null)
        async with trio.open_nursery() as nursery:
            with closing(fdpass.socket_from_fd(left, dup=True)) as (same,):
                empty = fill(same)
            nursery.start_soon(aio.send_fds, left, b"x", [null])
            await all_waiting()
            empty(plain)
        with closing(*received_from(plain).fds) as fds:
            assert same_file(fds[0], null)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receives_one, left, null)
            await all_waiting()
            await aio.send_fds(right, b"y", [null])
        with closing(trio.socket.socket()) as (sock,):
            with pytest.raises(TypeError, match="give its socket"):
                fdpass.send_fds(trio.SocketStream(sock), b"x", [null])


async def receives_one(sock, null):
    with closing(*(await aio.recv_fds(sock, 1, 1)).fds) as fds:
        assert same_file(fds[0], null)


@in_loop
async def test_a_stream_of_anyio(path, null):
    async with await anyio.create_unix_listener(path) as listener:
        with pytest.raises(TypeError, match="SocketAttribute.raw_socket"):
            aio.Listener.from_socket(listener)
        async with await anyio.connect_unix(path) as stream:
            with pytest.raises(TypeError, match="SocketAttribute.raw_socket"):
                fdpass.send_fds(stream, b"x", [null])
            raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            assert fdpass.send_fds(raw, b"x", [null]) == 1
            assert await aio.send_fds(raw, b"x", [null]) == 1


@pytest.mark.parametrize("call", [aio.send_fds, aio.sendall_fds, aio.recv_fds])
@in_loop
async def test_a_channel_in_the_place_of_a_socket(call):
    left, right = aio.Channel.pair()
    with closing(left, right), pytest.raises(TypeError, match="a Channel has messages of its own"):
        await call(left, *((1, 1) if call is aio.recv_fds else (b"x", [])))


@in_loop
async def test_a_closed_socket_of_which_the_mode_is_unknown():
    sock = socket.socket(socket.AF_UNIX)
    sock.close()
    with raises_errno(errno.EBADF):
        await aio.send_fds(sock, b"x", [])
