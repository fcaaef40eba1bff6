"""PostgreSQL's sessions on the real server: the list is pg_stat_activity's, whatever way statements
come, and a kill reaches the statement that was meant."""

import collections
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pymysql

import pgwire
from deadline import milliseconds, times
from harness import Failure, check, check_equal, stop_process, thread_states, wait
from pgwire import PgError, bind, execute, group, message, parse, query, sync

# Readings of both lists with each way of pgbench.
PAIRS = int(os.environ.get("DBPS_TEST_PG_PAIRS", max(times(300), 100)))


def pair(context, *options, daemon_options=()):
    """A PostgreSQL and a daemon that has found it."""
    server = context.postgres(*options)
    daemon = context.daemon(*daemon_options)
    daemon.wait_server(server, link=False)
    return server, daemon


def connect(context, server, **kwargs):
    return context.keep(server.connect(**kwargs))


def is_active(row):
    return row["state"] == "ACTIVE"


def test_list(context):
    server, daemon = pair(context)
    tcp = connect(context, server, tcp=True, program="over tcp")
    unix = connect(context, server, program="over unix", user="postgres", database="template1")
    row = daemon.wait_idle(server, tcp.pid)
    check_equal((row["user"], row["db"], row["host"], row["program"], row["state"], row["info"]),
                ("postgres", "postgres", f"127.0.0.1:{tcp.port}", "over tcp", "SLEEP", None), "TCP")
    row = daemon.wait_idle(server, unix.pid)
    check_equal((row["db"], row["host"], row["program"], row["transport"], row["pid"]),
                ("template1", "localhost", "over unix", "unix", unix.pid), "Unix")
    tcp.send(query("select pg_sleep(20)"))
    row = daemon.wait_session(server, tcp.pid, "the statement to run", is_active)
    check_equal((row["command"], row["info"], row["framing"]),
                ("Query", "select pg_sleep(20)", "exact"), "a statement that runs")
    tcp.close()


def test_kill_query(context):
    server, daemon = pair(context)
    for tcp in (True, False):
        client = connect(context, server, tcp=tcp)
        client.send(query("select pg_sleep(30)"))
        row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        context.note(answer)
        check(answer.startswith("confirmed: statement 1 interrupted") and daemon.signal_word() in answer,
              answer)
        with contextlib.suppress(PgError):
            client.until_ready()
            raise Failure("the statement was not interrupted")
        row = daemon.wait_idle(server, client.pid)
        check_equal((row["sqlstate"], row["errors"]), ("57014", 1), "the error")
        # Idle: nothing is sent, and the next statement runs.
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        check(answer.startswith("missed: nothing is running"), answer)
        check_equal(client.query("select 1"), [("1",)], "the next statement")


def test_kill_query_of_a_stopped_backend(context):
    """It takes no signal until it goes on; the kill stays with it."""
    server, daemon = pair(context)
    client = connect(context, server)
    client.send(query("select pg_sleep(30)"))
    row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
    stop_process(client.pid)
    try:
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        context.note(answer)
        check(answer.startswith("pending: statement 1 still executes") and "the server has the kill" in answer, answer)
    finally:
        os.kill(client.pid, signal.SIGCONT)
    with contextlib.suppress(PgError):
        client.until_ready()
        raise Failure("the statement was not interrupted")
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["sqlstate"], row["errors"]), ("57014", 1), "the error")
    client.close()


def test_kill_query_that_is_not_waited_for(context):
    """Who asked for it is interrupted, or does not wait at all: a stopped backend has the kill all the same."""
    server = context.postgres()
    for wait_ms in (30000, 0):
        daemon = context.daemon("--set", f"console.kill_wait_ms={wait_ms}")
        daemon.wait_server(server, link=False)
        client = connect(context, server)
        client.send(query("select pg_sleep(30)"))
        row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
        console = context.keep(daemon.connect(db=server.name))
        stop_process(client.pid)
        try:
            asking = threading.Thread(target=ask_in_vain, args=(console, f"kill query {row['id']}"))
            asking.start()
            daemon.wait_session(server, client.pid, "the kill", lambda r: wait_ms == 0 or r["state"] == "QUERY_KILLED")
            if wait_ms:
                daemon.query(f"kill query {console.thread_id()}")
            asking.join()
        finally:
            os.kill(client.pid, signal.SIGCONT)
        with contextlib.suppress(PgError):
            client.until_ready()
            raise Failure(f"the statement was not interrupted, by a kill that waits {wait_ms} ms")
        client.close()


