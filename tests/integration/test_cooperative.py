"""Kills of servers that poll (dbps/cancel.h): a server of the tests that is linked with the library."""

import mmap
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import pymysql

import wire
from harness import (BUILD, DEADLINE, Failure, Skip, check, check_equal, free_port, ok_text,
                     unprivileged_user, wait)


class PollingServer:
    """tests/integration/polling_server.c, which gets the cancel table from a dbpsd."""

    def __init__(self, t, daemon, *options, console=None, **kwargs):
        self.directory = t._subdirectory("polling")
        self.log = os.path.join(self.directory, "log")
        self.port = free_port()
        self.name = f"polling_server-{self.port}"
        with open(self.log, "w") as log:
            self.process = t.spawn(
                [os.path.join(BUILD, "tests/integration/polling_server"), str(self.port),
                 console or daemon.socket, *options],
                stdout=subprocess.PIPE, stderr=log, text=True, **kwargs)
        self.pid = self.process.pid
        t.parts.append(self)
        check_equal(self.process.stdout.readline(), "ready\n", "polling_server")

    def wire(self, t):
        return t.keep(wire.Wire(("127.0.0.1", self.port))).login("app")


def ways(daemon, server):
    """{item: (status, detail)} of SHOW DOCTOR."""
    return {row[1]: row[2:] for row in daemon.query("show doctor") if row[0] == server.name}


def polls(daemon, server):
    return "cooperative" in ways(daemon, server).get("KILL QUERY", ("", ""))[1]


def wait_polls(daemon, server):
    wait(lambda: polls(daemon, server),
         f"{server.name} to be known to poll: {ways(daemon, server)}")


def pair(t, *options, **kwargs):
    """A server that polls, one session in it, and its dbpsd. No control link can be opened."""
    daemon = t.daemon(**kwargs)
    server = PollingServer(t, daemon, *options)
    w = server.wire(t)
    wait_polls(daemon, server)
    return server, daemon, w


def test_a_statement_is_ended_by_its_server(t):
    server, daemon, w = pair(t)
    daemon.running(server, w, "run 60000")
    answer, warnings = daemon.answer(f"kill query {w.id}", server)
    check(re.fullmatch(r"confirmed: statement 1 interrupted after [0-9.]+ ms \(cooperative\)",
                       answer) and not warnings, f"{answer} {warnings}")
    check_equal(w.ending(), 1317, "what the victim got")
    check_equal(w.query("poll 100000"), [None], "the statement after it")
    answer, _ = daemon.answer(f"kill query {w.id}", server)
    check(answer.startswith("missed: nothing is running"), answer)


def test_a_session_is_closed_by_its_server(t):
    server, daemon, w = pair(t)
    daemon.running(server, w, "run 60000")
    answer, warnings = daemon.answer(f"kill {w.id}", server)
    check(re.fullmatch(r"confirmed: session closed after [0-9.]+ ms \(reset, cooperative\)",
                       answer) and not warnings, f"{answer} {warnings}")
    check_equal(w.ending(), "closed", "what the victim got")
    idle = server.wire(t)
    daemon.wait_idle(server, idle.id)
    answer, _ = daemon.answer(f"kill {idle.id}", server)
    check(answer.startswith("confirmed: session closed"), answer)


def test_who_does_not_look_is_not_counted(t):
    server, daemon, w = pair(t, "deaf")
    daemon.running(server, w, "run 600000")
    answer, warnings = daemon.answer(f"kill query {w.id}", server)
    check(answer.startswith("pending: statement 1 still executes") and "given up" in answer and warnings,
          answer)
    check_equal(daemon.session(server, w.id)["info"], "run 600000", "what it executes after that")


def test_who_does_not_say_so_is_not_asked(t):
    daemon = t.daemon()
    server = PollingServer(t, daemon, console="/nosuch/dbps.sock")
    w = server.wire(t)
    wait(lambda: "KILL QUERY" in ways(daemon, server), "the server to be listed")
    check("cooperative" not in str(ways(daemon, server)), str(ways(daemon, server)))
    daemon.running(server, w, "run 60000")
    try:
        answer = daemon.answer(f"kill query {w.id}", server)
    except pymysql.err.MySQLError as error:
        answer = error.args
    check(answer[0] == 1105 and "cooperative" not in answer[1], str(answer))


