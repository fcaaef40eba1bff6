"""The list of dbps against the server's own, row by row, while 50 clients work."""

import collections
import os
import random
import signal
import sys
import time

from deadline import times
from harness import check, make_certificate, stop_process, thread_runs, thread_states, wait

import workload

PAIRS = times(1000)
TLS_PAIRS = int(os.environ.get("DBPS_TEST_TLS_PAIRS", times(300)))
PROCESSES = 5
CLIENTS = 10
NAMES = ("User", "Host", "db", "Command", "Info")


def prepare(server):
    for db in workload.DATABASES:
        server.run(
            f"create database {db}",
            f"create table {db}.t (id int auto_increment primary key, n int)",
            f"insert into {db}.t (n) values (1), (2), (3)",
            f"create table {db}.big (id int primary key, v varchar(1000))",
            f"insert into {db}.big select seq, repeat('x', 1000) from {db}.seq_1_to_3000",
        )
    for user, password in workload.USERS:
        quoted = password.replace("'", "''")
        server.run(f"create user '{user}'@'%' identified by '{quoted}'",
                   f"grant all on *.* to '{user}'@'%'")


def start_clients(t, server, seed, tls):
    here = os.path.dirname(os.path.abspath(__file__))
    clients = []
    for i in range(PROCESSES):
        clients.append(t.spawn(
            [sys.executable, os.path.join(here, "workload.py"), server.socket, str(server.port),
             str(seed + i), str(CLIENTS), *(("tls",) if tls else ())], stdout=-1, text=True))
    for client in clients:
        check(client.stdout.readline() == "ready\n", "a client did not start")
    return clients


def moves(server):
    """What the server has counted of statements and connections."""
    return sum(int(value) for _, value in server.run(
        "show global status where variable_name in ('Queries', 'Connections')"))


def read_of_pool(server, daemon):
    """Any thread of a pool may serve whoever reads the list, so that some run is no sign: all wait before the first
    list and after the last, which are equal, and the server has counted only what is asked here."""
    moved = moves(server)
    if thread_states(server.pid) != {"S"}:
        return None
    before, ours = server.processlist(), daemon.processlist(server)
    still = (server.processlist() == before and moves(server) == moved + 3
             and thread_states(server.pid) == {"S"})
    return (before, ours) if still else None


def paired_read(server, daemon, counts):
    """The server's list and ours, when no thread of the server has run since before the first of them was read, but
    the one that reads its list. Two equal lists of the server do not say as much: a thread that is preempted
    behind its last send is listed with a statement whose answer has left, until it comes onto a processor again."""
    own = server.admin_connection.thread_id()
    thread = server.run(f"select tid from information_schema.processlist where id = {own}")[0][0]
    pool = server.run("select @@thread_handling")[0][0] == "pool-of-threads"

    def read_alone():
        runs = thread_runs(server.pid, thread)
        if not runs:
            return None
        both = server.processlist(), daemon.processlist(server)
        return both if thread_runs(server.pid, thread) == runs else None

    def read():
        both = read_of_pool(server, daemon) if pool else read_alone()
        counts["retries"] += not both
        return both

    before, ours = wait(read, "the server's threads to stand still", every=0.0005)
    monitor = ours.pop(own, None)
    check(monitor is not None and monitor[:3] == ("root", "localhost", None),
          f"the monitor's own row: {monitor}")
    return before, ours


def comparable(row, kept):
    """While Change user asks for a password the server shows the new user, not checked yet, and no
    database; dbps shows who the session is until the server has said OK. Not every kernel has room for the longest
    texts: of these the begin is compared."""
    if row and row[3] == "Change user":
        row = (None, row[1], None, *row[3:])
    return row and tuple(cell[:kept] if isinstance(cell, str) else cell for cell in row)


def differences(before, ours, kept):
    for number in sorted(before.keys() | ours.keys()):
        theirs, mine = before.get(number), ours.get(number)
        if comparable(theirs, kept) != comparable(mine, kept):
            yield f"Id {number}:\n    server {theirs}\n    dbps   {mine}"


def run_pairs(t, pairs, *options, tls=False):
    seed = int(os.environ.get("DBPS_TEST_SEED", "0")) or random.randrange(1, 100000)
    t.note(f"seed {seed} (DBPS_TEST_SEED)")
    chance = random.Random(seed)
    server, daemon = t.pair("--max-connections=200", "--max-allowed-packet=64M", "--local-infile=1",
                            *options, daemon_options=("--set", "session.text_bytes=16384"))
    kept = daemon.query("select @@dbps_text_bytes")[0][0]
    prepare(server)
    clients = start_clients(t, server, seed, tls)
    counts = collections.Counter()
    commands = collections.Counter()
    framings = collections.Counter()
    wrong = []
    for pair in range(pairs):
        time.sleep(chance.random() * 0.012)  # the random point of the pause
        for client in clients:
            stop_process(client.pid)
        before, ours = paired_read(server, daemon, counts)
        counts["rows"] += len(before)
        commands.update(row[3] for row in before.values())
        for difference in differences(before, ours, kept):
            wrong.append(f"pair {pair}: {difference}")
        if pair % 10 == 0:
            rows = daemon.sessions(server)
            framings.update(row["framing"] for row in rows)
            counts["encrypted"] += sum(row["tls"] for row in rows)
        for client in clients:
            check(client.poll() is None, "a client has ended")
            client.send_signal(signal.SIGCONT)
        check(len(wrong) < 20, "\n".join(wrong))
    t.note(f"{pairs} pairs, {counts['rows']} rows of {len(NAMES) + 1} columns compared, "
           f"{counts['retries']} pairs read again")
    t.note("rows by Command: " + ", ".join(f"{k} {n}" for k, n in commands.most_common()))
    exact = framings.pop("exact")
    t.note(f"framing of {exact} sessions is exact, of others: {dict(framings) or 'none'}")
    t.note("losses on the whole host: " + (", ".join(f"{k} {n}" for k, n in daemon.losses().items() if n) or "none"))
    t.note(f"{counts['encrypted']} of the sessions looked at were encrypted")
    check(not tls or counts["encrypted"], "no session was encrypted")
    check(not wrong, f"{len(wrong)} rows differ:\n" + "\n".join(wrong))
    check(not framings, f"sessions whose framing was lost: {framings}")
    check(len(commands) >= 4, f"the clients did too little: {commands}")


def test_equals_the_servers_list(t):
    run_pairs(t, PAIRS)


def test_equals_it_through_tls(t):
    key, cert = make_certificate(t)
    run_pairs(t, TLS_PAIRS, f"--ssl-key={key}", f"--ssl-cert={cert}", "--require-secure-transport=1",
              tls=True)