def ask_in_vain(console, statement):
    with contextlib.suppress(pymysql.err.MySQLError), console.cursor() as cursor:
        cursor.execute(statement)


def test_kill_connection(context):
    server, daemon = pair(context)
    for statement in (None, "select pg_sleep(30)", "begin", "select g from generate_series(1,1e8) g"):
        client = connect(context, server, tcp=True)
        if statement:
            client.send(query(statement))
            daemon.wait_session(server, client.pid, "the statement", lambda r: r["sequence"])
        if statement == "begin":
            client.until_ready()
        row = daemon.session(server, client.pid)
        answer = daemon.answer_text(f"kill {row['id']}", server)
        context.note(f"{statement}: {answer}")
        check(answer.startswith("confirmed: session closed") and daemon.signal_word() in answer, answer)
        if statement != "select g from generate_series(1,1e8) g":
            try:
                client.until_ready()
                raise Failure("the session was not closed")
            except PgError as error:
                check_equal(error.sqlstate, "57P01", "what the client got")
        wait(lambda: client.pid not in server.activity(), "the backend to end")
    check(server.process.poll() is None, "the server is there")


def test_states(context):
    server, daemon = pair(context)
    client = connect(context, server)

    def phase(text):
        daemon.wait_session(server, client.pid, text, lambda row: row["phase"] == text)

    client.query("create table t (n int primary key)")
    phase("idle")
    client.query("begin")
    phase("idle in transaction")
    try:
        client.query("select 1/0")
    except PgError:
        pass
    phase("idle in transaction (aborted)")
    check_equal(daemon.session(server, client.pid)["sqlstate"], "22012", "SQLSTATE")
    client.query("rollback")
    phase("idle")
    client.send(query("copy t from stdin"))
    phase("reading data from client")
    check_equal(daemon.session(server, client.pid)["info"], "copy t from stdin", "the text")
    client.send(message("d", b"1\n2\n"), message("c"))
    client.until_ready()
    phase("idle")
    rows = daemon.session(server, client.pid)["rows"]
    client.run(query("copy t to stdout"))
    phase("idle")
    check_equal(daemon.session(server, client.pid)["rows"] - rows, 2, "rows")
    client.send(message("X"))
    client.close()
    daemon.wait_gone(server, client.pid)


def test_extended(context):
    server, daemon = pair(context)
    client = connect(context, server, tcp=True)
    client.run(parse("select pg_sleep($1::float8)", "slow"), sync())
    check_equal(daemon.wait_idle(server, client.pid)["command"], "Sleep", "idle")

    def running(text, *messages):
        client.send(*messages)
        row = daemon.wait_session(server, client.pid, text,
                                  lambda row: is_active(row) and row["info"] == text)
        check_equal(server.activity()[client.pid]["query"], text, "pg_stat_activity")
        return row

    row = running("select pg_sleep($1::float8)", bind("slow", values=["30"]), execute(), sync())
    check_equal(row["command"], "Execute", "the command")
    answer = daemon.answer_text(f"kill query {row['id']}", server)
    check(answer.startswith("confirmed"), answer)
    with contextlib.suppress(PgError):
        client.until_ready()
    # The unnamed statement; then several groups in one call, each its own statement.
    row = running("select pg_sleep(30), 'unnamed'", group("select pg_sleep(30), 'unnamed'"))
    check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    with contextlib.suppress(PgError):
        client.until_ready()
    before = daemon.session(server, client.pid)["sequence"]
    client.send(group("select 1"), group("select pg_sleep(30), 'second'"),
                query("select pg_sleep(30), 'third'"), query("select 4"))
    for text in ("select pg_sleep(30), 'second'", "select pg_sleep(30), 'third'"):
        row = daemon.wait_session(server, client.pid, text, lambda row: row["info"] == text)
        check_equal(server.activity()[client.pid]["query"], text, "pg_stat_activity")
        check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    row = daemon.wait_idle(server, client.pid)
    check_equal(row["sequence"] - before, 4, "statements")
    check_equal(row["framing"], "exact", "framing")


