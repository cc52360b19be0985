"""What faulty.py lets fail.

Each scenario makes what it needs, yields the call under test, is sent its Outcome, and checks what
is there then and that the next call is right.
"""

import errno
import fcntl
import os
import select
import shutil
import socket
import struct
import sys
import tempfile
import threading

from conftest import closing, open_descriptors
from seam import copy_of_fdpass

import fdpass


def same_file(one, other):
    one, other = os.fstat(one), os.fstat(other)
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def check_closed(fds):
    for fd in fds:
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(fd)


# Sending: what the call did not send is sent again, and all of it arrives once.


def pair(kind=socket.SOCK_STREAM, timeout=None):
    ends = socket.socketpair(socket.AF_UNIX, kind)
    for end in ends:
        end.settimeout(timeout)
    return closing(*ends)


def sending(form, kind, timeout, call):
    def scenario():
        with pair(kind, timeout) as (left, right):
            outcome = yield lambda: call(form(left))
            if outcome.error is not None:
                call(form(left))
            right.settimeout(0)
            data, fds, flags, _ = fdpass.recv_fds(right, 9, 3)
            assert (data, flags, len(fds)) == (b"x", 0, 2)
            assert all(same_file(fd, 0) for fd in fds)
            check_closed(fds)
            try:
                raise AssertionError("more has come: %r" % (fdpass.recv_fds(right, 9, 3),))
            except socket.error as error:
                assert error.errno == errno.EAGAIN

    return scenario


class Holder(object):
    """Not a socket object, and has one."""

    def __init__(self, sock):
        self.fileno = sock.fileno


def itself(sock):
    return sock


FORMS = {"object": itself, "number": lambda sock: sock.fileno(), "holder": Holder}
KINDS = {"stream": socket.SOCK_STREAM, "datagram": socket.SOCK_DGRAM}
TIMEOUTS = {"blocking": None, "timeout": 20, "nonblocking": 0}
RIGHTS = (socket.SOL_SOCKET, fdpass.SCM_RIGHTS, struct.pack("2i", 0, 0))
SENDS = {
    "send_fds": lambda sock: fdpass.send_fds(sock, b"x", [0, 0]),
    "send_fds of buffers": lambda sock: fdpass.send_fds(sock, [b"x", b""], (0, Holder(sys.stdin))),
    "sendall_fds": lambda sock: fdpass.sendall_fds(sock, b"x", [0, 0]),
    "sendmsg": lambda sock: fdpass.sendmsg(sock, [b"x"], [RIGHTS]),
}


# Receiving: what the call did not receive is there for the next, if it was not received and closed.


def receiving(form, kind, timeout, call):
    def scenario():
        with pair(kind, timeout) as (left, right):
            fdpass.send_fds(left, b"x", [0, 0])
            outcome = yield lambda: call(form(right))
            received = outcome.result
            if outcome.error is not None:
                right.settimeout(0)
                try:
                    received = call(right)
                except socket.error as error:
                    # Only what comes after the receiving: its descriptors are closed.
                    assert error.errno == errno.EAGAIN
                    assert "recvmsg" in outcome.calls and outcome.function != "recvmsg"
                    return
            data, fds = received[:2]
            if fds and type(fds[0]) is tuple:
                fds = struct.unpack("2i", fds[0][2])
            assert (data, len(fds)) == (b"x", 2)
            assert all(same_file(fd, 0) for fd in fds)
            check_closed(fds)

    return scenario


RECEIVES = {
    "recv_fds": lambda sock: fdpass.recv_fds(sock, 9, 2),
    "recv_fds of much": lambda sock: fdpass.recv_fds(sock, 1 << 20, 2),
    "recvmsg": lambda sock: fdpass.recvmsg(sock, 9, 100),
}


def refusing():
    """More descriptors than were asked for."""
    with pair() as (left, right):
        fdpass.send_fds(left, b"x", [0, 0])

        def refused():
            try:
                fdpass.recv_fds(right, 9, 1)
            except fdpass.TooManyFdsError:
                return True

        outcome = yield refused
        assert outcome.error is not None or outcome.result


# Sockets from descriptors.


