"""The async twins, on asyncio, uvloop and trio. Python 3.9 and later: see conftest."""

import asyncio
import contextlib
import errno
import functools
import importlib
import inspect
import os
import socket
import subprocess
import sys
import threading
import time

import inside
import pytest
from conftest import child_environment, closing, header, lowered
from test_concurrency import Counted
from test_listener import AT_LIMIT, Failing, listening
from test_signals import Interrupting, Watched

import fdpass

anyio = pytest.importorskip("anyio", reason="fdpass.aio needs anyio")

from fdpass import aio  # noqa: E402

BACKENDS = {"asyncio": ("asyncio", {}), "trio": ("trio", {})}
if sys.implementation.name == "cpython":  # uvloop is for no other
    BACKENDS["uvloop"] = ("asyncio", {"use_uvloop": True})
SECONDS = 20


@pytest.fixture(params=sorted(BACKENDS), scope="module")
def backend(request):
    pytest.importorskip(request.param, reason="%s is not installed" % request.param)
    name, options = BACKENDS[request.param]
    # uvloop opens something once for all, before the table of descriptors is looked at.
    anyio.run(anyio.sleep, 0, backend=name, backend_options=options)
    return name, options


def in_loop(test):
    """A test that is a coroutine, run in each event loop; whatever hangs is ended."""

    # pytest looks for the fixtures in the signature; trio's and asyncio's own are in backend.
    signature = inspect.signature(test)
    names = list(signature.parameters.values())
    names.append(inspect.Parameter("backend", inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(test)
    def run(backend, **fixtures):
        async def bounded():
            with anyio.fail_after(SECONDS):
                await test(**fixtures)

        name, options = backend
        anyio.run(bounded, backend=name, backend_options=options)

    run.__signature__ = signature.replace(parameters=names)
    return run


@pytest.fixture
def ends():
    with closing(*aio.Channel.pair()) as both:
        yield both


@pytest.fixture
def wire():
    """A channel, and the bare socket at its other end."""
    left, right = socket.socketpair()
    with closing(aio.Channel(left), right) as both:
        yield both


@pytest.fixture
def bare():
    left, right = socket.socketpair()
    with closing(left, right):
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


async def all_waiting():
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def cancelled_when_it_waits(call, *arguments):
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, *arguments)
            await all_waiting()
            scope.cancel()


@in_loop
async def test_the_functions(bare, null):
    left, right = bare
    async with anyio.create_task_group() as tasks:

        async def receives():
            received = await aio.recv_fds(right, 100, 5)
            with closing(*received.fds):
                assert (received.data, len(received.fds)) == (b"hello", 2)

        tasks.start_soon(receives)
        await all_waiting()
        assert await aio.send_fds(left, [b"hel", b"lo"], iter([null, null])) == 5


@in_loop
async def test_sendall_fds(bare, null):
    left, right = bare
    payload = os.urandom(1000000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aio.sendall_fds, left, [payload[:10], payload[10:]], [null, null])
        got, fds = b"", []
        while len(got) < len(payload):
            received = await aio.recv_fds(right, 100000, 5)
            got += received.data
            fds += received.fds
    with closing(*fds):
        assert len(fds) == 2
        assert got == payload


@in_loop
async def test_descriptors_survive_a_full_buffer(null):
    """The first try says EAGAIN, and an iterator of descriptors is not empty at the second."""
    left, right = socket.socketpair()
    with closing(left, right):
        left.setblocking(False)
        right.setblocking(False)
        filled = 0
        with pytest.raises(BlockingIOError):
            while True:
                filled += left.send(b"x" * 10000)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(aio.send_fds, left, iter([b"y"]), iter([null]))
            await all_waiting()
            while filled:
                filled -= len(right.recv(min(filled, 100000)))
            with closing(*(await aio.recv_fds(right, 10, 1)).fds) as fds:
                assert len(fds) == 1


@pytest.mark.parametrize("timeout", [None, 5.0])
@in_loop
async def test_a_socket_that_would_hold_up_the_loop(stream, timeout):
    left, _ = stream
    left.settimeout(timeout)
    for call in (
        lambda: aio.send_fds(left, b"x", []),
        lambda: aio.sendall_fds(left, b"x", []),
        lambda: aio.recv_fds(left, 1, 1),
        lambda: aio.recv_fds(left, 1, 1, socket.MSG_DONTWAIT),
    ):
        with pytest.raises(ValueError, match=r"setblocking\(False\)"):
            await call()


@in_loop
async def test_ints_act_as_their_descriptor_does(bare, stream):
    left, right = bare
    assert await aio.send_fds(left.fileno(), b"x", []) == 1
    assert (await aio.recv_fds(right.fileno(), 1, 0)).data == b"x"
    with pytest.raises(ValueError, match="non-blocking"):
        await aio.recv_fds(stream[0].fileno(), 1, 0)


@in_loop
async def test_flags_that_say_do_not_wait(bare):
    left, right = bare
    with pytest.raises(BlockingIOError):
        await aio.recv_fds(right, 1, 1, socket.MSG_DONTWAIT)
    with pytest.raises(ValueError, match="contradicts"):
        await aio.sendall_fds(left, b"x", [], socket.MSG_DONTWAIT)


@in_loop
async def test_other_flags_are_heeded(bare, null):
    left, right = bare
    await aio.send_fds(left, b"x", [null])
    for _ in range(2):
        peeked = await aio.recv_fds(right, 1, 1, socket.MSG_PEEK)
        with closing(*peeked.fds):
            assert (peeked.data, len(peeked.fds)) == (b"x", 1)
    with closing(*(await aio.recv_fds(right, 1, 1)).fds) as fds:
        assert len(fds) == 1
    await aio.send_fds(left, b"!", [], socket.MSG_OOB)
    assert (await aio.recv_fds(right, 1, 0, socket.MSG_OOB)).data == b"!"


@in_loop
async def test_errors_are_those_of_the_functions(bare):
    left, right = bare
    for call, error in (
        (lambda: aio.send_fds(left, "text", []), TypeError),
        (lambda: aio.send_fds(left, b"", [0]), ValueError),
        (lambda: aio.send_fds(left, b"x", [-1]), ValueError),
        (lambda: aio.sendall_fds(left, b"x", 3), TypeError),
        (lambda: aio.recv_fds(right, 0, 1), ValueError),
        (lambda: aio.recv_fds(right, 1, "1"), TypeError),
    ):
        with pytest.raises(error):
            await call()
    await aio.send_fds(left, b"x", [0, 0])
    with pytest.raises(fdpass.TooManyFdsError):
        await aio.recv_fds(right, 10, 1)


@in_loop
async def test_cancelled_before_the_call(bare, ends, null):
    left, right = bare
    with anyio.CancelScope() as scope:
        scope.cancel()
        await aio.send_fds(left, b"x", [null])
    assert scope.cancelled_caught
    with pytest.raises(BlockingIOError):
        right.recv(1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await ends[0].send(b"x", [null])
    assert scope.cancelled_caught
    await ends[0].send(b"y")
    assert (await ends[1].recv()).data == b"y"


@in_loop
async def test_a_cancelled_receive_loses_nothing(wire, null):
    channel, right = wire
    whole = header(3, 2) + b"abc"
    for i in range(len(whole)):
        with anyio.move_on_after(0.002):
            await channel.recv()
        fdpass.send_fds(right, whole[i : i + 1], [null, null] if i == 2 else [])
    with await channel.recv() as message:
        assert (message.data, len(message.fds)) == (b"abc", 2)


@in_loop
async def test_a_cancelled_receive_of_descriptors(bare, null):
    left, right = bare
    with anyio.move_on_after(0.002):
        await aio.recv_fds(right, 10, 5)
    await aio.send_fds(left, b"x", [null])
    with closing(*(await aio.recv_fds(right, 10, 5)).fds) as fds:
        assert len(fds) == 1


@in_loop
async def test_a_send_cancelled_half_way_breaks_the_channel(ends, null):
    left, right = ends
    await cancelled_when_it_waits(left.send, b"x" * (1 << 20), [null])
    assert left.closed
    with pytest.raises(OSError, match="a message was sent in part") as caught:
        await left.send(b"x")
    assert caught.value.errno == errno.EBADF
    with pytest.raises(fdpass.ProtocolError, match="ended inside"):
        await right.recv()
    assert right.closed


@in_loop
async def test_a_send_cancelled_before_its_first_byte(ends):
    left, right = ends
    bare = fdpass.socket_from_fd(left.fileno(), dup=True)
    with closing(bare), pytest.raises(BlockingIOError):
        while True:
            bare.send(header(0, 0), socket.MSG_DONTWAIT)
    with anyio.move_on_after(0.01) as scope:
        await left.send(b"x", [0])
    assert scope.cancelled_caught
    assert not left.closed
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(left.send, b"last")
        async for message in right:
            assert message.fds == []
            if message.data:
                break


def test_asyncios_own_cancellation(null):
    async def main():
        left, right = socket.socketpair()
        with closing(aio.Channel(left), right) as (channel, _):
            for i in range(8):
                task = asyncio.ensure_future(channel.recv())
                await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                fdpass.send_fds(right, header(0, 1)[i : i + 1], [null] if i == 0 else [])
            with await channel.recv() as message:
                assert len(message.fds) == 1

    asyncio.run(main())


@pytest.mark.parametrize("count", [0, 1, 253])
@pytest.mark.parametrize("length", [0, 1, 1 << 20])
@in_loop
async def test_messages(ends, null, length, count):
    left, right = ends
    payload = os.urandom(length)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(left.send, payload, [null] * count)
        with await right.recv() as message:
            assert message.data == payload
            assert len(message.fds) == count
            assert isinstance(message, fdpass.Message)


@in_loop
async def test_the_end(ends):
    left, right = ends
    await left.send(b"1")
    await left.send(b"2")
    await left.aclose()
    assert [message.data async for message in right] == [b"1", b"2"]
    with pytest.raises(EOFError):
        await right.recv()


@in_loop
async def test_a_second_task_that_receives(ends):
    left, right = ends
    async with anyio.create_task_group() as tasks:

        async def first():
            assert (await right.recv()).data == b"for the first"

        tasks.start_soon(first)
        await all_waiting()
        with pytest.raises(
            anyio.BusyResourceError, match="another task is receiving.*asyncio.Lock"
        ):
            await right.recv()
        await left.send(b"for the first")
    await left.send(b"again")
    assert (await right.recv()).data == b"again"


@in_loop
async def test_a_second_task_that_sends(ends):
    left, right = ends
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(left.send, b"x" * (1 << 20))
        await all_waiting()
        with pytest.raises(anyio.BusyResourceError, match="another task is sending.*hold a lock"):
            await left.send(b"second")
        assert (await right.recv()).data == b"x" * (1 << 20)


@in_loop
async def test_closing_wakes_a_waiter(wire, null):
    channel, right = wire
    fdpass.send_fds(right, b"\0", [null])
    async with anyio.create_task_group() as tasks:

        async def receives():
            with pytest.raises(OSError, match="this Channel is closed") as caught:
                await channel.recv()
            assert caught.value.errno == errno.EBADF

        tasks.start_soon(receives)
        await all_waiting()
        channel.close()
    with pytest.raises(OSError):
        await channel.recv()
    channel.close()


def callback(close):
    """Close in a callback of the event loop, which is no task of it."""
    try:
        asyncio.get_running_loop().call_soon(close)
    except RuntimeError:
        sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon(close)


def other_thread(close):
    threading.Thread(target=close).start()


CLOSERS = {"task": lambda close: close(), "callback": callback, "thread": other_thread}


@pytest.mark.parametrize("how", sorted(CLOSERS))
@in_loop
async def test_closing_from_anywhere_wakes_a_waiter(wire, how):
    channel, right = wire
    async with anyio.create_task_group() as tasks:

        async def receives():
            with pytest.raises(OSError, match="closed") as caught:
                await channel.recv()
            assert caught.value.errno == errno.EBADF

        tasks.start_soon(receives)
        await all_waiting()
        CLOSERS[how](channel.close)
    assert right.recv(1) == b""
    await anyio.lowlevel.checkpoint()
    assert not inside.aio.own_tasks  # what is kept until it is done


@in_loop
async def test_a_socket_is_closed_once_while_its_waiter_leaves(stream):
    for _ in range(50):
        sock = Counted(stream[0])
        channel, start = aio.Channel(sock), threading.Event()
        closer = threading.Thread(
            target=lambda start=start, end=channel: start.wait() and end.close()
        )
        closer.start()

        async def receives(channel=channel):
            with contextlib.suppress(OSError):
                await channel.recv()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receives)
            await all_waiting()
            start.set()
            tasks.cancel_scope.cancel()
        closer.join()
        assert len(sock.closings) == 1


@in_loop
async def test_somebody_else_gives_the_number_up(wire):
    """anyio's word for that gets through: the channel is not closed."""
    channel, _right = wire
    async with anyio.create_task_group() as tasks:

        async def receives():
            with pytest.raises(anyio.ClosedResourceError):
                await channel.recv()

        tasks.start_soon(receives)
        await all_waiting()
        anyio.notify_closing(channel)
    assert not channel.closed


def test_closing_in_a_loop_that_is_the_guest_of_another(wire):
    """trio's can be asyncio's: then both are running, and anyio knows whose the task is."""
    trio = pytest.importorskip("trio", reason="trio is not installed")
    channel, right = wire

    async def receives():
        with pytest.raises(OSError, match="closed"):
            await channel.recv()

    async def guest():
        with trio.fail_after(SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receives)
                await all_waiting()
                channel.close()

    async def host():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        trio.lowlevel.start_guest_run(
            guest,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        (await done).unwrap()

    asyncio.run(host())
    assert right.recv(1) == b""


def test_closing_while_the_loop_stands_still(wire):
    channel, right = wire
    loop = asyncio.new_event_loop()
    with closing(loop):
        task = loop.create_task(channel.recv())
        loop.run_until_complete(all_waiting())
        channel.close()
        with pytest.raises(OSError, match="closed"):
            loop.run_until_complete(asyncio.wait_for(task, SECONDS))
    assert right.recv(1) == b""


@pytest.mark.filterwarnings("ignore")  # asyncio says what it thinks of that
def test_closing_when_the_loop_has_ended(wire):
    channel, right = wire
    loop = asyncio.new_event_loop()
    with closing(loop):
        task = loop.create_task(channel.recv())
        loop.run_until_complete(all_waiting())
    channel.close()
    assert right.recv(1) == b""
    del task


@in_loop
async def test_who_waits_is_told_why(ends):
    """A send that is cancelled half-way breaks the channel for the task that receives, too."""
    left, right = ends
    async with anyio.create_task_group() as tasks:

        async def receives():
            with pytest.raises(OSError, match="sent in part"):
                await left.recv()

        tasks.start_soon(receives)
        await cancelled_when_it_waits(left.send, b"x" * (1 << 20))


@in_loop
async def test_a_mode_that_another_holder_has_changed(bare, null):
    """The sender of a passed socket, for instance: O_NONBLOCK is shared."""
    left, right = bare
    with closing(right.dup()) as (other,):
        other.setblocking(True)
    with anyio.move_on_after(0.01) as scope:
        await aio.recv_fds(right, 10, 1)
    assert scope.cancelled_caught
    await aio.send_fds(left, b"x", [null])
    with closing(*(await aio.recv_fds(right, 10, 1)).fds) as fds:
        assert len(fds) == 1


@in_loop
async def test_a_descriptor_that_is_closed_while_its_message_waits(ends):
    left, right = ends
    owned, raised = fdpass.FileDescriptor(os.dup(0)), []
    with closing(fdpass.socket_from_fd(left.fileno(), dup=True)) as (bare,):
        with pytest.raises(BlockingIOError):
            while True:
                bare.send(header(100, 0) + b"x" * 100, socket.MSG_DONTWAIT)
    async with anyio.create_task_group() as tasks:

        async def sends():
            with pytest.raises(ValueError, match="closed or was handed on"):
                await left.send(b"", [owned])
            raised.append(True)

        tasks.start_soon(sends)
        await all_waiting()
        owned.close()
        while not raised:
            with anyio.move_on_after(0.1):
                assert await right.recv() == (b"x" * 100, [])
    assert not left.closed


@in_loop
async def test_a_full_queue_of_another_socket(path, null):
    """poll(2) tells of one's own room alone; the sender must not turn in circles meanwhile."""
    in_vain = []

    class Counting(socket.socket):
        def sendmsg(self, *arguments):
            try:
                return super().sendmsg(*arguments)
            except BlockingIOError:
                in_vain.append(True)
                raise

    with closing(
        *[kind(socket.AF_UNIX, socket.SOCK_DGRAM) for kind in (Counting, socket.socket)]
    ) as (left, right):
        left.setblocking(False)
        right.bind(path)
        with anyio.move_on_after(0.1):
            while True:
                await aio.send_fds(left, b"x", [], 0, path)
        assert 0 < len(in_vain) <= 11
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                right.recv(1)
        await aio.send_fds(left, b"y", [null], 0, path)
        with closing(*fdpass.recv_fds(right, 1, 1).fds) as fds:
            assert len(fds) == 1


async def turns_of_another(tasks):
    """How many turns another task has had, in a list."""
    turns = [0]

    async def other():
        while True:
            turns[0] += 1
            await anyio.lowlevel.checkpoint()

    tasks.start_soon(other)
    await all_waiting()
    return turns


@in_loop
async def test_others_run_while_a_large_message_comes(bare):
    """Each read finds data: it is the 16 system calls that give others a turn."""

    class Small(Watched):
        def recvmsg(self, size, *arguments):
            calls.append(turns[0])
            return self.sock.recvmsg(min(size, 10), *arguments)

    calls = []
    bare[1].sendall(header(1000, 0) + b"x" * 1000)
    with closing(aio.Channel(Small(bare[0], int))) as (channel,):
        async with anyio.create_task_group() as tasks:
            turns = await turns_of_another(tasks)
            assert (await channel.recv()).data == b"x" * 1000
            tasks.cancel_scope.cancel()
    assert len(calls) == 101
    assert max(map(calls.count, calls)) <= 32  # trio's order is random


@pytest.mark.filterwarnings("ignore")  # a socket that is dropped open says so
@pytest.mark.parametrize("name", ["recv", "send"])
@in_loop
async def test_a_call_that_is_interrupted(name):
    """At any line, as KeyboardInterrupt can under trio: it is right, or closed, at the next call.

    A second exception can keep the channel from being closed; and one that comes as it leaves its
    turn to others, in four lines, leaves the channel busy.
    """

    def before():
        if armed:
            del armed[:]
            raise socket.timeout("a handler's")

    why = {"recv": "received in part", "send": "sent in part"}[name]
    for fails in (False, True):
        busy = 0
        for nth in range(1, 1000):
            left, right = socket.socketpair()
            armed, interrupting, closed = [], Interrupting(nth), False
            with closing(aio.Channel(Watched(left, before)), right) as (channel, _):
                armed.extend([True] * fails)
                right.sendall(header(0, 0) * 2)
                sys.settrace(interrupting)
                try:
                    await getattr(channel, name)()
                except (KeyboardInterrupt, socket.timeout):
                    pass
                finally:
                    sys.settrace(None)
                closed = fails and not armed
                del armed[:]
                try:
                    await getattr(channel, name)()
                    assert not closed
                except OSError as error:
                    assert why in str(error) and channel.closed
                except anyio.BusyResourceError:
                    busy += 1
            if interrupting.left > 0:
                break
        assert nth > 10 and busy <= 4


@in_loop
async def test_closing_wakes_one_who_sends(ends):
    left, _ = ends
    async with anyio.create_task_group() as tasks:

        async def sends():
            with pytest.raises(OSError, match="closed"):
                await left.send(b"x" * (1 << 20))

        tasks.start_soon(sends)
        await all_waiting()
        left.close()


def test_closing_where_no_loop_runs(ends):
    for end in ends:
        end.close()
        assert end.closed


@pytest.mark.parametrize("how", ["close", "cancel", "data"])
@in_loop
async def test_a_number_that_is_used_again_at_once(how):
    """The waiter's leaving must not take the new one's number out of the loop."""
    left, right = aio.Channel.pair()
    peer, (mine, far) = right, (None, None)
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def receives():
                try:
                    await left.recv()
                except OSError:
                    pass

            tasks.start_soon(receives)
            await all_waiting()
            if how == "cancel":
                scope.cancel()
            if how == "data":
                peer.close()
            left.close()
            mine, far = aio.Channel.pair()
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as others:

                    async def answers():
                        await all_waiting()
                        await far.send(b"there")

                    others.start_soon(answers)
                    assert (await mine.recv()).data == b"there"
    for each in (left, right, mine, far):
        each.close()


@in_loop
async def test_others_run_while_data_is_always_ready(ends, bare):
    """At every 16th call, and the functions count as the channels do."""
    left, right = ends
    async with anyio.create_task_group() as tasks:
        turns = await turns_of_another(tasks)
        for call in (
            lambda: left.send(b"x"),
            lambda: right.recv(),
            lambda: aio.send_fds(bare[0], b"x", []),
            lambda: aio.recv_fds(bare[1], 1, 0),
        ):
            before = turns[0]
            for _ in range(160):
                await call()
            assert 9 <= turns[0] - before <= 11  # trio's order is random
        tasks.cancel_scope.cancel()


@in_loop
async def test_each_thread_counts_its_own_calls(bare):
    """Another thread's calls, each time all but one of 16, take no turn from this one's tasks."""

    def another_thread():
        async def calls():
            for _ in range(15):
                await aio.send_fds(bare[1], b"x", [])

        thread = threading.Thread(target=asyncio.run, args=(calls(),))
        thread.start()
        thread.join()
        bare[0].recv(100)

    async with anyio.create_task_group() as tasks:
        turns = await turns_of_another(tasks)
        before = turns[0]
        while turns[0] == before:
            await aio.send_fds(bare[0], b"x", [])
        await aio.send_fds(bare[0], b"x", [])
        before = turns[0]
        for _ in range(32):
            another_thread()
            await aio.send_fds(bare[0], b"x", [])
        assert 1 <= turns[0] - before <= 3
        tasks.cancel_scope.cancel()


@in_loop
async def test_cancellation_is_seen_while_data_is_always_ready(ends):
    left, right = ends
    for _ in range(10):
        await left.send(b"x")
    got = 0
    with anyio.CancelScope() as scope:
        for _ in range(10):
            await right.recv()
            got += 1
            if got == 3:
                scope.cancel()
    assert got == 3


def test_a_socket_in_any_mode():
    for timeout in (None, 0, 5):
        left, right = socket.socketpair()
        left.settimeout(timeout)
        with closing(aio.Channel(left), right):
            pass


def test_what_cannot_be_a_channel(datagram):
    with pytest.raises(ValueError, match="Unix stream"):
        aio.Channel(datagram[0])
    with pytest.raises(TypeError):
        aio.Channel(3)


@in_loop
async def test_a_listener(path, null):
    async with aio.Listener(path) as listener, anyio.create_task_group() as tasks:

        async def serves():
            async for served in listener:
                async with served:
                    assert served.peer.pid == os.getpid()
                    async for message in served:
                        with message:
                            await served.send(message.data.upper(), message.fds)
                break

        tasks.start_soon(serves)
        await all_waiting()
        async with await aio.Channel.connect(path) as client:
            assert isinstance(client, aio.Channel)
            await client.send(b"hello", [null])
            with await client.recv() as message:
                assert (message.data, len(message.fds)) == (b"HELLO", 1)
    assert listener.closed
    assert not os.path.exists(path)


@in_loop
async def test_connecting_before_anybody_listens(path):
    with pytest.raises(FileNotFoundError):
        await aio.Channel.connect(path)
    with pytest.raises(socket.timeout, match="the last try"):
        await aio.Channel.connect(path, timeout=0.03)
    with pytest.raises(ValueError):
        await aio.Channel.connect(path, timeout=-1)
    async with anyio.create_task_group() as tasks:

        async def connects():
            (await aio.Channel.connect(path, timeout=SECONDS)).close()

        tasks.start_soon(connects)
        await anyio.sleep(0.03)
        async with aio.Listener(path) as listener:
            (await listener.accept()).close()


@in_loop
async def test_closing_wakes_one_who_accepts(path):
    listener = aio.Listener(path)
    async with anyio.create_task_group() as tasks:

        async def accepts():
            with pytest.raises(OSError, match="this Listener is closed"):
                await listener.accept()

        tasks.start_soon(accepts)
        await all_waiting()
        listener.close()
    assert not os.path.exists(path)


@in_loop
async def test_who_may_come_in(path, caplog):
    answers = [False, True]
    caplog.set_level("INFO")
    async with aio.Listener(path, allow=lambda _: answers.pop(0)) as listener:
        async with await aio.Channel.connect(path) as refused:
            async with await aio.Channel.connect(path):
                (await listener.accept()).close()
                with pytest.raises(EOFError):
                    await refused.recv()
    assert "refused a peer" in caplog.text


def test_allow_is_no_coroutine_function(path):
    async def allow(credentials):
        return False

    with pytest.raises(TypeError, match="coroutine"):
        aio.Listener(path, allow=allow)
    assert not os.path.exists(path)


@in_loop
async def test_allow_is_no_coroutine(path):
    async def says_no():
        return False

    answer = says_no()
    async with aio.Listener(path, allow=lambda _: answer) as listener:
        async with await aio.Channel.connect(path) as client:
            with pytest.raises(TypeError, match="True or False"):
                await listener.accept()
            with pytest.raises(EOFError):
                await client.recv()
    answer.close()


@in_loop
async def test_a_socket_that_listens_already(path):
    with closing(socket.socket(socket.AF_UNIX)) as (sock,):
        sock.bind(path)
        sock.listen(5)
        async with aio.Listener.from_socket(sock) as listener:
            async with await aio.Channel.connect(path):
                async with await listener.accept() as served:
                    assert isinstance(served, aio.Channel)


@in_loop
async def test_the_file_of_a_socket_that_listens_already(path):
    with listening(path) as sock:
        async with aio.Listener.from_socket(sock, path=path):
            pass
    assert not os.path.exists(path)


async def gets_through(sock, path):
    """Check that this listening socket accepts a connection to path, in this event loop."""
    async with aio.Listener.from_socket(sock, path=path) as listener:
        async with await aio.Channel.connect(path) as client:
            async with await listener.accept() as served:
                await client.send(b"x")
                assert (await served.recv()).data == b"x"
    assert not os.path.exists(path)


@in_loop
async def test_detach_where_nobody_waits(path):
    async with aio.Listener(path) as listener:
        number = listener.fileno()
        sock = listener.detach()
        assert listener.closed and sock.fileno() == number
        with pytest.raises(OSError, match="this Listener is closed"):
            listener.detach()
        await gets_through(sock, path)


@pytest.mark.parametrize("how", sorted(CLOSERS))
@in_loop
async def test_detach_wakes_a_task_that_accepts(path, how):
    """The event loop forgets the old descriptor, and the socket works in the loop at once."""
    listener, socks = aio.Listener(path), []
    detached = anyio.Event() if how != "thread" else threading.Event()
    async with anyio.create_task_group() as tasks:

        async def accepts():
            with pytest.raises(OSError, match="this Listener is closed") as caught:
                await listener.accept()
            assert caught.value.errno == errno.EBADF

        def detach():
            socks.append(listener.detach())
            detached.set()

        tasks.start_soon(accepts)
        await all_waiting()
        CLOSERS[how](detach)
        if how == "thread":
            detached.wait(SECONDS)
        else:
            await detached.wait()
        await gets_through(socks[0], path)


@in_loop
async def test_detach_at_the_limit_of_descriptors(path):
    """The error leaves the Listener unchanged."""
    async with aio.Listener(path) as listener:
        async with anyio.create_task_group() as tasks:

            async def accepts():
                (await listener.accept()).close()

            tasks.start_soon(accepts)
            await all_waiting()
            with lowered(0):
                with pytest.raises(OSError) as caught:
                    listener.detach()
            assert caught.value.errno == errno.EMFILE
            (await aio.Channel.connect(path)).close()
    assert not os.path.exists(path)


@in_loop
async def test_a_loop_at_the_limit_pauses_and_goes_on(path, caplog):
    with listening(path) as sock:
        async with aio.Listener.from_socket(Failing(sock, *AT_LIMIT)) as listener:
            async with await aio.Channel.connect(path):
                started = time.monotonic()
                async with await listener.__anext__():
                    assert time.monotonic() - started >= 0.03
    assert [record.name for record in caplog.records] == ["fdpass"]


@in_loop
async def test_at_the_limit_what_allow_raises_ends_the_loop(path):
    def allow(credentials):
        raise OSError(errno.EMFILE, "allow's own")

    async with aio.Listener(path, allow=allow) as listener:
        async with await aio.Channel.connect(path):
            with pytest.raises(OSError, match="allow's own"):
                await listener.__anext__()


def test_without_anyio_within_this_process(monkeypatch):
    monkeypatch.setitem(sys.modules, "anyio", None)
    for name in ("fdpass.aio", "fdpass._aio"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="anyio 4.10 or later"):
        importlib.import_module("fdpass.aio")


def test_without_anyio():
    """What is missing is named, with what installs it."""
    program = "import sys; sys.modules['anyio'] = None; import fdpass.aio"
    environment = child_environment()
    ended = subprocess.run(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, env=environment, text=True
    )
    assert ended.returncode == 1
    assert "pip install 'anyio>=4.10'" in ended.stderr.splitlines()[-1]
