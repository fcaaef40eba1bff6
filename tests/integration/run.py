#!/usr/bin/python3
"""Runs the integration tests: all, or those whose names hold one of the words given.

Each function test_* of a file test_*.py is one test and gets a harness.Context. The last line is
`N passed, N failed, N skipped`; the exit code is 1 when one failed, 2 when none was found."""

import argparse
import faulthandler
import importlib
import os
import random
import shutil
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
from deadline import seconds  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT_S = int(seconds(int(os.environ.get("TEST_LIMIT_S", "300"))))


def find_tests(words):
    """(name, function) of each test, in the order of files and of functions in them."""
    for file in sorted(os.listdir(HERE)):
        if not (file.startswith("test_") and file.endswith(".py")):
            continue
        module = importlib.import_module(file[:-3])
        for key, value in list(vars(module).items()):
            name = f"{file[5:-3]}.{key[5:]}"
            if key.startswith("test_") and callable(value) and value.__module__ == file[:-3]:
                if not words or any(word in name for word in words):
                    yield name, value


def children():
    """Processes of this one that are there."""
    path = f"/proc/self/task/{os.getpid()}/children"
    with open(path) as f:
        return [int(pid) for pid in f.read().split()]


def on_alarm(_signal, _frame):
    raise harness.Failure(f"took longer than {LIMIT_S} s")


def run_one(run, name, function, keep):
    """Returns (word, reason, notes)."""
    before = children()
    context = harness.Context(run, name)
    signal.alarm(LIMIT_S)
    try:
        for feature in function.__globals__.get("NEEDS", []):
            harness.need_feature(feature)
        function(context)
        word, reason = "ok", ""
    except harness.Skip as skip:
        word, reason = "skip", str(skip)
    except BaseException as error:  # pylint: disable=broad-except
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        word, reason = "FAIL", traceback.format_exc() + context.logs()
        if keep:
            shutil.copytree(context.directory, os.path.join(keep, name), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("data", "*.sock"))
    finally:
        signal.alarm(0)
        context.close()
    if word == "FAIL":
        run.close()
    else:
        shared = {part.pid for c in run.contexts.values() for part in c.parts}
        left = set(children()) - set(before) - shared
        if left:
            word, reason = "FAIL", f"processes left behind: {left}"
    return word, reason, context.notes


def run_and_tell(run, name, function, keep):
    began = time.monotonic()
    word, reason, notes = run_one(run, name, function, keep)
    print(f"{word:4} {name} ({time.monotonic() - began:.1f} s)" + (f": {reason}" if reason else ""),
          flush=True)
    for note in notes:
        print(f"     {note}", flush=True)
    return word


def part_of(text):
    """Two numbers, of "1/2"."""
    i, n = map(int, text.split("/"))
    if not 1 <= i <= n:
        raise ValueError(text)
    return i, n


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="name", help="part of a test's name")
    parser.add_argument("--shuffle", nargs="?", const=0, type=int, metavar="SEED",
                        help="in random order; the seed is printed")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--again", type=int, default=0, metavar="N",
                        help="if no more than N fail, run those once more; what passes then is unsteady")
    parser.add_argument("--part", metavar="I/N", type=part_of, default=(1, 1),
                        help="of these tests each Nth, from the Ith on")
    parser.add_argument("--keep", metavar="DIR", help="copy the logs of failed tests there")
    args = parser.parse_args()

    if os.geteuid():
        print("the integration tests need root: they load BPF programs", file=sys.stderr)
        return 2
    tests = list(find_tests(args.words))[args.part[0] - 1::args.part[1]]
    if args.list:
        print("\n".join(name for name, _ in tests))
        return 0
    if not tests:
        print("no such test", file=sys.stderr)
        return 2
    if args.shuffle is not None:
        seed = args.shuffle or random.randrange(1, 1 << 30)
        print(f"order of seed {seed}")
        random.Random(seed).shuffle(tests)

    faulthandler.enable()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    counts = {"ok": 0, "FAIL": 0, "skip": 0, "unsteady": 0}
    failed = []
    root = harness.make_root_directory()
    run = harness.Run(root)
    try:
        for name, function in tests:
            word = run_and_tell(run, name, function, args.keep)
            counts[word] += 1
            if word == "FAIL":
                failed.append((name, function))
        if len(failed) <= args.again:
            for name, function in failed:
                if run_and_tell(run, name, function, args.keep) == "ok":
                    counts["FAIL"] -= 1
                    counts["unsteady"] += 1
                    print(f"     {name} is unsteady: it failed, and passed when run again")
    finally:
        run.remove()
        harness.remove_tree(root)
    print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped, "
          f"{counts['unsteady']} unsteady")
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
