"""The console: stock clients and drivers work on it unchanged, everybody sees and kills what they may, and
nothing that is sent to it, or not read from it, holds up anybody else."""

import os
import random
import subprocess
import threading
import time

import pymysql

from harness import (BUILD, Skip, check, check_equal, need_program,
                     unprivileged_user, wait)
import wire
from deadline import seconds, times

EIGHT = ("Id", "User", "Host", "db", "Command", "Time", "State", "Info")
UNKNOWN_ID = 4242424242


def victim(t, server, text="select sleep(100)"):
    """A connection that executes a statement in a thread: (connection, thread, errors)."""
    connection = t.keep(server.connect())
    errors = []

    def work():
        try:
            with connection.cursor() as cursor:
                cursor.execute(text)
        except pymysql.err.MySQLError as error:
            errors.append(error.args[0])

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return connection, thread, errors


def run(args, **kwargs):
    kwargs.setdefault("timeout", seconds(60))
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(args, capture_output=True, text=True, check=False, **kwargs)


def mariadb(daemon, *args, **kwargs):
    return run(["mariadb", "--no-defaults", f"--socket={daemon.socket}", *args], **kwargs)


def as_nobody():
    """For subprocess: become somebody without rights."""
    uid, gid = unprivileged_user()

    def become():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)

    return become


def console_threads(daemon):
    """Threads that serve a connection of the console, or have served the last one that ended."""
    names = []
    for task in os.listdir(f"/proc/{daemon.pid}/task"):
        try:
            with open(f"/proc/{daemon.pid}/task/{task}/comm") as f:
                names.append(f.read())
        except OSError:
            pass                                     # it has ended
    return names.count("console\n")


def bad_packets(daemon):
    rows = daemon.query("show status like 'Dbps_bad_packets'")
    return int(rows[0][1])


# ---------------------------------------------------------------- stock clients


def test_mariadb_client(t):
    need_program("mariadb")
    server, daemon = t.shared_pair()
    connection, thread, errors = victim(t, server)
    number = connection.thread_id()
    daemon.wait_session(server, number, "the statement", lambda row: row["info"])

    r = mariadb(daemon, "-D", server.name, "-e", "SHOW PROCESSLIST")
    lines = [line.split("\t") for line in r.stdout.splitlines()]
    check_equal(tuple(lines[0]), EIGHT, "columns")
    mine = next((line for line in lines if line[0] == str(number)), [""] * 6)
    check(mine[5].isdigit(), r.stdout)
    check_equal(mine[1:5] + mine[6:], ["root", "localhost", "NULL", "Query", "ACTIVE", "select sleep(100)"], "the row")

    r = mariadb(daemon, "-D", server.name, "-vvv", "-t", "-e", f"kill query '{number}';")
    check_equal(r.returncode, 0, r.stderr)
    check("Query OK, 0 rows affected" in r.stdout and "confirmed: statement" in r.stdout, r.stdout)
    thread.join(seconds(10))
    check_equal(errors, [1317], "what the victim got")

    check("ERROR 1049 (42000)" in mariadb(daemon, "-D", "nothing").stderr, "an unknown database")
    r = mariadb(daemon, "-e", "use nothing")
    check("ERROR 1049 (42000)" in r.stderr, r.stderr)
    r = mariadb(daemon, "-e", "drop table t")
    check("ERROR 1064 (42000)" in r.stderr and "SHOW STATEMENTS" in r.stderr, r.stderr)
    r = mariadb(daemon, input=f"use {server.name}\n\\s\n", stdin=None)
    check(f"Current database:\t{server.name}" in r.stdout, r.stdout + r.stderr)


def test_mariadb_admin(t):
    need_program("mariadb-admin")
    server, daemon = t.shared_pair()

    def admin(*args):
        return run(["mariadb-admin", "--no-defaults", f"--socket={daemon.socket}", *args])

    check_equal(admin("ping").stdout, "mysqld is alive\n", "ping")
    check("Uptime: " in admin("status").stdout, "status")
    check("-dbps-" in admin("version").stdout, "version")
    check("max_allowed_packet" in admin("variables").stdout, "variables")
    check("Dbps_bad_packets" in admin("extended-status").stdout, "extended-status")
    r = admin("processlist", "--verbose")
    check("| Command | " in r.stdout and server.name not in r.stderr, r.stdout + r.stderr)
    check(f"Unknown thread id: {UNKNOWN_ID}" in admin("kill", str(UNKNOWN_ID)).stderr, "kill")


