"""Looking: the whole process of `dbps ps`, thousands of sessions, and dbpsd while nobody looks."""

import os
import subprocess
import time

import harness
import load
from figures import Figure

SESSIONS = 100
MANY = 5000
BUSY_SHARE = 5  # one in so many executes something
RUNS = 200
REST_S = 10


def time_process(args, runs):
    """Wall time in ms of the whole process, from its start until it is reaped."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, devnull, 1)]
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        pid = os.posix_spawn(args[0], args, os.environ, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        times.append((time.perf_counter() - began) * 1e3)
        harness.check(status == 0, f"{args} failed")
    os.close(devnull)
    return times


def dbps(daemon, *args):
    return [os.path.join(harness.BUILD, "dbps"), "--socket", daemon.socket, *args]


def server_for_sessions(context, n):
    server = context.server(f"--max-connections={n + 50}", f"--back-log={n}",
                            "--thread-stack=192K", "--open-files-limit=18000",
                            "--table-open-cache=400", "--thread-cache-size=0")
    server.run("create database bench")
    server.add_user("bench", "bench")
    return server


def answer_has_ended(tail):
    """Whether these bytes end in an EOF packet: length 5, then 0xfe."""
    return len(tail) >= 9 and tail[-9:-6] == b"\x05\0\0" and tail[-5] == 0xfe


def time_statement(connection, statement, runs):
    """Wall time in ms from sending a statement to the last byte of its rows, which are not parsed:
    this is about the one who answers."""
    sock = connection._sock
    request = b"\x03" + statement.encode()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        sock.sendall(len(request).to_bytes(3, "little") + b"\0" + request)
        tail = b""
        while not answer_has_ended(tail):
            tail = (tail + sock.recv(1 << 20))[-9:]
        times.append((time.perf_counter() - began) * 1e3)
    return times


def measure_ps(context):
    server = server_for_sessions(context, SESSIONS)
    daemon = context.daemon()
    daemon.wait_server(server)
    load.hold_connections(context, server, SESSIONS, busy=SESSIONS // BUSY_SHARE)
    harness.wait(lambda: len(daemon.sessions(server)) > SESSIONS, "all sessions in the list")
    stock = [harness.need_program("mariadb"), "--no-defaults", "-S", daemon.socket, "-e",
             "show processlist"]
    return (f"dbps ps, whole process, {SESSIONS} sessions of which {SESSIONS // BUSY_SHARE} execute "
            f"({RUNS} runs)", [
                Figure("dbps ps", "ms", time_process(dbps(daemon, "ps"), RUNS), goal=10),
                Figure("dbps ps --json", "ms", time_process(dbps(daemon, "ps", "--json"), RUNS)),
                Figure("mariadb -e 'show processlist' on the console", "ms",
                       time_process(stock, RUNS)),
                Figure("the statement alone, connection open", "ms",
                       time_statement(daemon.connect(), "show processlist", RUNS)),
                Figure("/bin/true", "ms", time_process(["/bin/true"], RUNS)),
            ])


def raw_snapshots(helper, text_bytes, runs=50):
    """(sessions, [ms]) of snapshots by the helper process."""
    helper.stdin.write(f"{text_bytes} {runs}\n")
    helper.stdin.flush()
    sessions, _, *times = helper.stdout.readline().split()
    return int(sessions), [int(ns) / 1e6 for ns in times]


def measure_many(context):
    helper = context.spawn([os.path.join(harness.BUILD, "tests/bench/snapshot")],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    harness.check(helper.stdout.readline() == "ready\n", "the snapshot helper did not start")
    server = server_for_sessions(context, MANY)
    daemon = context.daemon()
    daemon.wait_server(server)
    load.hold_connections(context, server, MANY, busy=MANY // BUSY_SHARE, processes=5)
    sessions, bare = raw_snapshots(helper, 0)
    harness.check(sessions >= MANY, f"the snapshot has {sessions} sessions, not {MANY}")
    figures = [
        Figure("snapshot alone, no text", "ms", bare, goal=5),
        Figure("snapshot alone, 100 bytes of text", "ms", raw_snapshots(helper, 100)[1]),
        Figure("snapshot alone, whole text", "ms", raw_snapshots(helper, 1024)[1]),
    ]
    console = daemon.connect()
    for statement in ("show processlist", "show full processlist", "show full sessions"):
        figures.append(Figure(f"dbpsd: {statement}", "ms", time_statement(console, statement, 30)))
    figures += [
        Figure("MariaDB itself: show processlist", "ms",
               time_statement(server.admin_connection, "show processlist", 30)),
        Figure("dbps ps, whole process", "ms", time_process(dbps(daemon, "ps"), 30)),
        Figure("dbps ps --json, whole process", "ms",
               time_process(dbps(daemon, "ps", "--json"), 30)),
        Figure("dbpsd, resident memory afterwards", "MiB", [daemon.resident_kb() / 1024]),
    ]
    return f"{sessions} sessions of which {MANY // BUSY_SHARE} execute", figures


def context_switches(pid):
    """Of all threads, wanted and not."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def measure_rest(context):
    server = server_for_sessions(context, SESSIONS)
    daemon = context.daemon()
    daemon.wait_server(server)
    load.hold_connections(context, server, SESSIONS, busy=SESSIONS // BUSY_SHARE)
    daemon.sessions()
    daemon.close_consoles()
    time.sleep(1)
    switches = []
    for _ in range(3):
        before = context_switches(daemon.pid)
        time.sleep(REST_S)
        switches.append(context_switches(daemon.pid) - before)
    return (f"dbpsd at rest: {SESSIONS} sessions, nobody asks", [
        Figure(f"context switches in {REST_S} s, all threads", "", switches, goal=0),
        Figure("resident memory", "MiB", [daemon.resident_kb() / 1024], goal=15),
        Figure("of it its own (anonymous)", "MiB",
               [harness.status_value(daemon.pid, "RssAnon") / 1024]),
        Figure("threads", "", [len(os.listdir(f"/proc/{daemon.pid}/task"))]),
    ])
