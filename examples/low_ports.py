"""A helper that may bind low ports, for programs that may not.

    sudo python low_ports.py serve /run/ports.sock --allow-port 80 --uid 1000
    python low_ports.py get /run/ports.sock 80 -- python low_ports.py hello

The helper answers a message ``tcp 80`` with a socket that listens on that port of 127.0.0.1, or
with a text that says why not. ``ask`` is the other end, for a Python program; ``get`` is for any
program: it runs with the socket as its descriptor 3 and LISTEN_FDS=1, as under a service manager.
Python 2.7 and 3.
"""

import argparse
import contextlib
import errno
import fcntl
import logging
import os
import re
import signal
import socket
import sys
import time

import fdpass

HOST = "127.0.0.1"
PATIENCE = 2  # seconds that one client may keep the others waiting
TICK = 0.2  # seconds between two looks at whether to stop
LONGEST = 1000  # bytes of a message
FIRST = 3  # where LISTEN_FDS begins
REQUEST = re.compile(b"tcp ([0-9]{1,5})\\Z")
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
HUNG_UP = (errno.EPIPE, errno.ECONNRESET)


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# The helper.


class Refused(Exception):
    """The helper gives no socket; the text says why."""


def listening(port):
    """A socket that listens on the port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def granted(request, ports):
    """The socket that the request asks for."""
    asked = REQUEST.match(request)
    if not asked:
        raise Refused("that is no request; 'tcp 80' is one")
    port = int(asked.group(1))
    if port not in ports:
        raise Refused("port %d is not allowed" % port)
    try:
        return listening(port)
    except EnvironmentError as error:
        raise Refused("port %d: %s" % (port, os.strerror(error.errno)))


def attend(channel, ports):
    """Answer one request."""
    channel.settimeout(PATIENCE)  # for a whole message, however it trickles in
    try:
        with channel.recv() as message:  # closes the descriptors that nobody asked for
            request = message.data
        try:
            sock = granted(request, ports)
        except Refused as reason:
            logging.warning("%s: %s", channel.peer, reason)
            channel.send(str(reason).encode("ascii"))
        else:
            with contextlib.closing(sock):  # our copy
                channel.send(b"here it is", [sock])
    except (EnvironmentError, EOFError, fdpass.FdPassError) as error:
        logging.warning("a client is given up: %s", error)


def serve(path, ports, uids):
    """Be the helper, until a signal comes."""
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    # Listener says who was refused, to who has asked for logging.
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.INFO)
    settings = {"max_data": LONGEST, "max_fds": 1}
    if uids:
        # All may come to the door; who passes it, the kernel's word on their uid decides.
        settings.update(mode=0o666, allow=lambda peer: peer.uid in uids)
    with fdpass.Listener(path, **settings) as listener:
        listener.settimeout(TICK)
        say("listening at %s" % path)
        while not stopped:
            try:
                channel = listener.accept()
            except socket.timeout:
                continue
            except EnvironmentError as error:
                if error.errno not in NO_ROOM:
                    raise
                logging.warning("accept: %s", error)
                time.sleep(TICK)
                continue
            with channel:
                attend(channel, ports)


# Its clients.


def ask(path, port, timeout=30):
    """A socket that listens on the port, from the helper at path.

    :raises Refused: the helper's reason.
    :raises OSError: nobody listens at path, or no answer came in time.
    """
    with fdpass.Channel.connect(path, timeout, LONGEST, 1) as channel:
        channel.settimeout(timeout)
        try:
            channel.send(("tcp %d" % port).encode("ascii"))
            message = channel.recv()
        except (EnvironmentError, EOFError) as error:
            if isinstance(error, EnvironmentError) and error.errno not in HUNG_UP:
                raise
            raise Refused("the helper hung up: it may not be for this user")
        with message:
            if not message.fds:
                raise Refused(message.data.decode("ascii", "replace"))
            return message.fds[0].to_socket()


def get(path, port, command):
    """Become the command, with the socket as its first descriptor after the three usual ones."""
    listener = ask(path, port)
    os.dup2(listener.fileno(), FIRST)
    fcntl.fcntl(FIRST, fcntl.F_SETFD, 0)  # dup2 onto itself leaves it close-on-exec
    environment = dict(os.environ, LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execvpe(command[0], command, environment)


def hello(listener):
    """Serve one HTTP answer."""
    say("listening on http://%s:%d" % listener.getsockname())
    connection, _ = listener.accept()
    with contextlib.closing(connection):
        connection.settimeout(10)
        read = b""
        while b"\r\n\r\n" not in read and len(read) < 65536:
            chunk = connection.recv(4096)
            if not chunk:
                return
            read += chunk
        text = "hello from uid %d\n" % os.getuid()
        head = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(text)
        connection.sendall((head + text).encode("ascii"))


def port_number(text):
    number = int(text)
    if not 0 <= number <= 65535:
        raise ValueError("a port is 0 to 65535")
    return number


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="what", metavar="serve, get or hello")
    commands.required = True
    one = commands.add_parser("serve", help="be the helper")
    one.add_argument("socket", help="the Unix socket to listen at")
    one.add_argument(
        "--allow-port",
        type=port_number,
        action="append",
        default=[],
        metavar="N",
        help="a port that may be asked for; 0 is any free one",
    )
    one.add_argument(
        "--uid",
        type=int,
        action="append",
        help="a user who may ask (default: the helper's own, and root)",
    )
    one = commands.add_parser("get", help="run a command with the socket")
    one.add_argument("socket", help="where the helper listens")
    one.add_argument("port", type=port_number)
    one.add_argument("command", nargs="+", help="after --, with its arguments")
    commands.add_parser("hello", help="serve one HTTP answer from descriptor %d" % FIRST)
    options = parser.parse_args(arguments)
    try:
        if options.what == "serve":
            serve(options.socket, options.allow_port, options.uid)
        elif options.what == "get":
            get(options.socket, options.port, options.command)
        else:
            with contextlib.closing(fdpass.socket_from_fd(FIRST)) as listener:
                hello(listener)
    except (Refused, EnvironmentError) as error:
        sys.exit("low_ports %s: %s" % (options.what, error))


if __name__ == "__main__":
    main()