def test_an_unprivileged_server(t):
    for path in (t.root_directory, t.directory):
        os.chmod(path, 0o755)
    daemon = t.daemon()
    os.chmod(daemon.directory, 0o755)
    uid, gid = unprivileged_user()

    def become():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    server = PollingServer(t, daemon, preexec_fn=become)
    w = server.wire(t)
    wait_polls(daemon, server)
    daemon.running(server, w, "run 60000")
    answer, _ = daemon.answer(f"kill query {w.id}", server)
    check(answer.startswith("confirmed") and "(cooperative)" in answer, answer)
    check_equal(w.ending(), 1317, "what the victim got")


def check_dies(t, **kwargs):
    """A cancel of a daemon that is gone meets no later statement: nobody might withdraw it."""
    server, daemon, w = pair(t, **kwargs)
    daemon.running(server, w, "doze 1500")
    with daemon.connect(db=server.name) as killer:
        killer._execute_command(wire.QUERY, f"kill query {w.id}")
        wait(lambda: any(row[7] == f"kill query {w.id}"
                         for row in daemon.query("show full processlist", "dbps")), "the kill to wait")
        daemon.stop(signal.SIGKILL)
    check_equal(w.ending(), 0, "what the victim got")
    check_equal(w.query("poll 100000"), [None], "the statement after it")
    # A new daemon is found at the next login.
    daemon.start()
    wait(lambda: server.wire(t) and polls(daemon, server), "the server to have found the new daemon",
         every=0.05)
    check_equal(w.query("poll 100000"), [None], "the statement after the new daemon began")
    other = server.wire(t)
    daemon.running(server, other, "run 60000")
    check(daemon.answer(f"kill query {other.id}", server)[0].startswith("confirmed"), "after the restart")
    check_equal(other.ending(), 1317, "what the victim got")


def test_a_daemon_that_dies(t):
    check_dies(t)


def test_pins_are_taken_over(t):
    path = os.path.join(t.directory, "bpf")
    os.mkdir(path)
    r = subprocess.run(["mount", "-t", "bpf", "none", path], capture_output=True, text=True)
    if r.returncode:
        raise Skip(f"no BPF file system: {r.stderr.strip()}")
    t.stack.callback(subprocess.run, ["umount", "--lazy", path], check=False)
    check_dies(t, pin=os.path.join(path, "dbps"))


