"""Emergencies on a real server: orphans, room for new connections, statements that step back."""

import collections
import contextlib
import ctypes
import json
import os
import platform
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import pymysql

from harness import check, check_equal, ok_text, stop_process, wait

import wire
from deadline import seconds

CPU_BOUND = "select benchmark(2000000000, md5('x'))"
LONG = "select count(*) from alpha.seq_1_to_100000 a, alpha.seq_1_to_100000 b"


def pair(t):
    server, daemon = t.shared_pair()
    server.run("create or replace user app@'%' identified by 'secret'",
               "grant all on *.* to app@'%'", "create database if not exists alpha",
               "create or replace table alpha.t (id int primary key, v int) engine=innodb",
               "insert into alpha.t values (1, 1), (2, 2)")
    return server, daemon


def login(t, server, tcp, **kwargs):
    w = t.keep(server.wire(tcp=tcp, **kwargs))
    return w.login(*(("app", "secret") if tcp else ("root",)))


def reset(w):
    """Close with a reset instead of a FIN."""
    w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    w.sock.close()


def end_statement(server, daemon, w):
    """What an orphan executes is ended by the server itself, so that the next test finds it alone."""
    server.run(f"kill {w.id}")
    daemon.wait_gone(server, w.id)


# --- orphans ---


def orphans(daemon, server):
    """{id: row} of SHOW FULL ORPHANS, and the ids of SHOW ORPHANS."""
    rows = {}
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        cursor.execute("show full orphans")
        names = [column[0] for column in cursor.description]
        for row in cursor.fetchall():
            rows[row[0]] = dict(zip(names, row))
    return rows


def wait_orphan(daemon, server, number, how):
    return wait(lambda: orphans(daemon, server).get(number), f"session {number} as an orphan: {how}")


def test_a_client_that_goes_leaves_an_orphan(t):
    """Closed, reset, and over a Unix socket, while a statement runs that does not look."""
    server, daemon = pair(t)
    for tcp, leave, how in ((True, lambda w: w.sock.close(), "closed"), (True, reset, "reset"),
                            (False, lambda w: w.sock.close(), "closed")):
        w = login(t, server, tcp)
        daemon.running(server, w, CPU_BOUND)
        check(w.id not in orphans(daemon, server), "an orphan while the client is there")
        check_equal(daemon.session(server, w.id)["orphan"], None, "its column")
        leave(w)
        row = wait_orphan(daemon, server, w.id, how)
        check_equal((row["orphan"], row["command"], row["info"]), (how, "Query", CPU_BOUND), "it")
        check(row["phase"].startswith("orphaned: "), row["phase"])
        if tcp:
            check(0 <= row["orphan_ms"] < row["time_ms"], f"{row['orphan_ms']} of {row['time_ms']}")
        else:
            check_equal(row["orphan_ms"], None, "the time of a Unix socket")
        t.note(f"{'TCP' if tcp else 'Unix'} {how}: {row['phase']}, {row['orphan_ms']} ms")
        end_statement(server, daemon, w)
        check_equal(orphans(daemon, server), {}, "orphans after it")


def test_a_killed_client_leaves_an_orphan(t):
    """The stock client, killed while it waits for a row lock."""
    server, daemon = pair(t)
    holder = login(t, server, False)
    holder.query("begin")
    holder.query("update alpha.t set v = 5 where id = 1")
    client = t.spawn(["mariadb", "-h127.0.0.1", f"-P{server.port}", "-uapp", "-psecret", "-e",
                      "update alpha.t set v = 6 where id = 1"], stdout=subprocess.DEVNULL)
    row = wait(lambda: next((r for r in daemon.sessions(server)
                             if (r["info"] or "").startswith("update alpha.t set v = 6")), None),
               "the update")
    client.send_signal(signal.SIGKILL)
    found = wait_orphan(daemon, server, row["id"], "killed")
    check_equal((found["orphan"], found["user"]), ("closed", "app"), "it")
    holder.query("rollback")  # then it finds that its client has gone
    daemon.wait_gone(server, row["server_id"])


