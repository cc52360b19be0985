"""The examples as their readers run them: real processes, some of which are really killed."""

import contextlib
import errno
import importlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest
from conftest import closing

import fdpass

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLES = os.path.join(CHECKOUT, "examples")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
DEADLINE = 40  # seconds, for what takes one on an idle machine
NOBODY = 65534
http = importlib.import_module("http.client" if sys.version_info[0] > 2 else "httplib")

pytestmark = pytest.mark.skipif(
    not os.path.exists(os.path.join(EXAMPLES, "offload.py")),
    reason="examples/ is in the checkout only, and this is none",
)

try:
    import anyio
except ImportError:
    anyio = None
needs_anyio = pytest.mark.skipif(anyio is None, reason="fdpass.aio needs anyio")


class Running(object):
    """An example and all that it starts: who of them still lives holds the pipe that we read."""

    def __init__(self, *arguments):
        # The fdpass under test comes first, wherever it is.
        paths = [ROOT, os.environ.get("PYTHONPATH")]
        path = os.pathsep.join(filter(None, paths))
        self.output = ""
        self.stopped = []
        more = {"PYTHONPATH": path, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
        with closing(os.open(os.devnull, os.O_RDONLY)) as (null,):
            self.process = subprocess.Popen(
                [sys.executable] + list(arguments),
                stdin=null,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, **more),
                close_fds=True,
            )

    def read_until(self, pattern, times=1):
        """The matches, once there are so many; without a pattern, read until all have ended."""
        deadline = time.time() + DEADLINE
        while pattern is None or len(re.findall(pattern, self.output)) < times:
            pipe = self.process.stdout
            left = max(deadline - time.time(), 0)
            assert readable([pipe], left), "no %r in: %s" % (pattern, self.output)
            chunk = os.read(pipe.fileno(), 65536).decode("ascii")
            if not chunk:
                assert pattern is None, "no %r in: %s" % (pattern, self.output)
                return None
            self.output += chunk
        return re.findall(pattern, self.output)

    @property
    def address(self):
        return "127.0.0.1", int(self.read_until("listening on http://127.0.0.1:([0-9]+)\n")[0])

    def stop(self, pid):
        os.kill(pid, signal.SIGSTOP)
        self.stopped.append(pid)
        until(lambda: state_of(pid) == "T")

    def kill(self, pid):
        """Kill a process that this one started and still has."""
        os.kill(pid, signal.SIGKILL)
        if pid in self.stopped:
            self.stopped.remove(pid)

    def ended(self, number=None):
        """The exit status, when all processes have gone; a signal to end is sent first."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        self.read_until(None)
        assert "Traceback" not in self.output and "Warning" not in self.output, self.output
        return self.process.wait()

    def close(self):
        if self.process.poll() is None:
            for pid in self.stopped:  # before the front has gone: as long as they are its children
                os.kill(pid, signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def readable(things, seconds=DEADLINE):
    """Those that there is something to read from, within so many seconds."""
    deadline = time.time() + seconds
    while True:
        try:
            return select.select(things, [], [], max(deadline - time.time(), 0))[0]
        except select.error as error:
            if error.args[0] != errno.EINTR:  # on Python 2
                raise


def running(name, *arguments):
    return contextlib.closing(Running(os.path.join(EXAMPLES, name), *arguments))


def state_of(pid):
    with open("/proc/%d/stat" % pid) as stat:
        return stat.read().rpartition(") ")[2][0]


def until(condition):
    deadline = time.time() + DEADLINE
    while not condition():
        assert time.time() < deadline, "never came true"
        time.sleep(0.02)


def fetch(address, path, body=None):
    """(status, text) of a whole request."""
    connection = http.HTTPConnection(*address, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("POST" if body else "GET", path, body)
        response = connection.getresponse()
        return response.status, response.read().decode("ascii")


def asking(address, request):
    """A connection on which that much was sent."""
    client = socket.create_connection(address, DEADLINE)
    client.sendall(request)
    return client


def answered(client):
    """The answer that comes, empty if none does; that the other end closes is not waited for."""
    content = b""
    while True:
        head, _, body = content.partition(b"\r\n\r\n")
        length = re.search(b"Content-Length: ([0-9]+)", head)
        if length and len(body) >= int(length.group(1)):
            break
        chunk = client.recv(65536)
        if not chunk:
            assert content == b""
            break
        content += chunk
    return content.decode("ascii")


def descriptors_of(pid, kind=""):
    """What the descriptors of a process refer to."""
    table = "/proc/%d/fd" % pid
    while True:
        try:
            links = [os.readlink(os.path.join(table, name)) for name in os.listdir(table)]
        except OSError:  # one was closed while we looked
            assert os.path.exists(table)
        else:
            return sorted(link for link in links if link.startswith(kind))


@pytest.fixture
def folder():
    """One with a short path, since that of a socket may have some 100 bytes."""
    path = tempfile.mkdtemp(prefix="fdpass-", dir="/tmp")
    yield path
    shutil.rmtree(path)


# The offloading front.


@contextlib.contextmanager
def offloading(workers):
    with running("offload.py", "--workers", str(workers)) as front:
        front.read_until("listening on ")
        yield front


def workers_of(front, times):
    """The pids of all workers that were started, once there were so many."""
    return [int(pid) for pid in front.read_until("worker ([0-9]+) started\n", times)]


def server_of(text):
    return int(re.search("answered by (?:front|worker|server) ([0-9]+)", text).group(1))


def test_the_front_answers_some_and_a_worker_the_others():
    with offloading(2) as front:
        status, text = fetch(front.address, "/")
        assert (status, server_of(text)) == (200, front.process.pid)
        for body in (None, b"x" * 200000):
            status, text = fetch(front.address, "/report/a", body)
            assert status == 200 and server_of(text) in workers_of(front, 2)
        assert fetch(front.address, "/nothing")[0] == 404
        with closing(asking(front.address, b"what is this?\r\n\r\n")) as (client,):
            assert answered(client).startswith("HTTP/1.1 400 ")
        assert front.ended(signal.SIGTERM) == 0


def test_whoever_is_ready_takes_the_next():
    with offloading(2) as front:
        stopped, other = workers_of(front, 2)
        front.stop(stopped)
        request, taken, clients = b"GET /report/x HTTP/1.1\r\n\r\n", [], []
        try:
            while str(stopped) not in taken:  # it gets one at last
                clients.append(asking(front.address, request))
                taken = front.read_until(" sent to worker ([0-9]+)\n", len(clients))
                if taken[-1] == str(other):
                    assert server_of(answered(clients[-1])) == other
            for _ in range(5):
                assert server_of(fetch(front.address, "/report/y")[1]) == other
            os.kill(stopped, signal.SIGCONT)
            assert server_of(answered(clients[-1])) == stopped
        finally:
            for client in clients:
                client.close()
        assert front.ended(signal.SIGTERM) == 0


def test_an_idle_worker_that_is_killed_is_replaced():
    with offloading(2) as front:
        first, second = workers_of(front, 2)
        front.kill(first)
        third = workers_of(front, 3)[2]
        front.kill(second)
        fourth = workers_of(front, 4)[3]
        for _ in range(4):
            status, text = fetch(front.address, "/report/x")
            assert status == 200 and server_of(text) in (third, fourth)
        assert front.ended(signal.SIGTERM) == 0


def test_a_connection_that_comes_as_the_worker_dies_is_answered():
    with offloading(1) as front:
        for round in range(1, 6):
            worker = workers_of(front, round)[-1]
            with closing(asking(front.address, b"GET /report/x HTTP/1.1\r\n")) as (client,):
                front.kill(worker)
                client.sendall(b"\r\n")
                assert server_of(answered(client)) == workers_of(front, round + 1)[round]
        assert front.ended(signal.SIGTERM) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_a_worker_that_is_killed_loses_no_connection_that_it_has_not_read(workers):
    with offloading(workers) as front:
        old = workers_of(front, workers)
        for pid in old:
            front.stop(pid)
        requests = [("GET /report/%d HTTP/1.1\r\n\r\n" % n).encode("ascii") for n in range(8)]
        with closing(*[asking(front.address, request) for request in requests]) as clients:
            front.read_until("/report/. is for a worker\n", len(clients))
            # Each is in a worker's buffer now, or waits for a worker to take the one before.
            front.read_until("/report/. sent to worker", workers)
            assert not readable(clients, 0)
            for pid in old:
                front.kill(pid)
            answers = [answered(client) for client in clients]
        for number, text in enumerate(answers):
            assert "/report/%d answered by" % number in text
        assert {server_of(text) for text in answers} <= set(
            workers_of(front, 2 * workers)[workers:]
        )
        assert front.ended(signal.SIGTERM) == 0


def patched(change):
    """The front with something in it changed."""
    program = "import sys; sys.path.insert(0, %r); import offload; %s; offload.main(sys.argv[1:])"
    return contextlib.closing(Running("-c", program % (EXAMPLES, change), "--workers", "1"))


def test_where_no_worker_comes_up_the_client_is_told():
    with patched("offload.sys.executable = '/bin/false'") as front:
        assert fetch(front.address, "/report/x")[0] == 503
        assert fetch(front.address, "/")[0] == 200
        assert front.ended(signal.SIGTERM) == 0


def test_where_no_worker_can_be_started_the_client_is_told():
    with patched("offload.sys.executable = '/nowhere'; offload.PATIENCE = 0.5") as front:
        assert fetch(front.address, "/report/x")[0] == 503
        assert front.ended(signal.SIGTERM) == 0


def test_where_no_worker_can_be_started_yet_the_client_waits():
    """The clients of the moment have taken all descriptors that the front may have."""
    with patched(
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))"
    ) as front:
        (worker,) = workers_of(front, 1)
        with closing(asking(front.address, b"GET /report/x HTTP/1.1\r\n")) as (client,):
            with closing(*[asking(front.address, b"") for _ in range(305)]):
                until(lambda: len(descriptors_of(front.process.pid)) == 300)
                front.kill(worker)
                front.read_until("no worker: ")
                client.sendall(b"\r\n")
                front.read_until("/report/x is for a worker")
            assert server_of(answered(client)) == workers_of(front, 2)[1]
        assert front.ended(signal.SIGTERM) == 0


def test_clients_that_say_nothing_keep_nobody_waiting():
    with offloading(1) as front:
        starts = [b"", b"GET /rep", b"GET /report/x HTTP/1.1\r\nHost:"] * 5
        with closing(*[asking(front.address, start) for start in starts]):
            assert fetch(front.address, "/report/y")[0] == 200
            assert front.ended(signal.SIGTERM) == 0


def test_each_process_holds_what_it_has_to_and_gives_it_back():
    with offloading(1) as front:
        (worker,) = workers_of(front, 1)
        fetch(front.address, "/report/x")  # from here on both are as they stay
        pids = front.process.pid, worker

        def tables():
            return [descriptors_of(pid, "socket:") for pid in pids]

        # The front has its listener and its channel, the worker its channel, twice.
        until(lambda: [len(table) for table in tables()] == [2, 2])
        before = tables()
        assert not set(before[0]) & set(before[1])
        for path in ("/", "/report/x", "/nothing"):
            fetch(front.address, path)
        until(lambda: tables() == before)
        assert front.ended(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_front_and_its_workers(number):
    with offloading(3) as front:
        assert fetch(front.address, "/report/x")[0] == 200
        pids = workers_of(front, 3)
        assert front.ended(number) == 0
        assert not [pid for pid in pids if os.path.exists("/proc/%d" % pid)]


def test_a_worker_that_does_not_end_is_killed():
    with patched("offload.GRACE = 0.1") as front:
        (worker,) = workers_of(front, 1)
        front.stop(worker)
        with closing(asking(front.address, b"GET /report/x HTTP/1.1\r\n\r\n")) as (client,):
            front.read_until("sent to worker")
            assert front.ended(signal.SIGTERM) == 0
            assert answered(client).startswith("HTTP/1.1 503 ")


def test_a_killed_front_leaves_no_worker():
    with offloading(2) as front:
        assert fetch(front.address, "/report/x")[0] == 200
        assert front.ended(signal.SIGKILL) == -signal.SIGKILL


# The helper for low ports.


LOW_PORTS = os.path.join(EXAMPLES, "low_ports.py")


@contextlib.contextmanager
def helping(folder, *options):
    """The helper and the path of its socket."""
    path = os.path.join(folder, "s")
    with running("low_ports.py", "serve", path, *options) as helper:
        helper.read_until("listening at ")
        yield helper, path
        assert helper.ended(signal.SIGTERM) == 0
        assert os.listdir(folder) == []


@pytest.fixture
def low_ports(monkeypatch):
    """The example as a module."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [EXAMPLES] + sys.path)
    return importlib.import_module("low_ports")


