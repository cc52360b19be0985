"""The async twins, over anyio: for asyncio, uvloop and trio. Python 3.9 and later.

Each call is made at once, and waits only where the system says EAGAIN (and ``connect`` with a
timeout while nobody listens). A timeout is a cancel scope of your library (``asyncio.timeout``,
``anyio.fail_after``, ``trio.fail_after``).
"""

import asyncio
import sys
import threading

try:
    from anyio import (
        BusyResourceError,
        ClosedResourceError,
        get_cancelled_exc_class,
        notify_closing,
        sleep,
        wait_readable,
        wait_writable,
    )
    from anyio.lowlevel import checkpoint, checkpoint_if_cancelled
except ImportError as error:
    raise ImportError(
        "fdpass.aio needs anyio 4.10 or later, and so Python 3.9 (%s): pip install 'fdpass[aio]'"
        % error
    ) from None

from . import _arguments, _transfer
from ._channel_core import Framed
from ._listener_core import Listening
from ._paths import checked_path, tried
from ._raw import payload
from ._socket_holder import MAX_DATA
from ._system import MAX_FDS, MSG_DONTWAIT, joined, monotonic, skip, timeout_of
from ._waiting import deadline_after

__all__ = ["Channel", "Listener", "recv_fds", "send_fds", "sendall_fds"]

CALLS = 16
PAUSE = 0.01  # seconds


class Turns(threading.local):
    """How many more calls this thread, and so its event loop, may see without yielding."""

    left = CALLS


turns = Turns()


async def look_around():
    """Before each call: raise if this task is cancelled, and let others run at every 16th."""
    turns.left -= 1
    if turns.left > 0:
        await checkpoint_if_cancelled()
    else:
        turns.left = CALLS
        await checkpoint()


async def patiently(wait, call, sock, *arguments, flags, **more):
    """What call returns, once it needs not wait."""
    if timeout_of(sock) != 0:
        raise ValueError(
            "fdpass.aio needs a non-blocking socket, as any other would hold up the event loop:"
            " call setblocking(False) on it"
        )
    await look_around()
    while True:
        try:
            # The mode is shared with other holders of the socket, who may have changed it.
            return call(sock, *arguments, flags=flags | MSG_DONTWAIT, **more)
        except BlockingIOError:
            if flags & MSG_DONTWAIT:
                raise
        await wait(sock)
        if more.get("address") is not None:
            await sleep(PAUSE)  # one's own room is no word on the receiver's, which poll cannot see


async def send_fds(sock, data, fds, flags=0, address=None):
    """`fdpass.send_fds`, waiting for room as a coroutine.

    The arguments, what is returned and what is raised are the same; sock has to be non-blocking
    (ValueError). Cancelled, nothing was sent. A second task that has to wait for room on the same
    socket gets ``anyio.BusyResourceError``.
    """
    flags = _arguments.flag_bits(flags)
    fds = _arguments.listed(fds, MAX_FDS)  # an iterator is empty at the second try
    return await patiently(
        wait_writable, _transfer.send_fds, sock, payload(data), fds, flags=flags, address=address
    )


async def sendall_fds(sock, data, fds, flags=0):
    """`fdpass.sendall_fds` as a coroutine: all of data, the descriptors with its first byte.

    sock has to be non-blocking (ValueError). After a cancellation or an OSError, how much was sent,
    and so whether the descriptors were, cannot be told: give the connection up.
    """
    flags = _arguments.flag_bits(flags)
    if flags & MSG_DONTWAIT:
        raise ValueError("sendall_fds waits until all is sent: MSG_DONTWAIT contradicts that")
    whole = joined(payload(data))
    sent = await send_fds(sock, whole, fds, flags)
    while sent < len(whole):
        sent += await send_fds(sock, skip(memoryview(whole), sent), (), flags)


async def recv_fds(sock, bufsize, maxfds, flags=0):
    """`fdpass.recv_fds`, waiting for data as a coroutine.

    The arguments, what is returned and what is raised are the same; sock has to be non-blocking
    (ValueError). Cancelled, nothing was received. A second task that has to wait for data on the
    same socket gets ``anyio.BusyResourceError``.
    """
    flags = _arguments.flag_bits(flags)
    return await patiently(wait_readable, _transfer.recv_fds, sock, bufsize, maxfds, flags=flags)


tasks = set()  # of ours, to which an event loop keeps only weak references


