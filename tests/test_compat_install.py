"""install() and the command: programs that were written for the originals."""

import os
import runpy
import shutil
import subprocess
import sys

import pytest

import fdpass
from fdpass import compat
from fdpass.compat.__main__ import main

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(fdpass.__file__)))
NAMES = ["fdsend", "passfd", "sendmsg", "socketfromfd"]


@pytest.fixture
def modules(monkeypatch):
    """sys.modules with none of the originals in it, put back afterwards."""
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    return sys.modules


def test_all_four(modules):
    compat.install()
    for name in NAMES:
        assert modules[name].__name__ == "fdpass.compat." + name
    compat.install()
    import passfd

    assert passfd is compat.passfd


def test_some(modules):
    compat.install("passfd", "sendmsg")
    assert "passfd" in modules
    assert "sendmsg" in modules
    assert "fdsend" not in modules
    assert "socketfromfd" not in modules


def test_a_name_that_is_none(modules):
    with pytest.raises(ValueError, match="no drop-in is called 'pasfd'.*passfd"):
        compat.install("fdsend", "pasfd")
    assert not set(NAMES) & set(modules)


def test_another_module_of_that_name(modules, monkeypatch):
    monkeypatch.setitem(modules, "sendmsg", os)
    with pytest.raises(ImportError, match="another module sendmsg"):
        compat.install()
    assert set(NAMES) & set(modules) == {"sendmsg"}
    assert modules["sendmsg"] is os
    compat.install("passfd")


PROGRAM = b"""# -*- coding: latin-1 -*-
from __future__ import print_function
import atexit, os, pickle, socket, sys, threading, time
import neighbour
from passfd import sendfd, recvfd

class Thing(object):
    word = "caf\xe9"

def late():
    time.sleep(0.2)
    left, right = socket.socketpair()
    sendfd(left, 0)
    fd, message = recvfd(right)
    os.close(fd)
    left.close()
    right.close()
    print("late", message.decode())

if __name__ == "__main__":
    assert isinstance(pickle.loads(pickle.dumps(Thing())), Thing)
    atexit.register(lambda: print("end", os.path.basename(__file__)))
    threading.Thread(target=late).start()
    print(sys.argv[1:], neighbour.value, recvfd.__module__)
    if sys.argv[1:]:
        sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def program(tmpdir):
    tmpdir.join("program.py").write(PROGRAM, mode="wb")
    tmpdir.join("neighbour.py").write("value = 5\n")
    return str(tmpdir.join("program.py"))


def run(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "fdpass.compat"] + list(arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    told, complained = process.communicate()
    return told.decode().split("\n"), complained.decode(), process.returncode


@pytest.mark.parametrize("safe", [False, True])
def test_a_program_in_this_process(modules, program, monkeypatch, capsys, safe):
    """What the command does, step by step."""
    monkeypatch.setattr(sys, "argv", ["-m", "passfd"])
    before = sys.path
    monkeypatch.setattr(sys, "path", ["first"] + before)
    monkeypatch.setitem(modules, "__main__", modules["__main__"])

    class Flags(object):
        real = sys.flags
        safe_path = safe

        def __getattr__(self, name):
            return getattr(self.real, name)

    monkeypatch.setattr(sys, "flags", Flags())
    path = os.path.join(os.path.dirname(program), "small.py")
    with open(path, "w") as target:
        target.write("import sys, passfd\nprint(passfd.__name__ + sys.argv[1] + __name__)\n")
    main(["passfd", "--", path, "-x"])
    assert capsys.readouterr()[0] == "fdpass.compat.passfd-x__main__\n"
    assert sys.argv == [path, "-x"]
    first = "first" if safe else os.path.realpath(os.path.dirname(path))
    assert sys.path == [first] + before
    with pytest.raises(SystemExit):
        main(["passfd", "--", path + "x"])
    folder = os.path.join(os.path.dirname(program), "folder")
    os.mkdir(folder)
    os.rename(path, os.path.join(folder, "__main__.py"))
    packed = shutil.make_archive(folder, "zip", folder)
    for whole in (packed, folder):
        sys.path[:] = ["first"] + before
        main(["passfd", "--", whole, "-y"])
        assert capsys.readouterr()[0] == "fdpass.compat.passfd-y__main__\n"
        # As Python does it: in the place of the command's, and with -P beside all others.
        assert sys.path == [whole] + ["first"] * safe + before
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.delitem(modules, "fdpass.compat.__main__")
    with pytest.raises(SystemExit):
        runpy.run_module("fdpass.compat", run_name="__main__")


def test_an_unmodified_program(program):
    told, complained, status = run("passfd", "--", program, "3")
    assert complained == ""
    assert told == ["['3'] 5 fdpass.compat.passfd", "late NONE", "end program.py", ""]
    assert status == 3
    assert run("--", program)[2] == 0


RELATIVE = """
import os, sys
os.chdir("/")
print(os.path.isabs(__file__) and open(__file__).readline() or "relative")
print(sys.argv[0])
__builtins__.something = 5
print(something)
"""


def test_a_relative_name(tmpdir):
    tmpdir.join("relative.py").write(RELATIVE)
    environment = dict(os.environ, PYTHONPATH=ROOT)
    told = [
        subprocess.check_output(command + ["relative.py"], cwd=str(tmpdir), env=environment)
        for command in ([sys.executable], [sys.executable, "-m", "fdpass.compat", "--"])
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_and_a_zip_file(program, zipped):
    """With threads and pickles that outlive the main program's end."""
    path = os.path.join(os.path.dirname(program), "folder")
    os.mkdir(path)
    os.rename(program, os.path.join(path, "__main__.py"))
    os.rename(
        os.path.join(os.path.dirname(program), "neighbour.py"), os.path.join(path, "neighbour.py")
    )
    if zipped:
        path = shutil.make_archive(path, "zip", path)
    told, complained, status = run("passfd", "--", path, "3")
    assert complained == ""
    assert told == ["['3'] 5 fdpass.compat.passfd", "late NONE", "end __main__.py", ""]
    assert status == 3
    empty = os.path.join(os.path.dirname(program), "empty")
    os.mkdir(empty)
    assert run("--", empty)[2] == 2


def test_a_program_that_fails(tmpdir):
    tmpdir.join("wrong.py").write("import sendmsg\nopen('/nowhere/at/all')\n")
    told, complained, status = run("--", str(tmpdir.join("wrong.py")))
    assert 'wrong.py", line 2' in complained
    assert "usage" not in complained
    assert status == 1


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "name the program's file after --"),
        (["passfd"], "name the program's file after --"),
        (["passfd", "--"], "name the program's file after --"),
        (["wrong", "--", "x.py"], "no drop-in is called 'wrong'"),
        (["--", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_wrong_arguments(arguments, complaint):
    told, complained, status = run(*arguments)
    assert complaint in complained
    assert "Traceback" not in complained
    assert status == 2


def test_help():
    told, complained, status = run("--help")
    assert (complained, status) == ("", 0)
    for name in NAMES:
        assert name in "\n".join(told)