def test_nobody_writes_the_table(t):
    """Whoever is handed the table's descriptor can map it, and neither write it nor make it writable."""
    _, daemon = t.shared_pair()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.connect(daemon.socket + ".cancel")
        handout, fds, _, _ = socket.recv_fds(door, 64, 1)
        version, size = struct.unpack("II", handout)
        check_equal((version, len(fds)), (1, 1), "what is handed out")
        with mmap.mmap(fds[0], size, mmap.MAP_SHARED, mmap.PROT_READ) as table:
            check_equal(struct.unpack_from("II", table), (1, 0), "version and pending")
        try:
            mmap.mmap(fds[0], size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            raise Failure("it can be mapped to write")
        except PermissionError:
            pass
        finally:
            os.close(fds[0])


STORM_S = 4


def test_no_other_statement_is_ended(t):
    """Short statements without pause, killed as fast as it goes: who was named got 1317, nobody else."""
    server, daemon, _ = pair(t)
    victims = [server.wire(t) for _ in range(3)]
    got = {w.id: {} for w in victims}
    named = {w.id: set() for w in victims}
    missed = []
    stop = threading.Event()

    def work(w):
        n = 0
        while not stop.is_set():
            n += 1
            w.send_command(wire.QUERY, b"poll %d" % (n % 7 * 150000))
            got[w.id][n] = w.ending()

    def kill(w):
        with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(f"kill query {w.id}")
                answer = ok_text(connection)
                match = re.match(r"confirmed: statement (\d+) interrupted .*\(cooperative\)", answer)
                if match:
                    named[w.id].add(int(match[1]))
                else:
                    missed.append(answer)

    threads = [threading.Thread(target=f, args=(w,)) for w in victims for f in (work, kill)]
    for thread in threads:
        thread.start()
    stop.wait(STORM_S)
    stop.set()
    for thread in threads:
        thread.join(DEADLINE)
    for w in victims:
        interrupted = {n for n, code in got[w.id].items() if code == 1317}
        check(set(got[w.id].values()) <= {0, 1317}, f"codes of {w.id}: {set(got[w.id].values())}")
        check_equal(interrupted, named[w.id], f"statements of {w.id} that were ended, and confirmed")
    check(all(answer.startswith("missed") for answer in missed),
          f"{[answer for answer in missed if not answer.startswith('missed')][:3]}")
    confirmed = sum(len(numbers) for numbers in named.values())
    check(confirmed, "no kill hit")
    t.note(f"{sum(len(g) for g in got.values())} statements, {confirmed} confirmed, {len(missed)} missed")


# ------------------------------------------------------------------ dbpsd's own console

CONSOLE_IDS = range(0xF0000000, 1 << 32)


def console(t, daemon, **kwargs):
    """A connection to the console that nothing else uses, and its id."""
    connection = t.keep(daemon.connect(**kwargs))
    with connection.cursor() as cursor:
        cursor.execute("select connection_id()")
        number = cursor.fetchall()[0][0]
    check_equal(number, connection.thread_id(), "the id that the client was greeted with")
    check(number in CONSOLE_IDS, f"id {number}")
    return connection, number


def consoles(daemon):
    return {row[0]: (row[1], row[2], row[3], row[4], row[7])
            for row in daemon.query("show full processlist", "dbps")}


def execute(t, daemon, statement):
    """A console connection that executes in a thread: (id, join() -> error code or 0 or "closed")."""
    connection, number = console(t, daemon)
    result = []

    def work():
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                result.append(0)
        except pymysql.err.MySQLError as error:
            result.append("closed" if error.args[0] == 2013 else error.args[0])

    thread = threading.Thread(target=work)
    thread.start()
    wait(lambda: consoles(daemon).get(number, ("",) * 5)[4] == statement, f"{statement} to execute")

    def join():
        thread.join(DEADLINE)
        return result[0] if result else "still executes"

    return number, join


LONG_SELECT = "select count(*) from processlist a, processlist b, processlist c, processlist d," \
              " processlist e, processlist f, processlist g, processlist h"


def test_the_consoles_own_sessions(t):
    """They are shown where they are chosen, and nowhere else."""
    _, daemon = t.shared_pair()
    connection, number = console(t, daemon)
    check_equal(consoles(daemon)[number], ("root", "localhost", None, "Sleep", None), "the row")
    for statement in ("show processlist", "select id from processlist"):
        check(not any(row[0] in CONSOLE_IDS for row in daemon.query(statement)), statement)
    check("dbps" not in [row[0] for row in daemon.query("show servers")], "servers")
    check(number in [row["id"] for row in daemon.ps("--server", "dbps")], "dbps ps --server dbps")
    connection.close()
    wait(lambda: number not in consoles(daemon), "the closed console to be gone")


def test_a_console_statement_is_killed(t):
    server, daemon = t.shared_pair()
    for _ in range(8):
        t.keep(server.connect())
    for statement in ("select sleep(60)", LONG_SELECT):
        number, join = execute(t, daemon, statement)
        answer, warnings = daemon.answer(f"kill query {number}")
        check("confirmed" in answer and "(cooperative)" in answer, f"{statement}: {answer} {warnings}")
        check_equal(join(), 1317, f"what {statement} got")
    answer, _ = daemon.answer(f"kill query {number}")
    check(answer.startswith("missed: nothing is running"), answer)


def test_a_console_is_closed(t):
    _, daemon = t.shared_pair()
    number, join = execute(t, daemon, "select sleep(60)")
    answer, _ = daemon.answer(f"kill {number}")
    check(answer.startswith("confirmed: session closed"), answer)
    check_equal(join(), "closed", "what the killed console got")
    _, idle = console(t, daemon)
    answer, _ = daemon.answer(f"kill {idle}")
    check(answer.startswith("confirmed: session closed"), answer)


def test_a_kill_that_waits_is_killed(t):
    """It waits no longer; what it asked for stands."""
    daemon = t.daemon("--set", "console.kill_wait_ms=60000")
    server = PollingServer(t, daemon, "deaf")
    w = server.wire(t)
    wait_polls(daemon, server)
    daemon.running(server, w, "run 3000")
    row = next(row for row in daemon.sessions() if row["pid"] == server.pid and row["info"])
    number, join = execute(t, daemon, f"kill query {row['id']}")
    answer, _ = daemon.answer(f"kill query {number}")
    check(answer.startswith("confirmed: statement ") and "interrupted" in answer, answer)
    check_equal(join(), 1317, "what the waiting KILL got")
    check_equal(w.ending(), 0, "what the victim of that one got")


def test_a_drain_that_waits_is_killed(t):
    """The session is closed all the same, when its statement is over."""
    daemon = t.daemon("--set", "console.kill_wait_ms=60000")
    server = PollingServer(t, daemon)
    w = server.wire(t)
    daemon.running(server, w, "run 3000")
    row = next(row for row in daemon.sessions() if row["pid"] == server.pid and row["info"])
    number, join = execute(t, daemon, f"kill {row['id']} after statement")
    answer, _ = daemon.answer(f"kill query {number}")
    check(answer.startswith("confirmed: statement "), answer)
    check_equal(join(), 1317, "what the waiting KILL got")
    check_equal(w.ending(), 0, "what the statement got")
    daemon.wait_gone(server, w.id)


def test_the_interrupt_key(t):
    """^C of the stock client kills the statement of its own session, by the id that it was greeted with."""
    _, daemon = t.shared_pair()
    client = t.spawn(["mariadb", "--no-defaults", "-S", daemon.socket, "-e", "select sleep(60)"],
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait(lambda: any(row[4] == "select sleep(60)" for row in consoles(daemon).values()), "the statement")
    client.send_signal(signal.SIGINT)
    out = client.communicate(timeout=DEADLINE)[0]
    check("ERROR 1317" in out, out)


def test_a_console_kills_itself(t):
    _, daemon = t.shared_pair()
    connection, number = console(t, daemon)
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"kill query {number}")
            raise Failure("it did not interrupt itself")
        except pymysql.err.MySQLError as error:
            check_equal(error.args[0], 1317, "what it got")
        cursor.execute("select 1")
        try:
            cursor.execute(f"kill {number}")
            raise Failure("it did not close itself")
        except pymysql.err.MySQLError as error:
            check(error.args[0] in (1317, 2013), str(error))


def test_who_may_kill_a_console(t):
    _, daemon = t.shared_pair()
    for path in (t.root_directory, os.path.dirname(daemon.directory), daemon.directory):
        os.chmod(path, 0o755)
    uid, gid = unprivileged_user()

    def become():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    def as_nobody(*args, **kwargs):
        return t.spawn(["mariadb", "--no-defaults", "-S", daemon.socket, *args], preexec_fn=become,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)

    number, join = execute(t, daemon, "select sleep(60)")
    r = as_nobody("-e", f"kill query {number}").communicate(timeout=DEADLINE)[0]
    check("ERROR 1095" in r, r)
    own = as_nobody("-e", "select sleep(60)")
    theirs = wait(lambda: next((n for n, row in consoles(daemon).items()
                                if row[4] == "select sleep(60)" and n != number), None), "nobody's console")
    listed = as_nobody("-N", "-D", "dbps", "-e", "show processlist").communicate(timeout=DEADLINE)[0]
    check(str(theirs) in listed and str(number) not in listed, listed)
    r = as_nobody("-vv", "-e", f"kill query {theirs}").communicate(timeout=DEADLINE)[0]
    check("confirmed" in r, r)
    check("ERROR 1317" in own.communicate(timeout=DEADLINE)[0], "what nobody's own statement got")
    daemon.answer(f"kill {number}")
    check_equal(join(), "closed", "root's console")


def test_the_console_of_another_daemon(t):
    """Each shows its own; an id of the other's kills nothing here."""
    one, other = t.daemon(), t.daemon()
    _, number = console(t, one)
    wait(lambda: number in consoles(one), "the console of the first")
    check(not any(row["pid"] == one.pid for row in other.sessions()), "the first in the other's list")
    ids = {row[0] for row in other.query("show processlist", "dbps")}
    check_equal(len(ids), len([c for c in other._console.values()]), "the other's own consoles")
