"""An asyncio server of connections that it has not accepted: another process hands them over.

    python async_http.py serve /tmp/http.sock
    python async_http.py front /tmp/http.sock --port 8000

Each message to the server carries one TCP connection and the bytes that were read from it already.
Many are served at once, from any number of fronts. Python 3.9 and later, with anyio.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket

import fdpass
from fdpass import aio

HOST = "127.0.0.1"
HEAD_LIMIT = 16 * 1024  # bytes
PATIENCE = 30  # seconds for a client to send its head, and to take its answer
GRACE = 2  # seconds for what is under way, when a signal has come
PAUSE = 0.2  # seconds after what may be better later
MOST = 500  # connections at once, so that there are descriptors for them
REQUEST_LINE = re.compile(rb"[A-Z]+ (/[!-~]*) HTTP/1[.][01]\r\n")


def say(text):
    with contextlib.suppress(OSError):  # who read it has gone
        print(text, flush=True)


class Tasks(set):
    """Tasks under way: the event loop itself keeps only weak references to them."""

    def start(self, coroutine):
        task = asyncio.create_task(coroutine)
        self.add(task)
        task.add_done_callback(self.discard)

    async def ended(self, seconds=None):
        if self:
            await asyncio.wait(self, timeout=seconds)


# The server.


class Server:
    def __init__(self):
        self.fronts, self.connections = Tasks(), Tasks()

    async def accept(self, listener):
        """Take fronts, for ever."""
        while True:
            try:
                channel = await listener.accept()
            except OSError as error:  # no descriptor left, for instance
                say(f"accept: {error}")
                await asyncio.sleep(PAUSE)
            else:
                self.fronts.start(self.attend(channel))

    async def attend(self, channel):
        """Serve what comes from one front; whatever it does wrong ends this channel alone."""
        with contextlib.closing(channel):
            try:
                async for message in channel:
                    self.connections.start(self.serve(message))
                    while len(self.connections) >= MOST:  # meanwhile the front has to wait
                        await asyncio.wait(self.connections, return_when=asyncio.FIRST_COMPLETED)
            except (OSError, fdpass.FdPassError) as error:
                say(f"a front is given up: {error}")

    async def serve(self, message):
        """Serve the one connection of a message."""
        try:
            with message:  # closes what is not taken out of it
                if len(message.fds) != 1:
                    raise ValueError(f"{len(message.fds)} descriptors came with a message")
                sock = message.fds[0].to_socket()
            try:
                if sock.family not in (socket.AF_INET, socket.AF_INET6):
                    raise ValueError("that is no TCP connection")
                # This makes it non-blocking, as asyncio needs it, whatever mode the front left.
                reader, writer = await asyncio.open_connection(sock=sock)
            except BaseException:
                sock.close()
                raise
            try:
                await asyncio.wait_for(converse(message.data, reader, writer), PATIENCE)
            finally:
                writer.close()
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            say(f"a connection is given up: {error!r}")

    async def end(self):
        """Take nothing more, and let what was taken be served."""
        for task in self.fronts:
            task.cancel()
        await self.fronts.ended()
        await self.connections.ended(GRACE)


async def converse(read, reader, writer):
    """Answer the request that begins with what was read already."""
    while b"\r\n\r\n" not in read and len(read) < HEAD_LIMIT:
        chunk = await reader.read(4096)
        if not chunk:
            return
        read += chunk
    line = REQUEST_LINE.match(read)
    if line and b"\r\n\r\n" in read:
        status, text = "200 OK", f"{line.group(1).decode()} answered by server {os.getpid()}"
    else:
        status, text = "400 Bad Request", "that is no HTTP/1 request, or too long a head"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(text) + 1}\r\nConnection: close"
    writer.write(f"{head}\r\n\r\n{text}\n".encode())
    await writer.drain()
    # To close with bytes unread resets the connection, and the client may lose the answer: so it
    # may close first. Not by write_eof(), a shutdown, which no holder of a shared socket does.
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(read_away(reader), 1)


async def read_away(reader):
    while await reader.read(65536):
        pass


# The front.


class Front:
    def __init__(self, path):
        self.path = path
        self.channel = None
        self.sending = asyncio.Lock()  # one task at a time may send on a channel
        self.connections = Tasks()

    async def accept(self, listener):
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                say(f"accept: {error}")
                await asyncio.sleep(PAUSE)
            else:
                self.connections.start(self.attend(connection))

    async def attend(self, connection):
        """Read what comes first, and hand the connection over with it."""
        with contextlib.closing(connection):  # our copy
            try:
                # Not by a StreamReader, which goes on reading: what it reads after we have sent the
                # connection, nobody would ever see.
                first = asyncio.get_running_loop().sock_recv(connection, 4096)
                read = await asyncio.wait_for(first, PATIENCE)
                if read:
                    await self.hand_over(connection, read)
            except (OSError, asyncio.TimeoutError) as error:
                say(f"a connection is given up: {error!r}")

    async def hand_over(self, connection, read):
        async with self.sending:
            for last in (False, True):
                try:
                    if self.channel is None:
                        self.channel = await aio.Channel.connect(self.path, timeout=PATIENCE)
                    return await self.channel.send(read, [connection])
                except OSError:
                    # The server was started anew, maybe. What the old one had not read is lost;
                    # offload.py waits for a receipt instead.
                    self.close()
                    if last:
                        raise

    def close(self):
        if self.channel is not None:
            self.channel.close()
            self.channel = None


# Both.


def stop_signals():
    """An event that is set when a signal comes that ends the program."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


async def until(stopped, accepting):
    """Accept until the event."""
    task = asyncio.create_task(accepting)
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
    for one in (task, stopping):
        one.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task  # which raises what ended it, if it was no signal


async def serve(path):
    server, stopped = Server(), stop_signals()  # from here on the socket's file is removed
    async with aio.Listener(path, max_data=HEAD_LIMIT, max_fds=1) as listener:
        say(f"listening at {path}")
        await until(stopped, server.accept(listener))
    await server.end()


async def front(path, port):
    front, stopped = Front(path), stop_signals()
    with contextlib.closing(socket.create_server((HOST, port))) as listener:
        listener.setblocking(False)
        say("listening on http://%s:%d" % listener.getsockname())
        await until(stopped, front.accept(listener))
    await front.connections.ended(GRACE)
    front.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", metavar="serve or front", required=True)
    one = commands.add_parser("serve", help="serve what fronts hand over")
    one.add_argument("socket", help="the Unix socket to listen at")
    one = commands.add_parser("front", help="accept connections, and hand them over")
    one.add_argument("socket", help="where the server listens")
    one.add_argument("--port", type=int, default=0, help="default: a free one")
    options = parser.parse_args()
    if options.what == "serve":
        asyncio.run(serve(options.socket))
    else:
        asyncio.run(front(options.socket, options.port))


if __name__ == "__main__":
    main()
