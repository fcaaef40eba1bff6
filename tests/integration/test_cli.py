"""dbps: what it prints and its exit codes, against a real daemon and server."""

import contextlib
import csv
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import threading
import time

import pymysql

import wire
from deadline import seconds
from harness import BUILD, check, check_equal, wait

OK, FAILED, USAGE, UNREACHABLE, REFUSED, PENDING, MISSED = range(7)
EIGHT = "Id User Host db Command Time State Info".split()
UNKNOWN_ID = "4242424242"


def running(t, server, daemon, statement):
    """A connection that executes a statement in a thread, until the test ends: (id, thread,
    errors)."""
    connection = t.keep(server.connect())
    errors = []

    def work():
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
        except pymysql.err.MySQLError as error:
            errors.append(error.args[0])

    def end():
        with contextlib.suppress(pymysql.err.MySQLError):
            server.run(f"kill {number}")
        thread.join(10)

    thread = threading.Thread(target=work, daemon=True)
    number = connection.thread_id()
    thread.start()
    t.stack.callback(end)
    daemon.wait_session(server, number, "the statement", lambda row: row["info"])
    return str(number), thread, errors


def dbps(daemon, *args, **kwargs):
    return daemon.dbps(*args, check_exit=False, **kwargs)


def on_terminal(daemon, *args, interrupt_after=None):
    """(output, exit code) of dbps on a terminal of 80 by 24; interrupt_after: bytes to wait for."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(os.path.join(BUILD, "dbps"), ["dbps", "--socket", daemon.socket, *args],
                  {**os.environ, "COLUMNS": "80", "LINES": "24", "LC_ALL": "C.UTF-8"})
    output = b""
    end = time.monotonic() + seconds(20)
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.1)[0]:
            continue
        try:
            output += os.read(fd, 65536)
        except OSError:
            break
        if interrupt_after and output.count(interrupt_after) >= 2:
            os.write(fd, b"\x03")
            interrupt_after = None
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return output, os.waitstatus_to_exitcode(status)


def test_json_has_the_columns_of_the_session_table(t):
    server, daemon = t.shared_pair()
    number, _, _ = running(t, server, daemon, "select sleep(100), '\u65e5\u672c'")
    with daemon.connect() as console, console.cursor() as cursor:
        cursor.execute("show full sessions")
        columns = [column[0] for column in cursor.description]
    rows = daemon.ps("--server", server.name)
    row = next(row for row in rows if str(row["id"]) == number)
    check_equal(list(row), columns, "keys")
    check_equal([row[key] for key in ("id", "user", "host", "db", "command", "state", "info")],
                [int(number), "root", "localhost", None, "Query", "ACTIVE",
                 "select sleep(100), '\u65e5\u672c'"], "values")
    check(isinstance(row["time"], int) and isinstance(row["time_ms"], float), f"{row}")


def test_csv_and_table_have_the_same_sessions(t):
    server, daemon = t.shared_pair()
    number, _, _ = running(t, server, daemon, "select sleep(100), 'a,\"b\"\nc'")
    out = dbps(daemon, "ps", "--csv", "--server", server.name).stdout
    row = next(row for row in csv.DictReader(io.StringIO(out, newline="")) if row["id"] == number)
    check_equal((row["info"], row["db"]), ("select sleep(100), 'a,\"b\"\nc'", ""), "CSV")
    table = dbps(daemon, "ps", "--full", "--server", server.name).stdout.splitlines()
    check_equal(table[0].split(), EIGHT, "headings")
    line = next(line for line in table if line.split()[0] == number)
    check(line.endswith("select sleep(100), 'a,\"b\" c'"), line)


def test_a_long_statement_is_cut_in_pipes_and_on_terminals_but_not_by_full(t):
    server, daemon = t.shared_pair()
    statement = "select sleep(100) /*" + "x" * 300 + "*/"
    number, _, _ = running(t, server, daemon, statement)

    def line(text):
        return next(line for line in text.splitlines() if line.split()[:1] == [number])

    check(line(dbps(daemon, "ps", "--server", server.name).stdout).endswith(statement[:100]),
          "100 bytes in a pipe")
    check(line(dbps(daemon, "ps", "--full", "--server", server.name).stdout).endswith(statement),
          "all with --full")
    output, code = on_terminal(daemon, "ps", "--server", server.name)
    check_equal(code, OK, "exit code")
    shown = line(output.decode())
    check(shown.endswith("x\u2026") or shown.endswith("\u2026"), shown)
    check(all(len(one) <= 80 for one in output.decode().splitlines()), output.decode())


def test_a_statement_cannot_write_to_the_terminal(t):
    server, daemon = t.shared_pair()
    evil = "select sleep(100) /*\x1b[2J\x1b]0;title\x07\u202e\u009b31m*/"
    running(t, server, daemon, evil)
    for args in ((), ("--full",), ("--csv",), ("--json",)):
        output, _ = on_terminal(daemon, "ps", *args, "--server", server.name)
        text = re.sub(r"\r+\n", "\n", output.decode())
        check(not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text), f"{args}: {text!r}")
        check("x1b" in text or "u001B" in text or not args, f"{args}: {text!r}")


def test_watch_redraws_until_interrupted(t):
    server, daemon = t.shared_pair()
    number, _, _ = running(t, server, daemon, "select sleep(100)")
    output, code = on_terminal(daemon, "ps", "--watch", "0.2", "--server", server.name,
                               interrupt_after=b"every 0.2 s")
    check_equal(code, OK, "exit code")
    # It is interrupted at the second title; what follows that may be lost.
    check(len(re.findall(rb"every 0.2 s", output)) >= 2, f"{output!r}")
    check(re.search(rb"\n *%s  " % number.encode(), output), f"{output!r}")


def test_kill_says_what_happened_and_by_its_exit_code(t):
    server, daemon = t.shared_pair()
    number, thread, errors = running(t, server, daemon, "select sleep(100)")
    r = dbps(daemon, "kill", "--server", server.name, "query", number)
    check_equal(r.returncode, OK, r.stdout + r.stderr)
    check(r.stdout.startswith(f"{number}: confirmed: "), r.stdout)
    thread.join(10)
    check_equal(errors, [1317], "what the victim got")
    r = dbps(daemon, "kill", "--server", server.name, "query", number)
    check_equal((r.returncode, r.stdout.startswith(f"{number}: missed: ")), (MISSED, True),
                r.stdout + r.stderr)
    r = dbps(daemon, "kill", "--server", server.name, number)
    check_equal((r.returncode, r.stdout.startswith(f"{number}: confirmed: ")), (OK, True),
                r.stdout + r.stderr)
    r = dbps(daemon, "kill", UNKNOWN_ID)
    check_equal((r.returncode, r.stdout), (REFUSED, ""), r.stderr)
    check_equal(r.stderr, f"dbps: {UNKNOWN_ID}: ERROR 1094: Unknown thread id: {UNKNOWN_ID}\n",
                "the error")


def test_of_several_ids_each_is_answered_and_the_worst_counts(t):
    server, daemon = t.shared_pair()
    first, _, _ = running(t, server, daemon, "select sleep(100)")
    second, _, _ = running(t, server, daemon, "select sleep(100)")
    r = dbps(daemon, "kill", "--json", "--server", server.name, "query", first, UNKNOWN_ID, second)
    check_equal(r.returncode, REFUSED, r.stdout + r.stderr)
    answers = [(answer["id"], answer["outcome"], answer["code"]) for answer in json.loads(r.stdout)]
    check_equal(answers, [(int(first), "confirmed", 0), (int(UNKNOWN_ID), "refused", 1094),
                          (int(second), "confirmed", 0)], "answers")
    # A word that is no id: nothing is killed, not even what stands before it.
    third, _, errors = running(t, server, daemon, "select sleep(100)")
    r = dbps(daemon, "kill", "--server", server.name, "query", third, "nonsense")
    check_equal((r.returncode, r.stdout, errors), (USAGE, "", []), r.stderr)


def test_sql_prints_results_and_what_an_ok_says(t):
    server, daemon = t.shared_pair()
    check_equal(dbps(daemon, "sql", "select", "1").stdout, "1\n1\n", "a table")
    check_equal(json.loads(dbps(daemon, "sql", "--json", "select 1").stdout), [{"1": 1}], "JSON")
    number, _, _ = running(t, server, daemon, "select sleep(100)")
    r = dbps(daemon, "sql", "--server", server.name, f"kill query '{number}'")
    check_equal(r.returncode, OK, r.stderr)
    check(re.fullmatch(r"OK, 0 rows affected\nconfirmed: .*\n", r.stdout), r.stdout)
    r = dbps(daemon, "sql", "--json", "nonsense")
    check_equal((r.returncode, r.stdout), (FAILED, ""), r.stderr)
    check_equal(json.loads(r.stderr)["code"], 1064, "the error")


def test_sql_kill_has_the_exit_code_of_kill(t):
    server, daemon = t.pair(daemon_options=("--set", "console.kill_wait_ms=100"))
    # The server ends a statement whose rows nobody reads when somebody does.
    client = t.keep(server.wire(tcp=False))
    client.login("root")
    client.send_command(wire.QUERY, b"select repeat('x', 1000) from mysql.seq_1_to_1000000")
    sent = []

    def stalled(row):
        sent.append(row["bytes_out"])
        return row["phase"] == "sending rows" and len(sent) > 20 and len(set(sent[-20:])) == 1

    daemon.wait_session(server, client.id, "rows to wait", stalled)
    r = dbps(daemon, "sql", "--server", server.name, f"/* why */ kill query {client.id}")
    check_equal(r.returncode, PENDING, r.stdout + r.stderr)
    check_equal((r.stdout + r.stderr).count("pending: "), 1, r.stdout + r.stderr)
    number = t.keep(server.connect()).thread_id()
    daemon.wait_idle(server, number)
    r = dbps(daemon, "sql", "--server", server.name, f"kill query {number}")
    check_equal(r.returncode, MISSED, r.stdout + r.stderr)
    r = dbps(daemon, "sql", f"kill {UNKNOWN_ID}")
    check_equal(r.returncode, REFUSED, r.stdout + r.stderr)
    r = dbps(daemon, "sql", "kill nonsense")
    check_equal(r.returncode, FAILED, r.stdout + r.stderr)
    r = dbps(daemon, "sql", "kill where user = 'nobody there'")
    check_equal(r.returncode, OK, r.stdout + r.stderr)


def test_the_server_is_named_where_there_are_several(t):
    server, daemon = t.shared_pair()
    other = t.server()
    daemon.wait_server(other)
    for one in (server, other):
        running(t, one, daemon, "select sleep(100)")
    lines = dbps(daemon, "ps").stdout.splitlines()
    check_equal(lines[0].split(), [EIGHT[0], "Server", *EIGHT[1:]], "headings")
    check({server.name, other.name} <= {line.split()[1] for line in lines[1:]}, "\n".join(lines))
    one = dbps(daemon, "ps", "--server", other.name).stdout.splitlines()
    check_equal(one[0].split(), EIGHT, "headings of one server")
    blocker = t.keep(other.connect())
    blocker.query("begin")
    blocker.query("select count(*) from mysql.user")
    daemon.wait_session(other, blocker.thread_id(), "a transaction", lambda row: row["transaction_ms"])
    wide = dbps(daemon, "ps", "--wide", "--server", other.name).stdout.splitlines()
    check({"phase", "transaction_ms", "wait", "cpu_ms", "client_pid", "proxy"} <= set(wide[0].split()), wide[0])
    check(any(" SLEEP " in line and " idle in transaction " in line for line in wide), "\n".join(wide))
    # NULL where the kernel does not tell of threads.
    check(any(line.endswith(" select sleep(100)") and (" futex " in line or " NULL " in line)
              for line in wide), "\n".join(wide))
    r = dbps(daemon, "ps", "--server", "nosuch")
    check_equal((r.returncode, r.stdout), (FAILED, ""), r.stderr)
    check("no server 'nosuch'; there are: " in r.stderr, r.stderr)
    check(server.name in r.stderr and other.name in r.stderr, r.stderr)


def test_help(t):
    daemon = t.daemon()
    for words, text in ((["help"], "Commands"), (["help", "kill"], "Usage: dbps kill"),
                        (["kill", "--help"], "Usage: dbps kill")):
        r = dbps(daemon, *words)
        check_equal((r.returncode, r.stderr), (OK, ""), r.stdout)
        check(text in r.stdout, r.stdout)
    r = dbps(daemon, "help", "nonsense")
    check_equal((r.returncode, r.stdout), (USAGE, ""), r.stderr)


def test_servers_doctor_and_version(t):
    server, daemon = t.shared_pair()
    servers = json.loads(dbps(daemon, "servers", "--json").stdout)
    row = next(row for row in servers if row["pid"] == server.pid)
    check_equal((row["name"], row["engine"], row["link"]), (server.name, "mariadb", "up"), "server")
    findings = json.loads(dbps(daemon, "doctor", "--json").stdout)
    check_equal({finding["status"] for finding in findings if finding["subject"] == server.name},
                {"ok"}, "the server's findings")
    check(re.fullmatch(r"dbps (\S+)\ndbpsd \1 at \S+\n", dbps(daemon, "version").stdout), "version")


def test_without_dbpsd_it_says_so(t):
    command = os.path.join(BUILD, "dbps")
    socket = os.path.join(t.directory, "none.sock")
    env = {**os.environ, "DBPS_SOCKET": socket}
    r = subprocess.run([command, "ps"], capture_output=True, text=True, env=env, check=False)
    check_equal((r.returncode, r.stdout), (UNREACHABLE, ""), r.stderr)
    check(socket in r.stderr and "is dbpsd running?" in r.stderr, r.stderr)
    r = subprocess.run([command, "--json", "kill", "1"], capture_output=True, text=True, env=env,
                       check=False)
    check_equal((r.returncode, json.loads(r.stderr)["exit"]), (UNREACHABLE, UNREACHABLE), r.stdout)
    r = subprocess.run([command, "doctor", "--json"], capture_output=True, text=True, env=env,
                       check=False)
    check_equal(r.returncode, UNREACHABLE, r.stderr)
    check("BTF" in {row["item"] for row in json.loads(r.stdout)}, "features without dbpsd")


def test_a_dbpsd_that_ends_is_told_and_watched_through_a_restart(t):
    daemon = t.daemon()
    watcher = t.spawn([os.path.join(BUILD, "dbps"), "--socket", daemon.socket, "ps", "--watch",
                       "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    check(set(EIGHT) <= set(watcher.stdout.readline().split()), "the first list")
    seen = []
    threading.Thread(target=lambda: seen.extend(watcher.stdout), daemon=True).start()
    daemon.stop()
    check("dbps: " in watcher.stderr.readline(), "that it cannot be reached")
    daemon.start()
    count = len(seen)
    wait(lambda: len(seen) > count + 3, "lists after the restart")
    check_equal(watcher.poll(), None, "still there")