# What a client of pgbench does besides reading a row: it waits, in statements and in transactions.
SLEEP = """\\set us random(0, 40000)
select pg_sleep(:us / 1e6);
"""
TRANSACTION = """\\set aid random(1, 100)
\\set us random(0, 20000)
begin;
update pgbench_accounts set abalance = abalance + 1 where aid = :aid;
\\sleep :us us
select pg_sleep(:us / 1e6);
commit;
"""


def their_row(row):
    """A row of pg_stat_activity as dbps words it."""
    active = row["state"] == "active"
    host = f"{row['client_addr']}:{row['client_port']}" if row["client_addr"] else "localhost"
    return (row["usename"], row["datname"], row["application_name"], host,
            "ACTIVE" if active else "SLEEP", None if active else row["state"], row["query"] if active else None)


def our_row(row):
    active = row["state"] == "ACTIVE"
    return (row["user"], row["db"], row["program"], row["host"], row["state"], None if active else row["phase"],
            row["info"])


def paired_read(server, daemon, counts):
    """The server's list and ours, {pid: row}, when the server has done nothing in between: its list is the same
    before and after, with the times of the last change of each state, and all of its backends wait. One that is
    preempted before it sends its last bytes is already idle in the server's list."""
    def read():
        before = server.activity()
        if any(thread_states(pid) != {"S"} for pid in before):
            counts["retries"] += 1
            return None
        ours = {row["server_id"]: our_row(row) for row in daemon.sessions(server)}
        if server.activity() != before:
            counts["retries"] += 1
            return None
        return {pid: their_row(row) for pid, row in before.items()}, ours

    theirs, ours = wait(read, "the server's list to stand still", every=0.0005)
    check(ours.pop(server.admin_connection.pid, None) is not None, "the harness's own row")
    return theirs, ours