def test_pymysql(t):
    server, daemon = t.shared_pair()
    connection = t.keep(daemon.connect(db=server.name, autocommit=False))
    with connection.cursor() as cursor:
        cursor.execute("show full processlist")
        check_equal(tuple(column[0] for column in cursor.description), EIGHT, "columns")
        rows = cursor.fetchall()
        check(all(isinstance(row[0], int) and isinstance(row[3], (str, type(None)))
                  for row in rows), f"types: {rows}")
        cursor.execute("select connection_id(), %s, %s, null", ("it's\n", 7))
        check_equal(cursor.fetchall(), ((connection.thread_id(), "it's\n", 7, None),), "a row")
    connection.ping(reconnect=False)
    connection.begin()
    connection.commit()
    connection.rollback()
    for statement, code in (("kill %s" % UNKNOWN_ID, 1094), ("selekt", 1064), ("use x", 1049),
                            ("select @@nothing", 1193), (";", 1065)):
        try:
            connection.query(statement)
            check(False, f"{statement} was answered with OK")
        except pymysql.err.MySQLError as error:
            check_equal(error.args[0], code, statement)
    for charset in ("latin1", "utf8", "utf8mb4"):
        daemon.connect(charset=charset).close()


def test_texts_that_are_no_utf8_do_not_break_drivers(t):
    server, daemon = t.shared_pair()
    with wire.Wire(server.socket) as client:
        client.login("root")
        client.send_command(wire.QUERY, b"select sleep(100), 'gr\xfc\xdfe\xff'")
        row = daemon.wait_session(server, client.id, "the text", lambda row: row["info"])
        check_equal(row["info"], "select sleep(100), 'gr??e?'", "info")
        daemon.query(f"kill {client.id}", server.name)


PERL = r"""
use strict; use DBI;
my ($driver, $socket, $server, $prepare, $id) = @ARGV;
my $p = lc $driver;
my $dbh = DBI->connect("DBI:$driver:${p}_socket=$socket;database=$server", "anyone", "secret",
        {RaiseError => 1, PrintError => 0, "${p}_server_prepare" => $prepare});
$dbh->ping or die "ping";
my $rows = $dbh->selectall_arrayref("SHOW FULL PROCESSLIST", {Slice => {}});
my ($row) = grep { $_->{Id} == $id } @$rows;
die "not listed" unless $row && $row->{Info} eq "select sleep(100)" && !defined $row->{db};
eval { $dbh->do("KILL ?", undef, 4242424242) };
die "error: " . $dbh->err . " " . $dbh->state unless $dbh->err == 1094 && $dbh->state eq "HY000";
die "database" unless $dbh->selectrow_array("SELECT DATABASE()") eq $server;
$dbh->do("KILL QUERY $id");
print "$dbh->{\"${p}_info\"}\n";
$dbh->disconnect;
"""


def perl(t, driver):
    need_program("perl")
    if run(["perl", f"-MDBD::{driver}", "-e", "1"]).returncode != 0:
        raise Skip(f"DBD::{driver} is not installed")
    server, daemon = t.shared_pair()
    for prepare in ("0", "1"):
        connection, thread, errors = victim(t, server)
        number = connection.thread_id()
        daemon.wait_session(server, number, "the statement", lambda row: row["info"])
        r = run(["perl", "-e", PERL, driver, daemon.socket, server.name, prepare, str(number)])
        check(r.returncode == 0 and r.stdout.startswith("confirmed: "), r.stdout + r.stderr)
        thread.join(seconds(10))
        check_equal(errors, [1317], "what the victim got")


def test_perl_dbd_mysql(t):
    perl(t, "mysql")


def test_perl_dbd_mariadb(t):
    perl(t, "MariaDB")


