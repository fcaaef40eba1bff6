#!/usr/bin/python3
"""Measures dbps on this machine: `make bench`, or `make bench BENCH="cost rest"` for some parts.

Parts: cost (kernel time a statement), postgres (the same on PostgreSQL), foreign (what other programs pay), throughput (with and without dbps, interleaved), tls (encrypted next to clear, with and without dbps), ps (the whole
process of `dbps ps`), many (5,000 sessions), rest (dbpsd while nobody asks), kill (from the request to
the victim's client, among 10 and 5,000 sessions), kill-where (5,000 at once), cancel (what the cancel
map costs those whom nobody kills), pgcancel (KILL QUERY on PostgreSQL), poll (what a server pays to poll for a cancel), start (the programs' load time). Each figure has its
spread; a machine that others use shows in it."""

import argparse
import os
import platform
import shutil
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness  # noqa: E402
import cost  # noqa: E402
import foreign  # noqa: E402
import kill  # noqa: E402
import listing  # noqa: E402
import poll  # noqa: E402
import postgres  # noqa: E402
import start  # noqa: E402
import throughput  # noqa: E402
import tls  # noqa: E402
from figures import table  # noqa: E402

PARTS = {
    "cost": cost.measure,
    "postgres": postgres.measure_cost,
    "foreign": foreign.measure,
    "throughput": throughput.measure,
    "tls": tls.measure,
    "ps": listing.measure_ps,
    "many": listing.measure_many,
    "rest": listing.measure_rest,
    "kill": kill.measure_latency,
    "kill-where": kill.measure_where,
    "cancel": kill.measure_cancel_map,
    "pgcancel": postgres.measure_cancel,
    "poll": poll.measure,
    "start": start.measure,
}


def describe_machine():
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "")
    load = os.getloadavg()[0]
    return (f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} processors ({model}), "
            f"load before the run {load:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of: {' '.join(PARTS)}")
    args = parser.parse_args()
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {unknown[0]}; there are: {' '.join(PARTS)}")
    if os.geteuid() != 0:
        parser.error("BPF programs are loaded, which takes root")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(describe_machine(), flush=True)
    root = harness.make_root_directory()
    run = harness.Run(root)
    try:
        for part in args.parts or PARTS:
            context = harness.Context(run, part)
            began = time.monotonic()
            try:
                title, figures = PARTS[part](context)
            finally:
                context.close()
            print(f"\n{table(title, figures)}\n  ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
