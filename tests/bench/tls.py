"""What TLS costs with dbps: statements of clients that encrypt, next to those of the same clients in
clear text, on MariaDB and on PostgreSQL. A probe in a program costs more than the BPF program that it
runs: its trap is nobody's run time. So two things are measured in one run: the kernel time of dbps's
programs, net of an empty one, and the processor time of the server, with dbps and without."""

import os
import subprocess

import cost
import harness
import load
import postgres
from figures import Figure

ROUNDS = 4
RUN_S = 2
PROGRAMS = {**cost.TAPS, "enter": "dbps_library_enter", "read": "dbps_library_read",
            "wrote": "dbps_library_wrote"}
TICKS = os.sysconf("SC_CLK_TCK")


def children(server):
    with open(f"/proc/{server.pid}/task/{server.pid}/children") as f:
        return len(f.read().split())


def server_cpu_s(server):
    """Processor time of a server: its own, and that of its backends which have ended."""
    with open(f"/proc/{server.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


class Encrypting(load.Sysbench):
    """sysbench through TLS: it wants files of these names in its directory."""

    def __init__(self, server, key, cert):
        super().__init__(server)
        self.directory = os.path.dirname(key)
        for path, name in ((key, "client-key.pem"), (cert, "client-cert.pem"), (cert, "cacert.pem")):
            os.symlink(path, os.path.join(self.directory, name))
        self.command = ["env", "-C", self.directory, *self.command, "--mysql-ssl=on"]


class Pgbench(postgres.Pgbench):
    def __init__(self, server, sslmode):
        super().__init__(server, "prepared")
        self.command = ["env", f"PGSSLMODE={sslmode}", *self.command]


def mariadb(context):
    """(server, {load: bench})"""
    key, cert = harness.make_certificate(context)
    server = context.server(*load.SERVER_OPTIONS, f"--ssl-key={key}", f"--ssl-cert={cert}",
                            f"--ssl-ca={cert}")
    load.Sysbench.prepare(server)
    return server, {"in clear": load.Sysbench(server), "through TLS": Encrypting(server, key, cert)}


def postgresql(context):
    server = context.postgres(tls=True)
    subprocess.run(server.program("pgbench", "-i", "-q", "postgres"), check=True, capture_output=True,
                   env={**os.environ, "PGSSLMODE": "disable"})
    return server, {"in clear": Pgbench(server, "disable"), "through TLS": Pgbench(server, "require")}


class Statements:
    """Readings of one load, ns a statement."""

    def __init__(self, server, bench):
        self.server = server
        self.bench = bench
        self.without, self.added, self.programs, self.calls = [], [], [], []

    def _cpu_ns(self):
        """(processor time of the server a statement, statements)"""
        there = children(self.server)
        before = server_cpu_s(self.server)
        statements, _ = self.bench.run(RUN_S)
        harness.wait(lambda: children(self.server) <= there, "the backends to end")
        return (server_cpu_s(self.server) - before) * 1e9 / statements, statements

    def run_without(self):
        self.without.append(self._cpu_ns()[0])

    def run_with(self, programs, empty):
        before, empty_before = cost.read_stats(programs), cost.read_stats(empty)
        cpu_ns, statements = self._cpu_ns()
        after, empty_after = cost.read_stats(programs), cost.read_stats(empty)
        ns, runs = (sum(after[name][i] - before[name][i] for name in programs) for i in (0, 1))
        empty_ns, empty_runs = (sum(empty_after[name][i] - empty_before[name][i] for name in empty)
                                for i in (0, 1))
        self.added.append(cpu_ns - self.without[-1])
        self.programs.append((ns - runs * empty_ns / empty_runs) / statements)
        calls = sum(after[name][1] - before[name][1] for name in ("read", "wrote"))
        self.calls.append(calls / statements)

    def figures(self, name):
        note = f"{max(self.calls):.2f} calls of the library" if max(self.calls) > 0.01 else ""
        return [Figure(f"{name}: processor time of the server, without dbps", "ns", self.without),
                Figure("  what dbps adds to it", "ns", self.added, note="of the same round"),
                Figure("  dbps's programs, net of empty ones", "ns", self.programs, note=note)]


def measure(context):
    loads = {}
    for engine, (server, benches) in (("MariaDB", mariadb(context)), ("PostgreSQL", postgresql(context))):
        for name, bench in benches.items():
            loads[f"{engine} {name}"] = Statements(server, bench)
    servers = {statements.server for statements in loads.values()}
    for _ in range(ROUNDS):
        for statements in loads.values():
            statements.run_without()
        daemon = context.daemon()
        for server in servers:
            daemon.wait_server(server, link=isinstance(server, harness.Server))
        empty = cost.helper(context, "time")
        programs, empties = cost.programs(daemon.pid, PROGRAMS), cost.programs(empty.pid, cost.EMPTY)
        for statements in loads.values():
            statements.run_with(programs, empties)
        harness.end_process(empty)
        daemon.stop()
    return (f"TLS: what dbps costs a statement (sysbench oltp_point_select and pgbench -S -M prepared, TCP, "
            f"{load.THREADS} clients, {RUN_S} s a run, {ROUNDS} rounds)",
            [figure for name, statements in loads.items() for figure in statements.figures(name)])
