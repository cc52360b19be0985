"""``python -m fdpass doctor``, and what the command does without a sub-command."""

import errno
import importlib
import json
import os
import platform
import resource
import runpy
import socket
import subprocess
import sys

import pytest
from conftest import closing, lowered, open_descriptors
from seam import copy_of_fdpass

import fdpass
from fdpass import _system
from fdpass.__main__ import main

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
KEYS = {
    "atomic_close_on_exec",
    "backend",
    "executable",
    "fdpass",
    "location",
    "max_fds",
    "open_descriptors",
    "passed",
    "platform",
    "python",
    "rlimit_nofile_hard",
    "rlimit_nofile_soft",
    "self_test",
    "so_domain",
    "so_protocol",
}


def examined(capsys, status=0):
    """The report, and the outcome of each part of the self-test."""
    assert main(["doctor", "--json"]) == status
    out = capsys.readouterr()[0]
    assert out.count("\n") == 1
    report = json.loads(out)
    assert out == json.dumps(report, sort_keys=True) + "\n"
    return report, {part["name"]: part["outcome"] for part in report["self_test"]}


def test_as_a_program_reads_it(capsys):
    report, outcomes = examined(capsys)
    assert set(report) == KEYS
    assert report["passed"] is True and set(outcomes.values()) == {"passed"} and len(outcomes) == 5
    assert report["max_fds"] == 253 and report["fdpass"] == fdpass.__version__
    assert report["location"] == os.path.dirname(os.path.abspath(fdpass.__file__))
    assert report["backend"] == _system.BACKEND
    assert report["so_domain"] is (fdpass.SO_DOMAIN is not None)
    assert report["so_protocol"] is (fdpass.SO_PROTOCOL is not None)
    system, _, release, _, machine = os.uname()
    assert report["platform"] == "%s %s %s" % (system, release, machine)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert (report["rlimit_nofile_soft"], report["rlimit_nofile_hard"]) == limits


def test_as_a_human_reads_it(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr()[0].splitlines()
    assert len(lines) == len(KEYS) - 2 + 5 + 1
    assert lines[0].endswith(platform.python_version()) and lines[-1] == "self-test passed"
    assert [line.split()[-1] for line in lines if "SO_DOMAIN" in line] == ["yes"]


def test_it_counts_the_open_descriptors(monkeypatch, capsys, pipe):
    before = len(open_descriptors())
    assert examined(capsys)[0]["open_descriptors"] == before
    missing, real = [], os.listdir

    def listdir(path):
        if path in missing:
            raise OSError(errno.ENOENT, path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    for folder, count in (("/proc/self/fd", before + 1), ("/dev/fd", None)):
        missing.append(folder)
        with closing(socket.socket()):
            assert examined(capsys)[0]["open_descriptors"] == count


def test_without_a_limit(monkeypatch, capsys):
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: unlimited)
    assert examined(capsys)[0]["rlimit_nofile_soft"] is None


def test_with_room_for_few_it_says_what_it_cannot_try(capsys):
    with lowered(20):
        outcomes = examined(capsys)[1]
    assert outcomes.pop("MAX_FDS descriptors at once") == "skipped"
    assert set(outcomes.values()) == {"passed"}


def test_one_descriptor_is_one(capsys):
    """A pair of sockets, a pipe and what arrives."""
    with lowered(5):
        outcomes = examined(capsys)[1]
    one = [outcome for name, outcome in outcomes.items() if name.startswith("one descriptor")]
    assert one == ["passed"] * 3


@pytest.mark.parametrize("room", [0, 1, 2, 3, 4])
def test_with_room_for_none_nothing_has_passed(capsys, room):
    with lowered(room):
        report, outcomes = examined(capsys, 1)
        assert main(["doctor"]) == 1
    assert not report["passed"]
    assert {value for name, value in outcomes.items() if "desc" in name} == {"skipped"}
    out = capsys.readouterr()[0]
    assert "skipped: the limit on open descriptors is too small" in out
    assert out.endswith("\nself-test did not pass\n")


def with_pairs(monkeypatch, change):
    """Put what change(pair, kind) returns, or the pair, in place of each pair of sockets."""
    real = socket.socketpair

    def socketpair(family=socket.AF_UNIX, kind=socket.SOCK_STREAM):
        pair = real(family, kind)
        try:
            return change(pair, kind) or pair
        except socket.error:
            for end in pair:
                end.close()
            raise

    monkeypatch.setattr(socket, "socketpair", socketpair)


@pytest.mark.parametrize(
    "number, outcome, detail",
    [
        (errno.EPROTONOSUPPORT, "skipped", "this system has no such thing: "),
        (errno.EPERM, "failed", "[Errno %d] " % errno.EPERM),
    ],
)
def test_an_error_of_the_system(monkeypatch, capsys, number, outcome, detail):
    def change(pair, kind):
        if kind == socket.SOCK_SEQPACKET:
            raise socket.error(number, os.strerror(number))

    with_pairs(monkeypatch, change)
    report = examined(capsys, 1 if outcome == "failed" else 0)[0]
    part = report["self_test"][2]
    assert part["outcome"] == outcome and part["detail"].startswith(detail)


@pytest.mark.parametrize(
    "data, count, detail",
    [
        (b"other", 0, "the data came as"),
        (b"fdpass", 0, "0 of 1 came"),
        (b"fdpass", 1, "is not the pipe that was sent"),
    ],
)
def test_what_arrives_wrong_is_reported(monkeypatch, capsys, pipe, data, count, detail):
    """Another datagram is there first."""
    os.write(pipe[1], b"?" * 9)

    def change(pair, kind):
        if kind == socket.SOCK_DGRAM:
            fdpass.send_fds(pair[0], data, [pipe[0]] * count)

    with_pairs(monkeypatch, change)
    part = examined(capsys, 1)[0]["self_test"][1]
    assert part["outcome"] == "failed" and part["detail"].startswith("TrialFailure: ")
    assert detail in part["detail"]
    assert main(["doctor"]) == 1
    assert capsys.readouterr()[0].endswith("\nself-test did not pass\n")


def test_what_does_not_arrive_is_not_waited_for_without_end(monkeypatch, capsys):
    """The other end is of another pair; this takes the whole time limit, of five seconds."""
    spare = []

    def change(pair, kind):
        if kind == socket.SOCK_DGRAM:
            if spare:  # the pair that the next line makes
                return None
            spare.append(pair[1])
            other, theirs = socket.socketpair(socket.AF_UNIX, kind)
            spare.append(other)
            return pair[0], theirs

    with_pairs(monkeypatch, change)
    report = examined(capsys, 1)[0]
    with closing(*spare):
        assert "timed out" in report["self_test"][1]["detail"]


def test_descriptors_that_are_not_close_on_exec_are_reported(capsys):
    package = copy_of_fdpass(is_inheritable=lambda fd: True)
    doctor = importlib.import_module(package.__name__ + "._command.doctor")

    class Options(object):
        json = True

    assert doctor.run(Options) == 1
    assert "1 of 1 are not close-on-exec" in capsys.readouterr()[0]


@pytest.mark.rule(25)
@pytest.mark.parametrize(
    "most, number, outcome, detail",
    [
        (253, errno.ENOMEM, "passed", "253 in one message"),
        (252, errno.ENOMEM, "passed", "252 in one message"),
        (251, errno.ENOMEM, "failed", "[Errno %d] " % errno.ENOMEM),
        (252, errno.EIO, "failed", "[Errno %d] " % errno.EIO),
    ],
)
def test_how_many_go_into_one_message(capsys, most, number, outcome, detail):
    """musl before 1.2.5 raises ENOMEM for more than 252."""

    def send_rights(sock, buffers, fds, *others):
        if len(fds) > most:
            raise socket.error(number, os.strerror(number))
        return _system.send_rights(sock, buffers, fds, *others)

    package = copy_of_fdpass(send_rights=send_rights, MSG_NOSIGNAL=0)
    doctor = importlib.import_module(package.__name__ + "._command.doctor")
    told = doctor.run_trial(doctor.pass_max_fds)
    assert told[0] == outcome and told[1].startswith(detail)


@pytest.mark.parametrize("name, told", [("getpid", "pid is "), ("geteuid", "uid is ")])
def test_another_peer_than_ourselves_is_reported(monkeypatch, capsys, name, told):
    monkeypatch.setattr(os, name, lambda: 12345)
    part = examined(capsys, 1)[0]["self_test"][-1]
    assert part["outcome"] == "failed" and told in part["detail"]


# The command.


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["demo"]])
def test_whoever_reads_its_output_goes(arguments):
    readable, writable = os.pipe()
    os.close(readable)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "fdpass"] + arguments,
            stdout=writable,
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
    finally:
        os.close(writable)
    assert process.communicate()[1] == b""
    assert process.returncode == 1