def test_a_half_closed_client_is_told_apart_where_it_can_be(t):
    """It sends nothing more and still reads: over TCP it looks closed, over a Unix socket it does not."""
    server, daemon = pair(t)
    holder = login(t, server, False)
    for tcp in (True, False):
        holder.query("begin")
        holder.query("update alpha.t set v = 5 where id = 1")
        w = login(t, server, tcp)
        daemon.running(server, w, "update alpha.t set v = 6 where id = 1")
        w.sock.shutdown(socket.SHUT_WR)
        if tcp:
            check_equal(wait_orphan(daemon, server, w.id, "half")["orphan"], "closed", "TCP")
        else:
            check_equal(orphans(daemon, server), {}, "Unix")
        holder.query("rollback")
        w.results()
        daemon.wait_gone(server, w.id)


def test_an_orphan_that_looks_ends_by_itself(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    daemon.running(server, w, "select sleep(60)")
    w.sock.close()
    wait_orphan(daemon, server, w.id, "asleep")
    daemon.wait_gone(server, w.id)


def check_goes_on(server, daemon, w):
    """The client of a text of two statements goes while the first waits for a row: the second is listed
    as the server has it, as an orphan, and KILL ends it."""
    server.run("create database if not exists alpha",
               "create or replace table alpha.u (id int primary key) engine=innodb",
               "insert into alpha.u values (1)", "begin", "update alpha.u set id = 2")
    daemon.running(server, w, f"update alpha.u set id = 3; {CPU_BOUND}")
    reset(w)
    wait_orphan(daemon, server, w.id, "waiting")
    server.run("rollback")
    wait(lambda: CPU_BOUND in str(server.processlist().get(w.id)), "the server to go on")
    row = daemon.session(server, w.id)
    check_equal((row["command"], row["state"]), ("Query", "ACTIVE"), "it goes on")
    check(row["orphan"], f"no orphan: {row}")
    check_equal(row["framing"], "exact", "its framing")
    answer = daemon.answer_text(f"kill query {w.id}", server)
    check(answer.startswith("confirmed: session closed, and statement"), answer)
    check_equal(daemon.session(server, w.id), None, "it in the list of dbps")
    daemon.wait_equal(server)


def test_what_goes_on_without_its_client_is_listed(t):
    """MariaDB executes the rest of a text of several statements, though what it says is not taken."""
    server, daemon = pair(t)
    for tcp in (True, False):
        check_goes_on(server, daemon, login(t, server, tcp))


def test_dbps_orphans(t):
    server, daemon = pair(t)
    check_equal(json.loads(daemon.dbps("orphans", "--json", "--server", server.name).stdout), [],
                "orphans of a quiet server")
    w = login(t, server, True)
    daemon.running(server, w, CPU_BOUND)
    reset(w)
    wait_orphan(daemon, server, w.id, "reset")
    rows = json.loads(daemon.dbps("orphans", "--json", "--server", server.name).stdout)
    check_equal([(r["id"], r["orphan"], r["info"]) for r in rows], [(w.id, "reset", CPU_BOUND)],
                "dbps orphans --json")
    listed = daemon.dbps("orphans").stdout
    check("reset" in listed and "benchmark" in listed, listed)
    end_statement(server, daemon, w)


def test_orphans_can_be_killed(t):
    """Their socket is gone, so the server has to end them; each answer is told."""
    server, daemon = pair(t)
    for form in ("query", "connection"):
        left = {}
        for tcp, leave in ((True, lambda w: w.sock.close()), (True, reset),
                           (False, lambda w: w.sock.close())):
            w = login(t, server, tcp)
            daemon.running(server, w, LONG)
            leave(w)
            row = wait_orphan(daemon, server, w.id, form)
            left[w.id] = ("tcp " if tcp else "unix ") + row["orphan"]
        bystander = login(t, server, True)
        daemon.running(server, bystander, LONG)
        with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
            cursor.execute(f"kill {form} where orphan is not null")
            rows = {r[0]: r for r in cursor.fetchall()}
        check_equal(set(rows), set(left), "those that were killed")
        for number, how in left.items():
            t.note(f"{form}, {how}: {rows[number][3]}")
            check_equal(rows[number][1], "confirmed", f"{form}, {how}: {rows[number]}")
            daemon.wait_gone(server, number)
            wait(lambda: number not in server.processlist(), "the server to end it")
        check_equal(daemon.session(server, bystander.id)["info"], LONG, "who has a client")
        server.run(f"kill {bystander.id}")


# --- room for new connections ---


def small_pair(t, connections):
    """A server of its own for so many, which no other dbpsd of the host gets into: its link would count."""
    options = os.path.join(t.directory, "link.cnf")
    with open(options, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
        f.write("[client]\nuser=linked\npassword=secret\n")
    server = t.server(f"--max-connections={connections}")
    server.run("create user linked@localhost identified by 'secret'",
               "grant all on *.* to linked@localhost",
               "create user plain@'%' identified by 'secret'",
               "grant select, update on *.* to plain@'%'",
               "alter user root@localhost identified by 'secret'")
    for number in server.processlist():
        with contextlib.suppress(pymysql.err.MySQLError):
            server.run(f"kill {number}")
    daemon = t.daemon("--set", f"link.option_file={options}")
    daemon.wait_server(server)
    wait(lambda: {row[0] for row in server.processlist().values()} == {"linked"}, "the link alone")
    return server, daemon


def fill(t, server, daemon):
    """Connections until the server takes no more, the longest idle first."""
    kept = []
    while True:
        w = t.keep(server.wire())
        try:
            kept.append(w.login("plain", "secret"))
        except wire.ServerError as error:
            check_equal(error.code, 1040, "the refusal")
            break
    for w in kept:
        daemon.wait_idle(server, w.id)
    server.run("do 1")  # not the harness's own
    return kept


def reserve(daemon, server, statement):
    """(rows by id, warnings, message of an OK)"""
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        rows = {r[0]: r for r in cursor.fetchall()} if cursor.description else {}
        message = ok_text(connection) if not cursor.description else ""
        cursor.execute("show warnings")
        return rows, [r[2] for r in cursor.fetchall()], message


def is_open(w):
    try:
        w.query("select 1")
        return True
    except (wire.Closed, OSError):
        return False


def test_reserve_makes_room_in_a_full_server(t):
    server, daemon = small_pair(t, 12)
    server.run("create database alpha",
               "create table alpha.t (id int primary key, v int) engine=innodb",
               "insert into alpha.t values (1, 1)")
    kept = fill(t, server, daemon)
    in_transaction, busy, idle = kept[0], kept[1], kept[2:]
    in_transaction.query("begin")
    in_transaction.query("update alpha.t set v = 2 where id = 1")
    daemon.running(server, busy, "select sleep(60)")
    rows, warnings, _ = reserve(daemon, server, "reserve 2 dry run")
    check_equal((list(rows), warnings), ([idle[0].id, idle[1].id], []), "the dry run")
    check_equal({r[6] for r in rows.values()}, {"would be dropped"}, "its answers")
    rows, warnings, _ = reserve(daemon, server, f"reserve 2 for {server.name}")
    check_equal((list(rows), warnings), ([idle[0].id, idle[1].id], []), "RESERVE 2")
    check(all(r[5] == "idle" and r[6].startswith("confirmed") for r in rows.values()), str(rows))
    new = [t.keep(server.wire()).login("plain", "secret") for _ in range(2)]
    t.note(f"dropped the longest idle: {list(rows.values())[0]}")
    for w in new + idle[2:] + [in_transaction]:
        check(is_open(w), f"{w.id} lives")
    check(not is_open(idle[0]) and not is_open(idle[1]), "the dropped ones are closed")
    # Now more than there are outside of transactions: the transaction goes last, and it is said.
    admin = server.admin_connection.thread_id()
    rows, warnings, _ = reserve(daemon, server, "reserve 12")
    check_equal(list(rows)[-1], in_transaction.id, "the last one to go")
    check_equal(rows[in_transaction.id][5], "idle in transaction", "what it was")
    check_equal(set(rows), {w.id for w in new + idle[2:] + [in_transaction]} | {admin}, "all")
    check(len(warnings) == 1 and "1 executing" in warnings[0], str(warnings))
    check(daemon.session(server, busy.id)["info"] == "select sleep(60)", "what executes goes on")
    t.note(warnings[0])
    with server.connect(password="secret") as connection, connection.cursor() as cursor:
        cursor.execute("select v from alpha.t")
        check_equal(cursor.fetchall(), ((1,),), "the transaction is rolled back")


def test_reserve_drops_nothing_when_there_is_room(t):
    server, daemon = pair(t)
    w = login(t, server, False)
    rows, warnings, message = reserve(daemon, server, "reserve 5")
    check_equal((rows, warnings), ({}, []), "RESERVE")
    check("connections are free: nothing was dropped" in message, message)
    check(is_open(w), "a session of it")
    for statement, code in (("reserve", 1064), ("reserve x", 1064), ("reserve 1 dry", 1064),
                            ("reserve 1 for", 1064), ("reserve 1 for nobody", 1049),
                            ("reserve 18446744073709551615", 1105), ("reserve 1 2", 1064)):
        try:
            reserve(daemon, server, statement)
            check(False, f"{statement}: no error")
        except pymysql.err.MySQLError as error:
            check_equal(error.args[0], code, statement)


def test_dbps_reserve(t):
    server, daemon = small_pair(t, 10)
    kept = fill(t, server, daemon)
    where = ("--server", server.name)
    listed = json.loads(daemon.dbps("reserve", "1", *where, "--dry-run", "--json").stdout)
    check_equal([(r["Id"], r["answer"]) for r in listed], [(kept[0].id, "would be dropped")],
                "--dry-run --json")
    check("confirmed" in daemon.dbps("reserve", "1", *where).stdout, "dbps reserve")
    told = json.loads(daemon.dbps("kills", "--json", "--limit", "1").stdout)[0]
    check_equal((told["kill"], told["reason"], told["outcome"], told["cookie"] > 0),
                (f"RESERVE 1 FOR {server.name}", "reserve", "confirmed", True), "dbps kills")
    r = daemon.dbps("reserve", "1", *where)
    check("nothing was dropped" in r.stdout, r.stdout)
    for w in kept[1:]:
        w.send_command(wire.QUERY, b"select sleep(60)")
        daemon.wait_session(server, w.id, "sleep", lambda row: row["info"])
    r = daemon.dbps("reserve", "3", *where, check_exit=False)
    check_equal(r.returncode, 4, "too few can be dropped")
    check("could be dropped" in r.stderr, r.stderr)
    check_equal(daemon.dbps("reserve", "some", check_exit=False).returncode, 2, "no number")


# --- statements that step back ---

ROUNDS = 4  # dbpsd is killed so often
SCHED_OTHER, SCHED_BATCH, SCHED_IDLE = 0, 3, 5
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
IOPRIO_SET, IOPRIO_GET = {"x86_64": (251, 252), "aarch64": (30, 31)}[platform.machine()]
IDLE_CLASS = 3 << 13


def priority(tid):
    """(policy, nice, ioprio) of a thread."""
    return (os.sched_getscheduler(tid), os.getpriority(os.PRIO_PROCESS, tid),
            _libc.syscall(IOPRIO_GET, 1, tid))


def refused(daemon, server, text):
    try:
        daemon.answer_text(text, server)
    except pymysql.err.MySQLError as error:
        return error.args
    check(False, f"{text}: not refused")
    return None


def demote(daemon, server, w, text=CPU_BOUND):
    """Start a statement and demote it: (its thread, the priority it had)."""
    row = daemon.running(server, w, text)
    check_equal(row["demoted"], 0, "the column before")
    before = priority(row["tid"])
    check_equal(before[0], SCHED_OTHER, "the policy before")
    answer = daemon.answer_text(f"demote {row['id']}", server)
    check(answer.startswith("demoted: statement"), answer)
    policy, nice, ioprio = priority(row["tid"])
    check_equal((policy, nice, ioprio), (SCHED_IDLE, before[1], IDLE_CLASS), "its priority")
    check_equal(daemon.session(server, w.id)["demoted"], 1, "the column")
    return row["tid"], before


def wait_priority(tid, before, what):
    began = time.monotonic()
    wait(lambda: priority(tid) == before, f"{what}: thread {tid} to be as it was, {before}; it is "
         f"{priority(tid)}", timeout=5, every=0.0002)
    return (time.monotonic() - began) * 1e3


def finish(w):
    try:
        w.results()
        return 0
    except wire.ServerError as error:
        return error.code


def kept_file(daemon):
    return daemon.socket + ".demoted"


def test_demote_lasts_as_long_as_the_statement(t):
    server, daemon = pair(t)
    holder = login(t, server, False)
    for tcp in (True, False):
        holder.query("begin")
        holder.query("update alpha.t set v = 5 where id = 1")
        w = login(t, server, tcp)
        tid, before = demote(daemon, server, w, "update alpha.t set v = 6 where id = 1")
        answer = daemon.answer_text(f"demote {w.id}", server)
        check(answer.startswith("demoted: statement 1 already"), answer)
        check(os.path.exists(kept_file(daemon)), "what is kept")
        holder.query("rollback")
        w.results()
        took = wait_priority(tid, before, "the statement ended")
        t.note(f"given back within {took:.1f} ms of the end")
        row = daemon.running(server, w, LONG)
        check_equal((row["tid"], row["demoted"], priority(tid)), (tid, 0, before), "the next one")
        server.run(f"kill {w.id}")
        wait(lambda: not os.path.exists(kept_file(daemon)), "nothing to be kept")


def test_demote_ends_with_a_kill_and_with_restore(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    tid, before = demote(daemon, server, w)
    daemon.answer_text(f"kill query {w.id}", server)
    finish(w)
    wait_priority(tid, before, "KILL QUERY")
    tid, before = demote(daemon, server, w, "select benchmark(100000000, md5('x')), 2")
    answer = daemon.answer_text(f"restore {w.id}", server)
    check(answer.startswith("restored"), answer)
    check_equal((priority(tid), daemon.session(server, w.id)["demoted"]), (before, 0), "RESTORE")
    answer = daemon.answer_text(f"restore {w.id}", server)
    check(answer.startswith("missed"), answer)
    answer = daemon.answer_text(f"demote {w.id}", server)
    check(answer.startswith("demoted"), answer)
    daemon.answer_text(f"kill {w.id}", server)
    wait_priority(tid, before, "KILL")


def test_demote_ends_when_the_client_goes(t):
    """The thread may go to another connection at once: the server keeps it."""
    server, daemon = pair(t)
    holder = login(t, server, False)
    for leave in (lambda w: w.sock.close(), reset):
        holder.query("begin")
        holder.query("update alpha.t set v = 5 where id = 1")
        w = login(t, server, True)
        tid, before = demote(daemon, server, w, "update alpha.t set v = 6 where id = 1")
        leave(w)
        wait_orphan(daemon, server, w.id, "demoted")
        check_equal(priority(tid)[0], SCHED_IDLE, "it goes on executing, demoted")
        holder.query("rollback")
        daemon.wait_gone(server, w.id)
        took = wait_priority(tid, before, "the client went")
        t.note(f"given back {took:.1f} ms after the session was gone")


def test_demote_keeps_what_the_thread_had(t):
    server, daemon = t.pair()  # its threads go on to other connections as this test leaves them
    w = login_root(t, server)
    row = daemon.running(server, w, CPU_BOUND)
    tid = row["tid"]
    os.setpriority(os.PRIO_PROCESS, tid, 5)
    os.sched_setscheduler(tid, SCHED_BATCH, os.sched_param(0))
    _libc.syscall(IOPRIO_SET, 1, tid, 2 << 13 | 6)
    before = priority(tid)
    check_equal(before, (SCHED_BATCH, 5, 2 << 13 | 6), "as it was set")
    daemon.answer_text(f"demote {w.id}", server)
    check_equal(priority(tid), (SCHED_IDLE, 5, IDLE_CLASS), "demoted")
    daemon.answer_text(f"restore {w.id}", server)
    check_equal(priority(tid), before, "restored")
    # Somebody else's word counts.
    daemon.answer_text(f"demote {w.id}", server)
    os.sched_setscheduler(tid, SCHED_OTHER, os.sched_param(0))
    daemon.answer_text(f"kill query {w.id}", server)
    finish(w)
    wait(lambda: not os.path.exists(kept_file(daemon)), "it to be over")
    check_equal(priority(tid)[0], SCHED_OTHER, "what somebody else had set")
    w.sock.close()


def test_demote_refuses_what_it_cannot_do(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    daemon.wait_idle(server, w.id)
    code, text = refused(daemon, server, f"demote {w.id}")
    check_equal((code, text), (1105, "nothing is running in this session"), "idle")
    for word in ("demote", "restore"):
        check_equal(refused(daemon, server, f"{word} 99999999"),
                    (1094, "Unknown thread id: 99999999"), word)
        check_equal(refused(daemon, server, word)[0], 1064, word)
        check_equal(refused(daemon, server, f"{word} 1 after statement")[0], 1064, word)
    row = daemon.running(server, w, CPU_BOUND)
    os.sched_setscheduler(row["tid"], SCHED_IDLE, os.sched_param(0))
    code, text = refused(daemon, server, f"demote {w.id}")
    check(code == 1105 and "idle priority, and not by this dbpsd" in text, text)
    os.sched_setscheduler(row["tid"], SCHED_OTHER, os.sched_param(0))
    daemon.answer_text(f"kill {w.id}", server)


def test_demote_not_in_a_thread_pool(t):
    server, daemon = t.pair("--thread-handling=pool-of-threads")
    w = login_root(t, server)
    row = daemon.running(server, w, "select sleep(60)")
    code, text = refused(daemon, server, f"demote {row['server_id']}")
    check(code == 1105 and "thread for each connection" in text, text)


def login_root(t, server):
    return t.keep(server.wire(tcp=False)).login("root")


def test_demote_ends_with_dbpsd(t):
    """Stopped, it gives back; killed, the next one does, also to threads that were made meanwhile."""
    server, daemon = t.pair()
    w = login_root(t, server)
    tid, before = demote(daemon, server, w)
    daemon.stop()
    check_equal(priority(tid), before, "after a clean stop")
    check(not os.path.exists(kept_file(daemon)), "nothing is kept")
    daemon.start()
    daemon.wait_server(server)
    w = login_root(t, server)
    tid, before = demote(daemon, server, w)
    daemon.stop(signal.SIGKILL)
    check_equal(priority(tid)[0], SCHED_IDLE, "after SIGKILL")
    daemon.start()
    check_equal(priority(tid), before, "after the next start")
    check("gets its priority back" in open(daemon.log).read(), "the log")
    check(not os.path.exists(kept_file(daemon)), "nothing is kept")


def test_a_demoted_statement_that_ends_at_once(t):
    """DEMOTE against statements of about its own length, which they come to by what it answers: whatever that is,
    nothing stays lowered."""
    server, daemon = pair(t)
    w = login(t, server, False)
    w.query("select 1")
    row = daemon.wait_idle(server, w.id)
    before = priority(row["tid"])
    stop, chance, least = threading.Event(), random.Random(7), seconds(0.002)
    most = [least]

    def work():
        while not stop.is_set():
            w.query(f"select sleep({chance.random() * most[0]})")

    worker = threading.Thread(target=work)
    worker.start()
    answers = collections.Counter()
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        for _ in range(200):
            try:
                cursor.execute(f"demote {w.id}")
                answer = ok_text(connection).split(":")[0]
                answers[answer] += 1
                most[0] = max(most[0] * (1.5 if answer == "missed" else 1 / 1.5), least)
            except pymysql.err.MySQLError as error:
                answers[error.args[1]] += 1
    stop.set()
    worker.join()
    t.note(f"{dict(answers)}, of up to {most[0] * 1000:.1f} ms at last")
    check(set(answers) <= {"demoted", "missed", "nothing is running in this session"}, str(answers))
    check(answers["demoted"], "one was demoted")
    wait_priority(row["tid"], before, "all over")


def lowered_threads(server):
    """Threads of the server that run at SCHED_IDLE."""
    lowered = set()
    for name in os.listdir(f"/proc/{server.pid}/task"):
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(int(name)) == SCHED_IDLE:
                lowered.add(int(name))
    return lowered


def test_demote_while_dbpsd_is_killed(t):
    """At any moment of a storm of DEMOTE: the next start leaves no thread lowered."""
    server, daemon = t.pair()
    workers = [login_root(t, server) for _ in range(3)]
    stop = threading.Event()

    def work(w):
        while not stop.is_set():
            w.query("select sleep(0.1)")
            w.query("select benchmark(3000, md5('x'))")

    def storm():
        while not stop.is_set():
            try:
                with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
                    while not stop.is_set():
                        for w in workers:
                            with contextlib.suppress(pymysql.err.InternalError,
                                                     pymysql.err.OperationalError):
                                cursor.execute(f"demote {w.id}")
                            connection.ping(reconnect=False)
            except (OSError, pymysql.err.MySQLError):
                time.sleep(0.005)  # it is being started anew

    threads = [threading.Thread(target=work, args=(w,)) for w in workers]
    threads += [threading.Thread(target=storm)]
    for thread in threads:
        thread.start()
    found = 0
    for round_number in range(ROUNDS):
        time.sleep(random.Random(round_number).uniform(0.05, 0.2))
        daemon.stop(signal.SIGKILL)
        found += bool(lowered_threads(server))
        daemon.start()
    stop.set()
    for thread in threads:
        thread.join()
    wait(lambda: not lowered_threads(server), "no thread to be lowered", timeout=5)
    wait(lambda: not os.path.exists(kept_file(daemon)), "nothing to be kept")
    t.note(f"{ROUNDS} times killed, {found} times with a thread lowered")


def test_demote_storm_over_many_sessions(t):
    """Statements of many sessions, demoted, restored, killed and left by their clients at once."""
    server, daemon = pair(t)
    stop = threading.Event()

    def work(number):
        chance = random.Random(number)
        while not stop.is_set():
            w = server.wire(tcp=number % 2 == 0)
            w.login("root") if number % 2 else w.login("app", "secret")
            ids[number] = w.id
            for _ in range(chance.randrange(1, 5)):
                with contextlib.suppress(wire.ServerError, wire.Closed, OSError):
                    w.query(f"select benchmark({chance.randrange(1, 20000)}, md5('x'))")
            if chance.random() < 0.3:
                with contextlib.suppress(OSError):
                    w.send_command(wire.QUERY, b"select benchmark(20000, md5('x'))")
            w.sock.close()

    ids = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    answers = collections.Counter()
    chance = random.Random(7)
    end = time.monotonic() + 6
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        while time.monotonic() < end:
            word = chance.choice(["demote", "demote", "demote", "restore", "kill query", "kill"])
            number = ids.get(chance.randrange(6))
            if not number:
                continue
            try:
                cursor.execute(f"{word} {number}")
                answer = ok_text(connection).split(":")[0]
            except pymysql.err.MySQLError as error:
                answer = str(error.args[0])
            answers[f"{word}: {answer}"] += 1
    stop.set()
    for thread in threads:
        thread.join()
    wait(lambda: not lowered_threads(server), "no thread to be lowered", timeout=5)
    wait(lambda: not os.path.exists(kept_file(daemon)), "nothing to be kept")
    t.note(str(dict(sorted(answers.items()))))
    check(answers["demote: demoted"], "something was demoted")


def test_dbps_demote_and_restore(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    row = daemon.running(server, w, "select sleep(60)")
    where = ("--server", server.name)
    r = daemon.dbps("demote", str(w.id), "--reason", "let it wait", *where)
    check(r.stdout.startswith(f"{w.id}: demoted: statement 1 runs in thread {row['tid']} at"), r.stdout)
    check_equal(priority(row["tid"])[0], SCHED_IDLE, "its policy")
    (told,) = json.loads(daemon.dbps("restore", str(w.id), "--json", *where).stdout)
    check_equal((told["id"], told["outcome"]), (w.id, "restored"), "restore --json")
    check_equal(daemon.dbps("restore", str(w.id), *where, check_exit=False).returncode, 6, "again")
    r = daemon.dbps("demote", "99999999", check_exit=False)
    check(r.returncode == 4 and "Unknown thread id" in r.stderr, f"{r.returncode}: {r.stderr}")
    kills = json.loads(daemon.dbps("kills", "--json").stdout)
    acts = [(k["kill"], k["outcome"], k["reason"], k["how"]) for k in kills[:4]]
    check_equal(acts[3], ("/* let it wait */ demote %d" % w.id, "confirmed", "let it wait",
                          "SCHED_IDLE"), f"dbps kills: {acts}")
    check_equal([a[1] for a in acts], ["refused", "missed", "confirmed", "confirmed"], "outcomes")
    daemon.answer_text(f"kill {w.id}", server)


def test_dbps_orphans_kill(t):
    server, daemon = pair(t)
    where = ("--server", server.name)
    check_equal(daemon.dbps("orphans", "--kill", "lunch", check_exit=False).returncode, 2, "no such")
    check_equal(daemon.dbps("orphans", "--dry-run", check_exit=False).returncode, 2, "no --kill")
    w = login(t, server, True)
    daemon.running(server, w, LONG)
    w.sock.close()
    wait_orphan(daemon, server, w.id, "closed")
    rows = json.loads(daemon.dbps("orphans", "--kill", "query", "--dry-run", "--json",
                                  *where).stdout)
    check_equal([r["id"] for r in rows], [w.id], "--dry-run")
    r = daemon.dbps("orphans", "--kill", "query", "--reason", "nobody waits for it", *where)
    check("confirmed" in r.stdout, r.stdout)
    daemon.wait_gone(server, w.id)


def test_kill_gives_the_priority_back_first(t):
    """While the server is stopped nothing of it can end, and the thread has its priority all the same."""
    server, daemon = pair(t)
    for form in ("kill query", "kill"):
        w = login(t, server, True)
        tid, before = demote(daemon, server, w, LONG)
        stop_process(server.pid)
        try:
            with contextlib.suppress(pymysql.err.MySQLError):
                daemon.answer_text(f"{form} {w.id}", server)
            check_equal(priority(tid), before, form)
            row = daemon.session(server, w.id)
            check_equal((row["info"], row["orphan"]), (LONG, "cut" if form == "kill" else None),
                        "it has not ended")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        server.run(f"kill {w.id}")
        daemon.wait_gone(server, w.id)
    wait(lambda: not os.path.exists(kept_file(daemon)), "nothing to be kept")


def test_rights_in_emergencies(t):
    """Own statements may be demoted and restored, others need SUPER, as RESERVE does."""
    os.chmod(t.root_directory, 0o711)
    os.chmod(t.directory, 0o711)
    server, daemon = t.pair(daemon_options=("--set", "access.super=47003"))
    server.run("create user app@localhost")
    plain, other = t.person(47001), t.person(47002)
    by_id = {}
    for person in (plain, other):
        number = person.connect("s", user="app", unix_socket=server.socket)["id"]
        person.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
        person.do("begin", name="s", sql="select sleep(100)")
        daemon.wait_session(server, number, "the statement", lambda row: row["info"])
        by_id[person] = number

    def ask(person, sql):
        reply = person.do("query", name="console", sql=sql)
        return reply.get("error") or reply.get("message") or reply["rows"]

    for word, told in (("demote", "demoted: "), ("restore", "restored: ")):
        check(ask(plain, f"{word} {by_id[plain]}").startswith(told), f"{word} of an own one")
        check_equal(ask(plain, f"{word} {by_id[other]}"),
                    [1095, f"You are not owner of thread {by_id[other]}"], f"{word}, another's")
    check_equal(ask(plain, "reserve 1")[0], 1227, "RESERVE")
    root = t.person(47003)
    root.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
    check(ask(root, f"demote {by_id[other]}").startswith("demoted: "), "with SUPER")
    check("nothing was dropped" in ask(root, "reserve 1"), "RESERVE with SUPER")


def test_threads_that_a_demoted_one_makes(t):
    """They inherit its priority, and get another within a second, or with the next dbpsd."""
    server, daemon = t.pair()
    server.run("create database alpha",
               "create procedure alpha.starts() begin do sleep(0.3); "
               "set global event_scheduler = on; do sleep(60); end")
    for killed in (False, True):
        server.run("set global event_scheduler = off")
        w = login_root(t, server)
        row = daemon.running(server, w, "call alpha.starts()")
        daemon.answer_text(f"demote {w.id}", server)
        if killed:
            daemon.stop(signal.SIGKILL)
        ((heir,),) = wait(lambda: server.run("select tid from information_schema.processlist "
                                             "where user = 'event_scheduler' and tid > 0"),
                          "the thread that it makes")
        if killed:
            check(lowered_threads(server) >= {row["tid"], heir}, "without dbpsd")
            daemon.start()
            check_equal(lowered_threads(server), set(), "with the next dbpsd")
        else:
            wait(lambda: lowered_threads(server) == {row["tid"]}, "the heir to be as others",
                 timeout=5)
            check_equal(priority(heir), (SCHED_OTHER, 0, 0), "the heir")
            daemon.answer_text(f"restore {w.id}", server)
        server.run(f"kill {w.id}")


def test_reserve_of_a_server_that_does_not_answer(t):
    """What its link told before is gone by; the drops are asked for and not seen to happen."""
    server, daemon = small_pair(t, 8)
    kept = fill(t, server, daemon)
    stop_process(server.pid)
    try:
        rows, warnings, _ = reserve(daemon, server, "reserve 2")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    check_equal(list(rows), [kept[0].id, kept[1].id], "those that were dropped")
    check(all(r[6].startswith("pending") for r in rows.values()), str(rows))
    t.note(f"{rows[kept[0].id][6]} {warnings}")
    wait(lambda: not {w.id for w in kept[:2]} & set(server.processlist()), "the server to end them")
    for w in [t.keep(server.wire()).login("plain", "secret") for _ in range(2)] + kept[2:]:
        check(is_open(w), f"{w.id} lives")


def test_demoted_and_drained(t):
    """Two wait for the end of the same statement: each gets it."""
    server, daemon = pair(t)
    w = login(t, server, True)
    tid, before = demote(daemon, server, w, "select sleep(1.5)")
    answer = daemon.answer_text(f"kill {w.id} after statement", server)
    check(answer.startswith("confirmed"), answer)
    t.note(answer)
    finish(w)
    wait_priority(tid, before, "the statement ended")
    daemon.wait_gone(server, w.id)