def write_scripts(context):
    for name, text in (("sleep", SLEEP), ("transaction", TRANSACTION)):
        path = os.path.join(context.directory, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        yield path


def pair_up_pgbench(context, server, daemon, mode, pairs, tls=False):
    """Readings of both lists while 50 clients work, stopped at random moments."""
    env = {**os.environ, "PGSSLMODE": "require" if tls else "disable"}
    sleep, transaction = write_scripts(context)
    bench = context.spawn(server.program("pgbench", "-M", mode, "-c", "50", "-j", "4", "-T", "600", "-n", "-b",
                                         "select-only@4", "-f", sleep + "@1", "-f", transaction + "@1", "postgres"),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    wait(lambda: len(server.activity()) == 50, "pgbench to connect")
    counts, states, wrong = collections.Counter(), collections.Counter(), []
    for pair in range(pairs):
        time.sleep(random.random() * 0.012)
        stop_process(bench.pid)
        theirs, ours = paired_read(server, daemon, counts)
        counts["rows"] += len(theirs)
        states.update(row[4] if row[4] == "ACTIVE" else row[5] for row in theirs.values())
        wrong += [f"pair {pair}, pid {pid}:\n    server {theirs.get(pid)}\n    dbps   {ours.get(pid)}"
                  for pid in sorted(theirs.keys() | ours.keys()) if theirs.get(pid) != ours.get(pid)]
        check(len(wrong) < 20, "\n".join(wrong))
        os.kill(bench.pid, signal.SIGCONT)
    rows = daemon.sessions(server)
    framings = {row["framing"] for row in rows}
    bench.kill()
    bench.wait()
    wait(lambda: not server.activity(), "pgbench to be gone")
    context.note(f"{mode}: {pairs} pairs, {counts['rows']} rows compared, {counts['retries']} pairs read again; "
                 + ", ".join(f"{word} {n}" for word, n in states.most_common()))
    check(not wrong, f"{mode}: {len(wrong)} rows differ:\n" + "\n".join(wrong))
    check_equal(framings, {"exact"}, f"{mode}: framing")
    check_equal(sum(row["tls"] for row in rows), 50 * tls, f"{mode}: encrypted sessions")
    check_equal(set(states), {"ACTIVE", "idle", "idle in transaction"}, f"{mode}: what was seen")


def make_pgbench_tables(server):
    subprocess.run(server.program("pgbench", "-i", "-q", "-s", "1", "postgres"), check=True, capture_output=True)


def pgbench_pairs(context, mode):
    server, daemon = pair(context, "-c", "max_connections=80")
    make_pgbench_tables(server)
    pair_up_pgbench(context, server, daemon, mode, PAIRS)
    losses = {name: n for name, n in daemon.losses().items() if n}
    context.note(f"losses on the whole host: {losses or 'none'}")


def test_pgbench_simple(context):
    """Each row of pg_stat_activity is one of ours: whatever way the statements come."""
    pgbench_pairs(context, "simple")


def test_pgbench_extended(context):
    pgbench_pairs(context, "extended")


def test_pgbench_prepared(context):
    pgbench_pairs(context, "prepared")


def test_pgbench_through_tls(context):
    daemon = context.daemon()
    server = context.postgres(tls=True)
    daemon.wait_server(server, link=False)
    make_pgbench_tables(server)
    for mode in ("simple", "extended", "prepared"):
        pair_up_pgbench(context, server, daemon, mode, PAIRS // 4, tls=True)


def refused(client, *messages):
    """The SQLSTATE that comes of these."""
    try:
        client.run(*messages)
    except PgError as error:
        return error.sqlstate
    raise Failure("there was no error")


def running(daemon, server, client, text, *messages, word="Execute"):
    """The row while these run, which show this text; then they are cancelled."""
    client.send(*messages)
    row = daemon.wait_session(server, client.pid, f"{text!r} to run",
                              lambda row: is_active(row) and row["info"] == text)
    check_equal(row["command"], word, "the command")
    check_equal(server.activity()[client.pid]["query"] if text else text, text, "pg_stat_activity")
    answer = daemon.answer_text(f"kill query {row['id']}", server)
    check(answer.startswith("confirmed"), answer)
    check_equal(refused(client), "57014", "what the client got")
    return row


def test_texts_by_name(context):
    """Named and unnamed statements and portals: the text is that of the statement that runs."""
    server, daemon = pair(context)
    client = connect(context, server, tcp=True)
    first, second = "select pg_sleep(30), 'first'", "select pg_sleep(30), 'second'"
    client.run(parse(first), sync())
    client.run(parse(second), sync())
    running(daemon, server, client, second, bind(), execute(), sync())
    client.run(parse(first, "a"), parse(second, "b"), sync())
    running(daemon, server, client, first, bind("a"), execute(), sync())
    running(daemon, server, client, second, bind("b"), execute(), sync())
    # Portals live as long as their transaction.
    client.query("begin")
    client.run(bind("a", "one"), bind("b", "two"), sync())
    running(daemon, server, client, first, execute("one"), sync())
    check_equal(client.status, "E", "the transaction has failed")
    check_equal(refused(client, bind("b", "two"), execute("two"), sync()), "25P02", "in it")
    client.query("rollback")
    # A Parse that fails changes nothing: the name is taken, and which text it has is not shown.
    check_equal(refused(client, parse("select 1", "a"), sync()), "42P05", "a name that is there")
    client.run(message("C", b"Sa\0"), sync())
    check_equal(refused(client, bind("a"), execute(), sync()), "26000", "a name that is gone")
    running(daemon, server, client, second, bind("b"), execute(), sync())
    # As drivers evict one; SQL may give its name to another.
    client.run(parse(first, "c"), sync())
    client.query("deallocate c")
    running(daemon, server, client, second, bind("b"), execute(), sync())
    client.query("prepare c as select pg_sleep(30)")
    client.send(bind("c"), execute(), sync())
    row = daemon.wait_session(server, client.pid, "what SQL prepared to run", is_active)
    check_equal((row["info"], row["command"]), (None, "Execute"), "what is shown")
    check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    check_equal(refused(client), "57014", "what the client got")
    client.query("deallocate all")
    check_equal(refused(client, bind("b"), execute(), sync()), "26000", "deallocated")
    client.run(parse(first, "b"), sync())
    running(daemon, server, client, first, bind("b"), execute(), sync())
    client.query("discard all")
    check_equal(refused(client, bind("b"), execute(), sync()), "26000", "discarded")
    check_equal(daemon.wait_idle(server, client.pid)["framing"], "exact", "framing")


def test_cursors_outlive_names(context):
    """A cursor of a driver (JDBC's setFetchSize()) goes on when its statement's name is another's: it does not
    show that one's text."""
    server, daemon = pair(context)
    client = connect(context, server, tcp=True)
    slow = "select g, pg_sleep(case g when 2 then 30 else 0 end) from generate_series(1, 2) g"
    for name in "", "a":
        client.query("begin")
        client.run(parse(slow, name), bind(name, "C_1"), execute("C_1", rows=1), sync())
        if name:
            client.run(message("C", b"Sa\0"), sync())
        # The unnamed one as drivers send it, in one call.
        other = parse("select 'other'", name) + bind(name) + execute() + sync()
        client.run(other)
        client.send(execute("C_1", rows=1), sync())
        row = daemon.wait_session(server, client.pid, "the cursor to run", is_active)
        check_equal(server.activity()[client.pid]["query"], slow, "pg_stat_activity")
        check_equal((row["info"], row["command"]), (None, "Execute"), "what is shown")
        check_equal(row["why_no_info"], "the text of the prepared statement is not known", "why")
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        check(answer.startswith("confirmed"), answer)
        check_equal(refused(client), "57014", "what the client got")
        client.query("rollback")
    # One whose name is still that statement's is shown.
    client.query("begin")
    client.run(parse(slow, "b"), bind("b", "C_2"), execute("C_2", rows=1), sync())
    client.run(parse("select 'other'") + bind() + execute() + sync())
    running(daemon, server, client, slow, execute("C_2", rows=1), sync())
    client.query("rollback")


def test_errors_skip_to_sync(context):
    server, daemon = pair(context)
    client = connect(context, server)
    client.query("select 1")
    before = daemon.wait_idle(server, client.pid)["sequence"]
    check_equal(refused(client, parse("no such statement"), bind(), execute(), parse("select 1"), bind(), execute(),
                        sync()), "42601", "SQLSTATE")
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["sqlstate"], row["errors"], row["sequence"] - before), ("42601", 1, 1), "one that failed")
    # In a pipeline only its own group is skipped; the error of the last one stays to be seen.
    client.send(group("select 1/0"), group("select pg_sleep(30), 'after'"), group("select 2"))
    check_equal(refused(client), "22012", "the first")
    row = daemon.wait_session(server, client.pid, "the second to run", is_active)
    check_equal((row["info"], row["sqlstate"], row["errors"]), ("select pg_sleep(30), 'after'", "22012", 2), "second")
    daemon.answer_text(f"kill query {row['id']}", server)
    check_equal(refused(client), "57014", "the second")
    client.until_ready()
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["sqlstate"], row["errors"], row["sequence"] - before, row["framing"]), ("57014", 3, 4, "exact"),
                "all four")