def test_without_a_command_it_helps(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fdpass"])
    monkeypatch.delitem(sys.modules, "fdpass.__main__", raising=False)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("fdpass", run_name="__main__")
    out = capsys.readouterr()[0]
    assert caught.value.code == 2 and out.startswith("usage: python -m fdpass ")
    assert "demo" in out and "doctor" in out


@pytest.mark.parametrize(
    "line", ["--nothing doctor", "nothing", "demo nothing", "doctor -- nothing"]
)
def test_arguments_that_are_none(capsys, line):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    assert caught.value.code == 2 and "nothing" in capsys.readouterr()[1]


def test_the_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert not caught.value.code
    assert "fdpass %s\n" % fdpass.__version__ in capsys.readouterr()  # 2.7 writes to stderr


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
@pytest.mark.parametrize("command", ["doctor", "demo"])
def test_without_its_standard_streams(command, closed):
    redirections = " ".join("%s>&-" % number for number in closed.split())
    line = 'exec "$0" -m fdpass %s %s' % (command, redirections)
    status = subprocess.call(
        ["/bin/sh", "-c", line, sys.executable], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert status == 0


@pytest.mark.parametrize("name, expected", [("stdout", (1, "w")), ("stderr", (2, "w"))])
def test_a_closed_stream_that_is_none_on_python_3(monkeypatch, name, expected):
    opened, real = [], os.fdopen

    def fdopen(number, mode):
        opened.append((number, mode))
        return real(os.dup(number), mode)

    with monkeypatch.context() as patch:
        patch.setattr(sys, name, None)
        patch.setattr(os, "fdopen", fdopen)
        assert main(["doctor"]) == 0
        getattr(sys, name).close()
    assert opened == [expected]


def test_an_output_that_cannot_be_written(monkeypatch, null):
    reader, writer = os.pipe()
    os.close(reader)
    with closing(os.fdopen(writer, "w"), open("/dev/full", "w")) as (broken, full):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", broken)
            assert main(["doctor"]) == 1
            # What the interpreter flushes at its end goes nowhere.
            assert os.path.sameopenfile(writer, null)
            patch.setattr(sys, "stdout", full)
            with pytest.raises(IOError):
                main(["doctor"])
        os.dup2(null, full.fileno())
