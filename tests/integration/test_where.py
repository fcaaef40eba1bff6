"""SELECT over the sessions, and KILL by condition, by user and by query id, on a real server."""

import json
import os
import re
import subprocess
import threading
import time

import pymysql

from harness import Failure, check, check_equal, wait

import wire
from deadline import milliseconds, seconds, times

MANY = max(times(5000), 1000)


def pair(t):
    server, daemon = t.shared_pair()
    server.run("drop user if exists app@localhost",  # another test's, who would be meant first
               "create or replace user app@'%' identified by 'secret'",
               "grant all on *.* to app@'%'", "create or replace user other@'%'",
               "grant all on *.* to other@'%'", "create database if not exists alpha",
               "create database if not exists beta",
               "create or replace table alpha.t (id int primary key, v int) engine=innodb",
               "insert into alpha.t values (1, 1), (2, 2)")
    return server, daemon


def login(t, server, user="app", tcp=True, **kwargs):
    w = t.keep(server.wire(tcp=tcp))
    return w.login(user, "secret" if user == "app" else "", **kwargs)


def lives(w):
    w.sock.settimeout(seconds(5))
    try:
        w.query("select 1")
        return True
    except (wire.Closed, OSError):
        return False


def console(t, daemon, server=None, **kwargs):
    return t.keep(daemon.connect(**({"db": server.name} if server else {}), **kwargs))


def ask(connection, statement):
    """Rows as dicts."""
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def outcomes(connection, statement):
    return {row["id"]: row["outcome"] for row in ask(connection, statement)}


def refused(connection, statement):
    try:
        ask(connection, statement)
    except pymysql.err.MySQLError as error:
        return error.args[0]
    raise Failure(f"it was not refused: {statement}")


def test_a_select_sees_what_the_list_shows(t):
    server, daemon = pair(t)
    a = login(t, server, db="alpha")
    b = login(t, server, "other", tcp=False, db="beta")
    daemon.running(server, a, "select sleep(60)")
    daemon.wait_idle(server, b.id)
    c = console(t, daemon, server)
    rows = ask(c, f"select * from processlist where id in ({a.id}, {b.id}) order by id")
    check_equal([r["user"] for r in rows], ["app", "other"], "users")
    check_equal([r["db"] for r in rows], ["alpha", "beta"], "databases")
    check_equal([r["info"] for r in rows], ["select sleep(60)", None], "statements")
    check_equal(set(rows[0]), set(daemon.sessions(server)[0]), "columns of SHOW SESSIONS")
    # Each has the type of its column, for drivers.
    check_equal({k: type(v) for k, v in rows[0].items() if k in ("id", "time_ms", "user", "pid")},
                {"id": int, "time_ms": float, "user": str, "pid": int}, "types")
    rows = ask(c, "SELECT ID, USER, COMMAND FROM INFORMATION_SCHEMA.PROCESSLIST "
                  f"WHERE COMMAND != 'Sleep' AND ID = {a.id}")
    check_equal(rows, [{"ID": a.id, "USER": "app", "COMMAND": "Query"}], "as exporters ask")
    rows = ask(c, f"select user, count(*) n from processlist where id in ({a.id}, {b.id}) "
                  "group by user having n > 0 order by n, user desc")
    check_equal(rows, [{"user": "other", "n": 1}, {"user": "app", "n": 1}], "groups")
    check_equal(daemon.dbps("kill", "query", "--server", server.name,
                            "--where", f"id = {a.id}").returncode, 0, "exit")
    a.ending()


def test_a_statement_has_one_snapshot(t):
    """Both sides of a self-join see the same statement of a session that never rests."""
    server, daemon = pair(t)
    w = login(t, server)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            w.query("select 1")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        c = console(t, daemon, server)
        for _ in range(100):
            rows = ask(c, "select count(*) n, sum(a.sequence = b.sequence and a.bytes_in = "
                          "b.bytes_in and a.now_ns = b.now_ns) same from processlist a "
                          "join processlist b using (cookie)")
            check_equal(int(rows[0]["same"]), rows[0]["n"], "rows that are the same in both")
    finally:
        stop.set()
        worker.join()


