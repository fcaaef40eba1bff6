"""How long the kernel takes to verify and load the programs, as dbpsd says at its start."""

import re

from figures import Figure

STARTS = 5
LINE = r"BPF programs: loaded in (\d+) us, (\d+) us of them on a processor"


def measure(context):
    times, used = [], []
    for _ in range(STARTS):
        daemon = context.daemon("--verbose")
        with open(daemon.log) as log:
            seen = re.search(LINE, log.read())
        times.append(int(seen[1]) / 1e3)
        used.append(int(seen[2]) / 1e3)
        daemon.stop()
    return "start of dbpsd", [
        Figure("all BPF programs verified and loaded", "ms", times, goal=1000),
        Figure("of it, on a processor", "ms", used),
    ]
