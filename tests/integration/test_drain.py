"""KILL … AFTER STATEMENT and AFTER TRANSACTION on a real server: what the client gets whole, when its
session closes, and what is answered."""

import socket
import struct
import threading

import pymysql

from harness import DEADLINE, check, check_equal, wait

import wire
from test_kill import kill, login, pair


def closed(w):
    """Whether the server's end of the connection closes; nothing is sent for it."""
    w.sock.settimeout(DEADLINE)
    try:
        return w.sock.recv(1) == b""
    except ConnectionResetError:
        return True


def last_kill(daemon, server, w):
    """The answer to the last kill of a session, as SHOW KILLS tells it; None: there is no kill."""
    with daemon.connect() as connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute("show kills")
        rows = [{k.lower(): v for k, v in row.items()} for row in cursor.fetchall()]
    return next((row["answer"] or "" for row in rows  # NULL: being carried out
                 if row["server"] == server.name and row["id"] & 0xffffffff == w.id), None)


def ask(server, statement):
    with server.admin_connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_an_idle_session_closes_at_once(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        row = daemon.wait_idle(server, w.id)
        answer, warnings, took = kill(daemon, server, f"kill {row['id']} after statement")
        check(answer.startswith("confirmed") and not warnings, f"{answer} {warnings}")
        check(closed(w), "the connection lives")
        daemon.wait_gone(server, w.id)
        t.note(f"{answer} ({took:.1f} ms)")


def test_the_statement_ends_whole_and_then_the_session(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        row = daemon.running(server, w, "select 'whole', sleep(0.4)")
        answer, warnings, _ = kill(daemon, server, f"kill {row['id']} after statement")
        check(answer.startswith("confirmed") and "after statement" in answer, f"{answer} {warnings}")
        check(b"whole" in w.results()[0][0], "the answer that was let finish")
        check(closed(w), "the connection lives")


def test_a_long_statement_is_answered_as_pending_and_closed_later(t):
    server, daemon = pair(t)
    holder = login(t, server, False)
    holder.query("select get_lock('drain', 0)")
    w = login(t, server, True)
    row = daemon.running(server, w, "select get_lock('drain', 60)")
    answer, warnings, took = kill(daemon, server, f"kill {row['id']} after statement")
    check(warnings and "waits for the end of statement" in warnings[0][2], f"{answer} {warnings}")
    check(1500 < took < 6000, f"{took} ms")
    check(last_kill(daemon, server, w).startswith("pending"), "SHOW KILLS")
    holder.query("select release_lock('drain')")
    check_equal(w.ending(), 0, "the statement")
    check(closed(w), "the connection lives")
    wait(lambda: last_kill(daemon, server, w).startswith("confirmed"), "SHOW KILLS to tell the end")


def test_a_transaction_ends_before_its_session(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    w.query("begin")
    w.query("update alpha.t set v = 9 where id = 1")
    row = daemon.wait_idle(server, w.id)
    answers = []
    killer = threading.Thread(
        target=lambda: answers.append(kill(daemon, server, f"kill {row['id']} after transaction")))
    killer.start()
    w.query("select sleep(0.2)")
    w.query("update alpha.t set v = 10 where id = 1")
    w.query("commit")
    check(closed(w), "the connection lives")
    killer.join()
    check(answers[0][0].startswith("confirmed"), f"{answers}")
    check_equal(ask(server, "select v from alpha.t where id = 1"), ((10,),), "what was committed")


def test_a_client_without_pause_loses_no_statement(t):
    """Every statement that the client sent and the server began is answered whole; then comes the end."""
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        number = daemon.wait_idle(server, w.id)["id"]
        results = []

        def work(w=w, results=results):
            try:
                while True:
                    w.send_command(wire.QUERY, b"insert into alpha.d values (null)")
                    results.append(w.results())
            except (wire.Closed, OSError):
                pass

        server.run("create or replace table alpha.d (id int primary key auto_increment) engine=innodb")
        worker = threading.Thread(target=work)
        worker.start()
        wait(lambda results=results: len(results) > 50, "statements")
        answer, warnings, took = kill(daemon, server, f"kill {number} after statement")
        if not answer:
            check("waits for the end" in warnings[0][2], f"{warnings}")
            t.note(f"no pause seen for {took:.0f} ms")
        worker.join(DEADLINE)
        check(not worker.is_alive(), f"the session lives: {answer} {warnings}")
        done = ask(server, "select count(*) from alpha.d")[0][0]
        check_equal(done, len(results), "inserts that were answered, and that were done")
        t.note(f"{len(results)} statements; {answer or warnings[0][2]} ({took:.1f} ms)")


def test_a_session_that_is_closed_meanwhile(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    row = daemon.running(server, w, "select sleep(60)")
    answers = []
    killer = threading.Thread(
        target=lambda: answers.append(kill(daemon, server, f"kill {row['id']} after statement")))
    killer.start()
    wait(lambda: last_kill(daemon, server, w) is not None, "SHOW KILLS to tell it")
    kill(daemon, server, f"kill {row['id']}")
    killer.join()
    check("closed" in answers[0][0], f"{answers}")


def test_the_client_goes_while_it_is_drained(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    w.query("begin")
    row = daemon.wait_idle(server, w.id)
    _, warnings, _ = kill(daemon, server, f"kill {row['id']} after transaction")
    check("waits for the end of the transaction" in warnings[0][2], f"{warnings}")
    w.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    w.close()
    wait(lambda: "closed by itself" in last_kill(daemon, server, w), "SHOW KILLS to tell it")
