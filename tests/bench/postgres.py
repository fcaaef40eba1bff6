"""PostgreSQL: what the taps cost a statement of pgbench, and how exact and how soon a cancel is."""

import re
import subprocess

import cost
import harness
import kill
import pgwire
from figures import Figure

THREADS = 4
KILLS = 400


class Pgbench:
    """pgbench -S against a server over TCP."""

    def __init__(self, server, mode):
        self.command = server.program("pgbench", "-S", "-n", "-M", mode, "-c", str(THREADS), "-j", "2")

    def run(self, seconds):
        """(statements, statements a second)"""
        r = subprocess.run([*self.command, "-T", str(seconds), "postgres"], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, check=False)
        harness.check(r.returncode == 0, f"pgbench: {r.stdout}{r.stderr}")
        return (int(re.search(r"actually processed: (\d+)", r.stdout)[1]),
                float(re.search(r"tps = ([\d.]+)", r.stdout)[1]))


def server_for_pgbench(context):
    server = context.postgres()
    subprocess.run(server.program("pgbench", "-i", "-q", "postgres"), check=True, capture_output=True)
    return server


def measure_cost(context):
    server = server_for_pgbench(context)
    benches = {"simple, pgbench's default": Pgbench(server, "simple"), "extended": Pgbench(server, "extended"),
               "prepared": Pgbench(server, "prepared")}
    events = cost.events_per_statement(context, server, next(iter(benches.values())))
    readings = cost.Readings(benches, link=False)
    for _ in range(cost.ROUNDS):
        readings.round(context, server)
    return (f"PostgreSQL: kernel time of the taps, net of an empty program (pgbench -S, TCP, {THREADS} clients, "
            f"{cost.ROUND_S} s a round)", cost.figures_of(readings, events, "pgbench"))


def status(daemon):
    return {name: int(value) for name, value in daemon.query("show status like 'Dbps_signal%'")}


def cancel(console, client, number):
    """(us until it was answered, whether it was confirmed)"""
    client.send(pgwire.query("select pg_sleep(30)"))
    harness.wait(lambda: console.execute(f"show full processlist") and any(
        row[0] == number and row[4] == "Query" for row in console.fetchall()), "the statement to run")
    began = kill.time.monotonic()
    console.execute(f"kill query {number}")
    took_us = (kill.time.monotonic() - began) * 1e6
    try:
        client.until_ready()
    except pgwire.PgError as error:
        return took_us, error.sqlstate == "57014"
    return took_us, False


def measure_cancel(context):
    server = context.postgres()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    client = server.connect(tcp=True)
    times, windows = [], []
    with daemon.connect(db=server.name) as connection, connection.cursor() as console:
        for _ in range(KILLS):
            took_us, confirmed = cancel(console, client, client.pid)
            harness.check(confirmed, "the statement was not cancelled")
            times.append(took_us)
            windows.append(status(daemon)["Dbps_signal_window_ns"])
    return (f"PostgreSQL: KILL QUERY of pg_sleep, {KILLS} times, over the console", [
        Figure("from the look at the statement to its signal", "ns", windows,
               note="in which it could end, and the next one begin"),
        Figure("  of it p99", "ns", [kill.percentile(windows, 0.99)]),
        Figure("to the answer `confirmed`", "us", times, goal=2000),
        Figure("  of it p99", "us", [kill.percentile(times, 0.99)]),
    ])
