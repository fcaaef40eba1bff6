"""What TLS costs with dbps: statements of a pgbench whose clients encrypt, next to those of one whose
do not, with and without dbpsd. Time of its own that a probe in a program costs (its trap) counts for
no BPF program, so the whole is measured: throughput, in turn."""

import os
import subprocess

import postgres
from figures import Figure

ROUNDS = 5
RUN_S = 3
MODES = {"in clear": "disable", "through TLS": "require"}


class Encrypting(postgres.Pgbench):
    def __init__(self, server, sslmode):
        super().__init__(server, "prepared")
        self.command = ["env", f"PGSSLMODE={sslmode}", *self.command]


def us_a_statement(bench):
    return postgres.THREADS * 1e6 / bench.run(RUN_S)[1]


def measure(context):
    server = context.postgres(tls=True)
    subprocess.run(server.program("pgbench", "-i", "-q", "postgres"), check=True, capture_output=True,
                   env={**os.environ, "PGSSLMODE": "disable"})
    benches = {name: Encrypting(server, mode) for name, mode in MODES.items()}
    without, with_dbps = ({name: [] for name in benches} for _ in range(2))
    for _ in range(ROUNDS):
        for name, bench in benches.items():
            without[name].append(us_a_statement(bench))
        daemon = context.daemon()
        daemon.wait_server(server, link=False)
        for name, bench in benches.items():
            with_dbps[name].append(us_a_statement(bench))
        daemon.stop()
    figures = []
    for name in benches:
        figures += [
            Figure(f"{name}, without dbps", "us", without[name]),
            Figure(f"{name}, with dbps", "us", with_dbps[name]),
            Figure(f"{name}, what dbps adds", "us",
                   [b - a for a, b in zip(without[name], with_dbps[name])], note="of the same round"),
        ]
    return (f"TLS: time a statement of a client (pgbench -S -M prepared on PostgreSQL, TCP, "
            f"{postgres.THREADS} clients, {RUN_S} s a run, {ROUNDS} rounds)", figures)
