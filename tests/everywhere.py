"""Run the tests over every interpreter on PATH: python3 tests/everywhere.py

Sets tox up in an environment of its own (.tox-tools), runs the tests in each interpreter that is
found, on the package as installed from its sdist, and then interpreters against each other; and
tells which ran and which tests were skipped. A skip that tests/skips.txt does not list is an error.

--require-all: it is one too when Python 2.7 or every Python 3 is missing.
"""

import argparse
import ast
import os
import subprocess
import sys
import venv
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TOOLS = os.path.join(ROOT, ".tox-tools")
ENVIRONMENTS = {"py27": "python2.7", "pypy27": "pypy2.7", "pypy311": "pypy3.11"}
ENVIRONMENTS.update(("py3%d" % minor, "python3.%d" % minor) for minor in range(6, 16))
# What else runs where the interpreter is there.
MORE = [("vendored-" + name, name) for name in ("py27", "py36", "py315", "pypy27")]
MORE += [("packages-py27", "py27"), ("docs", "py311"), ("fuzz", "py311")]
# Together they run every line of the package; with one of them missing, coverage only reports.
COVERING = {"py27", "pypy27", "py36", "py39", "pypy311"}


def tox_command():
    """The path of a tox that still makes environments for 2.7."""
    tox = os.path.join(TOOLS, "bin", "tox")
    if not os.path.exists(tox):
        venv.create(TOOLS, with_pip=True, clear=True)
        pip = [os.path.join(TOOLS, "bin", "python"), "-m", "pip", "install", "--quiet"]
        subprocess.check_call(pip + ["tox>=4,<5", "virtualenv<20.22"])
    return tox


def runs(environment):
    """Whether the interpreter is there and is what its name says; a shim may be neither."""
    program = (
        "import sys; print('py' + 'py' * hasattr(sys, 'pypy_version_info')"
        " + '%d%d' % sys.version_info[:2])"
    )
    command = [ENVIRONMENTS[environment], "-c", program]
    try:
        told = subprocess.check_output(command, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return False
    return told == environment


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
    """(tests run, failed, [(test, reason) of each skipped]) from an environment's report."""
    path = os.path.join(ROOT, ".tox", "report-%s.xml" % environment)
    if not os.path.exists(path):
        return 0, 0, []
    cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
    failed = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = [
        ("%s::%s" % (case.get("classname"), case.get("name")), reason_of(case.find("skipped")))
        for case in cases
        if case.find("skipped") is not None
    ]
    return len(cases) - len(failed) - len(skipped), len(failed), skipped


def clean(environments):
    for environment in environments:
        for path in (".tox/report-%s.xml", ".coverage.%s"):
            path = os.path.join(ROOT, path % environment)
            if os.path.exists(path):
                os.remove(path)


def summed_up(environments, fresh):
    """Print what ran and what was skipped; the number of what must not be."""
    known, bad, total = known_skips(), 0, [0, 0, 0]
    skipped_anywhere = {}
    print("\n%-10s %8s %8s %8s" % ("", "passed", "failed", "skipped"))
    for environment in environments:
        passed, failed, skipped = report_of(environment)
        print("%-10s %8d %8d %8d" % (environment, passed, failed, len(skipped)))
        total = [a + b for a, b in zip(total, (passed, failed, len(skipped)))]
        if not passed:
            bad += 1
        for test, reason in skipped:
            skipped_anywhere.setdefault((test, reason), []).append(environment)
    for (test, reason), where in sorted(skipped_anywhere.items()):
        listed = any(reason.startswith(one) for one in known)
        bad += not listed
        print(
            "skipped%s: %s: %s (%s)"
            % ("" if listed else ", NOT LISTED", test, reason, " ".join(where))
        )
    print("interpreters: %s" % " ".join(fresh))
    print("\n%d passed, %d failed, %d skipped" % tuple(total))
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--require-all", action="store_true")
    arguments = parser.parse_args()
    found = [environment for environment in sorted(ENVIRONMENTS) if runs(environment)]
    print("interpreters found: %s" % (" ".join(found) or "none"))
    if arguments.require_all and (
        "py27" not in found or not any(e.startswith("py3") for e in found)
    ):
        sys.exit("Python 2.7 and a Python 3 are needed, and not both are on PATH")
    if not found:
        sys.exit("no interpreter found")
    tox = [tox_command(), "--root", ROOT, "-c", os.path.join(ROOT, "tox.ini")]
    more = [name for name, needed in MORE if needed in found]
    clean(found + ["pairs"])
    environment = dict(os.environ)
    environment["FDPASS_PYTHONS"] = os.pathsep.join(
        os.path.join(ROOT, ".tox", name, "bin", "python") for name in found
    )
    statuses = [
        subprocess.call(
            tox
            + [
                "run-parallel",
                "--parallel-no-spinner",
                "-p",
                str(os.cpu_count() or 1),
                "-e",
                ",".join(found + ["lint", "types", "packages-py3"] + more),
            ]
        ),
        subprocess.call(tox + ["run", "-e", "pairs"], env=environment),
    ]
    below = [] if set(found) >= COVERING else ["--", "--fail-under=0"]
    statuses.append(subprocess.call(tox + ["run", "-e", "coverage"] + below))
    bad = summed_up(found + ["pairs"], found)
    if any(statuses) or bad:
        sys.exit(1)


if __name__ == "__main__":
    main()
