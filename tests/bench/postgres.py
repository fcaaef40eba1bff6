"""PostgreSQL: what the taps cost a statement of pgbench, and how exact and how soon a cancel is."""

import re
import subprocess
import time

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
    readings = cost.Readings(context, benches, link=False)
    for _ in range(cost.ROUNDS):
        readings.round(context, server)
    return (f"PostgreSQL: kernel time of the taps, net of an empty program (pgbench -S, TCP, {THREADS} clients, "
            f"{cost.ROUND_S} s a round)", cost.figures_of(readings, events, "pgbench"))


def status(daemon):
    return {name: int(value) for name, value in daemon.query("show status like 'Dbps_signal%'")}


def cancel(console, client, number, statement):
    """us until it was answered"""
    client.send(pgwire.query(statement))
    harness.wait(lambda: console.execute("show full processlist") and any(
        row[0] == number and row[4] == "Query" for row in console.fetchall()), "the statement to run")
    began = time.monotonic()
    console.execute(f"kill query {number}")
    took_us = (time.monotonic() - began) * 1e6
    try:
        client.until_ready()
    except pgwire.PgError as error:
        harness.check(error.sqlstate == "57014", f"the statement ended with {error}")
        return took_us
    raise harness.Failure("the statement was not cancelled")


def cancels_of(daemon, server, what, statement):
    """Figures of KILLs of one session, which executes this whenever it is killed."""
    client = server.connect(tcp=True)
    times, windows = [], []
    with daemon.connect(db=server.name) as connection, connection.cursor() as console:
        for _ in range(KILLS):
            times.append(cancel(console, client, client.pid, statement))
            windows.append(status(daemon)["Dbps_signal_window_ns"])
    client.close()
    return [
        Figure(f"from the look until the signal was sent, {what}", "ns", windows, note="by the backend, where it can"),
        Figure("  of it p99", "ns", [kill.percentile(windows, 0.99)]),
        Figure(f"to the answer `confirmed`, {what}", "us", times, goal=2000),
        Figure("  of it p99", "us", [kill.percentile(times, 0.99)]),
    ]


def measure_cancel(context):
    server = context.postgres()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    figures = cancels_of(daemon, server, "it sleeps", "select pg_sleep(30)")
    figures += cancels_of(daemon, server, "it computes", "select count(*) from generate_series(1, 1e9)")
    counts = status(daemon)
    return (f"PostgreSQL: KILL QUERY over the console, {KILLS} times each; of {counts['Dbps_signals']} signals "
            f"{counts['Dbps_signals_late']} came late", figures)