def in_this_loop():
    """What calls a function in this task's event loop soon, from any thread, callback or none."""
    # By anyio's word: trio's loop can be the guest of one of asyncio's.
    if not issubclass(get_cancelled_exc_class(), asyncio.CancelledError):
        return sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
    loop = asyncio.get_running_loop()

    async def run(function, *arguments):
        function(*arguments)

    def start(*call):
        task = loop.create_task(run(*call))  # by its task, anyio knows whose event loop this is
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def soon(*call):
        loop.call_soon_threadsafe(start, *call)

    return soon


class Waking:
    """What closes so that a task that waits in it wakes up, with OSError EBADF."""

    _waiting = 0  # how many tasks wait in it
    _soon = None  # what calls a function in their event loop
    _leaving = None  # the socket, closed as soon as they have left

    def _close_socket(self, sock):
        # Their leaving takes the number out of the loop: it must not be another's by then. Said
        # before it is asked whether somebody waits, who may be leaving now, in another thread.
        self._leaving = sock
        if not self._waiting:
            sock.close()
            return
        try:
            self._soon(notify_closing, sock)
        except RuntimeError:  # their event loop has ended, and they never leave
            sock.close()

    async def aclose(self):
        """The same as ``close``, for what expects a coroutine."""
        self.close()

    async def _wait(self, wait):
        self._soon = in_this_loop()
        self._waiting += 1
        try:
            await wait(self._open())
        except ClosedResourceError:
            self._open()
            raise
        finally:
            self._waiting -= 1
            if self._leaving is not None and not self._waiting:
                self._leaving.close()

    def __aiter__(self):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        self.close()


class Channel(Waking, Framed):
    """`fdpass.Channel` with coroutines: the same messages, the same limits.

    :param sock: a socket object, in any mode: it is the channel's own, which sees to it. If the
        constructor raises, it is still the caller's.
    :param max_data: as for `fdpass.Channel`.
    :param max_fds: the same.

    One task may send while another receives; a second one that sends, or that receives, is an
    ``anyio.BusyResourceError``. ``close`` wakes a task that waits.
    """

    @classmethod
    async def connect(cls, path, timeout=None, max_data=MAX_DATA, max_fds=MAX_FDS):
        """A channel to who listens at path: see `fdpass.Channel.connect`."""
        path, sock = checked_path(path), None
        deadline = deadline_after(_arguments.seconds("timeout", timeout), monotonic)
        await look_around()
        while True:
            sock, pause = tried(path, timeout, deadline)
            if sock is not None:
                return cls._made(sock, max_data, max_fds)
            await sleep(pause)

    _who = object  # each call is its own: two of one task cannot be told apart from two tasks'

    def _busy(self, doing):
        return BusyResourceError("%s on" % doing)

    async def send(self, data=b"", fds=()):
        """Send a message: see `fdpass.Channel.send`.

        Cancelled before its first byte, nothing was sent and the channel is as it was; cancelled
        later, the channel is closed, and says so at the next call. Until it returns, data must not
        change.
        """
        buffers, length, _numbers, things = self._begin_send(data, fds)
        await look_around()
        who = self._who()
        try:
            self._own("sending", who)
            self._check_sending(who)
            while not self._send_some(buffers, length, self._numbers(things)):
                await self._wait(wait_writable)
        except BaseException:
            self._check_sending(who)
            raise
        finally:
            self._disown("sending", who)

    async def recv(self):
        """Receive a message: see `fdpass.Channel.recv`.

        Cancelled, neither bytes nor descriptors are lost: the next call goes on where it was.
        """
        await look_around()
        who = self._who()
        try:
            self._own("receiving", who)
            self._check_receiving(who)
            message = self._receive_some()
            while message is None:
                await self._wait(wait_readable)
                message = self._receive_some()
            self._incoming.unsettled = False
            return message
        except BaseException:
            self._check_receiving(who)
            raise
        finally:
            self._disown_receiving(who)

    async def __anext__(self):
        try:
            return await self.recv()
        except EOFError:
            raise StopAsyncIteration from None


class Listener(Waking, Listening):
    """`fdpass.Listener` with a coroutine to accept; its channels are those of this module."""

    _channel = Channel

    async def accept(self):
        """A `Channel` to the next peer that may come in: see `fdpass.Listener.accept`.

        Cancelled, nobody was accepted.
        """
        await look_around()
        while True:
            channel = self._accept_one()
            if channel is not None:
                return channel
            await self._wait(wait_readable)

    async def __anext__(self):
        return await self.accept()