@pytest.fixture
def taken_port():
    with closing(socket.socket()) as (sock,):
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
        yield sock.getsockname()[1]


def refused(low_ports, path, port):
    with pytest.raises(low_ports.Refused) as caught:
        low_ports.ask(path, port, DEADLINE)
    return str(caught.value)


def test_the_helper_gives_a_socket_that_listens(folder, low_ports):
    with helping(folder, "--allow-port", "0") as (helper, path):
        with closing(low_ports.ask(path, 0, DEADLINE)) as (listener,):
            with closing(asking(listener.getsockname(), b"hello")) as (client,):
                connection, _ = listener.accept()
                with closing(connection):
                    assert connection.recv(5) == b"hello"
            # The helper closes its own copy, soon after we have ours.
            ours = os.readlink("/proc/self/fd/%d" % listener.fileno())
            until(lambda: ours not in descriptors_of(helper.process.pid))


def test_a_command_gets_it_as_its_first_descriptor(folder):
    with helping(folder, "--allow-port", "0") as (helper, path):
        hello = [sys.executable, LOW_PORTS, "hello"]
        with running("low_ports.py", "get", path, "0", "--", *hello) as command:
            status, text = fetch(command.address, "/")
            assert (status, text) == (200, "hello from uid %d\n" % os.getuid())
            assert command.ended() == 0


