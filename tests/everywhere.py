"""Run the tests over every interpreter on PATH: python3 tests/everywhere.py

Sets tox up in an environment of its own (.tox-tools), runs the tests in each interpreter that is
found, on the package as installed from its sdist, and then interpreters against each other; and
tells which ran, which tests were skipped and which failed. A skip that tests/skips.txt does not
list is an error. As root, it runs the tests once more as an ordinary user.

--require-all: it is one too when Python 2.7 or every Python 3 is missing.
"""

import argparse
import ast
import os
import queue
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TOOLS = os.path.join(ROOT, ".tox-tools")
ENVIRONMENTS = {"py27": "python2.7", "pypy27": "pypy2.7", "pypy311": "pypy3.11"}
ENVIRONMENTS.update(("py3%d" % minor, "python3.%d" % minor) for minor in range(6, 16))
# Pythons without the GIL. Few machines have such a Python, so its absence is reported as no error.
FREE_THREADED = {"py313t": "python3.13t", "py314t": "python3.14t"}
ENVIRONMENTS.update(FREE_THREADED)
# What else runs where the interpreter is there.
MORE = [("vendored-" + name, name) for name in ("py27", "py36", "py315", "pypy27")]
MORE += [("packages-py27", "py27"), ("docs", "py311"), ("fuzz", "py311")]
GREEN = [("green-" + name, name) for name in ("py27", "py311")]
# Together they run every line of the package; with one of them missing, coverage only reports.
COVERING = {"py27", "pypy27", "py36", "py39", "pypy311"}
# With one interpreter, for each more, and as an ordinary user; measured on two cores.
FIRST_MINUTES, MORE_MINUTES, ORDINARY_MINUTES = 5, 1, 3
TERMINAL = sys.stdout.isatty()
SILENCE_S = 1 if TERMINAL else 8  # at most, between two lines; a terminal's last one is rewritten
START = time.time()
NOBODY = 65534  # an ordinary user, who has a group of the same number
OPEN_FILES = 1024  # an ordinary user's limit on Debian


class Run(object):
    """Commands one after another, with a sign of life, and what became of tox's environments."""

    def __init__(self):
        self.ended = {}  # "OK", "FAIL" or "SKIP" by environment, or a status by another's name

    def run(self, name, command, environments=(), **options):
        """Run the command and print its lines; return its status, which is also kept."""
        since = time.time()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
        try:
            for line in lines_of(process):
                if line is None:
                    show_life(name, self.running(environments, since))
                    continue
                show(line)
                ended = re.match(r"\s*(\S+): (OK|FAIL|SKIP)\b", line)
                if ended and ended.group(1) in environments:
                    self.ended[ended.group(1)] = ended.group(2)
            status = process.wait()
            if status < 0:
                show("%s: signal %d ended %s" % (name, -status, command[0]))
        finally:
            end(process)
        for environment in environments:
            self.ended.setdefault(environment, "FAIL")
        if not environments:
            self.ended[name] = "FAIL" if status else "OK"
        return status

    def running(self, environments, since):
        """The environments that have begun and not ended: tox writes into their folders."""

        def begun(name):
            parts = [os.path.join(ROOT, ".tox", name, part) for part in ("", "tmp", "log")]
            return any(os.path.exists(part) and os.path.getmtime(part) >= since for part in parts)

        return [name for name in environments if name not in self.ended and begun(name)]


def lines_of(process):
    """The lines that the process prints, and None for each SILENCE_S seconds without one."""
    lines = queue.Queue()

    def read():
        with process.stdout:
            for line in process.stdout:
                lines.put(line.decode("utf-8", "replace").rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=SILENCE_S)
        except queue.Empty:
            yield None
        else:
            if line is None:
                return
            yield line


def show(line):
    print(("\r\033[K" if TERMINAL else "") + line, flush=True)


def show_life(name, environments):
    minutes, seconds = divmod(int(time.time() - START), 60)
    line = "[%d:%02d] %s: %s" % (minutes, seconds, name, " ".join(environments) or "...")
    if TERMINAL:
        sys.stdout.write("\r\033[K" + line[: shutil.get_terminal_size().columns - 1])
        sys.stdout.flush()
    else:
        show(line)