def test_copy(context):
    """Both ways, as one message and in steps, broken off by either side; what is asked for in between is ignored."""
    server, daemon = pair(context)
    client = connect(context, server, tcp=True)
    client.query("create table t (n int)")

    def copies(phase):
        daemon.wait_session(server, client.pid, phase, lambda row: is_active(row) and row["phase"] == phase)

    client.send(query("copy t from stdin"))
    copies("reading data from client")
    client.send(message("d", b"1\n2\n"), message("H"), sync(), message("d", b"3\n"), message("c"))
    client.until_ready()
    client.send(query("copy t from stdin"), message("d", b"4\n"), message("f", b"no\0"), query("select 1"))
    check_equal(refused(client), "57014", "broken off by the client")
    client.until_ready()
    client.send(query("copy t from stdin"), message("d", b"x\n"), message("c"), query("select 1"))
    check_equal(refused(client), "22P02", "broken off by the server")
    client.until_ready()
    client.send(group("copy t from stdin"))
    copies("reading data from client")
    client.send(message("d", b"5\n"), message("c"), sync())
    client.until_ready()
    rows = daemon.wait_idle(server, client.pid)["rows"]
    client.run(group("copy t to stdout"))
    check_equal(daemon.wait_idle(server, client.pid)["rows"] - rows, 4, "rows out")
    check_equal(daemon.session(server, client.pid)["framing"], "exact", "framing")
    client.send(query("copy (select g, pg_sleep(g) from generate_series(0, 30, 30) g) to stdout"))
    row = daemon.wait_session(server, client.pid, "the copy", is_active)
    check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill of a COPY")
    check_equal(refused(client), "57014", "the copy")


