"""Emergencies on a real server: orphans, room for new connections, statements that step back."""

import json
import signal
import socket
import struct
import subprocess

from harness import check, check_equal, wait

import wire

CPU_BOUND = "select benchmark(2000000000, md5('x'))"


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


def running(daemon, server, w, text):
    w.send_command(wire.QUERY, text.encode())
    return daemon.wait_session(server, w.id, text, lambda r: r["info"])


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
        running(daemon, server, w, CPU_BOUND)
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
    for tcp in (True, False):
        w = login(t, server, tcp)
        running(daemon, server, w, "select get_lock('half', 0), benchmark(1500000, md5('x'))")
        w.sock.shutdown(socket.SHUT_WR)
        if tcp:
            check_equal(wait_orphan(daemon, server, w.id, "half")["orphan"], "closed", "TCP")
        else:
            check_equal(orphans(daemon, server), {}, "Unix")
        w.results()
        daemon.wait_gone(server, w.id)


def test_an_orphan_that_looks_ends_by_itself(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    running(daemon, server, w, "select sleep(60)")
    w.sock.close()
    wait_orphan(daemon, server, w.id, "asleep")
    daemon.wait_gone(server, w.id)


def test_dbps_orphans(t):
    server, daemon = pair(t)
    check_equal(json.loads(daemon.dbps("orphans", "--json", "--server", server.name).stdout), [],
                "orphans of a quiet server")
    w = login(t, server, True)
    running(daemon, server, w, CPU_BOUND)
    reset(w)
    wait_orphan(daemon, server, w.id, "reset")
    rows = json.loads(daemon.dbps("orphans", "--json", "--server", server.name).stdout)
    check_equal([(r["id"], r["orphan"], r["info"]) for r in rows], [(w.id, "reset", CPU_BOUND)],
                "dbps orphans --json")
    listed = daemon.dbps("orphans").stdout
    check("reset" in listed and "benchmark" in listed, listed)
    end_statement(server, daemon, w)
