"""KILL: how soon the victim's client sees it, with few and with thousands of sessions in the list, next to what
others do about it; thousands at once; and what the cancel map costs those whom nobody kills."""

import os
import random
import subprocess
import sys
import time

import cost
import harness
import listing
import load
from figures import Figure

FEW, MANY = 10, 5000
KILLS = {FEW: 400, MANY: 200}  # of each kind, on the console
PROCESSES = {FEW: 60, MANY: 30}  # of each kind, by a process
WHERE_ROUNDS = 3
PAIRS = 7


class Killer:
    """The helper that kills and looks at the victim."""

    def __init__(self, context, daemon, server):
        self.process = context.spawn(
            [os.path.join(harness.BUILD, "tests/bench/kill_latency"), daemon.socket, server.name,
             str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        harness.check(self.process.stdout.readline() == "ready\n", "kill_latency did not start")

    def kill(self, line, end, answer=""):
        """(ms until the client saw it, ms until it was answered)"""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split(maxsplit=3)
        harness.check(len(words) >= 3, f"{line}: kill_latency ended")
        harness.check(words[2] == end and answer in "".join(words[3:]), f"{line}: {words}")
        return int(words[0]) / 1e6, int(words[1]) / 1e6


def percentile(readings, share):
    """The reading that so large a share of all are not above."""
    return sorted(readings)[min(len(readings) - 1, int(len(readings) * share))]


def kinds(daemon, server):
    """{name: (line for the helper, how the client's connection ends, what the answer begins with)}"""
    dbps = " ".join(listing.dbps(daemon, "kill", "--server", server.name, "%i"))
    return {
        "console": ("console", "reset", "confirmed"),
        "server": ("server", "closed", ""),
        "dbps": (f"run {dbps}", "reset", ""),
        "ss": ("run ss -tK src 127.0.0.1:%s dst 127.0.0.1:%p", "reset", ""),
        "admin": (f"run mariadb-admin --no-defaults -h127.0.0.1 -P%s -ubench -pbench kill %i", "closed", ""),
    }


def interleaved(killer, daemon, server, n):
    """{kind: [(ms of the client, ms of the answer)]}, the kinds in an order that changes."""
    ways = kinds(daemon, server)
    work = [kind for kind in ways
            for _ in range(KILLS[n] if kind in ("console", "server") else PROCESSES[n])]
    work += ["query"] * KILLS[n]
    random.Random(n).shuffle(work)
    seen = {kind: [] for kind in [*ways, "query"]}
    for kind in work:
        line, end, answer = ways.get(kind, ("query", "answered", "confirmed"))
        seen[kind].append(killer.kill(line, end, answer))
    return seen


def figures_of(n, seen):
    """Figures in microseconds for those on an open connection, in ms for processes."""
    def us(kind, part=0):
        return [reading[part] * 1e3 for reading in seen[kind]]

    console, query = us("console"), us("query", 1)
    among = f"{n:,} sessions"
    figures = [
        Figure(f"KILL of an idle session, to the RST at the client, {among}", "us", console, goal=300),
        Figure("  of it p99", "us", [percentile(console, 0.99)], goal=1000),
        Figure("  to the answer `confirmed`", "us", us("console", 1)),
        Figure("  the server's own KILL, to the end at the client", "us", us("server")),
        Figure(f"KILL QUERY of SLEEP, confirmed, {among}", "us", query, goal=2000),
        Figure("  to the error at the client", "us", us("query")),
    ]
    for kind, name in (("dbps", "dbps kill"), ("ss", "ss -K"), ("admin", "mariadb-admin kill")):
        figures.append(Figure(f"process of {name}, to the end at the client", "us", us(kind)))
    return figures


def measure_among(context, n):
    server = listing.server_for_sessions(context, n)
    daemon = context.daemon()
    daemon.wait_server(server)
    load.hold_connections(context, server, n, processes=1 + n // 1000)
    killer = Killer(context, daemon, server)
    harness.wait(lambda: len(daemon.processlist(server)) >= n, "all sessions in the list")
    figures = figures_of(n, interleaved(killer, daemon, server, n))
    query_id = "select query_id, command from information_schema.processlist where id = 1"
    return [*figures, Figure(f"part of KILL QUERY: the server tells a QUERY_ID, {n:,} sessions", "us",
                             [ms * 1e3 for ms in listing.time_statement(server.admin_connection, query_id, 50)])]


def measure_latency(context):
    return (f"One KILL, all kinds interleaved ({KILLS[FEW]} and {KILLS[MANY]} of each on an open connection, "
            f"{PROCESSES[FEW]} and {PROCESSES[MANY]} processes)",
            measure_among(context, FEW) + measure_among(context, MANY))


# ---------------------------------------------------------------- thousands at once

WATCH = """
import pymysql, select, sys, time
n, host, port, user = int(sys.argv[1]), *sys.argv[2:5]
held = [pymysql.connect(host=host, port=int(port), user=user, password=user, db="bench") for _ in range(n)]
poll = select.poll()
left = {c._sock.fileno(): c._sock for c in held}
for fd in left:
    poll.register(fd, select.POLLIN)
print("ready", flush=True)
resets = 0
while left:
    for fd, _ in poll.poll():
        try:
            left[fd].recv(1)
        except ConnectionResetError:
            resets += 1
        poll.unregister(fd)
        del left[fd]
print(resets, time.monotonic(), flush=True)
"""


def watch_connections(context, server, n, processes):
    """Processes that hold idle connections and tell when the last of theirs was reset."""
    watchers = [context.spawn([sys.executable, "-c", WATCH, str(n // processes), "127.0.0.1", str(server.port),
                               "bench"], stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for watcher in watchers:
        harness.check(watcher.stdout.readline() == "ready\n", "connections could not be held")
    return watchers


def kill_all(context, daemon, server):
    """(ms until it is answered, ms until the last client has its RST)"""
    watchers = watch_connections(context, server, MANY, 5)
    idle = "command = 'Sleep' and user = 'bench'"
    harness.wait(lambda: sum(row[3] == "Sleep" for row in daemon.processlist(server).values()) >= MANY, "all idle")
    with daemon.connect(db=server.name) as console, console.cursor() as cursor:
        began = time.monotonic()
        cursor.execute(f"kill connection where {idle}")
        answered = time.monotonic()
        rows = cursor.fetchall()
    ends = [watcher.stdout.readline().split() for watcher in watchers]
    harness.check(sum(int(resets) for resets, _ in ends) == MANY, f"not all were reset: {ends}, {rows[:3]}")
    harness.check(not any(row[0] == "bench" for row in daemon.processlist(server).values()), "some are left")
    return (answered - began) * 1e3, (max(float(end) for _, end in ends) - began) * 1e3


def measure_where(context):
    server = listing.server_for_sessions(context, MANY)
    daemon = context.daemon()
    daemon.wait_server(server)
    times = [kill_all(context, daemon, server) for _ in range(WHERE_ROUNDS)]
    return (f"KILL CONNECTION WHERE command = 'Sleep', {MANY:,} idle sessions", [
        Figure("to the answer: each confirmed", "ms", [answer for answer, _ in times], goal=1000),
        Figure("to the last RST at a client", "ms", [reset for _, reset in times], goal=1000),
    ])


# ---------------------------------------------------------------- the cancel map, with nothing in it


def side_by_side(context, server, bench, programs):
    """Net ns that the taps of these dbpsd take a statement, each of the same statements. Who comes first brings
    into the caches what the next one finds there."""
    daemons = [context.daemon(program=program) for program in programs]
    for daemon in daemons:
        daemon.wait_server(server)
    empty = cost.helper(context, "time")
    bench.run(1)
    meters = [cost.Meter(daemon.pid, cost.TAPS, empty) for daemon in daemons]
    before = [meter.read() for meter in meters]
    statements, _ = bench.run(cost.ROUND_S)
    nets = [meter.net(old, meter.read()) for meter, old in zip(meters, before)]
    for process in (empty, *(daemon.process for daemon in daemons)):
        harness.end_process(process)
    return [sum(ns for ns, _, _ in net.values()) / statements for net in nets]


def measure_cancel_map(context):
    server = load.server_for_sysbench(context)
    bench = load.Sysbench(server)
    events = cost.events_per_statement(context, server, bench)
    own = sum(n for name, n in events.items() if name.startswith("server"))
    look, none = "dbpsd", "tests/bench/uncancelled/dbpsd"
    with_look, without, costs, order = [], [], [], []
    for _ in range(PAIRS):
        first, after = side_by_side(context, server, bench, (look, none))
        before, second = side_by_side(context, server, bench, (none, look))
        one, other = side_by_side(context, server, bench, (look, look))
        costs.append((first - after + second - before) / 2 / own)
        order.append((one - other) / 2 / own)
        with_look += [first, second]
        without += [before, after]
    noise = [one - other for one, other in zip(order, order[1:])]
    return (f"The cancel map with nothing armed: the taps with the look at it and without, side by side, each first "
            f"in turn (sysbench oltp_point_select, {cost.ROUND_S} s each)", [
                Figure("what the look costs, an event of the server", "ns", costs, goal=10,
                       note=f"{own:.2f} events a statement"),
                Figure("the same of two that both have it: the noise", "ns", noise),
                Figure("all taps, a statement, with it", "ns", with_look),
                Figure("all taps, a statement, without", "ns", without),
            ])
