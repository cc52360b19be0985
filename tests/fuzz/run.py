"""Fuzz fdpass by coverage: python tests/fuzz/run.py TARGET [--seconds N | --runs N] [--keep]

Needs atheris, and pytest, since the targets share code with the tests. Those of the inputs found
that run what no other does go, with the corpus, to a new folder, which is named; with --keep, to
the corpus itself. The exit status is 1 when an input fails, which is made small and named.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TARGETS = ("channel", "control", "framing")
# In bytes, seconds, and MiB; a usual input takes a millisecond, and all of the process 100 MiB.
LIMITS = ["-max_len=200", "-timeout=10", "-rss_limit_mb=512"]
SECONDS_TO_MAKE_SMALL = 20


def command(target):
    return [sys.executable, os.path.abspath(__file__), "--libfuzzer", target]


def be_libfuzzer(target, flags):
    """Run the target, and end the process."""
    import atheris

    sys.path.insert(0, os.path.dirname(HERE))
    with atheris.instrument_imports(include=["fdpass", "fuzz"]):
        from fuzz import targets
    function = targets.TARGETS[target]
    # It starts itself again, with the first argument as the shell's command.
    again = " ".join(map(shlex.quote, command(target)))
    atheris.Setup([again] + flags, lambda content: function(content))
    atheris.Fuzz()


def libfuzzer(target, *flags):
    """(exit status, what it printed)"""
    process = subprocess.Popen(
        command(target) + LIMITS + list(flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed = process.communicate()[0].decode("utf-8", "replace")
    return process.returncode, printed


def made_small(target, failing):
    """The path of a smaller input that fails, or of the same."""
    small = failing + "-small"
    limit = "-max_total_time=%d" % SECONDS_TO_MAKE_SMALL
    libfuzzer(target, "-minimize_crash=1", limit, "-exact_artifact_path=" + small, failing)
    return small if os.path.exists(small) else failing


def fuzz(target, limit, corpus, folder):
    """Add what is found to the corpus; exits where an input fails."""
    found = os.path.join(folder, "found")
    os.mkdir(found)
    # How near two numbers are that are compared counts as coverage: limits are reached sooner.
    flags = [limit, "-use_value_profile=1", "-artifact_prefix=" + folder + os.sep]
    status, printed = libfuzzer(target, *flags, found, corpus)
    if status:
        print(printed[printed.rfind("\n#") + 1 :])  # from the last line of its progress on
        for failing in re.findall("Test unit written to (.+)", printed):
            print("an input that fails: " + made_small(target, failing))
        sys.exit(1)
    before = len(os.listdir(corpus))
    # Without how often each line is run: that alone makes no input worth keeping.
    status, merging = libfuzzer(target, "-merge=1", "-use_counters=0", corpus, found)
    if status:
        sys.exit(merging)
    shutil.rmtree(found)
    print("%s: %s" % (target, re.search("Done .+", printed).group()))
    print("%d inputs in %s, %d before" % (len(os.listdir(corpus)), corpus, before))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("target", choices=TARGETS)
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument("--seconds", type=int, default=60, help="how long to run (60)")
    how_long.add_argument("--runs", type=int, help="how many inputs to try")
    parser.add_argument("--keep", action="store_true", help="add what is found to the tests")
    options = parser.parse_args()
    limit = "-max_total_time=%d" % options.seconds
    if options.runs is not None:
        limit = "-runs=%d" % options.runs
    folder = tempfile.mkdtemp(prefix="fdpass-fuzz-")
    corpus = os.path.join(HERE, "corpus", options.target)
    if not options.keep:
        corpus = shutil.copytree(corpus, os.path.join(folder, "corpus"))
    fuzz(options.target, limit, corpus, folder)
    if options.keep:
        os.rmdir(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--libfuzzer"]:
        be_libfuzzer(sys.argv[2], sys.argv[3:])
    main()