NODE = r"""
const [socketPath, database, id] = process.argv.slice(1);
const connection = require('mysql2').createConnection({socketPath, database, user: 'anyone',
    password: 'secret'});
const done = (e) => { if (e) { console.log('failed', e); process.exit(1); } };
const steps = [
    (next) => connection.ping((e) => { done(e); next(); }),
    (next) => connection.query('show full processlist', (e, rows) => {
        done(e);
        const row = rows.find((row) => row.Id == id);
        console.log(JSON.stringify([row.Info, row.db]));
        next();
    }),
    (next) => connection.query('kill ?', [4242424242], (e) => {
        console.log(e.errno, e.sqlState);
        next();
    }),
    (next) => connection.execute('select 1', (e) => { console.log(e.errno); next(); }),
    (next) => connection.query('kill query ?', [+id], (e, r) => {
        done(e);
        console.log(r.info);
        next();
    }),
    (next) => connection.changeUser({user: 'other', password: 'x'}, (e) => { done(e); next(); }),
    (next) => connection.query('select database() as d', (e, rows) => {
        done(e);
        console.log(JSON.stringify(rows));
        next();
    }),
    () => connection.end(),
];
const step = (i) => steps[i](() => step(i + 1));
step(0);
"""


def node_modules():
    """Where mysql2 is: installed once, beside the build."""
    need_program("node")
    path = os.path.join(BUILD, "node")
    if run(["node", "-e", "require('mysql2')"], cwd="/").returncode == 0:
        return None
    if not os.path.isdir(os.path.join(path, "node_modules", "mysql2")):
        need_program("npm")
        os.makedirs(path, exist_ok=True)
        r = run(["npm", "install", "--no-audit", "--no-fund", "--prefix", path, "mysql2"],
                timeout=seconds(120))
        if r.returncode != 0:
            raise Skip(f"npm cannot install mysql2: {(r.stderr.splitlines() or ['?'])[-1]}")
    return os.path.join(path, "node_modules")


def test_node_mysql2(t):
    modules = node_modules()
    server, daemon = t.shared_pair()
    connection, thread, errors = victim(t, server)
    number = connection.thread_id()
    daemon.wait_session(server, number, "the statement", lambda row: row["info"])
    env = {**os.environ, **({"NODE_PATH": modules} if modules else {})}
    r = run(["node", "-e", NODE, "--", daemon.socket, server.name, str(number)], env=env)
    lines = r.stdout.splitlines()
    check_equal(lines[:3], ['["select sleep(100)",null]', "1094 HY000", "1295"],
                r.stdout + r.stderr)
    check(lines[3].startswith("confirmed: statement"), r.stdout)
    check_equal(lines[4:], [f'[{{"d":"{server.name}"}}]'], "after Change user")
    thread.join(seconds(10))
    check_equal(errors, [1317], "what the victim got")


def test_pt_kill(t):
    need_program("pt-kill")
    server, daemon = t.shared_pair()
    connection, thread, errors = victim(t, server)
    number = connection.thread_id()
    daemon.wait_session(server, number, "a second's run", lambda row: row["time_ms"] > 1100)
    r = run(["pt-kill", f"--socket={daemon.socket}", f"--database={server.name}", "--print",
             "--kill-query", "--busy-time=1", "--match-info=sleep", "--interval=1",
             "--run-time=2"])
    check(f"KILL QUERY {number} " in r.stdout, r.stdout + r.stderr)
    thread.join(seconds(10))
    check_equal(errors, [1317], "what the victim got")


# ---------------------------------------------------------------- commands


def test_commands_without_sql(t):
    server, daemon = t.shared_pair()
    connection, thread, errors = victim(t, server)
    number = connection.thread_id()
    daemon.wait_session(server, number, "the statement", lambda row: row["info"])
    with wire.Wire(daemon.socket) as console:
        console.login("anyone", db=server.name)
        console.command(wire.PING)
        console.send_command(wire.STATISTICS)
        check(console.receive().startswith(b"Uptime: "), "statistics")
        console.send_command(wire.PROCESS_INFO)
        rows, _ = console.result()
        check(any(str(number).encode() in row[:12] for row in rows), f"process info: {rows}")
        ok = console.command(wire.PROCESS_KILL, number.to_bytes(4, "little"))
        check(b"confirmed: " in ok, f"process kill: {ok}")
        console.command(wire.RESET_CONNECTION)
        console.command(wire.INIT_DB, server.name.encode())
        console.command(wire.SET_OPTION, b"\0\0")
        try:
            console.command(0x1D)
            check(False, "an unknown command was taken")
        except wire.ServerError as error:
            check_equal(error.code, 1047, "an unknown command")
        console.command(wire.PING)
    thread.join(seconds(10))
    check_equal(errors, [2013], "what the victim got")


