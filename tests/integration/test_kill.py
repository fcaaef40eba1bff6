"""KILL on a real server: what the victim gets, and that the answer is what happened."""

import threading
import time

import pymysql

from harness import check, check_equal, wait

import wire
from deadline import seconds


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


def kill(daemon, server, statement):
    """Run a KILL on the console of one server: (text of the answer, warnings, ms)."""
    with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
        began = time.monotonic()
        cursor.execute(statement)
        took = (time.monotonic() - began) * 1e3
        message = connection._result.message[1:]  # behind its length, which PyMySQL leaves in
        cursor.execute("show warnings")
        return message.decode(), cursor.fetchall(), took


def check_ended(answer, code, what):
    """The answer is what happened. SLEEP, BENCHMARK and the like end early without an error, which looks
    like an end by itself (protocol.md 1.13)."""
    if code == 0:
        check("ended without an error" in answer, f"{what}: {answer}")
    else:
        check(answer.startswith("confirmed"), f"{what}: {answer}")


CPU_BOUND = "select benchmark(2000000000, md5('x'))"


def test_kill_query_interrupts_a_statement(t):
    server, daemon = pair(t)
    holder = login(t, server, False)
    holder.query("select get_lock('taken True', 0), get_lock('taken False', 0)")
    for tcp in (True, False):
        for text, codes in (("select sleep(60)", (1317,)), ("do sleep(60)", (0, 1317)),
                            (CPU_BOUND, (0, 1317)),
                            ("select count(*) from alpha.seq_1_to_100000 a, alpha.seq_1_to_100000 b",
                             (1317,)),
                            (f"select get_lock('taken {tcp}', 60)", (0, 1317))):
            w = login(t, server, tcp)
            row = daemon.running(server, w, text)
            answer, warnings, took = kill(daemon, server, f"kill query {row['id']}")
            check(not warnings, f"{text}: {warnings} after {took} ms")
            code = w.ending()
            check(code in codes, f"{text}: the victim got {code}")
            check_ended(answer, code, text)
            row = daemon.wait_idle(server, w.id)
            w.query("select 1")  # the connection lives
        t.note(f"{'TCP' if tcp else 'Unix socket'}: {answer}")


def test_kill_query_of_a_lock_wait(t):
    server, daemon = pair(t)
    holder = login(t, server, False)
    holder.query("begin")
    holder.query("update alpha.t set v = 5 where id = 1")
    w = login(t, server, True)
    row = daemon.running(server, w, "update alpha.t set v = 6 where id = 1")
    answer, _, _ = kill(daemon, server, f"kill query {row['id']}")
    check(answer.startswith("confirmed"), answer)
    check_equal(w.ending(), 1317, "the victim")


