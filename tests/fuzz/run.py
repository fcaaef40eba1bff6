#!/usr/bin/python3
"""Runs the fuzzers, as many at once as there are processors: run.py [--keep] [TARGET...], all targets without any.

Each begins with its seeds (seeds.py) and the kept corpus (corpus/TARGET). A step runs for FUZZ_SECONDS, others for a
quarter of it. What is new, and the input of a failure, go below BUILD, nothing into the tree. --keep
takes the new inputs that reach more than seeds and corpus do into the corpus, and drops kept ones
that reach nothing of their own.
"""
import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import seeds  # noqa: E402

HERE = Path(__file__).parent
BUILD = Path(os.environ["BUILD"]).absolute()
OPTIONS = ["-max_len=4096", "-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"]


class Fuzzer:
    def __init__(self, target):
        self.target = target
        self.program = BUILD / "tests/fuzz" / f"fuzz_{target}"
        self.work = BUILD / "fuzz" / target
        self.seeds, self.new, self.kept = self.work / "seeds", self.work / "corpus", HERE / "corpus" / target
        for directory in (self.new, self.kept):
            directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.seeds, ignore_errors=True)
        seeds.write(target, self.seeds)

    def command(self, *arguments):
        words = [f"-dict={HERE / seeds.DICTIONARIES[self.target]}", f"-artifact_prefix={self.work}/"]
        if "FUZZ_SEED" in os.environ:  # the same inputs in the same order, as far as the time goes
            words.append(f"-seed={os.environ['FUZZ_SEED']}")
        return [self.program, *OPTIONS, *words, *arguments]

    def fuzz(self):
        """Returns whether all was well."""
        seconds = int(os.environ.get("FUZZ_SECONDS", "120"))
        if not self.target.startswith("step_"):
            seconds = max(1, seconds // 4)
        log = self.work / "log"
        with log.open("wb") as output:
            run = subprocess.run(self.command(f"-max_total_time={seconds}", self.new, self.kept, self.seeds),
                                 stdout=output, stderr=subprocess.STDOUT, check=False)
        lines = log.read_text(errors="replace").splitlines()
        if run.returncode:
            print("\n".join(line[:200] for line in lines[-60:]))
            print(f"fuzz: {self.target} failed; again: {self.program} FILE, its input is in {self.work}")
            return False
        runs = next((line.split()[-1] for line in lines if line.startswith("stat::number_of_executed_units")), "?")
        print(f"  FUZZ     {self.target}: {runs} inputs in {seconds} s", flush=True)
        return True

    def keep(self):
        merged = self.work / "merged"
        shutil.rmtree(merged, ignore_errors=True)
        shutil.copytree(self.seeds, merged)
        subprocess.run(self.command("-merge=1", "-use_counters=0", merged, self.kept, self.new), check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for path in self.kept.iterdir():
            path.unlink()
        added = {path.name for path in merged.iterdir()} - {path.name for path in self.seeds.iterdir()}
        for name in added:
            shutil.copy(merged / name, self.kept)
        size = sum(path.stat().st_size for path in self.kept.iterdir())
        print(f"  KEEP     {self.target}: {len(list(self.kept.iterdir()))} inputs, {size} bytes")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("target", nargs="*", default=list(seeds.TARGETS))
    options = parser.parse_args()
    fuzzers = [Fuzzer(target) for target in options.target]
    if options.keep:
        for fuzzer in fuzzers:
            fuzzer.keep()
        return 0
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return 0 if all(list(pool.map(Fuzzer.fuzz, fuzzers))) else 1


if __name__ == "__main__":
    sys.exit(main())