def test_a_command_sees_where_its_descriptors_begin(folder):
    with helping(folder, "--allow-port", "0") as (helper, path):
        program = (
            "import os; e = os.environ; print(e['LISTEN_PID'] == str(os.getpid()),"
            " e['LISTEN_FDS'], os.readlink('/proc/self/fd/3')[:7])"
        )
        command = [sys.executable, "-c", "from __future__ import print_function; " + program]
        with running("low_ports.py", "get", path, "0", "--", *command) as told:
            assert told.ended() == 0
            assert told.output == "True 1 socket:\n"


def test_what_cannot_be_had_is_said(folder, low_ports, taken_port):
    with helping(folder, "--allow-port", str(taken_port)) as (helper, path):
        assert refused(low_ports, path, taken_port + 1).endswith("is not allowed")
        in_use = "port %d: Address already in use" % taken_port
        assert refused(low_ports, path, taken_port) == in_use
        with running("low_ports.py", "get", path, str(taken_port), "--", "true") as command:
            assert command.ended() == 1
            assert command.output == "low_ports get: %s\n" % in_use


def test_without_ports_none_is_allowed(folder, low_ports):
    with helping(folder) as (helper, path):
        assert refused(low_ports, path, 0) == "port 0 is not allowed"


@pytest.mark.parametrize(
    "request_text",
    [b"", b"80", b"tcp", b"tcp 0\n", b"tcp -1", b"tcp 0 0", b"udp 0", b"tcp 123456", b"\xff\0"],
)
def test_a_malformed_request_is_refused(folder, request_text):
    with helping(folder, "--allow-port", "0") as (helper, path):
        with fdpass.Channel.connect(path, DEADLINE) as channel:
            channel.settimeout(DEADLINE)
            channel.send(request_text)
            answer = channel.recv()
            assert (answer.data[:18], answer.fds) == (b"that is no request", [])