def test_kill_query_of_a_prepared_statement(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    statement = w.prepare("select sleep(?)")
    w.send_command(wire.STMT_EXECUTE, w.execute_body(statement, ("60",)))
    row = daemon.wait_session(server, w.id, "Execute", lambda r: r["command"] == "Execute")
    answer, _, _ = kill(daemon, server, f"kill query {row['id']}")
    check(answer.startswith("confirmed"), answer)
    check_equal(w.ending(), 1317, "the victim")


def test_kill_query_of_an_idle_session_touches_nothing(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        row = daemon.wait_idle(server, w.id)
        answer, warnings, _ = kill(daemon, server, f"kill query {row['id']}")
        check("confirmed" not in answer, f"{answer} {warnings}")
        w.query("select sleep(0.1)")  # and so does the next statement
        t.note(f"idle: {answer} {warnings}")


def test_kill_ends_an_idle_connection(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        for word in ("kill", "kill connection"):
            w = login(t, server, tcp)
            row = daemon.wait_idle(server, w.id)
            answer, warnings, took = kill(daemon, server, f"{word} {row['id']}")
            check(answer.startswith("confirmed"), f"{answer} {warnings}")
            w.sock.settimeout(seconds(2))
            try:
                w.query("select 1")
                check(False, "the connection lives")
            except (wire.Closed, OSError):
                pass
            daemon.wait_gone(server, w.id)
            wait(lambda: w.id not in server.processlist(), "the server to end it")
        t.note(f"{'TCP' if tcp else 'Unix socket'}: {answer} ({took:.1f} ms)")


def test_kill_ends_a_connection_that_executes(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        for text in ("select sleep(60)", CPU_BOUND):
            w = login(t, server, tcp)
            row = daemon.running(server, w, text)
            answer, warnings, _ = kill(daemon, server, f"kill {row['id']}")
            check(answer.startswith("confirmed"), f"{answer} {warnings}")
            check_equal(w.ending(), "closed", f"{text}: the victim")
            wait(lambda: w.id not in server.processlist(), "the server to end it", timeout=5)
            daemon.wait_gone(server, w.id)


def test_kill_of_a_client_that_does_not_read(t):
    """KILL QUERY does not reach a thread that waits for its client; KILL does."""
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        w.send_command(wire.QUERY, b"select seq, repeat('x', 10000) from alpha.seq_1_to_20000")
        row = daemon.wait_session(server, w.id, "rows", lambda r: r["phase"] == "sending rows")
        wait(lambda: server.processlist()[w.id][3] == "Query", "the statement at the server")
        answer, warnings, _ = kill(daemon, server, f"kill {row['id']}")
        check(answer.startswith("confirmed"), f"{answer} {warnings}")
        wait(lambda: w.id not in server.processlist(), "the server to end it", timeout=5)
        daemon.wait_gone(server, w.id)


def test_kill_takes_the_id_quoted_and_in_any_case(t):
    server, daemon = pair(t)
    for form in ("KILL QUERY '%d'", "kill query \"%d\"", "Kill Query %d;", "/* c */ kill query %d -- c"):
        w = login(t, server, False)
        row = daemon.running(server, w, "select sleep(60)")
        answer, _, _ = kill(daemon, server, form % row["id"])
        check(answer.startswith("confirmed"), f"{form}: {answer}")
        check_equal(w.ending(), 1317, form)


def refused(call, *args):
    try:
        call(*args)
    except pymysql.err.MySQLError as error:
        return error.args
    check(False, "it was not refused")
    return None


def test_an_unknown_id(t):
    server, daemon = pair(t)
    for form, number in (("kill 99999999", 99999999), ("kill query 99999999", 99999999),
                         ("kill '99999999'", 99999999), ("kill 0", 0),
                         ("kill 18446744073709551615", 18446744073709551615)):
        code, text = refused(kill, daemon, server, form)
        check_equal((code, text), (1094, f"Unknown thread id: {number}"), form)
    for form in ("kill", "kill query", "kill x y", "kill 1 2"):
        code, _ = refused(kill, daemon, server, form)
        check_equal(code, 1064, form)


def test_com_process_kill(t):
    server, daemon = pair(t)
    w = login(t, server, False)
    row = daemon.running(server, w, "select sleep(60)")
    with wire.Wire(daemon.socket) as console:
        console.login("root", db=server.name)
        console.command(wire.PROCESS_KILL, row["id"].to_bytes(4, "little"))
    check_equal(w.ending(), "closed", "the victim")


def test_only_the_statement_that_was_meant(t):
    """A storm of short statements under KILL QUERY: what is confirmed was hit, what was missed was not."""
    server, daemon = pair(t)
    w = login(t, server, False)
    ended = []
    stop = threading.Event()

    def work():
        while not stop.is_set():
            w.send_command(wire.QUERY, b"select sleep(0.05)")
            ended.append(w.ending())

    worker = threading.Thread(target=work)
    worker.start()
    row = daemon.wait_session(server, w.id, "work", lambda r: True)
    answers = []
    for _ in range(40):
        answer, warnings, _ = kill(daemon, server, f"kill query {row['id']}")
        answers.append(answer or str(warnings))
    stop.set()
    worker.join()
    confirmed = sum(a.startswith("confirmed") for a in answers)
    hit = sum(code == 1317 for code in ended)
    t.note(f"40 kills over {len(ended)} statements: {confirmed} confirmed, {hit} interrupted")
    check(set(ended) <= {0, 1317}, f"ends: {set(ended)}")
    check(confirmed == hit, f"{confirmed} confirmed, {hit} interrupted: {answers}")


def test_dbps_kill_and_its_exit_codes(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    daemon.running(server, w, "select sleep(60)")
    number = next(r["id"] for r in daemon.ps("--server", server.name) if r["server_id"] == w.id)
    r = daemon.dbps("kill", "query", str(number), "--server", server.name)
    check("confirmed" in r.stdout, r.stdout)
    check_equal(w.ending(), 1317, "the victim")
    w = login(t, server, False)
    whole = next(r["id"] for r in daemon.sessions()
                 if r["server"] == server.name and r["server_id"] == w.id)
    r = daemon.dbps("kill", str(whole))
    check("confirmed" in r.stdout, r.stdout)
    r = daemon.dbps("kill", "99999999", check_exit=False)
    check(r.returncode not in (0, 1) and "99999999" in r.stderr, f"{r.returncode}: {r.stderr}")


def test_kill_while_the_server_takes_no_more_connections(t):
    server, daemon = t.pair("--max-connections=5")
    kept = []
    while len(kept) < 20:
        w = t.keep(server.wire(tcp=False))
        try:
            w.login("root")
        except wire.ServerError:
            break
        kept.append(w)
    row = daemon.running(server, kept[0], CPU_BOUND)
    answer, warnings, took = kill(daemon, server, f"kill query {row['id']}")
    t.note(f"{answer} {warnings} ({took:.1f} ms)")
    check_ended(answer, kept[0].ending(), CPU_BOUND)
