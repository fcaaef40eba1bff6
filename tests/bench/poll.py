"""What a server pays to poll for a cancel through the library (dbps/cancel.h)."""

import os
import subprocess

import harness
from figures import Figure

ROUNDS = 15


def measure(context):
    daemon = context.daemon()
    out = subprocess.run([os.path.join(harness.BUILD, "tests/bench/poll"), daemon.socket, str(ROUNDS)],
                         capture_output=True, text=True, check=True).stdout
    ns = {line.split()[0]: [int(word) / 1e3 for word in line.split()[1:]]
          for line in out.splitlines()}
    return "polls for a cancel, each", [
        Figure("nothing pending", "ns", ns["none"], note=f"of it the loop: {min(ns['loop']):.2g} ns"),
        Figure("without a dbpsd", "ns", ns["alone"]),
        Figure("a cancel of another connection is pending", "ns", ns["other"]),
    ]