def test_descriptors_that_nobody_asked_for_are_closed(folder, low_ports, pipe):
    with helping(folder, "--allow-port", "0") as (helper, path):
        for count in (1, 2):  # more than one breaks the channel
            with fdpass.Channel.connect(path, DEADLINE) as channel:
                channel.settimeout(DEADLINE)
                channel.send(b"tcp 1", [pipe[1]] * count)
                try:
                    assert channel.recv().data == b"port 1 is not allowed"
                except (EnvironmentError, EOFError):
                    assert count == 2
        low_ports.ask(path, 0, DEADLINE).close()  # both were dealt with
        mine = os.readlink("/proc/self/fd/%d" % pipe[1])
        assert mine not in descriptors_of(helper.process.pid)


def test_hostile_clients_do_not_stop_the_others_for_ever(folder, low_ports):
    begun = [
        b"",  # says nothing
        struct.pack("!IHBB", 6, 0, 1, 0) + b"tcp",  # stops within a message
        b"GET / HTTP/1.1",  # is no message
        struct.pack("!IHBB", 1 << 31, 0, 1, 0),  # announces a long one
    ]
    with helping(folder, "--allow-port", "0") as (helper, path):
        with closing(*[socket.socket(socket.AF_UNIX) for _ in begun]) as clients:
            for client, data in zip(clients, begun):
                client.connect(path)
                client.sendall(data)
            low_ports.ask(path, 0, DEADLINE).close()
        helper.read_until("a client is given up: ", len(begun))


