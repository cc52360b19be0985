"""The coroutines of ``fdpass.aio``, whose syntax Python 2 and 3.3 to 3.5 cannot read."""

import asyncio
import errno
import os
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
        "fdpass.aio needs anyio 4.10 or later, and so Python 3.9 (%s): pip install 'anyio>=4.10'"
        % error
    ) from None

from . import _arguments, _transfer
from ._channel_core import ChannelCore
from ._closing import close_all
from ._kinds import PLAIN_TYPES
from ._listener_core import ListenerCore, is_at_limit
from ._paths import PAUSE_S, check_path, try_connect
from ._raw import payload_buffers
from ._socket_holder import MAX_DATA
from ._sockets import socket_from_fd
from ._system import (
    MAX_FDS,
    MSG_DONTWAIT,
    duplicate,
    join,
    monotonic,
    skip_bytes,
    timeout_of,
)
from ._waiting import deadline_after

CALLS_BEFORE_YIELD = 16


async def send_fds(sock, data, fds, flags=0, address=None):
    """Do what `fdpass.send_fds` does, and wait for room as a coroutine.

    The arguments, the result and the errors are the same, but sock must be non-blocking
    (ValueError). If this is cancelled, nothing was sent. If a second task has to wait for room on
    the same socket, it gets ``anyio.BusyResourceError``.
    """
    flags = _arguments.check_c_int("flags", flags)
    if type(data) is not bytes:
        data = payload_buffers(data)
    fds = _arguments.list_fds(fds, MAX_FDS)  # an iterator would be empty at the second try
    duplicates = []
    try:
        return await call_when_ready(
            wait_writable,
            _transfer.send_fds,
            sock,
            data,
            fds,
            flags=flags,
            address=address,
            fds_and_duplicates=(fds, duplicates),
        )
    finally:
        if duplicates:
            close_all(duplicates)


async def sendall_fds(sock, data, fds, flags=0):
    """Do what `fdpass.sendall_fds` does as a coroutine: the descriptors go with the first byte.

    sock must be non-blocking (ValueError). After a cancellation, an OSError, or the TypeError for
    the socket of a transport, you cannot know how much was sent, nor whether the descriptors were,
    so close the connection.
    """
    flags = _arguments.check_c_int("flags", flags)
    if flags & MSG_DONTWAIT:
        raise ValueError("sendall_fds waits until all is sent: MSG_DONTWAIT contradicts that")
    payload = join(payload_buffers(data))
    sent = await send_fds(sock, payload, fds, flags)
    while sent < len(payload):
        sent += await send_fds(sock, skip_bytes(memoryview(payload), sent), (), flags)


async def recv_fds(sock, bufsize, maxfds, flags=0):
    """Do what `fdpass.recv_fds` does, and wait for data as a coroutine.

    The arguments, the result and the errors are the same, but sock must be non-blocking
    (ValueError). If this is cancelled, nothing was received. If a second task has to wait for data
    on the same socket, it gets ``anyio.BusyResourceError``.
    """
    flags = _arguments.check_c_int("flags", flags)
    return await call_when_ready(
        wait_readable, _transfer.recv_fds, sock, bufsize, maxfds, flags=flags
    )


def duplicate_ints(fds, duplicates):
    """Put a duplicate in the place of each int in the list fds, once; add it to duplicates.

    During a wait, another task may close an int's descriptor and open another file, which gets the
    same number. An object with fileno() needs no duplicate, because it is asked again.
    """
    if duplicates or len(fds) > MAX_FDS:  # too many, which the call itself refuses
        return
    indexes = [i for i, given in enumerate(fds) if isinstance(given, _arguments.INTEGERS)]
    numbers = [_arguments.descriptor_of(fds[i]) for i in indexes]
    try:
        for fd in numbers:
            duplicates.append(duplicate(fd))
            if duplicates[-1] in numbers:  # so fd was closed before, and its number was free
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    except OSError as error:
        close_all(duplicates)
        text = (
            "%s: nothing was sent. A send that has to wait needs a duplicate of each int in fds"
            " (but not of an object with fileno(), such as a FileDescriptor)" % error.strerror
        )
        raise OSError(error.errno, text) from None
    for i, fd in zip(indexes, duplicates):
        fds[i] = fd