# ---------------------------------------------------------------- rights


def test_rights_of_others(t):
    need_program("mariadb")
    os.chmod(t.root_directory, 0o711)
    os.chmod(t.directory, 0o711)
    server, daemon = t.pair()
    server.add_user("app", "secret")
    other = t.keep(server.connect())
    own = t.spawn(["mariadb", "--no-defaults", f"--socket={server.socket}", "-uapp", "-psecret",
                   "-e", "select sleep(100)"], preexec_fn=as_nobody(),
                  stderr=subprocess.PIPE, text=True)
    row = wait(lambda: next((row for row in daemon.sessions(server)
                             if row["user"] == "app" and row["info"]), None), "the session")
    check_equal(row["client_uid"], unprivileged_user()[0], "uid of the client")

    def ask(statement):
        return mariadb(daemon, "-N", "-D", server.name, "-e", statement, preexec_fn=as_nobody())

    listed = ask("show processlist").stdout.splitlines()
    check_equal([line.split("\t")[:2] for line in listed], [[str(row["server_id"]), "app"]],
                "what nobody sees")
    check("GRANT USAGE ON *.* TO 'nobody'@'localhost'" in ask("show grants").stdout, "grants")
    for statement in ("show servers", "show doctor"):
        check("ERROR 1227 (42000)" in ask(statement).stderr, statement)
    r = ask(f"kill {other.thread_id()}")
    check(f"ERROR 1095 (HY000) at line 1: You are not owner of thread {other.thread_id()}" in r.stderr,
          r.stderr)
    other.ping(reconnect=False)
    r = ask(f"kill query {row['server_id']}")
    check_equal(r.returncode, 0, r.stderr)
    check("ERROR 1317" in own.communicate(timeout=seconds(10))[1], "what the own session got")


def test_rights_from_the_config(t):
    need_program("mariadb")
    os.chmod(t.root_directory, 0o711)
    os.chmod(t.directory, 0o711)
    server, daemon = t.pair(daemon_options=("--set", "access.process=someone, nobody"))
    other = t.keep(server.connect())

    def ask(statement):
        return mariadb(daemon, "-N", "-D", server.name, "-e", statement, preexec_fn=as_nobody())

    check(str(other.thread_id()) in
          [line.split("\t")[0] for line in ask("show processlist").stdout.splitlines()], "list")
    check_equal(ask("show servers").returncode, 0, "show servers")
    r = ask(f"kill {other.thread_id()}")
    check(f"ERROR 1095 (HY000) at line 1: You are not owner of thread {other.thread_id()}"
          in r.stderr, r.stderr)
    other.ping(reconnect=False)


# ---------------------------------------------------------------- bad clients


def test_bad_packets(t):
    daemon = t.daemon()
    before = bad_packets(daemon)
    cases = (
        (b"\1\0\0\1\x0e", 1156),                     # out of order
        (b"\1\0\x10\0\x03" + b"x" * 70000, 1153),    # 1 MiB and a byte, partly sent
        (b"\xff\xff\xff\0\x03" + b"x" * 70000, 1153),
        (b"\2\0\0\0\x0c\x29", 1835),                 # a kill without its id
        (b"\0\0\0\0", 1047),                         # nothing
    )
    for data, code in cases:
        with wire.Wire(daemon.socket) as console:
            console.login("anyone")
            console.send_raw(data)
            try:
                console.result()
                check(False, f"{data[:5]!r} was answered with OK")
            except wire.ServerError as error:
                check_equal(error.code, code, f"{data[:5]!r}")
    check_equal(bad_packets(daemon) - before, len(cases), "bad packets counted")

    for length in range(1, 9):                       # every truncation of a ping in a login
        with wire.Wire(daemon.socket) as console:
            console.greeting()
            console.send_raw(b"\6\0\0\1\0\2\0\0\0\0"[:length])
    with wire.Wire(daemon.socket) as console:
        console.greeting()
        console.send_raw(b"GET / HTTP/1.1\r\nHost: me\r\n\r\n")
        try:
            console.result()
            check(False, "HTTP was answered with OK")
        except wire.ServerError as error:
            check(error.code in (1156, 1153), str(error))
    daemon.query("select 1")


