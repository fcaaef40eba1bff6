"""What a statement waits for, as the row of its session says, on the real servers."""

import os
import subprocess

import wire
from harness import Skip, check, check_equal
from pgwire import query

# What a kernel has to have for any of these (features.c).
NEEDS = ["bpf_task_from_pid"]


def starts(context, server, statement, **kwargs):
    """A session in which a statement was sent, by hand: nobody reads its answer."""
    server.run("create or replace user waiter", "grant all on *.* to waiter")
    client = context.keep(server.wire(**kwargs))
    client.login("waiter")
    client.send_command(wire.QUERY, statement.encode())
    return client


def waits(context, daemon, server, number, *words):
    row = daemon.wait_session(server, number, f"session {number} to show wait {words}",
                              lambda row: row["wait"] in words)
    context.note(", ".join(f"{name} {row[name]}" for name in (
        "info", "wait", "wait_ms", "cpu_ms", "read_bytes", "write_bytes")))
    return row


def test_cpu(context):
    server, daemon = context.shared_pair()
    client = starts(context, server, "select benchmark(1e12, sha2('a', 512))")
    row = waits(context, daemon, server, client.id, "cpu")
    check(row["cpu_ms"] <= row["time_ms"] + 1, f"more processor time than time: {row}")
    seen = daemon.wait_session(server, client.id, "its processor time to grow",
                               lambda row: row["cpu_ms"] > 50)
    check(seen["cpu_ms"] <= seen["time_ms"] + 1, f"more processor time than time: {seen}")
    daemon.query(f"kill {seen['id']}", server.name)


def test_idle(context):
    server, daemon = context.shared_pair()
    with server.wire(tcp=False) as client:
        client.login("root")
        client.query("select benchmark(3e6, sha2('a', 512))")
        row = daemon.wait_idle(server, client.id)
        names = ("wait", "wait_ms", "cpu_ms", "read_bytes", "write_bytes")
        check_equal([row[name] for name in names], [None] * 5, "nothing is executed")
        # The processor time of the statement before is not the next one's.
        client.send_command(wire.QUERY, b"select sleep(100)")
        row = waits(context, daemon, server, client.id, "futex")
        check(row["cpu_ms"] < 50, f"the processor time of SLEEP: {row['cpu_ms']}")
        daemon.query(f"kill {row['id']}", server.name)


def test_disk(context):
    """Rows of a table that no cache holds, one after the other."""
    if subprocess.check_output(["stat", "-f", "-c", "%T", context.directory], text=True) == "tmpfs\n":
        raise Skip("the server's files are in memory")
    server, daemon = context.pair("--innodb-flush-method=O_DIRECT")
    server.run("create database test",
               "create table test.big (id int primary key, v char(250)) engine=innodb",
               "insert into test.big select seq, repeat('x', 250) from mysql.seq_1_to_200000")
    client = starts(context, server, "select sum(length(v)) from mysql.seq_1_to_100000000 s"
                                     " join test.big b on b.id = s.seq * 7919 % 200000")
    row = waits(context, daemon, server, client.id, "disk")
    row = daemon.wait_session(server, client.id, "it to have read", lambda row: row["read_bytes"])
    context.note(f"read_bytes {row['read_bytes']}")
    daemon.query(f"kill {row['id']}", server.name)


def test_futex(context):
    server, daemon = context.shared_pair()
    client = starts(context, server, "select sleep(100)")
    row = waits(context, daemon, server, client.id, "futex")
    row = daemon.wait_session(server, client.id, "it to wait for 0.2 s",
                              lambda row: row["wait_ms"] > 200)
    check(row["wait_ms"] <= row["time_ms"] + 20, f"waits for longer than it runs: {row}")
    check(row["wait_ms"] > row["time_ms"] - 150, f"SLEEP wakes meanwhile: {row}")
    daemon.query(f"kill {row['id']}", server.name)


def test_row_lock(context):
    server, daemon = context.shared_pair()
    server.run("create database if not exists test", "create or replace table test.lock_me (n int primary key) engine=innodb",
               "insert into test.lock_me values (1)")
    with server.connect(autocommit=False) as holder:
        holder.query("update test.lock_me set n = n where n = 1")
        client = starts(context, server, "update test.lock_me set n = 2 where n = 1")
        row = waits(context, daemon, server, client.id, "futex")
        daemon.query(f"kill {row['id']}", server.name)


def test_send(context):
    server, daemon = context.shared_pair()
    for tcp in (True, False):
        client = starts(context, server, "select repeat('x', 1000) from mysql.seq_1_to_1000000",
                        tcp=tcp)
        row = waits(context, daemon, server, client.id, "send")
        check_equal(row["phase"], "sending rows", "the phase")
        daemon.query(f"kill {row['id']}", server.name)


def test_receive(context):
    server, daemon = context.shared_pair("--local-infile=1")
    server.run("create database if not exists test", "create or replace table test.load_me (n int)")
    for tcp in (True, False):
        client = starts(context, server, "load data local infile 'x' into table test.load_me",
                        tcp=tcp)
        row = waits(context, daemon, server, client.id, "receive")
        daemon.query(f"kill {row['id']}", server.name)


def test_stopped(context):
    server, daemon = context.pair()
    client = starts(context, server, "select benchmark(1e12, sha2('a', 512))")
    waits(context, daemon, server, client.id, "cpu")
    os.kill(server.pid, 19)
    waits(context, daemon, server, client.id, "stopped")
    os.kill(server.pid, 18)
    waits(context, daemon, server, client.id, "cpu")


def test_select(context):
    """The columns work in a condition, and SHOW PROCESSLIST stays the server's."""
    server, daemon = context.pair()  # one to whom no other test has shown this process as a server
    client = starts(context, server, "select sleep(100)")
    waits(context, daemon, server, client.id, "futex")
    rows = daemon.query("select wait, wait_ms > 0, cpu_ms < 1000 from processlist"
                        f" where wait = 'futex' and server_id = {client.id}", server.name)
    check_equal(rows, (("futex", 1, 1),), "SELECT")
    check_equal(len(daemon.query("show full processlist", server.name)[0]), 8, "columns")
    answer = daemon.query("kill query where wait = 'futex' and info like 'select sleep(100)%'",
                          server.name)
    check_equal([row[1] for row in answer], ["confirmed"], str(answer))


def test_postgres(context):
    server = context.postgres()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)

    def starts_there(statement, tcp=True):
        client = context.keep(server.connect(tcp=tcp))
        client.send(query(statement))
        return client

    server.query("create table t (n int primary key)")
    server.query("insert into t values (1)")
    client = starts_there("select count(*) from generate_series(1, 1e9)")
    row = waits(context, daemon, server, client.pid, "cpu")
    check_equal(row["tid"], client.pid, "the backend")
    client = starts_there("select pg_sleep(100)")
    waits(context, daemon, server, client.pid, "latch")
    for tcp in (True, False):
        client = starts_there("select repeat('x', 1000) from generate_series(1, 1000000)", tcp)
        waits(context, daemon, server, client.pid, "send")
        client = starts_there("copy t from stdin", tcp)
        waits(context, daemon, server, client.pid, "receive")
    holder = context.keep(server.connect())
    holder.query("begin")
    holder.query("update t set n = n")
    client = starts_there("update t set n = n")
    waits(context, daemon, server, client.pid, "latch")