async def call_when_ready(wait, call, sock, *arguments, flags, fds_and_duplicates=None, **keywords):
    """Return what call returns, as soon as it does not have to wait.

    fds_and_duplicates has the arguments of duplicate_ints, which is called before other tasks run.
    """
    if type(sock) not in PLAIN_TYPES:
        _arguments.check_plain_carrier(sock)
    if timeout_of(sock) != 0:
        _arguments.descriptor_of(sock)  # raises EBADF if sock is closed
        raise ValueError(
            "fdpass.aio needs a non-blocking socket, as any other would hold up the event loop:"
            " call setblocking(False) on it"
        )
    await checkpoint_sometimes(fds_and_duplicates)
    while True:
        try:
            # Other holders of the socket share its mode, and may have changed it.
            return call(sock, *arguments, flags=flags | MSG_DONTWAIT, **keywords)
        except BlockingIOError:
            if flags & MSG_DONTWAIT:
                raise
        if fds_and_duplicates:
            duplicate_ints(*fds_and_duplicates)
        await wait_unless_transport(wait, sock)
        if keywords.get("address") is not None:
            # The socket may be writable while the receiver's buffer is full: poll sees only ours.
            await sleep(PAUSE_S)


async def wait_unless_transport(wait, sock):
    """Wait, and raise TypeError if the event loop keeps the waiting to its transport."""
    try:
        await wait(sock)
    except RuntimeError as error:
        if "used by transport" not in str(error):  # as asyncio and uvloop say it
            raise
        raise TypeError(
            "the event loop lets only its transport wait on this socket: give"
            " socket_from_fd(it, dup=True), and call the transport's pause_reading() before you"
            " receive"
        ) from None


class CallsLeft(threading.local):
    """How many calls this thread (and so its event loop) has left before it lets others run."""

    count = CALLS_BEFORE_YIELD


calls_left = CallsLeft()


async def checkpoint_sometimes(fds_and_duplicates=None):
    """Raise if this task is cancelled, and let other tasks run at every 16th call.

    fds_and_duplicates is as in call_when_ready.
    """
    calls_left.count -= 1
    if calls_left.count > 0:
        await checkpoint_if_cancelled()
    else:
        try:
            if fds_and_duplicates:
                duplicate_ints(*fds_and_duplicates)
        except (TypeError, ValueError, OSError):
            # The call itself refuses what is no descriptor. After EMFILE it may succeed, so a later
            # call lets other tasks run.
            await checkpoint_if_cancelled()
            return
        calls_left.count = CALLS_BEFORE_YIELD
        await checkpoint()


own_tasks = set()  # because asyncio keeps only weak references to tasks


def find_scheduler():
    """Return a function that schedules a call in this task's event loop, from any thread."""
    # Ask anyio, because in trio's guest mode an asyncio loop runs too.
    if not issubclass(get_cancelled_exc_class(), asyncio.CancelledError):
        return sys.modules["trio"].lowlevel.current_trio_token().run_sync_soon
    loop = asyncio.get_running_loop()

    async def run(function, *arguments):
        function(*arguments)

    def start_task(*call):
        task = loop.create_task(run(*call))  # anyio knows the event loop by the current task
        own_tasks.add(task)
        task.add_done_callback(own_tasks.discard)

    def schedule(*call):
        loop.call_soon_threadsafe(start_task, *call)

    return schedule


class AsyncCalls:
    """Waits as a coroutine. ``close`` wakes a task that waits, with OSError EBADF."""

    _waiter_count = 0
    _schedule = None  # schedules a call in the event loop of the waiting tasks
    _closing_sockets = ()  # at most one, to be closed when no task waits for it

    def _close_socket(self, sock):
        # A waiting task removes the descriptor from its loop when it wakes, so it must stay open
        # until then. This is set before the count is read, because in another thread the last task
        # may be waking now.
        self._closing_sockets = [sock]
        if not self._waiter_count:
            self._finish_closing()
            return
        try:
            self._schedule(notify_closing, sock)
        except RuntimeError:  # the event loop has ended, so its tasks never wake
            self._finish_closing()

    def _finish_closing(self):
        """Close the socket, unless another thread has begun to close it."""
        for sock in vars(self).pop("_closing_sockets", ()):
            sock.close()

    async def aclose(self):
        """Do what ``close`` does, for code that expects a coroutine."""
        self.close()

    async def _wait(self, wait):
        self._schedule = find_scheduler()
        self._waiter_count += 1
        try:
            await wait(self._open_socket())
        except ClosedResourceError:
            self._open_socket()
            raise
        finally:
            self._waiter_count -= 1
            if self._closing_sockets and not self._waiter_count:
                self._finish_closing()

    def __aiter__(self):
        return self

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc_info):
        self.close()


