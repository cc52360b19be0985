"""Build what is published and look into it: python tests/check_packages.py

On Python 3 the sdist and the wheel, by the tools that tox installs; on Python 2 the platform wheel,
and what pip says where there is no compiler.
"""

from __future__ import print_function

import os
import re
import shutil
import sys
import tarfile
import tempfile
import zipfile

from check_vendored import PY2, ROOT, told

PYTHON = [sys.executable, "-m"]
# What only Python 2 needs, and no wheel for Python 3 has.
BINDING = {"fdpass/_binding.c", "fdpass/_ffi_build.py"}
EPOCH = "1700000000"  # any time will do


def sources(folder):
    """What of the package there is, by its path from folder."""
    found = set()
    for path, folders, names in os.walk(os.path.join(folder, "fdpass")):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found.update(os.path.relpath(os.path.join(path, name), folder) for name in names)
    return {name for name in found if not name.endswith((".so", ".pyc"))}


def content(wheel):
    """What of the package is in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def check_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(name).decode("utf-8")
    needed = re.findall("Requires-Dist: ([^ ;<>=]+)(.*)", text)
    at_run_time = [(name, rest) for name, rest in needed if "extra" not in rest]
    assert [name for name, _ in at_run_time] == ["cffi"], needed
    assert "python_version <" in at_run_time[0][1].replace("(", ""), needed
    for extra in ("aio", "docs", "test"):
        assert "Provides-Extra: " + extra in text, extra
    assert "Requires-Python: " in text
    assert not re.search("Project-URL|Home-page: (?!UNKNOWN)", text)  # there is none


def copied(folder):
    """A copy of the checkout's own files, where building leaves no litter in it."""
    target = os.path.join(folder, "checkout")
    ignored = shutil.ignore_patterns(".git", ".tox*", "*.so", "__pycache__", "*.pyc", "*.egg-info")
    shutil.copytree(ROOT, target, ignore=ignored)
    return target


def built(folder, where):
    told(PYTHON + ["build", "--outdir", where, folder], folder, SOURCE_DATE_EPOCH=EPOCH)
    return {name: os.path.join(where, name) for name in os.listdir(where)}


def check_python_3(folder):
    checkout = copied(folder)
    first = built(checkout, os.path.join(folder, "first"))
    second = built(checkout, os.path.join(folder, "second"))
    wheel, sdist = sorted(first, key=lambda name: name.endswith(".tar.gz"))
    assert wheel.endswith("-py3-none-any.whl"), wheel
    assert sdist.endswith(".tar.gz"), sdist
    for name, path in first.items():
        with open(path, "rb") as one, open(second[name], "rb") as other:
            assert one.read() == other.read(), name + " is another at each build"
    print("reproducible: %s, %s" % (wheel, sdist))
    assert content(first[wheel]) == sources(ROOT) - BINDING, content(first[wheel]) ^ sources(ROOT)
    check_metadata(first[wheel])
    target = os.path.join(folder, "target")
    told(PYTHON + ["pip", "install", "--no-deps", "--target", target, first[wheel]], folder)
    output = told(PYTHON + ["fdpass", "doctor"], folder, PYTHONPATH=target)
    assert target in output and output.endswith("self-test passed\n"), output
    print("the wheel, installed: " + output.splitlines()[-1])
    told(PYTHON + ["twine", "check", "--strict"] + sorted(first.values()), folder)
    if os.path.isdir(os.path.join(ROOT, ".git")):
        told(PYTHON + ["check_manifest"], ROOT)
        print("the sdist has what the repository has")
    with tarfile.open(first[sdist]) as archive:
        archive.extractall(folder)
    unpacked = os.path.join(folder, sdist[: -len(".tar.gz")])
    assert sources(unpacked) == sources(ROOT)
    output = told([os.path.join(os.path.dirname(sys.executable), "pytest"), "-q"], unpacked)
    print("pytest in the unpacked sdist: " + output.strip().splitlines()[-1])


def check_python_2(folder):
    checkout = copied(folder)
    wheels = os.path.join(folder, "wheels")
    told(PYTHON + ["pip", "wheel", "--no-deps", "-w", wheels, "."], checkout)
    (wheel,) = os.listdir(wheels)
    assert not wheel.endswith("-any.whl"), wheel
    wheel = os.path.join(wheels, wheel)
    found = content(wheel)
    (binding,) = [name for name in found if name.endswith(".so")]
    assert binding.startswith("fdpass/_binding."), binding
    # What Python 2 cannot compile is not there.
    assert found - {binding} <= sources(ROOT), found - sources(ROOT)
    assert sources(ROOT) - found == {"fdpass/_aio.py"}
    check_metadata(wheel)
    target = os.path.join(folder, "target")
    told(PYTHON + ["pip", "install", "--no-deps", "--target", target, wheel], folder)
    told(PYTHON + ["compileall", "-q", target], folder)
    print("a platform wheel: " + os.path.basename(wheel))
    nowhere = os.path.dirname(sys.executable)
    shutil.rmtree(os.path.join(checkout, "build"), ignore_errors=True)
    install = PYTHON + ["pip", "install", "--no-deps", "--target", target + "2", "."]
    output = told(install, checkout, False, PATH=nowhere, CC="no-such-compiler")
    assert "no C compiler was found (no-such-compiler)" in output, output
    assert "Install a C compiler and the headers" in output, output
    print("without a compiler, it says what to install")


def main():
    folder = tempfile.mkdtemp()
    try:
        if PY2:
            check_python_2(folder)
        else:
            check_python_3(folder)
    finally:
        shutil.rmtree(folder)
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
