"""PostgreSQL's sessions on the real server: the list is pg_stat_activity's, whatever way statements
come, and a kill reaches the statement that was meant."""

import collections
import contextlib
import os
import random
import signal
import subprocess
import time

import pgwire
from harness import Failure, check, check_equal, stop_process, thread_states, wait
from pgwire import PgError, bind, execute, group, message, parse, query, sync

# Readings of both lists with each way of pgbench.
PAIRS = int(os.environ.get("DBPS_TEST_PG_PAIRS", "300"))


def pair(context, *options):
    """A PostgreSQL and a daemon that has found it."""
    server = context.postgres(*options)
    daemon = context.daemon()
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


def console(daemon, server, statement):
    """The answer to a KILL: the info of its OK, or its warning."""
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        info = connection._result.message
        cursor.execute("show warnings")
        warnings = cursor.fetchall()
    # The text is length-encoded.
    return info[1:].decode() if info else str(warnings)


def test_kill_query(context):
    server, daemon = pair(context)
    for tcp in (True, False):
        client = connect(context, server, tcp=tcp)
        client.send(query("select pg_sleep(30)"))
        row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
        answer = console(daemon, server, f"kill query {row['id']}")
        context.note(answer)
        check(answer.startswith("confirmed: statement 1 interrupted") and "(signal)" in answer,
              answer)
        with contextlib.suppress(PgError):
            client.until_ready()
            raise Failure("the statement was not interrupted")
        row = daemon.wait_idle(server, client.pid)
        check_equal((row["sqlstate"], row["errors"]), ("57014", 1), "the error")
        # Idle: nothing is sent, and the next statement runs.
        answer = console(daemon, server, f"kill query {row['id']}")
        check(answer.startswith("missed: nothing is running"), answer)
        check_equal(client.query("select 1"), [("1",)], "the next statement")


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
        answer = console(daemon, server, f"kill {row['id']}")
        context.note(f"{statement}: {answer}")
        check(answer.startswith("confirmed: session closed") and "(signal)" in answer, answer)
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
    answer = console(daemon, server, f"kill query {row['id']}")
    check(answer.startswith("confirmed"), answer)
    with contextlib.suppress(PgError):
        client.until_ready()
    # The unnamed statement; then several groups in one call, each its own statement.
    row = running("select pg_sleep(30), 'unnamed'", group("select pg_sleep(30), 'unnamed'"))
    check(console(daemon, server, f"kill query {row['id']}").startswith("confirmed"), "kill")
    with contextlib.suppress(PgError):
        client.until_ready()
    before = daemon.session(server, client.pid)["sequence"]
    client.send(group("select 1"), group("select pg_sleep(30), 'second'"),
                query("select pg_sleep(30), 'third'"), query("select 4"))
    for text in ("select pg_sleep(30), 'second'", "select pg_sleep(30), 'third'"):
        row = daemon.wait_session(server, client.pid, text, lambda row: row["info"] == text)
        check_equal(server.activity()[client.pid]["query"], text, "pg_stat_activity")
        check(console(daemon, server, f"kill query {row['id']}").startswith("confirmed"), "kill")
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
    answer = console(daemon, server, f"kill query {row['id']}")
    context.note(answer)
    check(answer.startswith("confirmed") and "(signal)" in answer, answer)
    with contextlib.suppress(PgError):
        busy.until_ready()
    for client in (idle, busy, opened):
        client.send(query("select pg_sleep(30), 2"))
        row = daemon.wait_session(server, client.pid, "the statement to run", is_active)
        check_equal((row["info"], row["framing"]), ("select pg_sleep(30), 2", "exact"), "exact")


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