class Channel(AsyncCalls, ChannelCore):
    """`fdpass.Channel` with coroutines: the same messages, the same limits.

    :param sock: a socket object, in any mode. The channel owns it from then on. If the constructor
        raises, the socket is still yours.
    :param max_data: as for `fdpass.Channel`.
    :param max_fds: the same.

    One task may send while another receives. If a second task sends, or a second one receives, it
    gets ``anyio.BusyResourceError``. ``close`` wakes a task that waits.
    """

    @classmethod
    async def connect(cls, path, timeout=None, max_data=MAX_DATA, max_fds=MAX_FDS):
        """Return a channel to the listener at path: see `fdpass.Channel.connect`."""
        path, sock = check_path(path), None
        deadline = deadline_after(_arguments.check_timeout("timeout", timeout), monotonic)
        await checkpoint_sometimes()
        while True:
            sock, pause_s = try_connect(path, timeout, deadline)
            if sock is not None:
                return cls._adopt(sock, max_data, max_fds)
            await sleep(pause_s)

    _caller = object  # each call is its own caller, as one task can have two calls under way

    def _busy_error(self, side):
        error = BusyResourceError(side)
        error.args = (
            "another task is %s on this Channel: let one task do it, or hold a lock of your event"
            " loop's library (asyncio.Lock, trio.Lock) during each call" % side,
        )
        return error

    async def send(self, data=b"", fds=()):
        """Send a message: see `fdpass.Channel.send`.

        If this is cancelled before the message's first byte, nothing was sent and the channel is as
        it was. After it, the channel is closed, and the next call says so. Do not change data until
        this returns.
        """
        buffers, length, _passed, given = self._prepare_send(data, fds)
        fds_and_duplicates = (given, []) if given else None
        caller = self._caller()
        try:
            await checkpoint_sometimes(fds_and_duplicates)
            self._claim("sending", caller)
            self._close_if_half_sent(caller)
            while not self._send_some(buffers, length, self._fds_to_send(given)):
                if fds_and_duplicates and self._sent:  # the descriptors went with the first byte
                    close_all(fds_and_duplicates[1])
                elif fds_and_duplicates:
                    duplicate_ints(*fds_and_duplicates)
                await self._wait(wait_writable)
        except BaseException:
            self._close_if_half_sent(caller)
            raise
        finally:
            self._release("sending", caller)
            if fds_and_duplicates:
                close_all(fds_and_duplicates[1])

    async def recv(self):
        """Receive a message: see `fdpass.Channel.recv`.

        If this is cancelled, nothing is lost: the next call goes on where it was.
        """
        await checkpoint_sometimes()
        caller = self._caller()
        try:
            self._claim("receiving", caller)
            self._close_if_half_received(caller)
            message = self._receive_some()
            while message is None:
                await self._wait(wait_readable)
                message = self._receive_some()
            self._incoming.read_pending = False
            return message
        except BaseException:
            self._close_if_half_received(caller)
            raise
        finally:
            self._release("receiving", caller)

    async def __anext__(self):
        try:
            return await self.recv()
        except EOFError:
            raise StopAsyncIteration from None


class Listener(AsyncCalls, ListenerCore):
    """`fdpass.Listener` with a coroutine to accept; its channels are this module's."""

    _channel = Channel

    async def accept(self):
        """Return a `Channel` to the next peer that may come in: see `fdpass.Listener.accept`.

        If this is cancelled, nobody was accepted.
        """
        await checkpoint_sometimes()
        while True:
            channel = self._accept_one()
            if channel is not None:
                return channel
            await self._wait(wait_readable)

    def detach(self):
        """Return the listening socket: see `fdpass.Listener.detach`.

        A task that waits in ``accept`` wakes with OSError EBADF.

        :raises OSError: EBADF if this Listener is closed. EMFILE if a task waits and the limit of
            open descriptors leaves none for a duplicate; this Listener then stays open.
        """
        sock = ListenerCore.detach(self)
        if not self._waiter_count:
            return sock
        # The event loop watches this descriptor until the waiting task wakes. Return a duplicate.
        try:
            copy = socket_from_fd(sock, dup=True)
        except BaseException:
            self._sock = sock
            raise
        self._close_socket(sock)
        return copy

    async def __anext__(self):
        """Return the next channel, from ``accept``; pause as `fdpass.Listener` does."""
        is_first = True
        while True:
            try:
                return await self.accept()
            except OSError as error:
                if not is_at_limit(error):
                    raise
                if is_first:
                    self._log.log_pause(error)
            is_first = False
            await sleep(PAUSE_S)