def test_function_call(context):
    server, daemon = pair(context)
    client = connect(context, server)
    oid = int(client.query("select 'pg_sleep'::regproc::oid")[0][0])
    call = struct.pack("!IHHHI", oid, 1, 1, 1, 8) + struct.pack("!d", 30) + struct.pack("!H", 1)
    client.send(message("F", call))
    row = daemon.wait_session(server, client.pid, "the call", is_active)
    check_equal((row["command"], row["info"]), ("Function call", None), "the row")
    check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    check_equal(refused(client), "57014", "the call")
    check_equal(client.query("select 1"), [("1",)], "after it")


def test_what_the_server_says_by_itself(context):
    """A changed setting, a notice, a notification: no statement begins or ends with them."""
    server, daemon = pair(context)
    client = connect(context, server, program="before")
    check_equal(daemon.wait_idle(server, client.pid)["program"], "before", "as it logged in")
    client.query("set application_name = 'after'")
    check_equal(daemon.wait_idle(server, client.pid)["program"], "after", "as it was set")
    client.query("begin")
    client.query("set local application_name = 'meanwhile'")
    check_equal(daemon.wait_idle(server, client.pid)["program"], "meanwhile", "in a transaction")
    client.query("rollback")
    check_equal(daemon.wait_idle(server, client.pid)["program"], "after", "rolled back")
    client.query("do $$ begin raise notice 'Z'; end $$")
    client.query("listen ch")
    before = daemon.wait_idle(server, client.pid)
    server.query("notify ch, 'Z'")
    while client.read()[0] != "A":
        pass
    after = daemon.wait_idle(server, client.pid)
    check_equal((after["sequence"], after["framing"]), (before["sequence"], "exact"), "nothing has begun")


def test_encryption_that_is_refused(context):
    """As libpq asks: for GSSAPI, which is refused on Unix sockets, then for TLS, then it logs in in clear."""
    server, daemon = pair(context)
    client = context.keep(server.connect(ssl=pgwire.GSS_REQUEST, login=False))
    check_equal(client.ssl_answer, b"N", "GSSAPI")
    client.send(pgwire.startup(pgwire.SSL_REQUEST))
    check_equal(client.socket.recv(1), b"N", "TLS")
    client.send(pgwire.startup(196608, pgwire.text("user", "postgres") + b"\0"))
    client.until_ready()
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["user"], row["db"], row["tls"]), ("postgres", "postgres", 0), "who it is")
    running(daemon, server, client, "select pg_sleep(30)", query("select pg_sleep(30)"), word="Query")


def workers_of(server, client):
    return [int(row[0]) for row in server.query(
        f"select pid from pg_stat_activity where leader_pid = {client.pid} and pid <> {client.pid}")]


def test_parallel_workers_are_their_leaders(context):
    """They are no sessions of their own, and end with the statement."""
    server, daemon = pair(context, "-c", "max_parallel_workers_per_gather=2", "-c", "parallel_setup_cost=0",
                          "-c", "parallel_tuple_cost=0", "-c", "min_parallel_table_scan_size=0",
                          daemon_options=("--set", f"console.kill_wait_ms={milliseconds(2000)}"))
    client = connect(context, server, tcp=True)
    client.query("create table t as select g from generate_series(1, 20000) g")
    client.query("analyze t")
    for kind in ("query", "connection"):
        client.send(query("select count(*) from t a, t b where a.g + b.g = -1"))
        wait(lambda: workers_of(server, client), "parallel workers", timeout=20)
        sessions = {row["server_id"] for row in daemon.sessions(server)}
        check_equal(sessions, {client.pid, server.admin_connection.pid}, "sessions")
        row = daemon.session(server, client.pid)
        answer = daemon.answer_text(f"kill {kind} {row['id']}", server)
        context.note(answer)
        check(answer.startswith("confirmed"), answer)
        wait(lambda: not workers_of(server, client), "the workers to end")
        check_equal(refused(client), "57014" if kind == "query" else "57P01", "what the client got")


