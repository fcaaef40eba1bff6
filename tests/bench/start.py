"""How long the kernel takes to verify and load the programs, as dbpsd says at its start: the
verifier's own time, of each program and of all, and the whole of the load."""

import os
import re

from figures import Figure

STARTS = 5
LOADED = r"BPF programs: loaded in (\d+) us, (\d+) us of them on a processor"
VERIFIED = r"BPF programs: verified (\d+) instructions in (\d+) us"
PROGRAM = r"BPF program (\w+): verified (\d+) instructions in (\d+) us"
COUNTED = os.environ.get("DBPS_TEST_CLOCK") == "instructions"  # by the virtual machine (tests/vm/run.sh)
UNIT = "10^6 i" if COUNTED else "ms"
TOLD_US = 10000  # a program that takes less is in the sum alone


def measure(context):
    times, used, verified, programs = [], [], [], {}
    for _ in range(STARTS):
        daemon = context.daemon("--verbose")
        with open(daemon.log) as log:
            text = log.read()
        loaded = re.search(LOADED, text)
        times.append(int(loaded[1]) / 1e3)
        used.append(int(loaded[2]) / 1e3)
        instructions, us = re.search(VERIFIED, text).groups()
        verified.append(int(us) / 1e3)
        for name, n, us in re.findall(PROGRAM, text):
            programs.setdefault((name, n), []).append(int(us) / 1e3)
        daemon.stop()
    return "start of dbpsd", [
        Figure("all BPF programs verified and loaded", UNIT, times, goal=None if COUNTED else 1000),
        Figure("of it, on a processor", UNIT, used),
        Figure("of it, the verifier", UNIT, verified, note=f"{int(instructions):,} instructions"),
        *(Figure(f"  {name}", UNIT, readings, note=f"{int(n):,} instructions")
          for (name, n), readings in programs.items() if max(readings) * 1e3 >= TOLD_US),
    ]