def test_selects_from_the_stock_clients(t):
    server, daemon = pair(t)
    w = login(t, server)
    daemon.wait_idle(server, w.id)
    r = subprocess.run(["mariadb", "--no-defaults", "-S", daemon.socket, "-D", server.name, "-t",
                        "--column-type-info", "-e",
                        f"select ID, `user`, time_ms, id - 100000000 d from processlist "
                        f"where id = {w.id}"],
                       capture_output=True, text=True, timeout=seconds(20), check=False)
    check_equal(r.returncode, 0, r.stderr)
    check("LONGLONG" in r.stdout and "DOUBLE" in r.stdout and "UNSIGNED" in r.stdout, r.stdout)
    check(f"{w.id - 100000000}" in r.stdout and "app" in r.stdout, r.stdout)
    out = daemon.dbps("sql", "--json", "--server", server.name,
                      f"select id, user, count(*) n from processlist where id = {w.id}").stdout
    check_equal(json.loads(out), [{"id": w.id, "user": "app", "n": 1}], "dbps sql")


def test_limits_hold_on_the_console(t):
    _, daemon = t.shared_pair(daemon_options=("--set", "sql.time_limit_ms=100", "--set",
                                              "sql.memory_limit_mib=8"))
    c = console(t, daemon)
    bomb = "with recursive n(i) as (select 1 union all select i + 1 from n) "
    began = time.monotonic()
    check_equal(refused(c, bomb + "select count(*) from n"), 3024, "a bomb")
    check(time.monotonic() - began < seconds(5), "it took long")
    before = daemon.resident_kb()
    for rest in ("select i, hex(randomblob(30000)) from n limit 100000",
                 "select max(h) from (select hex(randomblob(500)) h from n limit 100000 offset 1) "
                 "group by h order by h"):
        check(refused(c, bomb + rest) in (3170, 3024), rest)
    check(daemon.resident_kb() - before < 64 << 10, "memory stays taken")
    check_equal(refused(c, "select zeroblob(1000000000) from processlist"), 1406, "zeroblob")
    check_equal(refused(c, "select nowhere from processlist"), 1054, "column")
    check_equal(refused(c, "select * from sqlite_master"), 1290, "schema")
    check_equal(refused(c, "attach '/tmp/x' as x"), 1064, "attach")
    check(ask(c, "select count(*) from processlist"), "it lives")