def test_what_takes_no_link(context):
    """PostgreSQL has no control link: doctor says what is so without, and what needs one says that there is none."""
    server, daemon = pair(context)
    client = connect(context, server, tcp=True)
    rows = json.loads(daemon.dbps("doctor", "--json", check_exit=False).stdout)
    of = {row["item"]: row for row in rows if row["subject"] == server.name}
    check_equal(of["KILL"]["status"], "ok", f"KILL, which ends what runs as well: {of['KILL']}")
    check("may go on" not in of["KILL"]["detail"], of["KILL"]["detail"])
    client.send(query("select pg_sleep(30)"))
    row = daemon.wait_session(server, client.pid, "pg_sleep() to run", is_active)
    where = ("--server", server.name)
    for command in ("reserve", "2"), ("demote", str(row["server_id"])):
        r = daemon.dbps(*command, *where, check_exit=False)
        check("control link: a server of the engine postgres has none" in r.stderr,
              f"{command}: {r.stderr}")
        check(r.returncode in (1, 4), f"{command}: exit {r.returncode}")
        instead = f"KILL WHERE server = '{server.name}' AND phase = 'idle' LIMIT 2"
        check(command[0] != "reserve" or instead in r.stderr, r.stderr)
    check("SIGTERM" in of["KILL"]["detail"] and "SIGINT" in of["KILL QUERY"]["detail"], f"doctor: {of}")
    other = context.server()
    daemon.wait_server(other)
    clients = [connect(context, server, tcp=True) for _ in range(3)]
    clients[0].query("begin")
    context.keep(other.connect())
    # Said as it is, on a console that has not chosen a server: nobody in a transaction, nobody of another server.
    chosen = {row[0] for row in daemon.query(f"{instead} dry run")}
    idle = {r["id"] for r in daemon.sessions() if r["server"] == server.name and r["phase"] == "idle"}
    check(len(chosen) == 2 and chosen <= idle, f"what is said instead: {chosen} of {idle}")
    answer = daemon.answer_text(f"kill {row['id']}", server)
    check(answer.startswith("confirmed: session closed"), answer)
    wait(lambda: client.pid not in server.activity(), "the backend to end")


def test_background_processes_are_no_sessions(context):
    """Checkpointer, autovacuum and the like; a replica's connection is a session, which no KILL WHERE meets."""
    server, daemon = pair(context, "-c", "autovacuum_naptime=1", "-c", "autovacuum_vacuum_cost_delay=100",
                          "-c", "autovacuum_vacuum_cost_limit=1")
    server.query("create table t as select g from generate_series(1, 100000) g")
    server.query("delete from t")
    wait(lambda: server.query("select 1 from pg_stat_activity where backend_type = 'autovacuum worker'"),
         "an autovacuum worker", timeout=60)
    check_equal({row["server_id"] for row in daemon.sessions(server)}, {server.admin_connection.pid}, "sessions")
    replica = connect(context, server, tcp=True, replication="true", program="replica")
    replica.run(query("IDENTIFY_SYSTEM"))
    position = server.query("select pg_current_wal_lsn()")[0][0]
    replica.send(query(f"START_REPLICATION PHYSICAL {position}"))
    row = daemon.wait_session(server, replica.pid, "the replica", lambda row: row["phase"] == "replicating")
    check_equal((row["command"], row["user"], row["program"]), ("Binlog Dump", "postgres", "replica"), "the row")
    rows = daemon.query("kill connection where program = 'replica' dry run", server.name)
    check_equal([row[-1] for row in rows], ["protect.commands"], "what spares it")
    answer = daemon.answer_text(f"kill {row['id']}", server)
    check(answer.startswith("confirmed: session closed"), answer)
    wait(lambda: not server.query("select 1 from pg_stat_replication"), "the walsender to end")


def test_older_sessions(context):
    """Sessions that were there before dbpsd: whose they are and what they do, and then all."""
    server = context.postgres()
    idle = connect(context, server, tcp=True)
    opened = connect(context, server, database="template1")
    opened.query("begin")
    busy = connect(context, server, tcp=True)
    busy.send(query("select pg_sleep(30)"))
    wait(lambda: server.activity()[busy.pid]["state"] == "active", "the statement to run")
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    row = daemon.session(server, idle.pid)
    check_equal((row["user"], row["db"], row["host"], row["state"], row["phase"], row["joined"]),
                ("postgres", "postgres", f"127.0.0.1:{idle.port}", "SLEEP", "idle", 1), "idle")
    row = daemon.session(server, opened.pid)
    check_equal((row["db"], row["phase"]), ("template1", "idle in transaction"), "in transaction")
    row = daemon.session(server, busy.pid)
    check_equal((row["state"], row["info"], row["why_no_info"], row["time"]),
                ("ACTIVE", None, "the statement is older than dbps", None), "busy")
    answer = daemon.answer_text(f"kill query {row['id']}", server)
    context.note(answer)
    check(answer.startswith("confirmed") and daemon.signal_word() in answer, answer)
    with contextlib.suppress(PgError):
        busy.until_ready()
    for client in (idle, busy, opened):
        client.send(query("select pg_sleep(30), 2"))
        row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
        check_equal((row["info"], row["framing"]), ("select pg_sleep(30), 2", "exact"), "exact")