def test_random_bytes(t):
    daemon = t.daemon()
    rng = random.Random(7)
    daemon.query("select 1")

    def storm(rounds):
        for i in range(rounds):
            with wire.Wire(daemon.socket) as console:
                if i % 4:
                    console.login("anyone")
                data = rng.randbytes(rng.randrange(1, 2000))
                if i % 2:                            # a header that holds
                    data = len(data).to_bytes(3, "little") + b"\0" + data
                try:
                    console.send_raw(data)
                except OSError:
                    pass

    storm(times(500))
    daemon.query("select 1")
    settled = daemon.resident_kb()
    storm(times(3000))
    daemon.query("select 1")
    wait(lambda: console_threads(daemon) <= 2, "the threads to end")
    grown = daemon.resident_kb() - settled
    check(grown < 4096, f"grew by {grown} kB")
    check(bad_packets(daemon) > times(1000), "bad packets are counted")


def test_too_many_connections(t):
    daemon = t.daemon("--set", "console.max_connections=10")
    daemon.query("select 1")
    # Nine more, and one more than the cap for root; those that say nothing count as well.
    silent = [t.keep(wire.Wire(daemon.socket).greeting()) for _ in range(10)]
    for _ in range(3):
        try:
            t.keep(wire.Wire(daemon.socket)).greeting()
            check(False, "one too many got in")
        except wire.ServerError as error:
            check_equal(error.code, 1040, "one too many")
    began = time.monotonic()
    daemon.query("select 1")
    check(time.monotonic() - began < seconds(1), "silent clients held up another")
    silent[0].close()
    wait(lambda: _gets_in(daemon), "room for another")
    rows = daemon.query("show status like 'Dbps_connections_refused'")
    check(int(rows[0][1]) >= 3, "refused connections are counted")


def _gets_in(daemon):
    with wire.Wire(daemon.socket) as console:
        try:
            console.greeting()
            return True
        except wire.ServerError:
            return False


def test_silent_logins_are_closed(t):
    daemon = t.daemon()
    console = t.keep(wire.Wire(daemon.socket).greeting())
    began = time.monotonic()
    try:
        console.receive()
        check(False, "something was said")
    except wire.Closed:
        pass
    took = time.monotonic() - began
    check(9 < took < 11 + seconds(1), f"closed after {took:.1f} s")


def test_a_client_that_does_not_read(t):
    daemon = t.daemon()
    deaf = t.keep(wire.Wire(daemon.socket))
    deaf.login("anyone")
    deaf.sock.settimeout(2)
    request = deaf.packet(b"\x03show variables", seq=0)
    try:
        for _ in range(100000):
            deaf.send_raw(request)
        check(False, "100,000 answers went nowhere")
    except TimeoutError:
        pass                                         # both directions are full
    for _ in range(20):
        began = time.monotonic()
        daemon.query("show variables")
        check(time.monotonic() - began < seconds(5), "a deaf client held up another")
    check(daemon.resident_kb() < 30 << 10, f"memory: {daemon.resident_kb()} kB")
    daemon.stop()  # within the deadline, which is less than net_write_timeout


def test_connections_come_and_go(t):
    daemon = t.daemon()

    def many(n):
        for _ in range(n):
            daemon.connect().close()

    many(max(times(300), 100))
    daemon.query("select 1")
    files, kb = daemon.open_files(), daemon.resident_kb()
    many(times(3000))
    daemon.query("select 1")
    # Servers of others may come and go meanwhile, and have a link each.
    wait(lambda: daemon.open_files() < files + 100, "the descriptors to be closed")
    wait(lambda: daemon.query("show status like 'Threads_connected'")[0][1] == "1",
         "the connections to end")
    check(daemon.resident_kb() - kb < 4096, f"grew by {daemon.resident_kb() - kb} kB")
    wait(lambda: console_threads(daemon) <= 2, "the threads to end")


def test_the_socket_is_taken_over_and_left_alone(t):
    daemon = t.daemon()
    r = run(daemon.args, timeout=seconds(20))
    check(r.returncode != 0 and "Address already in use" in r.stderr, r.stderr)
    daemon.query("select 1")
    daemon.process.kill()
    daemon.process.wait()
    daemon.close_consoles()
    check(os.path.exists(daemon.socket), "a killed daemon leaves its socket")
    daemon.start()
    daemon.query("select 1")
    daemon.stop()
    check(not os.path.exists(daemon.socket), "the socket goes with the daemon")
