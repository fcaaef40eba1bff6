"""The list of dbps against the server's own, row by row, while 50 clients work."""

import collections
import os
import random
import signal
import sys
import time

from harness import check, wait

import workload

PAIRS = 1000
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


def start_clients(t, server, seed):
    here = os.path.dirname(os.path.abspath(__file__))
    clients = []
    for i in range(PROCESSES):
        clients.append(t.spawn(
            [sys.executable, os.path.join(here, "workload.py"), server.socket, str(server.port),
             str(seed + i), str(CLIENTS)], stdout=-1, text=True))
    for client in clients:
        check(client.stdout.readline() == "ready\n", "a client did not start")
    return clients


def stop_all(clients):
    """SIGSTOP, and wait until no thread of them runs any more."""
    for client in clients:
        client.send_signal(signal.SIGSTOP)

    def stopped():
        for client in clients:
            with open(f"/proc/{client.pid}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        return True

    wait(stopped, "clients to stop", every=0.0005)


def moves(server):
    """What the server has counted of statements and connections."""
    return sum(int(value) for _, value in server.run(
        "show global status where variable_name in ('Queries', 'Connections')"))


def is_at_rest(server):
    """Whether all its threads wait. One that was preempted behind its last send is still listed with a
    statement that is over."""
    directory = f"/proc/{server.pid}/task"
    for thread in os.listdir(directory):
        try:
            with open(f"{directory}/{thread}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "S":
                    return False
        except OSError:
            return False
    return True


def paired_read(server, daemon, counts):
    """The server's list, ours, and the server's again, until both of the server's are equal and it has
    done nothing in between: a request may lie unread in a socket when its client is stopped."""
    own = server.admin_connection.thread_id()

    def read():
        moved = moves(server)
        before = server.processlist()
        ours = daemon.processlist(server)
        if (server.processlist() == before and moves(server) == moved + 3
                and is_at_rest(server)):
            return before, ours
        counts["retries"] += 1
        return None

    before, ours = wait(read, "the server's list to stand still", every=0.0005)
    monitor = ours.pop(own, None)
    check(monitor is not None and monitor[:3] == ("root", "localhost", None),
          f"the monitor's own row: {monitor}")
    return before, ours


def comparable(row):
    """While Change user asks for a password the server shows the new user, not checked yet, and no
    database; dbps shows who the session is until the server has said OK."""
    if row and row[3] == "Change user":
        return (None, row[1], None, *row[3:])
    return row


def differences(before, ours):
    for number in sorted(before.keys() | ours.keys()):
        theirs, mine = before.get(number), ours.get(number)
        if comparable(theirs) != comparable(mine):
            yield f"Id {number}:\n    server {theirs}\n    dbps   {mine}"


def test_equals_the_servers_list(t):
    seed = int(os.environ.get("DBPS_TEST_SEED", "0")) or random.randrange(1, 100000)
    t.note(f"seed {seed} (DBPS_TEST_SEED)")
    chance = random.Random(seed)
    server, daemon = t.pair("--max-connections=200", "--max-allowed-packet=64M", "--local-infile=1",
                            daemon_options=("--set", "session.text_bytes=16384"))
    prepare(server)
    clients = start_clients(t, server, seed)
    counts = collections.Counter()
    commands = collections.Counter()
    wrong = []
    for pair in range(PAIRS):
        time.sleep(chance.random() * 0.012)  # the random point of the pause
        stop_all(clients)
        before, ours = paired_read(server, daemon, counts)
        counts["rows"] += len(before)
        commands.update(row[3] for row in before.values())
        for difference in differences(before, ours):
            wrong.append(f"pair {pair}: {difference}")
        for client in clients:
            check(client.poll() is None, "a client has ended")
            client.send_signal(signal.SIGCONT)
        check(len(wrong) < 20, "\n".join(wrong))
    t.note(f"{PAIRS} pairs, {counts['rows']} rows of {len(NAMES) + 1} columns compared, "
           f"{counts['retries']} pairs read again")
    t.note("rows by Command: " + ", ".join(f"{k} {n}" for k, n in commands.most_common()))
    t.note("losses: " + (", ".join(f"{k} {n}" for k, n in daemon.losses().items() if n) or "none"))
    check(not wrong, f"{len(wrong)} rows differ:\n" + "\n".join(wrong))
    check(len(commands) >= 4, f"the clients did too little: {commands}")