def test_older_orphans(context):
    """A client that had gone when dbpsd came has left a statement: it is listed, and can be ended."""
    server = context.postgres()
    client = connect(context, server, tcp=True)
    client.send(query("select count(*) from generate_series(1, 100000) a, generate_series(1, 1000000) b"))
    wait(lambda: server.activity()[client.pid]["state"] == "active", "the statement")
    client.close()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    row = daemon.wait_session(server, client.pid, "the orphan", lambda row: row["orphan"])
    check_equal((row["orphan"], row["state"], row["user"]), ("closed", "ACTIVE", "postgres"), "the row")
    r = daemon.dbps("orphans", "--kill", "query", "--server", server.name)
    check("confirmed" in r.stdout, r.stdout + r.stderr)
    wait(lambda: client.pid not in server.activity(), "the backend to end")


def test_cancel_requests_are_no_sessions(context):
    server, daemon = pair(context)
    client = connect(context, server, ssl=pgwire.SSL_REQUEST)
    check_equal(client.ssl_answer, b"N", "the answer")
    client.send(query("select pg_sleep(30)"))
    daemon.wait_session(server, client.pid, "the statement to run", is_active)
    for ssl in (None, pgwire.SSL_REQUEST, pgwire.GSS_REQUEST):
        cancel = context.keep(server.connect(ssl=ssl, login=False))
        # One that asks for encryption is logging in, and has no id yet.
        known = {row["server_id"] for row in daemon.sessions(server) if row["state"] != "INIT"}
        check_equal(known, {client.pid, server.admin_connection.pid}, "sessions")
        cancel.close()
    cancel = context.keep(server.connect(login=False))
    cancel.send(pgwire.startup(pgwire.CANCEL_REQUEST,
                               client.pid.to_bytes(4, "big") + client.key.to_bytes(4, "big")))
    try:
        client.until_ready()
        raise Failure("the statement was not cancelled")
    except PgError as error:
        check_equal(error.sqlstate, "57014", "SQLSTATE")
    check_equal(daemon.wait_idle(server, client.pid)["sqlstate"], "57014", "seen")


# Simulated, as PostgreSQL forks in no time: a server that has accepted a connection and starts its backend when told.
SLOW_TO_FORK = """
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
print("accepted", flush=True)
sys.stdin.readline()
if not os.fork():
    connection.recv(8192)
    print(os.getpid(), flush=True)
else:
    connection.close()
sys.stdin.readline()
"""


def test_accepted_and_no_backend_yet(context):
    """What the server has accepted is no session before its backend has it, and then that backend's."""
    program = os.path.join(context.directory, "postgres")
    shutil.copy(os.path.realpath(sys.executable), program)
    server = context.spawn([program, "-c", SLOW_TO_FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                           env={**os.environ, "PYTHONHOME": "/usr"})
    client = context.keep(socket.create_connection(("127.0.0.1", int(server.stdout.readline()))))
    check_equal(server.stdout.readline(), "accepted\n", "the connection")
    daemon = context.daemon()
    wait(lambda: server.pid in {row["pid"] for row in daemon.servers()}, "it to be found")
    host = "%s:%d" % client.getsockname()
    check_equal([row for row in daemon.sessions() if row["host"] == host], [], "sessions of the server itself")
    client.sendall(pgwire.startup(3 << 16, b"user\0early\0\0"))
    server.stdin.write("\n")
    server.stdin.flush()
    backend = int(server.stdout.readline())
    [row] = [row for row in daemon.sessions() if row["host"] == host]
    check_equal((row["server_id"], row["state"], row["joined"]), (backend, "INIT", 0), "the session")