def without_sock_nonblock():
    """Return a copy of fdpass on a system like macOS, whose socket module lacks the name."""
    kept = vars(socket).pop("SOCK_NONBLOCK", None)
    try:
        return copy_of_fdpass()
    finally:
        if kept is not None:
            socket.SOCK_NONBLOCK = kept


def adopting(timeout, dup, default, fdpass=fdpass):
    def scenario():
        with pair(timeout=timeout) as (left, right):
            number = os.dup(right.fileno())
            fcntl.fcntl(number, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
            socket.setdefaulttimeout(default)
            try:
                outcome = yield lambda: fdpass.socket_from_fd(number, dup=dup)
            finally:
                socket.setdefaulttimeout(None)
            sock = outcome.result
            if outcome.error is not None:
                if outcome.function == "close" and number not in open_descriptors():
                    return  # closing it was the last step, and failed; it has gone as is promised
                assert same_file(number, right.fileno()), "it is not the caller's any more"
                sock = fdpass.socket_from_fd(number, dup=dup)
            if dup:
                os.close(number)
            with closing(sock):
                assert sock.gettimeout() == (timeout and None if timeout is None else 0)
                left.send(b"x")
                assert sock.recv(1) == b"x"

    return scenario


def credentials(form):
    def scenario():
        with pair() as (left, right):
            outcome = yield lambda: fdpass.peer_credentials(form(left))
            told = outcome.result or fdpass.peer_credentials(form(left))
            assert told == (os.getpid(), os.getuid(), os.getgid())

    return scenario


# Owned descriptors.


def owning(call):
    def scenario():
        with pair() as (left, right):
            number = os.dup(left.fileno())
            with fdpass.FileDescriptor(number) as owned:
                outcome = yield lambda: call(owned)
                result = outcome.result
                if outcome.error is not None and not owned.closed:
                    result = call(owned)
                elif outcome.error is not None and outcome.function == "fstat":
                    os.close(number)  # to_file says why nobody can know who owns it now
                if hasattr(result, "close"):
                    assert same_file(result.fileno(), left.fileno())
                    result.close()
                else:
                    assert owned.closed or same_file(owned.fileno(), left.fileno())

    return scenario


def made():
    with pair() as (left, _):
        number = os.dup(left.fileno())
        outcome = yield lambda: fdpass.FileDescriptor(number)
        (outcome.result or fdpass.FileDescriptor(number)).close()


def set_inheritable(owned):
    owned.inheritable = False


OWNED = {
    "dup": lambda owned: owned.dup(),
    "close": lambda owned: owned.close(),
    "inheritable": lambda owned: owned.inheritable,
    "set inheritable": set_inheritable,
    "to_socket": lambda owned: owned.to_socket(),
    "to_file": lambda owned: owned.to_file("wb"),
}


# Channels.


def check_channels(left, right):
    """Two channels that are as new."""
    for one, other in ((left, right), (right, left)):
        one.send(b"checked", [0])
        with other.recv() as message:
            assert message.data == b"checked"
            assert [same_file(owned.fileno(), 0) for owned in message.fds] == [True]


def channel_pair():
    outcome = yield fdpass.Channel.pair
    with closing(*(outcome.result or fdpass.Channel.pair())) as ends:
        check_channels(*ends)


def channel_made():
    left, right = socket.socketpair()
    with closing(fdpass.Channel(left)) as (other,):
        outcome = yield lambda: fdpass.Channel(right)
        with closing(outcome.result or fdpass.Channel(right)) as (channel,):
            check_channels(channel, other)


def channel_send(data, fds, timeout, room=None):
    def scenario():
        left, right = fdpass.Channel.pair()
        with left, right:
            left.settimeout(timeout)
            if room:
                with closing(fdpass.socket_from_fd(left.fileno(), dup=True)) as (sock,):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            got = []
            reader = threading.Thread(target=lambda: got.append(received(right)))
            reader.start()
            outcome = yield lambda: left.send(data, fds)
            if left.closed:  # a part of it had gone, or could have
                assert outcome.error is not None
                reader.join()
                assert isinstance(got[0], (EOFError, fdpass.ProtocolError, socket.error))
                return
            if outcome.error is not None:
                left.send(data, fds)
            reader.join()
            with got[0] as message:
                assert message.data == data
                assert [same_file(one.fileno(), 0) for one in message.fds] == [True] * len(fds)
            check_channels(left, right)

    return scenario


def sent(channel, data, fds):
    """Send it, to a peer that may have gone."""
    try:
        channel.send(data, fds)
    except socket.error:
        pass


def received(channel):
    """What the channel gives, or raises."""
    try:
        return channel.recv()
    except Exception as error:
        return error


def channel_recv(data, fds, delay_s):
    def scenario():
        left, right = fdpass.Channel.pair()
        with left, right:
            sender = threading.Timer(delay_s, sent, [left, data, fds])
            sender.start()
            if not delay_s:
                sender.join()
            outcome = yield right.recv
            sender.join()
            if right.closed:
                assert outcome.error is not None
                return
            with outcome.result or right.recv() as message:
                assert message.data == data
                assert [same_file(one.fileno(), 0) for one in message.fds] == [True] * len(fds)
            check_channels(left, right)

    return scenario


def channel_recv_by_select():
    """Receive with select, as in a process that eventlet has patched."""
    poll = select.poll
    del select.poll
    try:
        scenario = channel_recv(b"data", [0, 0], 0.05)()
        outcome = yield next(scenario)
        try:
            scenario.send(outcome)
        except StopIteration:
            pass
    finally:
        select.poll = poll


def channel_close():
    left, right = fdpass.Channel.pair()
    with right:
        yield left.close
        assert left.closed
        try:
            raise AssertionError(right.recv())
        except EOFError:
            pass


def channel_peer():
    left, right = fdpass.Channel.pair()
    with left, right:
        outcome = yield lambda: left.peer
        assert (outcome.result or left.peer).pid == os.getpid()


# Listeners, on a path of their own.


class Folder(object):
    def __enter__(self):
        self.name = tempfile.mkdtemp()
        return os.path.join(self.name, "s")

    def __exit__(self, *exc_info):
        shutil.rmtree(self.name)


def leave_stale(path):
    with closing(socket.socket(socket.AF_UNIX)) as (sock,):
        sock.bind(path)


def check_listener(listener, path):
    with closing(fdpass.Channel.connect(path)) as (client,):
        with closing(listener.accept()) as (channel,):
            check_channels(channel, client)


def listener_made(stale, umask=0o022, abstract=False):
    def scenario():
        with Folder() as path:
            if abstract:
                path = "\0" + path
            if stale:
                leave_stale(path)
            before = os.umask(umask)
            try:
                outcome = yield lambda: fdpass.Listener(path, *([] if abstract else [0o666]))
            finally:
                os.umask(before)
            with closing(outcome.result or fdpass.Listener(path)) as (listener,):
                if outcome.result:
                    assert abstract or os.stat(path).st_mode & 0o777 == 0o666
                check_listener(listener, path)
            assert abstract or not os.path.exists(path)

    return scenario


def listener_on_a_relative_path():
    here = os.open(".", os.O_RDONLY)
    with Folder() as path, closing(here):
        os.chdir(os.path.dirname(path))
        try:
            outcome = yield lambda: fdpass.Listener("s")
        finally:
            os.fchdir(here)
        with closing(outcome.result or fdpass.Listener(path)) as (listener,):
            check_listener(listener, path)
        assert not os.path.exists(path)


def listener_beside_a_live_one():
    with Folder() as path:
        with fdpass.Listener(path) as listener:

            def refused():
                try:
                    fdpass.Listener(path).close()
                except socket.error as error:
                    if error.errno != errno.EADDRINUSE or "a process has" not in str(error):
                        raise
                    return True

            outcome = yield refused
            assert outcome.error is not None or outcome.result
            check_listener(listener, path)


def listener_adopted():
    with Folder() as path:
        with closing(socket.socket(socket.AF_UNIX)) as (sock,):
            sock.bind(path)
            sock.listen(5)
            sock.settimeout(0)
            outcome = yield lambda: fdpass.Listener.from_socket(sock)
            with closing(outcome.result or fdpass.Listener.from_socket(sock)) as (listener,):
                check_listener(listener, path)


def accepting(late):
    def scenario():
        with Folder() as path:
            with fdpass.Listener(path) as listener:
                # Made before the modes are looked at, and connected by a thread.
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                connect = threading.Timer(0.002, sock.connect, [path])
                connect.start()
                if not late:
                    connect.join()
                outcome = yield listener.accept
                connect.join()
                with closing(fdpass.Channel(sock)) as (client,):
                    if outcome.error is None:
                        with closing(outcome.result) as (channel,):
                            check_channels(channel, client)
                    elif waits_still(client):
                        with closing(listener.accept()) as (channel,):
                            with channel.recv() as message:
                                assert message.data == b"are you there"
                            check_channels(channel, client)
                check_listener(listener, path)

    return scenario


def waits_still(client):
    """Whether a client has not been accepted; one that was, and failed, is closed."""
    try:
        client.send(b"are you there")
        return True
    except socket.error as error:
        assert error.errno in (errno.EPIPE, errno.ECONNRESET)
        return False


def connecting(timeout):
    def scenario():
        with Folder() as path:
            with fdpass.Listener(path) as listener:
                outcome = yield lambda: fdpass.Channel.connect(path, timeout)
                client = outcome.result or fdpass.Channel.connect(path, timeout)
                with closing(client, listener.accept()) as (client, channel):
                    if outcome.error is None:
                        check_channels(channel, client)

    return scenario


def listener_close():
    with Folder() as path:
        listener = fdpass.Listener(path)
        yield listener.close
        assert listener.closed
        with fdpass.Listener(path) as another:
            check_listener(another, path)


def scenarios():
    """All of them by name."""
    made_here = {
        "recv_fds, more than asked for": refusing,
        "FileDescriptor": made,
        "Channel.pair": channel_pair,
        "Channel": channel_made,
        "Channel.close": channel_close,
        "Channel.peer": channel_peer,
        "Channel.send": channel_send(b"data", [0, 0], None),
        "Channel.send, without descriptors": channel_send(b"data", [], None),
        "Channel.send, large": channel_send(b"x" * 100000, [0], None),
        "Channel.send, waiting": channel_send(b"x" * 100000, [0], 20, 4096),
        "Channel.recv": channel_recv(b"data", [0, 0], 0),
        "Channel.recv, waiting": channel_recv(b"data", [0, 0], 0.002),
        "Channel.recv, waiting by select": channel_recv_by_select,
        "Channel.recv, large": channel_recv(b"x" * 100000, [0], 0.002),
        "Channel.connect": connecting(None),
        "Channel.connect, with a timeout": connecting(20),
        "Listener": listener_made(False),
        "Listener, stale": listener_made(True),
        "Listener, wide umask": listener_made(False, 0),
        "Listener, relative": listener_on_a_relative_path,
        "Listener, abstract": listener_made(False, abstract=True),
        "Listener, beside another": listener_beside_a_live_one,
        "Listener.from_socket": listener_adopted,
        "Listener.accept": accepting(False),
        "Listener.accept, waiting": accepting(True),
        "Listener.close": listener_close,
    }
    for form in FORMS:
        made_here["peer_credentials, " + form] = credentials(FORMS[form])
        for kind in KINDS:
            for timeout in TIMEOUTS:
                way = (FORMS[form], KINDS[kind], TIMEOUTS[timeout])
                for calls, maker in ((SENDS, sending), (RECEIVES, receiving)):
                    for call in calls:
                        if call != "sendall_fds" or timeout == "blocking":
                            name = ", ".join((call, form, kind, timeout))
                            made_here[name] = maker(*(way + (calls[call],)))
    mac = without_sock_nonblock()
    for timeout in (None, 0):
        for dup in (False, True):
            for default in (None, 5):
                name = "socket_from_fd, %s, dup=%s, default %s" % (timeout, dup, default)
                made_here[name] = adopting(timeout, dup, default)
            # With a default timeout, CPython's constructor closes its descriptor if ioctl fails.
            name = "socket_from_fd, %s, dup=%s, macOS" % (timeout, dup)
            made_here[name] = adopting(timeout, dup, None, mac)
    for call in OWNED:
        made_here["FileDescriptor." + call] = owning(OWNED[call])
    return made_here