def test_a_user_who_is_not_named_is_refused(folder, low_ports):
    with helping(folder, "--allow-port", "0", "--uid", str(os.getuid() + 1)) as (helper, path):
        assert "hung up" in refused(low_ports, path, 0)
        helper.read_until("refused a peer: Credentials.*uid=%d," % os.getuid())
    with helping(folder, "--allow-port", "0", "--uid", "7", "--uid", str(os.getuid())) as (_, path):
        low_ports.ask(path, 0, DEADLINE).close()


# What it imports, it imports as root: an unprivileged user may not be able to read it.
AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
import low_ports
os.setgroups([])
os.setresgid(%(nobody)d, %(nobody)d, %(nobody)d)
os.setresuid(%(nobody)d, %(nobody)d, %(nobody)d)
for port in map(int, sys.argv[3:]):
    try:
        listener = low_ports.ask(sys.argv[2], port)
        break
    except low_ports.Refused as reason:
        if "in use" not in str(reason):
            raise
low_ports.hello(listener)
listener.close()
""" % {"nobody": NOBODY}


def test_an_unprivileged_user_listens_on_a_low_port(other_user, folder):
    os.chmod(folder, 0o711)
    ports = [str(port) for port in range(1000, 1020)]  # one of them is free
    options = ["--uid", str(NOBODY)]
    for port in ports:
        options += ["--allow-port", port]
    with helping(folder, *options) as (helper, path):
        program = Running("-c", AS_NOBODY, EXAMPLES, path, *ports)
        with contextlib.closing(program) as client:
            assert 1000 <= client.address[1] < 1020
            assert fetch(client.address, "/") == (200, "hello from uid %d\n" % NOBODY)
            assert client.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_helper(folder, number):
    with running("low_ports.py", "serve", os.path.join(folder, "s")) as helper:
        helper.read_until("listening at ")
        assert os.listdir(folder) == ["s"]
        assert helper.ended(number) == 0
        assert os.listdir(folder) == []


# The asyncio server.


@contextlib.contextmanager
def async_server(folder):
    """The server and the path of its socket."""
    path = os.path.join(folder, "s")
    with running("async_http.py", "serve", path) as server:
        server.read_until("listening at ")
        yield server, path
        assert server.ended(signal.SIGTERM) == 0
        assert os.listdir(folder) == []


@contextlib.contextmanager
def front_to(path):
    with fdpass.Channel.connect(path, DEADLINE) as channel:
        channel.settimeout(DEADLINE)
        yield channel


@pytest.fixture
def listener():
    with closing(socket.socket()) as (listener,):
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener


def handed_over(channel, listener, read):
    """The client's end of a connection whose other end, with what was read, the channel took."""
    client = socket.create_connection(listener.getsockname(), DEADLINE)
    served, _ = listener.accept()
    with closing(served):
        channel.send(read, [served])
    return client


def request_for(path):
    return ("GET %s HTTP/1.1\r\n\r\n" % path).encode("ascii")


def is_served(channel, listener, server):
    with closing(handed_over(channel, listener, request_for("/a"))) as (client,):
        return server_of(answered(client)) == server.process.pid