def end(process):
    """End what the command has started and what is left of it; tox ends its environments itself."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(15)
    except subprocess.TimeoutExpired:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # nothing is left
            pass
        process.wait()


def tox_command(run):
    """The path of a tox that still makes environments for 2.7."""
    tox = os.path.join(TOOLS, "bin", "tox")
    if not os.path.exists(tox):
        python = os.path.join(TOOLS, "bin", "python")
        pip = [python, "-m", "pip", "install", "--quiet", "tox>=4,<5", "virtualenv<20.22"]
        for command in ([sys.executable, "-m", "venv", "--clear", TOOLS], pip):
            if run.run("setting up tox", command):
                sys.exit("tox could not be installed")
    return tox


def runs(environment, command=None, **options):
    """Whether the interpreter is there and is what its name says; a shim may be neither."""
    program = (
        "import sys, sysconfig; print('py' + 'py' * hasattr(sys, 'pypy_version_info')"
        " + '%d%d' % sys.version_info[:2]"
        " + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
    )
    command = [command or ENVIRONMENTS[environment], "-c", program]
    try:
        told = subprocess.check_output(command, stderr=subprocess.DEVNULL, **options)
    except (OSError, subprocess.SubprocessError):
        return False
    return told.decode().strip() == environment


def become_ordinary():
    """Give up root and its capabilities, and have the limit of an ordinary user."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def ordinary_python(found):
    """(environment, path) of the newest Python 3 that an ordinary user may start, or None."""
    for environment in sorted(found, key=lambda name: int(name.strip("pyt")), reverse=True):
        for folder in os.get_exec_path() if environment.startswith("py3") else []:
            path = os.path.join(folder, ENVIRONMENTS[environment])
            if runs(environment, path, cwd="/", preexec_fn=become_ordinary):
                return environment, path
    return None


def run_as_ordinary(run, environment, python):
    """Run the tests as a user without capabilities; the name of their report.

    The folder is in /tmp, since the checkout may be where only root comes.
    """
    name = "user-" + environment
    folder = tempfile.mkdtemp(prefix="fdpass-", dir="/tmp")
    try:
        bin_folder, outside = (os.path.join(folder, part) for part in ("env/bin", "outside"))
        report = os.path.join(folder, "report.xml")
        sdists = os.path.join(ROOT, ".tox", ".pkg", "dist")
        sdist = max((entry.stat().st_mtime, entry.path) for entry in os.scandir(sdists))[1]
        tools = os.path.join(TOOLS, "bin", "python")
        os.mkdir(outside)
        for command in (
            [tools, "-m", "virtualenv", "-q", "--download", "-p", python, folder + "/env"],
            [bin_folder + "/python", "-m", "pip", "install", "-q", sdist + "[test]"],
            [tools, os.path.join(HERE, "outside.py"), outside],
            ["chown", "-Rh", "%d:%d" % (NOBODY, NOBODY), folder],
        ):
            if run.run(name, command):
                return name
        run.run(
            name,
            [bin_folder + "/pytest", "-q", "--junitxml=" + report, "tests"],
            cwd=outside,
            # Root's PATH may have folders that this user may not search.
            env=dict(os.environ, HOME=folder, TMPDIR="/tmp", PATH="/usr/local/bin:/usr/bin:/bin"),
            preexec_fn=become_ordinary,
        )
        if os.path.exists(report):
            shutil.copyfile(report, os.path.join(ROOT, ".tox", "report-%s.xml" % name))
    finally:
        shutil.rmtree(folder)
    return name


def known_skips():
    """The reasons in skips.txt, each of which has its explanation after it."""
    with open(os.path.join(HERE, "skips.txt")) as listed:
        return [line.split(" | ")[0].strip() for line in listed if line.strip() and line[0] != "#"]


def reason_of(skipped):
    """Why it was; pytest puts that of a whole file into the text, after its place."""
    if skipped.get("message") != "collection skipped":
        return skipped.get("message")
    return ast.literal_eval(skipped.text)[2].replace("Skipped: ", "", 1)