def test_selects_run_side_by_side(t):
    """Also next to those that end at their limits."""
    _, daemon = pair(t)
    seen = []

    def work(statement, n):
        with daemon.connect() as connection:
            for _ in range(n):
                try:
                    seen.append(ask(connection, statement)[0]["n"])
                except pymysql.err.MySQLError as error:
                    seen.append(error.args[0])

    bomb = "with recursive n(i) as (select 1 union all select i + 1 from n) select "
    jobs = [(f"select count(*) - count(id) + {i} as n from processlist where info is null or "
             "concat(info, '!') like '%!'", 50) for i in range(6)]
    jobs += [(bomb + "hex(randomblob(9999)) n from n", 1), (bomb + "count(*) n from n", 1)]
    workers = [threading.Thread(target=work, args=job) for job in jobs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    check_equal(sorted(x for x in seen if x < 6), sorted(list(range(6)) * 50), "numbers")
    check(set(seen) - set(range(6)) <= {3170, 3024}, f"errors: {set(seen)}")


def test_a_select_ends_when_its_client_goes(t):
    _, daemon = t.shared_pair(daemon_options=("--set", "sql.time_limit_ms=60000"))

    def connected():
        return int(daemon.query("show status like 'Threads_connected'")[0][1])

    def ticks():
        with open(f"/proc/{daemon.pid}/stat", encoding="ascii") as f:
            return int(f.read().rsplit(")", 1)[1].split()[11])

    before = connected()
    w = wire.Wire(daemon.socket)
    w.login("root")
    w.send_command(wire.QUERY, b"with recursive n(i) as (select 1 union all select i + 1 from n) "
                               b"select count(*) from n")
    begun = ticks()
    wait(lambda: ticks() > begun + 5, "the statement to burn time")
    check_equal(connected(), before + 1, "connections")
    w.close()
    wait(lambda: connected() == before, "its thread to end", timeout=10)


def test_kill_where(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    a, b = login(t, server, db="alpha"), login(t, server, tcp=False, db="beta")
    idle, other = login(t, server), login(t, server, "other")
    daemon.running(server, a, "select sleep(60) /* a */")
    daemon.running(server, b, "select sleep(60) /* b */")
    for w in (idle, other):
        daemon.wait_idle(server, w.id)
    check_equal(outcomes(c, "kill query where user = 'app' and db = 'alpha'"),
                {a.id: "confirmed"}, "by user and database")
    check_equal(a.ending(), 1317, "a")
    check_equal(outcomes(c, "kill query where info like '%b *%' and time_ms >= 0"),
                {b.id: "confirmed"}, "by text and time")
    check_equal(b.ending(), 1317, "b")
    check_equal(outcomes(c, "kill query where user = 'app' and command <> 'Query'"), {}, "idle ones")
    check_equal(outcomes(c, f"kill where user = 'app' and id in ({idle.id}, {other.id})"),
                {idle.id: "confirmed"}, "connections")
    check(not lives(idle), "it lives")
    check(all(lives(w) for w in (a, b, other)), "one that was not meant was hit")


def test_order_and_limit(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    sessions = []
    for _ in range(4):
        w = login(t, server, "other")
        daemon.running(server, w, "select sleep(60)")
        sessions.append(w)
    mine = f"user = 'other' and id in ({', '.join(str(w.id) for w in sessions)})"
    check_equal(outcomes(c, f"kill query where {mine} limit 0"), {}, "LIMIT 0")
    # The oldest first.
    check_equal(list(outcomes(c, f"kill query where {mine} limit 2")),
                [w.id for w in sessions[:2]], "the two oldest")
    check_equal(list(outcomes(c, f"kill query where {mine} order by id desc limit 1")),
                [sessions[3].id], "by order")
    for w in (sessions[0], sessions[1], sessions[3]):
        check_equal(w.ending(), 1317, "the victim")
    check_equal(ask(c, f"select id from processlist where {mine} and command = 'Query'"),
                [{"id": sessions[2].id}], "what still runs")
    check_equal(outcomes(c, f"kill where {mine}"), {w.id: "confirmed" for w in sessions}, "all")


def test_a_dry_run_kills_nothing(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    w = login(t, server, "other", db="beta")
    daemon.running(server, w, "select sleep(60)")
    before = daemon.query("show status like 'Dbps_kills'")
    rows = ask(c, f"kill where id = {w.id} dry run")
    check_equal([(r["id"], r["user"], r["db"], r["command"], r["info"], r["spared"]) for r in rows],
                [(w.id, "other", "beta", "Query", "select sleep(60)", None)], "the list")
    rows = ask(c, "kill where own dry run")
    check_equal([r["spared"] for r in rows], ["control link of dbpsd"], "what is spared")
    out = daemon.dbps("kill", "--server", server.name, "--dry-run", "--json", "--where",
                      f"id = {w.id} -- and no more").stdout
    check_equal([r["id"] for r in json.loads(out)], [w.id], "dbps kill --dry-run")
    check_equal(daemon.query("show status like 'Dbps_kills'"), before, "kills")
    check_equal(outcomes(c, f"kill where id = {w.id}"), {w.id: "confirmed"}, "then for good")


def test_what_has_moved_on_is_missed(t):
    """A storm of short statements under KILL QUERY WHERE: only what is confirmed was hit."""
    server, daemon = pair(t)
    w = login(t, server, "other")
    ended = []
    stop = threading.Event()

    def work():
        while not stop.is_set():
            w.send_command(wire.QUERY, b"select sleep(0.01)")
            ended.append(w.ending())

    worker = threading.Thread(target=work)
    worker.start()
    c = console(t, daemon, server)
    seen, pending = [], []
    try:
        for _ in range(100):
            rows = ask(c, f"kill query where id = {w.id}")
            seen += [row["outcome"] for row in rows]
            pending += [row for row in rows if row["outcome"] == "pending"]
    finally:
        stop.set()
        worker.join()
    confirmed = seen.count("confirmed")
    hit = ended.count(1317)
    t.note(f"{len(seen)} kills over {len(ended)} statements: {confirmed} confirmed, {hit} hit, "
           f"{seen.count('missed')} missed")
    check_equal(set(seen) - {"confirmed", "missed"}, set(), f"outcomes; {pending}")
    check_equal(set(ended) - {0, 1317}, set(), "ends")
    check_equal(confirmed, hit, "confirmed and hit")


def test_many_at_once_wherever_they_are(t):
    """TCP sessions of two network namespaces are reset in a pass for each, those on Unix sockets shut down."""
    server, daemon = pair(t)
    db = f"of_{os.getpid()}"  # no condition shall hold for sessions of anybody else's servers
    server.run(f"create or replace database {db}")
    elsewhere = t.server(own_network=True)
    elsewhere.run("create user other@'%'", "grant all on *.* to other@'%'",
                  "create user app@'%' identified by 'secret'", f"create database {db}")
    daemon.wait_server(elsewhere)
    c = console(t, daemon)
    here = [login(t, server, "other", db=db) for _ in range(3)]
    there = [login(t, elsewhere, "other", db=db) for _ in range(3)]
    local = [login(t, server, "other", tcp=False, db=db) for _ in range(2)]
    spared = [login(t, server), login(t, elsewhere)]
    for at, sessions in ((server, here + local + spared[:1]), (elsewhere, there + spared[1:])):
        for w in sessions:
            daemon.wait_idle(at, w.id)
    daemon.running(server, here[0], "select sleep(60)")
    rows = ask(c, f"kill connection where user = 'other' and db = '{db}'")
    check_equal([row["outcome"] for row in rows], ["confirmed"] * 8, f"outcomes: {rows}")
    how = sorted(re.sub(r".*\((.*)\)$", r"\1", row["text"]) for row in rows)
    check_equal(how, ["reset"] * 5 + ["reset, control link"] + ["shutdown"] * 2, "how")
    for w in here + there + local:
        check(not lives(w), "it lives")
    check(all(lives(w) for w in spared), "another user's was hit")


class Restless(threading.Thread):
    """A client that has a short statement, a pause, and so on, and comes back when it is cut."""

    def __init__(self, server):
        super().__init__()
        self.server = server
        self.stop = threading.Event()
        self.ends = {}  # connection id: how it ended, None: by itself
        self.start()

    def run(self):
        while not self.stop.is_set():
            with self.server.wire() as w:
                w.login("other", "", db="beta")
                while not self.stop.is_set() and w.id not in self.ends:
                    try:
                        w.send_command(wire.QUERY, b"select sleep(0.001)")
                        code = w.ending()
                    except OSError:
                        code = "closed"
                    if code:
                        self.ends[w.id] = code
                    self.stop.wait(0.001)
                self.ends.setdefault(w.id, None)


def test_who_has_moved_on_is_not_reset(t):
    """Sessions that are idle half of the time under KILL WHERE: cut are those that are said to be."""
    server, daemon = pair(t)
    clients = [Restless(server) for _ in range(4)]
    c = console(t, daemon, server)
    answers = []
    try:
        while len(answers) < 200:
            answers += ask(c, "kill connection where user = 'other' and db = 'beta' and command = 'Sleep'")
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join()
    ends = {number: end for client in clients for number, end in client.ends.items()}
    said = {row["id"] & 0xffffffff for row in answers if row["outcome"] == "confirmed"}
    cut = {number for number, end in ends.items() if end}
    t.note(f"{len(answers)} kills of {len(ends)} connections: {len(cut)} cut, "
           f"{len([row for row in answers if row['outcome'] == 'missed'])} missed")
    check_equal({row["outcome"] for row in answers} - {"confirmed", "missed"}, set(), "outcomes")
    check_equal(cut - said, set(), "cut without a word")
    check_equal(set(ends.values()) - {None, "closed"}, set(), "ends")


def test_kill_user(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    sessions = [login(t, server, "other"), login(t, server, "other"),
                login(t, server, "other", tcp=False)]
    app = login(t, server)
    daemon.running(server, sessions[0], "select sleep(60)")
    for w in sessions[1:] + [app]:
        daemon.wait_idle(server, w.id)
    with c.cursor() as cursor:
        check_equal(cursor.execute("kill query user other"), 1, "affected rows")
        check_equal(sessions[0].ending(), 1317, "the victim")
        check_equal(cursor.execute("kill user 'other'@'192.0.2.1'"), 0, "another host")
        check_equal(cursor.execute("kill user other@localhost"), 1, "over the socket")
        check(not lives(sessions[2]) and lives(sessions[0]), "the wrong one was hit")
        check_equal(cursor.execute("kill user other@127.0.0.1"), 2, "over TCP")
        check(not lives(sessions[0]) and not lives(sessions[1]), "it lives")
        check_equal(cursor.execute("kill user other"), 0, "none is left")
    check(lives(app), "another user's was hit")


def test_kill_query_id(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    w = login(t, server)
    daemon.running(server, w, "select sleep(60)")
    query_id = wait(lambda: [r[0] for r in server.run(
        "select query_id from information_schema.processlist "
        f"where id = {w.id} and info like '%sleep(60)%'")], "the server to show it")[0]
    check_equal(refused(c, "kill query id 4000000000"), 1957, "an unknown one")
    with c.cursor() as cursor:
        cursor.execute(f"kill query id {query_id}")
    check_equal(w.ending(), 1317, "the victim")
    # It names that statement, and no session.
    daemon.wait_idle(server, w.id)
    check_equal(refused(c, f"kill query id {query_id}"), 1957, "one that is over")
    check(lives(w), "the session was hit")


def test_errors_kill_nothing(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    w = login(t, server)
    daemon.wait_idle(server, w.id)
    for statement, code in (("kill where nowhere = 1", 1054), ("kill where", 1064),
                            ("kill where 1 = = 1", 1064), ("kill where id = 1 limit x", 1064),
                            ("kill where 1) or (1", 1064), ("kill where user = 'x", 1064),
                            ("kill user", 1064), ("kill where f(1)", 1305)):
        check_equal(refused(c, statement), code, statement)
    check(lives(w), "it was killed")


def test_kills_from_the_stock_clients(t):
    server, daemon = pair(t)

    def mariadb(statement):
        return subprocess.run(["mariadb", "--no-defaults", "-S", daemon.socket, "-D", server.name,
                               "--comments", "-vvv", "-e", statement],
                              capture_output=True, text=True, timeout=seconds(20), check=False)

    w = login(t, server, "other")
    daemon.wait_idle(server, w.id)
    r = mariadb(f"kill /* tidy up */ where id = {w.id}")
    check("confirmed" in r.stdout and "1 row in set" in r.stdout, r.stdout + r.stderr)
    check(not lives(w), "it lives")
    w = login(t, server, "other", tcp=False)
    daemon.wait_idle(server, w.id)
    r = mariadb("kill user other")
    check("1 row affected" in r.stdout and "1 confirmed" in r.stdout, r.stdout + r.stderr)
    check(not lives(w), "it lives")
    reasons = [row["reason"] for row in ask(console(t, daemon), "show kills limit 5")]
    check("tidy up" in reasons, f"reasons: {reasons}")


def test_dbps_kill_where_and_its_exit_codes(t):
    server, daemon = pair(t)

    def dbps(*args, code=0):
        r = daemon.dbps("kill", "--server", server.name, *args, check_exit=False)
        check_equal(r.returncode, code, f"{args}: {r.stdout}{r.stderr}")
        return r

    w = login(t, server, "other")
    daemon.running(server, w, "select sleep(60)")
    out = dbps("query", "--json", "--where", "user = 'other' and info like '%sleep%'", "--limit",
               "5", "--reason", "x */ or 1 /* y").stdout
    check_equal([(r["id"], r["outcome"]) for r in json.loads(out)], [(w.id, "confirmed")], "JSON")
    check_equal(w.ending(), 1317, "the victim")
    reason = ask(console(t, daemon), "show kills limit 1")[0]["reason"]
    check_equal(reason, "x * / or 1 /* y", "the reason")
    check("1 confirmed" in dbps("--user", "other").stdout, "by user")
    check(not lives(w), "it lives")
    check("no such session" in dbps("--user", "other", code=6).stdout, "none")
    dbps("--where", "user = 'other'")
    check("1054" in dbps("--where", "nowhere = 1", code=1).stderr, "an unknown column")
    dbps("--where", "1", "41", code=2)
    dbps("--where", "1 /*", "--dry-run", code=1)


def test_a_drain_lets_the_statement_or_the_transaction_end(t):
    server, daemon = pair(t)
    c = console(t, daemon, server)
    w = login(t, server, "other")
    daemon.running(server, w, "select sleep(1)")
    check_equal(outcomes(c, f"kill where id = {w.id} after statement"), {w.id: "confirmed"},
                "after the statement")
    check_equal(w.ending(), 0, "the statement")
    check_equal(w.ending(), "closed", "the session")
    w = login(t, server, "other", tcp=False)
    w.query("begin")
    w.query("update alpha.t set v = 77 where id = 2")
    seen = []
    worker = threading.Thread(target=lambda: seen.append(
        outcomes(c, f"kill where id = {w.id} after transaction")))
    worker.start()
    wait(lambda: ask(console(t, daemon, server), "select 1 from processlist "
                     f"where id = {w.id} and transaction_ms > 100"), "the drain to wait")
    w.query("commit")
    worker.join()
    check_equal(seen, [{w.id: "confirmed"}], "after the transaction")
    check_equal(w.ending(), "closed", "the session")
    check_equal(server.run("select v from alpha.t where id = 2"), ((77,),), "what was committed")
    w = login(t, server, "other")
    daemon.wait_idle(server, w.id)
    r = daemon.dbps("kill", "--server", server.name, "--after", "statement", str(w.id))
    check("confirmed" in r.stdout, r.stdout)
    check_equal(w.ending(), "closed", "the session")


def test_many_sessions(t):
    server, daemon = t.pair(f"--max-connections={MANY + 20}", f"--back-log={MANY}",
                            "--thread-stack=192K", "--open-files-limit=18000",
                            daemon_options=("--set", f"console.kill_wait_ms={milliseconds(2000)}"))
    server.run("create user many@localhost")
    sessions = [t.keep(server.wire(tcp=False)).login("many") for _ in range(MANY)]
    c = console(t, daemon, server)
    wait(lambda: ask(c, "select count(*) n from processlist where user = 'many' and "
                        "command = 'Sleep'")[0]["n"] == MANY, "all of them")

    def timed(statement):
        began = time.monotonic()
        rows = ask(c, statement)
        took = time.monotonic() - began
        t.note(f"{statement}: {len(rows)} rows in {took * 1e3:.0f} ms")
        check(took < seconds(10), "that is slow")
        return rows

    check_equal(len(timed("select * from processlist where user = 'many'")), MANY, "rows")
    timed("select user, count(*) from processlist group by user")
    rows = timed("select count(*) n, (select count(*) from processlist) m "
                 "from processlist a join processlist b using (id)")
    check_equal(rows[0]["n"], rows[0]["m"], "a join by id")
    ended = {row["outcome"] for row in timed("kill where user = 'many'")}
    check_equal(ended, {"confirmed"}, "outcomes")
    check(not any(lives(w) for w in sessions[:5] + sessions[-5:]), "one lives")