@needs_anyio
@pytest.mark.parametrize("cut", [0, 1, 10, len(request_for("/x"))])
def test_it_serves_a_connection_with_what_was_read_already(folder, listener, cut):
    with async_server(folder) as (server, path), front_to(path) as channel:
        whole = request_for("/x")
        with closing(handed_over(channel, listener, whole[:cut])) as (client,):
            client.sendall(whole[cut:])
            assert "/x answered by server %d" % server.process.pid in answered(client)


@needs_anyio
def test_it_serves_many_at_once_of_several_fronts(folder, listener):
    with async_server(folder) as (server, path), front_to(path) as one, front_to(path) as two:
        fronts = [one, two] * 10
        begun = [
            handed_over(front, listener, ("GET /%d HT" % n).encode())
            for n, front in enumerate(fronts)
        ]
        with closing(*begun):
            # All those wait; this one comes after them, and does not.
            assert is_served(one, listener, server)
            for number, client in reversed(list(enumerate(begun))):
                client.sendall(b"TP/1.1\r\n\r\n")
                assert "/%d answered by" % number in answered(client)


@needs_anyio
def test_a_front_that_sends_nonsense_is_given_up_alone(folder, listener):
    with async_server(folder) as (server, path), front_to(path) as good:
        with closing(socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)) as bad:
            for client, data in zip(bad, (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\5")):
                client.connect(path)
                client.sendall(data)
            server.read_until("a front is given up: ")
            assert is_served(good, listener, server)
        server.read_until("a front is given up: ", 2)
        assert is_served(good, listener, server)


@needs_anyio
def test_messages_that_carry_no_connection_do_no_harm(folder, listener, pipe):
    with async_server(folder) as (server, path), front_to(path) as channel:
        udp, bare = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        with closing(udp, bare, *socket.socketpair()) as sockets:
            channel.send(b"none")
            for number, thing in enumerate((pipe[0],) + sockets[:3]):
                channel.send(request_for("/x"), [thing])
                server.read_until("a connection is given up: ", number + 2)
        assert is_served(channel, listener, server)
        with front_to(path) as other:
            other.send(b"two", [pipe[0], pipe[1]])
            server.read_until("a front is given up: ")
        assert is_served(channel, listener, server)


@needs_anyio
def test_clients_that_go_away_do_no_harm(folder, listener):
    with async_server(folder) as (server, path), front_to(path) as channel:
        for read in (b"", b"GET", request_for("/x")):
            for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # the second resets
                client = socket.create_connection(listener.getsockname(), DEADLINE)
                served, _ = listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()
                with closing(served):
                    channel.send(read, [served])
        assert is_served(channel, listener, server)


@needs_anyio
def test_its_front_hands_over_what_it_accepts(folder):
    with async_server(folder) as (server, path):
        with running("async_http.py", "front", path) as front:
            idle = [asking(front.address, begun) for begun in (b"", b"GET / HT") * 5]
            with closing(*idle):
                for body in (None, b"x" * 200000):
                    status, text = fetch(front.address, "/b", body)
                    assert (status, server_of(text)) == (200, server.process.pid)
                idle[1].sendall(b"TP/1.1\r\n\r\n")
                assert "/ answered by server" in answered(idle[1])
                assert front.ended(signal.SIGTERM) == 0


@needs_anyio
def test_its_front_finds_a_server_that_was_started_anew(folder):
    with async_server(folder) as (server, path):
        front = Running(os.path.join(EXAMPLES, "async_http.py"), "front", path)
        with closing(front):
            assert server_of(fetch(front.address, "/x")[1]) == server.process.pid
            assert server.ended(signal.SIGTERM) == 0
            with running("async_http.py", "serve", path) as another:
                another.read_until("listening at ")
                assert server_of(fetch(front.address, "/x")[1]) == another.process.pid
                assert another.ended(signal.SIGTERM) == 0
            assert front.ended(signal.SIGINT) == 0


@needs_anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_with_connections_under_way(folder, listener, number):
    path = os.path.join(folder, "s")
    with running("async_http.py", "serve", path) as server:
        server.read_until("listening at ")
        with front_to(path) as channel:
            assert is_served(channel, listener, server)
            with closing(handed_over(channel, listener, b"GET ")) as (client,):
                assert is_served(channel, listener, server)
                assert server.ended(number) == 0
                assert answered(client) == ""
        assert os.listdir(folder) == []
