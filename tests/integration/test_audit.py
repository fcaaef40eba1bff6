"""The audit of kills: who, what, why, how and what came of it, for each way to kill and for what was refused,
over restarts and the death of the daemon, and whatever becomes of its file."""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pymysql

from deadline import seconds
from harness import check, check_equal, need_program, wait
from test_rights import NOT_OWNER, add_user, check_kill, login, open_directories

ANN, BOB = 47001, 47009
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
ISO = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")


def kills(daemon, *args):
    return json.loads(daemon.dbps("kills", "--json", *args).stdout)


def lines(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


SO_PEERPIDFD = 77


def told_program(name):
    """What the audit says of a caller's program: nothing before Linux 6.5, as it could be another's by then."""
    one, other = socket.socketpair()
    with one, other:
        try:
            os.close(one.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError:
            return None
    return os.path.realpath(name)


def running(t, server, daemon, text="select sleep(100)", **where):
    """A session that executes: (connection id, thread)."""
    connection = t.keep(server.connect(**where))

    def work():
        try:
            connection.query(text)
        except (pymysql.err.MySQLError, OSError):
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    daemon.wait_session(server, connection.thread_id(), text, lambda row: row["info"])
    return connection.thread_id(), thread


def test_kills_by_each_way(t):
    """What the record says of the caller, the session and the outcome."""
    need_program("mariadb")
    server, daemon = t.pair()
    server.run("create database shop")
    server.add_user("web", "secret")
    number, thread = running(t, server, daemon, "select sleep(100), 'a\tb', password('geheim')",
                             tcp=True, user="web", password="secret", db="shop")
    statement = f"kill query {number}"
    r = subprocess.run(["mariadb", "--no-defaults", f"--socket={daemon.socket}", "-D", server.name,
                        "-e", statement], capture_output=True, text=True, check=False)
    check_equal(r.returncode, 0, r.stderr)
    thread.join(10)
    row = kills(daemon)[0]
    check(ISO.match(row["time"]), row["time"])
    check_equal((row["uid"], row["caller"], row["program"]),
                (0, "root", told_program(shutil.which("mariadb"))), "who")
    check(row["pid"] != daemon.pid and row["pid"] > 1, f"pid {row['pid']}")
    check_equal((row["server"], row["user"], row["db"], row["sequence"] > 0),
                (server.name, "web", "shop", True), "which session")
    check(row["host"].startswith("127.0.0.1:"), row["host"])
    check(row["text"].startswith("select sleep(100), 'a\tb', password(")
          and "geheim" not in row["text"], f"text {row['text']}")
    check_equal((row["outcome"], row["how"], row["error"]), ("confirmed", "control link", 0),
                "outcome")
    check(0 < row["ms"] < 2000 and row["answer"].startswith("confirmed: statement"), str(row))

    number, _ = running(t, server, daemon)
    daemon.dbps("kill", "--server", server.name, "--reason", "disk */ is full", str(number))
    row = kills(daemon, "--limit", "1")[0]
    check("disk" in row["reason"] and "is full" in row["reason"], f"reason {row['reason']}")
    check_equal((row["outcome"], row["program"]),
                ("confirmed", told_program(os.path.join(os.path.dirname(daemon.args[0]), "dbps"))), "by dbps")
    check_equal(row["how"], "shutdown, control link", "how")

    connection = t.keep(server.connect())
    daemon.wait_idle(server, connection.thread_id())
    statement = f"kill query /* runs too long */ {connection.thread_id()}"
    daemon.query(statement, server.name)
    row = kills(daemon)[0]
    check_equal((row["outcome"], row["how"], row["text"]), ("missed", None, None), "missed")
    check_equal((row["kill"], row["reason"]), (statement, "runs too long"), "why")
    check_equal([entry["outcome"] for entry in lines(daemon.kills_file)
                 if entry["number"] == row["number"]], ["missed"], "lines of what did not act")

    server.run("create user batch@localhost")
    crowd = [t.keep(server.connect(user="batch")) for _ in range(5)]
    for connection in crowd:
        daemon.wait_idle(server, connection.thread_id())
    statement = "kill where user = 'batch' and state = 'SLEEP'"
    daemon.query(statement, server.name)
    many = kills(daemon, "--limit", "5")
    check_equal({(row["kill"], row["outcome"], row["user"]) for row in many},
                {(statement, "confirmed", "batch")}, "KILL WHERE")
    check_equal(len({row["cookie"] for row in many}), 5, "a record for each session")

    numbers = [entry["number"] for entry in kills(daemon)]
    check_equal(numbers, sorted(numbers, reverse=True), "the newest first")
    check_equal(stat.S_IMODE(os.stat(daemon.kills_file).st_mode), 0o600, "mode of the file")
    text = daemon.dbps("kills").stdout
    check("confirmed: session closed" in text and "geheim" not in text, text)
    check("number,time,uid,caller," in daemon.dbps("kills", "--csv").stdout, "csv")
    with open(daemon.log) as f:
        log = f.read()
    check(f"KILL CONNECTION {number}" in log or f"{number}" in log, log)


def test_refused_and_unseen(t):
    """Refused ones are there, and tell those who may not see a session nothing of it."""
    open_directories(t)
    server, daemon = t.pair()
    add_user(server)
    ann, bob = t.person(ANN), t.person(BOB)
    number = bob.connect("s", **login(server, True))["id"]
    own = ann.connect("s", **login(server, True))["id"]
    daemon.wait_idle(server, number)
    daemon.wait_idle(server, own)
    for person in (ann, bob):
        person.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
    check_kill(ann.do("query", name="console", sql=f"kill {number}"), number, NOT_OWNER, "refused")
    ann.do("query", name="console", sql="kill 4242424242")
    ann.do("query", name="console", sql=f"kill {own}")

    for statement in ("kill query id 4242424242", "kill 99999999999"):
        check("error" in ann.do("query", name="console", sql=statement), statement)
        row = kills(daemon)[0]
        check_equal((row["kill"], row["outcome"], row["server"]), (statement, "refused", None),
                    "refused without a session")

    refused = next(row for row in kills(daemon) if row["error"] == 1095)
    check_equal((refused["outcome"], refused["uid"], refused["server"], refused["user"]),
                ("refused", ANN, server.name, "app"), "what root is told")
    check_equal(refused["pid"], ann.process.pid, "the caller's process")
    unknown = next(row for row in kills(daemon) if row["kill"] == "kill 4242424242")
    check_equal((unknown["outcome"], unknown["uid"], unknown["server"], unknown["cookie"]),
                ("refused", ANN, None, None), "an id that nobody has")

    def told(person):
        reply = person.do("query", name="console", sql="show kills")
        return [dict(zip(reply["columns"], row)) for row in reply["rows"]]

    check_equal(told(bob), [], "what bob is told of ann's kills")
    mine = told(ann)
    check_equal(sorted(row["error"] for row in mine), [0, 1094, 1094, 1095, 1957],
                "ann's own kills")
    for row in mine:
        session = [row[name] for name in ("server", "user", "host", "sequence", "text", "cookie")]
        if row["error"]:
            check_equal(session, [None] * 6, f"the session of {row}")
        else:
            check_equal(session[:2], [server.name, "app"], "the own session")


def test_restart(t):
    server, daemon = t.pair()
    connection = t.keep(server.connect())
    daemon.wait_idle(server, connection.thread_id())
    daemon.query(f"kill {connection.thread_id()}", server.name)
    before = kills(daemon)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(sig)
        daemon.start()
        check_equal(kills(daemon), before, f"kills after {sig.name}")
    daemon.wait_server(server)
    daemon.query(f"kill query {server.admin_connection.thread_id()}", server.name)
    check_equal(kills(daemon)[0]["number"], before[0]["number"] + 1, "the next number")


def test_killed_in_the_middle(t):
    """A daemon that dies while its KILL waits leaves a record that says so."""
    server, daemon = t.pair(daemon_options=("--set", "console.kill_wait_ms=60000"))
    number, thread = running(t, server, daemon)
    os.kill(server.pid, signal.SIGSTOP)              # the kill cannot settle
    try:
        console = daemon.connect(db=server.name)
        console._execute_command(3, f"kill {number}".encode())
        begun = wait(lambda: [entry for entry in lines(daemon.kills_file)], "the first line")
        check_equal((begun[0]["outcome"], begun[0]["text"]), ("begun", "select sleep(100)"), "line")
        check_equal(kills(daemon)[0]["outcome"], "begun", "under way")
        daemon.stop(signal.SIGKILL)
    finally:
        os.kill(server.pid, signal.SIGCONT)
    thread.join(10)
    with open(daemon.kills_file, "a") as f:          # and was writing
        f.write('{"number":2,"time":"20')
    daemon.start()
    row = kills(daemon)[0]
    check_equal((row["outcome"], row["answer"], row["text"]),
                ("unknown (dbpsd ended)", None, "select sleep(100)"), "what is known of it")
    check("unknown (dbpsd ended)" in daemon.dbps("kills").stdout, "in the table")
    doctor = daemon.dbps("doctor", check_exit=False).stdout
    check("1 torn lines were skipped" in doctor, doctor)
    daemon.wait_server(server)
    daemon.query(f"kill query {server.admin_connection.thread_id()}", server.name)
    check_equal([row["outcome"] for row in kills(daemon)], ["missed", "unknown (dbpsd ended)"],
                "both")


def mount_journal(directory):
    """For a process: /run with nothing in it but the journal's socket, in a mount namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(function, *args):
        if function(*args) < 0:
            raise OSError(ctypes.get_errno(), function.__name__)

    def prepare():
        call(libc.unshare, CLONE_NEWNS)
        call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        call(libc.mount, b"none", b"/run", b"tmpfs", 0, None)
        os.makedirs("/run/systemd/journal")
        call(libc.mount, directory.encode(), b"/run/systemd/journal", None, MS_BIND, None)

    return prepare


def test_the_journal(t):
    """When stderr is the journal, a kill has a field for each column; when it is not any more, a line."""
    server, daemon = t.pair()
    directory = os.path.join(t.directory, "journal")
    os.mkdir(directory)
    journal = t.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    journal.bind(os.path.join(directory, "socket"))
    journal.settimeout(seconds(10))
    daemon.stop()
    log = os.stat(daemon.log)
    daemon.env["JOURNAL_STREAM"] = f"{log.st_dev}:{log.st_ino}"
    daemon.kwargs["preexec_fn"] = mount_journal(directory)
    daemon.start()
    daemon.wait_server(server)
    number = server.admin_connection.thread_id()
    daemon.wait_idle(server, number)  # its server has told who that is
    daemon.query(f"kill query {number} /* just so */", server.name)
    entry = journal.recv(65536).decode().splitlines()
    for field in ("PRIORITY=5", "DBPS_KILL_OUTCOME=missed", "DBPS_KILL_CALLER=root",
                  "DBPS_KILL_REASON=just so", f"DBPS_KILL_SERVER={server.name}"):
        check(field in entry, f"{field} in {entry}")
    check(any(line.startswith("MESSAGE=kill ") and "missed: nothing" in line for line in entry),
          str(entry))
    daemon.stop()
    daemon.env["JOURNAL_STREAM"] = "1:1"
    daemon.start()
    daemon.wait_server(server)
    daemon.wait_idle(server, number)
    daemon.query(f"kill query {number}", server.name)
    with open(daemon.log) as f:
        check(any(line.startswith("<5>kill 2 by root") for line in f), "the line")


def test_trouble_with_the_file(t):
    """A file that cannot be written stops no kill, and is told."""
    server, daemon = t.pair(daemon_options=("--set", "audit.file=/dev/full"))
    connection = t.keep(server.connect())
    daemon.wait_idle(server, connection.thread_id())
    daemon.query(f"kill {connection.thread_id()}", server.name)
    check_equal(kills(daemon)[0]["outcome"], "confirmed", "the kill")
    r = daemon.dbps("doctor", check_exit=False)
    check("No space left on device; 2 lines are not in it" in r.stdout, r.stdout)
    check_equal(r.returncode, 1, "exit of doctor")
    with open(daemon.log) as f:
        told = [line for line in f if "kills are not written" in line]
    check_equal(len(told), 1, f"told once: {told}")


def test_two_daemons_of_one_file(t):
    daemon = t.daemon()
    other = t.daemon("--set", f"audit.file={daemon.kills_file}")
    check("another dbpsd writes it" in other.dbps("doctor", check_exit=False).stdout, "doctor")
    own = t.daemon("--set", "audit.file=none")
    check("no file (audit.file)" in own.dbps("doctor", check_exit=False).stdout, "doctor")
    check(not os.path.exists(own.kills_file), "a file all the same")
    # By hand, with a socket of its own: not into /var/lib unasked.
    by_hand = t.daemon("--set", "audit.file=auto")
    check("no file (audit.file)" in by_hand.dbps("doctor", check_exit=False).stdout, "doctor")