def report_of(environment):
    """(tests passed, [failed], [(test, reason) of each skipped]) from an environment's report."""
    path = os.path.join(ROOT, ".tox", "report-%s.xml" % environment)
    if not os.path.exists(path):
        return 0, [], []
    cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
    failed = [
        name_of(case)
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [
        (name_of(case), reason_of(case.find("skipped")))
        for case in cases
        if case.find("skipped") is not None
    ]
    return len(cases) - len(failed) - len(skipped), failed, skipped


def name_of(case):
    return "%s::%s" % (case.get("classname"), case.get("name"))


def clean(environments):
    for environment in environments:
        for path in (".tox/report-%s.xml", ".coverage.%s"):
            path = os.path.join(ROOT, path % environment)
            if os.path.exists(path):
                os.remove(path)


def summed_up(run, environments, fresh):
    """Print what ran, was skipped and failed; whether anything did that must not."""
    known, bad, total = known_skips(), [], [0, 0, 0]
    skipped_anywhere, failed_anywhere = {}, {}
    print("\n%-10s %8s %8s %8s" % ("", "passed", "failed", "skipped"))
    for environment in environments:
        passed, failed, skipped = report_of(environment)
        counts = passed, len(failed), len(skipped)
        print("%-10s %8d %8d %8d" % ((environment,) + counts))
        total = [a + b for a, b in zip(total, counts)]
        if not passed:
            bad.append("FAILED: no test passed in %s" % environment)
        for test in failed:
            failed_anywhere.setdefault(test, []).append(environment)
        for test, reason in skipped:
            skipped_anywhere.setdefault((test, reason), []).append(environment)
    for (test, reason), where in sorted(skipped_anywhere.items()):
        line = "%s: %s (%s)" % (test, reason, " ".join(where))
        if any(reason.startswith(one) for one in known):
            print("skipped: " + line)
        else:
            bad.append("skipped, NOT LISTED in tests/skips.txt: " + line)
    print("Skips are normal where tests/skips.txt lists their reason, as it does those above.")
    print("interpreters: %s" % " ".join(fresh))
    print("\n%d passed, %d failed, %d skipped" % tuple(total))
    for test, where in sorted(failed_anywhere.items()):
        bad.append("FAILED: %s (%s)" % (test, " ".join(where)))
    failed = [name for name, word in sorted(run.ended.items()) if word == "FAIL"]
    if failed:
        bad.append("FAILED environments: " + " ".join(failed))
    print("\n".join(bad or ["Nothing failed."]))
    return bool(bad)


def raise_exit(number, frame):
    sys.exit("ended by signal %d" % number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--require-all", action="store_true")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, raise_exit)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for its "&"
    found = [environment for environment in sorted(ENVIRONMENTS) if runs(environment)]
    print("interpreters found: %s" % (" ".join(found) or "none"))
    if not set(found) & set(FREE_THREADED):
        print("skipped: no free-threaded Python (%s)" % ", ".join(sorted(FREE_THREADED.values())))
    if arguments.require_all and (
        "py27" not in found or not any(e.startswith("py3") for e in found)
    ):
        sys.exit("Python 2.7 and a Python 3 are needed, and not both are on PATH")
    if not found:
        sys.exit("no interpreter found")
    cores = os.cpu_count() or 1
    minutes = FIRST_MINUTES + MORE_MINUTES * (len(found) - 1)
    minutes += 0 if os.getuid() else ORDINARY_MINUTES
    show("This takes about %d minutes on two cores (there are %d here)." % (minutes, cores))
    run = Run()
    try:
        bad = run_all(run, found, cores, arguments.require_all)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; all that was started has ended")
    sys.exit(1 if bad else 0)


def run_all(run, found, cores, require_all):
    """Run everything and print what came of it; whether anything is bad."""
    tox = [tox_command(run), "--root", ROOT, "-c", os.path.join(ROOT, "tox.ini")]
    tox += ["--colored", "no"]
    # Its tests have the time to end what they have started.
    patient = ["-x", "testenv.interrupt_timeout=5"]
    user = ordinary_python(found) if os.getuid() == 0 else None
    green = [name for name, needed in GREEN if needed in found]
    reports = found + green + ["pairs"] + (["user-" + user[0]] if user else [])
    clean(reports)
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    environment["FDPASS_PYTHONS"] = os.pathsep.join(
        os.path.join(ROOT, ".tox", name, "bin", "python") for name in found
    )
    names = found + green + ["lint", "types", "packages-py3"]
    names += [name for name, needed in MORE if needed in found]
    parallel = ["run-parallel", "--parallel-no-spinner", "-p", str(cores), "-e", ",".join(names)]
    below = [] if set(found) >= COVERING else ["--", "--fail-under=0"]
    statuses = [
        run.run("running", tox + parallel[:1] + patient + parallel[1:], names, env=environment),
        run.run("running", tox + ["run", "-e", "pairs"] + patient, ["pairs"], env=environment),
        run.run("running", tox + ["run", "-e", "coverage"] + below, ["coverage"], env=environment),
    ]
    if user:
        run_as_ordinary(run, *user)
    elif os.getuid() == 0:
        show("No Python 3 was found that an ordinary user may start: not run as one.")
        statuses.append(require_all)
    return summed_up(run, reports, found) or any(statuses)


if __name__ == "__main__":
    main()
