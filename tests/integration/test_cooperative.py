"""Kills of servers that poll (dbps/cancel.h): a server of the tests that is linked with the library."""

import os
import re
import signal
import subprocess
import threading

import pymysql

import wire
from harness import BUILD, DEADLINE, check, check_equal, free_port, unprivileged_user, wait


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


def ask(daemon, statement, server=None):
    """The answer's text, and its warnings."""
    with daemon.connect(db=server.name if server else None) as connection, \
            connection.cursor() as cursor:
        cursor.execute(statement)
        message = connection._result.message[1:].decode()
        cursor.execute("show warnings")
        return message, cursor.fetchall()


def begin(daemon, server, w, text):
    w.send_command(wire.QUERY, text.encode())
    return daemon.wait_session(server, w.id, text, lambda row: row["info"] == text)


def error_of(w):
    """What the statement under way ended with: 0, an error code, or "closed"."""
    try:
        w.results()
        return 0
    except wire.ServerError as error:
        return error.code
    except (wire.Closed, OSError):
        return "closed"


def test_a_statement_is_ended_by_its_server(t):
    server, daemon, w = pair(t)
    begin(daemon, server, w, "run 60000")
    answer, warnings = ask(daemon, f"kill query {w.id}", server)
    check(re.fullmatch(r"confirmed: statement 1 interrupted after [0-9.]+ ms \(cooperative\)",
                       answer) and not warnings, f"{answer} {warnings}")
    check_equal(error_of(w), 1317, "what the victim got")
    check_equal(w.query("poll 100000"), [None], "the statement after it")
    answer, _ = ask(daemon, f"kill query {w.id}", server)
    check(answer.startswith("missed: nothing is running"), answer)


def test_a_session_is_closed_by_its_server(t):
    server, daemon, w = pair(t)
    begin(daemon, server, w, "run 60000")
    answer, warnings = ask(daemon, f"kill {w.id}", server)
    check(re.fullmatch(r"confirmed: session closed after [0-9.]+ ms \(reset, cooperative\)",
                       answer) and not warnings, f"{answer} {warnings}")
    check_equal(error_of(w), "closed", "what the victim got")
    idle = server.wire(t)
    daemon.wait_idle(server, idle.id)
    answer, _ = ask(daemon, f"kill {idle.id}", server)
    check(answer.startswith("confirmed: session closed"), answer)


def test_who_does_not_look_is_not_counted(t):
    server, daemon, w = pair(t, "deaf")
    begin(daemon, server, w, "run 4000")
    answer, warnings = ask(daemon, f"kill query {w.id}", server)
    check(answer.startswith("pending: statement 1 still executes") and warnings, answer)
    check_equal(error_of(w), 0, "what the victim got")


def test_who_does_not_say_so_is_not_asked(t):
    daemon = t.daemon()
    server = PollingServer(t, daemon, console="/nosuch/dbps.sock")
    w = server.wire(t)
    wait(lambda: "KILL QUERY" in ways(daemon, server), "the server to be listed")
    check("cooperative" not in str(ways(daemon, server)), str(ways(daemon, server)))
    begin(daemon, server, w, "run 60000")
    try:
        answer = ask(daemon, f"kill query {w.id}", server)
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
    begin(daemon, server, w, "run 60000")
    answer, _ = ask(daemon, f"kill query {w.id}", server)
    check(answer.startswith("confirmed") and "(cooperative)" in answer, answer)
    check_equal(error_of(w), 1317, "what the victim got")


def test_a_daemon_that_dies(t):
    """A cancel of a daemon that is gone meets no later statement: nobody would withdraw it."""
    server, daemon, w = pair(t)
    begin(daemon, server, w, "doze 1500")
    with daemon.connect() as killer:
        killer._execute_command(wire.QUERY, f"kill query {w.id}")
        daemon.wait_session(server, w.id, "the kill to be under way",
                            lambda row: row["state"] == "QUERY_KILLED" or row["info"])
        daemon.stop(signal.SIGKILL)
    check_equal(error_of(w), 0, "what the victim got")
    check_equal(w.query("poll 100000"), [None], "the statement after it")
    # A new daemon is found at the next login.
    daemon.start()
    wait(lambda: server.wire(t) and polls(daemon, server), "the server to have found the new daemon",
         every=0.05)
    other = server.wire(t)
    begin(daemon, server, other, "run 60000")
    check(ask(daemon, f"kill query {other.id}", server)[0].startswith("confirmed"), "after the restart")
    check_equal(error_of(other), 1317, "what the victim got")


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
            got[w.id][n] = error_of(w)

    def kill(w):
        with daemon.connect(db=server.name) as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(f"kill query {w.id}")
                answer = connection._result.message[1:].decode()
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
