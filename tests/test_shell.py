"""``python -m fdpass send`` and ``recv``, from a shell and in this process."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import six
from conftest import child_environment, closing

import fdpass
from fdpass import Channel, Listener
from fdpass.__main__ import main

SHOW = "import os; print(os.environ['FDPASS_FDS'], os.environ['FDPASS_DATA'], os.read(3, 99))"


@pytest.fixture
def hello(folder):
    with open(os.path.join(folder, "hello"), "wb") as made:
        made.write(b"hello\n")
    return made.name


def started(arguments, stdin=None, program=("-m", "fdpass")):
    return subprocess.Popen(
        [sys.executable] + list(program) + arguments,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(),
        close_fds=True,
    )


def ended(process):
    """(exit status, standard output, standard error) as text."""
    out, err = process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_from_shell_to_shell(path, hello):
    """Two files, the sender's standard input, a payload; and the exit status is the command's."""
    show = 'echo "$FDPASS_FDS $FDPASS_DATA"; cat <&3; cat <&5; test ! -e /dev/fd/9 && exit 7'
    receiver = started(["recv", path, "--listen", "--timeout", "30", "--", "sh", "-c", show])
    with open(hello) as opened:
        words = ["--data", "two words", "@0", "--timeout", "30"]
        sender = started(["send", path, hello, hello] + words, stdin=opened)
        assert ended(sender) == (0, "", "")
    assert ended(receiver) == (7, "3 two words\nhello\nhello\n", "")
    assert not os.path.exists(path)


@pytest.fixture
def listener(path):
    with Listener(path) as made:
        made.settimeout(30)
        yield made


def taken(listener):
    with closing(listener.accept()) as (channel,):
        return channel.recv()


def test_sending_to_a_program(listener, path, hello):
    assert main(["send", path, hello]) == 0
    with taken(listener) as message:
        with message.fds[0].to_file("rb") as opened:
            assert (message.data, opened.read()) == (b"", b"hello\n")


@pytest.mark.parametrize("where", range(3))
def test_files_anywhere_among_the_options(listener, path, hello, where):
    options = [["--data", "x"], ["--timeout=9"], [hello]]
    options.insert(where, [hello])
    assert main(["send", path] + sum(options, [])) == 0
    with taken(listener) as message:
        assert (message.data, len(message.fds)) == (b"x", 2)


def test_writing_and_appending(listener, path, hello, folder):
    with Listener(path + "2") as other:
        assert main(["send", path + "2", "--write", os.devnull]) == 0  # which cannot be emptied
        taken(other).close()
    for option, content in (("--append", b"hello\nmore"), ("--write", b"more")):
        new = hello + option
        assert main(["send", path, option, hello, new]) == 0
        with taken(listener) as message:
            assert os.fstat(message.fds[0].fileno()).st_size == (6 if option == "--append" else 0)
            os.write(message.fds[0].fileno(), b"more")
            os.write(message.fds[1].fileno(), b"more")
        with open(hello, "rb") as opened:
            assert opened.read() == content
        with open(new, "rb") as opened:
            assert opened.read() == b"more"


def test_what_a_new_file_may_be_used_for(listener, path, hello, umask):
    """As with any program: read and written by all whom the umask does not keep out."""
    umask(0o020)
    assert main(["send", path, "--write", hello + "2"]) == 0
    taken(listener).close()
    assert os.stat(hello + "2").st_mode & 0o777 == 0o646


def test_a_file_that_begins_with_a_dash(listener, path, hello, folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.rename(hello, os.path.join(folder, "-x"))
    assert main(["send", path, "--", "-x"]) == 0
    with taken(listener) as message:
        assert len(message.fds) == 1


def test_a_descriptor_by_number(listener, path, pipe):
    assert main(["send", path, "@%d" % pipe[1]]) == 0
    os.fstat(pipe[1])
    with taken(listener) as message:
        os.write(message.fds[0].fileno(), b"x")
    assert os.read(pipe[0], 9) == b"x"


def refused(capsys, status, told, *arguments):
    try:
        got = main(list(arguments))
    except SystemExit as stop:
        got = stop.code
        if not isinstance(got, int):
            sys.stderr.write(got)
            got = 1
    assert got == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "things, status, told",
    [
        (["/nowhere"], 1, "fdpass send: /nowhere: No such file"),
        (["@99999"], 1, "@99999: the shell has no such descriptor open"),
        (["@-1"], 1, "no such descriptor"),
        (["@99999999999999999999"], 1, "no such descriptor"),
        (["@x"], 1, "after @ comes a number"),
        (["--bogus"], 2, "unrecognized arguments: --bogus"),
        (["--timeout", "0"], 2, "invalid seconds value"),
        (["--timeout", "x"], 2, "invalid seconds value"),
        (["--write", "--append"], 2, "not allowed with"),
        ([], 1, "No such file or directory: nobody listens there; with a timeout, connect"),
        (["--timeout", "0.02"], 1, "timed out"),
    ],
)
def test_what_cannot_be_sent(path, hello, capsys, things, status, told):
    refused(capsys, status, told, "send", path, *([hello] + things))


def test_a_payload_that_is_too_large(listener, path, capsys):
    refused(capsys, 1, "max_data", "send", path, "--data", "x" * ((1 << 20) + 1))


def test_nothing_is_emptied_where_there_are_too_many(listener, path, hello, capsys):
    refused(capsys, 2, "at most 253 descriptors, not 254", "send", path, "--write", *[hello] * 254)
    with open(hello, "rb") as opened:
        assert opened.read() == b"hello\n"


def test_a_file_and_a_socket_of_one_name(monkeypatch, folder, capsys):
    monkeypatch.chdir(folder)
    refused(capsys, 1, "fdpass send: a: No such file or directory", "send", "a", "a")


def test_nothing_is_emptied_for_nobody(path, hello, capsys):
    refused(capsys, 1, "nobody listens", "send", path, "--write", hello)
    with open(hello, "rb") as opened:
        assert opened.read() == b"hello\n"


def test_a_number_that_only_a_file_would_get(path, hello, capsys):
    free = os.dup(0)
    os.close(free)
    refused(capsys, 1, "no such descriptor", "send", path, hello, "@%d" % free)


def test_as_many_files_as_a_message_carries(listener, path, hello):
    assert main(["send", path] + [hello] * 253) == 0
    with taken(listener) as message:
        assert len(message.fds) == 253


# These tests may run as root, whom a listener always lets in.
REFUSING = """
import importlib, sys
sys.path.insert(0, %r)
from seam import copy_of_fdpass, fixed_peer
package = copy_of_fdpass(peer_of=fixed_peer(1, 12345, 12345))
sys.exit(importlib.import_module(package.__name__ + ".__main__").main(sys.argv[1:]))
""" % os.path.dirname(os.path.abspath(__file__))


def test_who_is_refused_is_told(path):
    receiver = started(["recv", path, "--listen", "--", "true"], program=("-c", REFUSING))
    with closing(Channel.connect(path, timeout=30)):
        told = receiver.stderr.readline().decode()
    receiver.terminate()
    assert ended(receiver)[:2] == (-signal.SIGTERM, "")
    assert told.startswith("fdpass recv: refused a peer: ")


def test_text_becomes_the_bytes_it_was(listener, path):
    data = b"\xc3\xa4 \xff"
    assert main(["send", path, "--data", os.fsdecode(data) if six.PY3 else data]) == 0
    with taken(listener) as message:
        assert message.data == data


def test_a_standard_stream_that_is_closed(listener, path):
    """What took its place is not what was meant."""
    line = 'exec "$0" -m fdpass send "$1" @0 0<&-'
    sender = subprocess.Popen(
        ["sh", "-c", line, sys.executable, path], stderr=subprocess.PIPE, env=child_environment()
    )
    assert b"no such descriptor" in sender.communicate()[1]
    assert sender.returncode == 1


@contextlib.contextmanager
def running(function):
    """A thread runs the function, and has ended when the block has."""
    thread = threading.Thread(target=function)
    thread.start()
    yield
    thread.join()


def serving(listener, *message):
    """A thread sends the message to the first who connects."""

    def serve():
        with closing(listener.accept()) as (channel,):
            if message:
                channel.send(*message)

    return running(serve)


def test_receiving_from_a_program(listener, path, pipe):
    """The descriptors are in their order, inheritable, and no others but the standard streams."""
    program = (
        "import os, sys; print(sorted(os.listdir('/proc/self/fd'))[:-1]); sys.stdout.flush();"
        "os.write(3, os.environ['FDPASS_DATA'].encode()); os.write(1, os.read(4, 99))"
    )
    with serving(listener, b"data", [pipe[1], pipe[0]]):
        told = ended(started(["recv", path, "--", sys.executable, "-c", program]))
    assert told == (0, "['0', '1', '2', '3', '4']\ndata", "")


def test_many_descriptors_that_overlap(listener, path):
    """Their numbers in between are those of others."""
    with closing(*os.pipe()) as (reader, writer):
        program = (
            "import os\nfor fd in range(3, 103): os.write(fd, b'.')\n"
            "try: os.fstat(104)\nexcept OSError: print('none left')"
        )
        with serving(listener, b"", [writer] * 100):
            assert ended(started(["recv", path, "--", sys.executable, "-c", program]))[0] == 0
        assert os.read(reader, 999) == b"." * 100


def test_the_command_has_the_usual_signals(listener, path):
    """Python ignores SIGPIPE, and what is executed would inherit that."""
    with serving(listener, b""):
        grep = "grep SigIgn /proc/self/status"
        status, out, err = ended(started(["recv", path, "--", "sh", "-c", grep]))
    assert (status, err) == (0, "")
    assert not int(out.split()[1], 16) & (1 << (signal.SIGPIPE - 1))


@pytest.mark.parametrize(
    "message, command, status, told",
    [
        ((b"",), "/nowhere/command", 127, "/nowhere/command: No such file"),
        ((b"",), "no-such-command", 127, "no-such-command: No such file"),
        ((b"",), "/", 126, "/: "),
        ((b"x" * 500000,), "true", 126, "too long"),
    ],
)
def test_what_cannot_be_run(listener, path, message, command, status, told):
    with serving(listener, *message):
        got, out, err = ended(started(["recv", path, "--", command]))
    assert (got, out, err.count("\n")) == (status, "", 1)
    assert err.startswith("fdpass recv: ") and told in err


@pytest.mark.parametrize(
    "arguments, status, told",
    [
        (["--", "true"], 125, "nobody listens there"),
        (["--timeout", "0.02", "--", "true"], 125, "timed out"),
        (["--listen", "--timeout", "0.02", "--", "true"], 125, "timed out"),
        ([], 2, "no COMMAND: give one after --"),
        (["--"], 2, "no COMMAND"),
        (["--", ""], 2, "no COMMAND"),
        (["--", "", "true"], 2, "no COMMAND"),
        (["true"], 2, "unrecognized arguments (COMMAND comes after --): true"),
    ],
)
def test_what_cannot_be_received(path, capsys, arguments, status, told):
    refused(capsys, status, told, "recv", path, *arguments)


def test_what_a_missing_folder_means(capsys):
    path = "/nowhere/socket"
    refused(capsys, 1, "its directory does not exist", "send", path)
    refused(
        capsys,
        125,
        path + ": No such file or directory: its directory",
        "recv",
        path,
        "--",
        "true",
    )
    refused(capsys, 125, path + ": No such file", "recv", path, "--listen", "--", "true")


def test_nothing_that_can_be_handed_on(listener, path, capsys):
    for message, told in (((), "sent no message"), ((b"a\0b", [0]), "zero byte")):
        with serving(listener, *message):
            refused(capsys, 125, told, "recv", path, "--timeout", "30", "--", "true")
    refused(capsys, 125, "too long", "recv", "/tmp/" + "x" * 200, "--", "true")


def test_a_receiver_that_does_not_read(listener, path, capsys):
    """The file of the socket is enough to connect; the buffer takes no more than a part."""
    refused(capsys, 1, "timed out", "send", path, "--timeout", "0.1", "--data", "x" * 1000000)


def test_a_sender_that_keeps_silent(listener, path, capsys):
    """The timeout is for both, connecting and receiving."""
    over = threading.Event()

    def silent():
        with closing(listener.accept()):
            over.wait(30)

    with running(silent):
        refused(capsys, 125, "timed out", "recv", path, "--timeout", "0.1", "--", "true")
        over.set()


def test_a_sender_that_breaks_the_contract(listener, path, capsys):
    def serve():
        with closing(listener.accept()) as (channel,):
            bare = fdpass.socket_from_fd(channel.fileno(), dup=True)
            with closing(bare):
                bare.sendall(b"no header")

    with running(serve):
        refused(capsys, 125, "version", "recv", path, "--", "true")


def test_a_place_that_is_taken(listener, path, capsys):
    refused(capsys, 125, "in use", "recv", path, "--listen", "--", "true")


@pytest.mark.parametrize(
    "number, status, told",
    [(errno.ENOENT, 127, "cmd: gone\n"), (errno.E2BIG, 126, "cmd: gone: the payload has 4 bytes")],
)
def test_becoming_fails_within_this_process(path, capsys, monkeypatch, number, status, told):
    """All of it but exec(3) itself, here where the coverage is seen."""
    executed, placed, got = [], [], []

    def execvpe(name, command, environment):
        executed.append((name, command, environment[b"FDPASS_FDS"], environment[b"FDPASS_DATA"]))
        raise OSError(number, "gone")

    monkeypatch.setattr(os, "execvpe", execvpe)
    monkeypatch.setattr(os, "dup2", lambda fd, target: placed.append((os.fstat(fd)[1], target)))
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    arguments = ["recv", path, "--listen", "--", "cmd", "--", "-x"]
    with closing(*os.pipe()) as pipe, running(lambda: got.append(main(arguments))):
        with closing(Channel.connect(path, 30)) as (channel,):
            channel.send(b"data", pipe)
        inodes = [os.fstat(fd)[1] for fd in pipe]
    assert got == [status]
    assert executed == [("cmd", ["cmd", "--", "-x"], b"2", b"data")]
    assert placed == list(zip(inodes, [3, 4]))
    assert told in capsys.readouterr().err


def test_the_limit_of_descriptors(listener, path, null, capsys, monkeypatch):
    real = fcntl.fcntl

    def at_the_limit(fd, command, *arguments):
        if command == fcntl.F_DUPFD:
            raise IOError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(fd, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", at_the_limit)
    # For this process would be the command, and all tests over, as if they had passed.
    monkeypatch.setattr(os, "execvpe", None)
    with serving(listener, b"", [null]):
        refused(capsys, 125, os.strerror(errno.EMFILE), "recv", path, "--", "true")


def test_ctrl_c(path):
    """It ends by the signal, without a traceback."""
    receiver = started(["recv", path, "--listen", "--", "true"])
    with closing(Channel.connect(path, 30)):
        while os.path.exists(path):  # it is removed when the sender was accepted
            assert receiver.poll() is None
        while receiver.poll() is None:
            # One that comes just before poll(2) is seen by Python after it: so, another.
            receiver.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert ended(receiver) == (-signal.SIGINT, "", "")


def test_ctrl_c_within_this_process(listener, path, monkeypatch):
    done = []
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append((pid, number)))
    monkeypatch.setattr(signal, "signal", lambda number, handler: done.append((number, handler)))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", interrupted)
        main(["send", path, "file"])
    assert done == [(signal.SIGINT, signal.SIG_DFL), (os.getpid(), signal.SIGINT)]


def test_a_number_that_a_closed_stream_had(capsys, monkeypatch):
    real = os.fstat

    def fstat(fd):
        if fd == 0:
            raise OSError(errno.EBADF, "closed")
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(os, "open", lambda path, flags: 0)
    refused(capsys, 1, "@0: the shell has no such descriptor open", "send", "/nowhere", "@0")


def test_no_command(capsys):
    refused(capsys, 2, "a COMMAND comes first" if six.PY3 else "too few", "--")


def test_a_socket_of_another_kind(path, capsys):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as (sock,):
        sock.bind(path)
        refused(capsys, 1, "rotocol", "send", path)
