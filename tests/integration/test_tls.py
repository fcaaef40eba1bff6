"""Encrypted sessions: read in the server's library where that can be probed, and where it cannot, their
begin and end from the socket, no text, and the reason."""

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import time

import pgwire
import wire
from harness import BUILD, Failure, check, check_equal, free_port, make_certificate, need_program, wait
from kerberos import Realm
from pgwire import PgError, bind, execute, group, parse, query, sync
from test_emergency import check_goes_on

WHY = "the connection is encrypted (TLS), and its library is not read: see dbps doctor"


def library():
    """This host's libssl."""
    with open("/proc/self/maps") as f:
        return next(line.split()[-1] for line in f if "/libssl.so" in line)


def hidden_library(directory):
    """The TLS library under a name that nobody looks for, as the environment of a server: the loader takes
    it for libssl by the name that it has inside."""
    copy = os.path.join(directory, "hidden.so")
    shutil.copy(library(), copy)
    return {"LD_PRELOAD": copy}


def hidden_pair(t, *options):
    """A MariaDB whose TLS library is not found, and a dbpsd that knows it."""
    key, cert = make_certificate(t)
    daemon = t.daemon()
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}", *options,
                      env=hidden_library(t.directory))
    with open(f"/proc/{server.pid}/maps") as f:
        maps = f.read()
    check("/hidden.so" in maps and "/libssl.so" not in maps, "the library is not hidden")
    daemon.wait_server(server)
    server.run("create user app@'%' identified by 'secret' require ssl", "grant all on *.* to app@'%'")
    return server, daemon


def doctor(daemon, server, item):
    """(status, detail) of a server in SHOW DOCTOR."""
    return next((row[2], row[3]) for row in daemon.query("show doctor") if row[:2] == (server.name, item))


def encrypted(t, server, version=None):
    w = t.keep(server.wire()).greeting().start_tls(version=version)
    w.send(w.login_packet("app", "secret"))
    return w.finish_login("secret")


def is_busy(row):
    return row["state"] == "ACTIVE"


def test_hidden_begin_and_end(t):
    server, daemon = hidden_pair(t)
    status, detail = doctor(daemon, server, "TLS")
    t.note(detail)
    check_equal(status, "missing", "doctor")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        w = encrypted(t, server, version)
        row = daemon.wait_session(server, w.id, "the login to be over", lambda r: r["state"] == "SLEEP")
        check_equal((row["tls"], row["user"], row["db"], row["info"], row["why_no_info"]),
                    (1, None, None, None, WHY), "idle")
        check_equal(row["sequence"] or 0, 0, "the login is no statement")
        for n in range(1, 4):
            w.send_command(wire.QUERY, b"select sleep(60)")
            row = daemon.wait_session(server, w.id, "the statement", is_busy)
            check_equal((row["command"], row["info"], row["why_no_info"], row["sequence"]),
                        ("Busy", None, WHY, n), "busy")
            check_equal(server.processlist()[w.id][3], "Query", "the server's word")
            server.run(f"kill query {w.id}")
            with contextlib.suppress(wire.ServerError):
                w.results()
            check_equal(daemon.wait_idle(server, w.id)["sequence"], n, "sequence")


def test_hidden_slow_answer(t):
    """An answer that its client does not read has not ended, however much of it was sent."""
    server, daemon = hidden_pair(t)
    w = encrypted(t, server)
    daemon.wait_session(server, w.id, "the login to be over", lambda r: r["state"] == "SLEEP")
    w.send_command(wire.QUERY, b"select repeat('x', 1000) from mysql.help_topic, (select 1 union select 2"
                               b" union select 3 union select 4 union select 5 union select 6"
                               b" union select 7 union select 8 union select 9 union select 10) t")
    row = daemon.wait_session(server, w.id, "much of the answer",
                              lambda r: is_busy(r) and r["bytes_out"] > 1000000)
    time.sleep(0.2)
    check(is_busy(daemon.session(server, w.id)), "an end was claimed")
    check_equal(server.processlist()[w.id][3], "Query", "the server's word")
    w.results()
    check_equal(daemon.wait_idle(server, w.id)["sequence"], row["sequence"], "sequence")


def test_hidden_kill(t):
    server, daemon = hidden_pair(t)
    for statement, closed in (("kill query", False), ("kill", True)):
        w = encrypted(t, server)
        daemon.wait_session(server, w.id, "the login to be over", lambda r: r["state"] == "SLEEP")
        w.send_command(wire.QUERY, b"select sleep(60)")
        daemon.wait_session(server, w.id, "the statement", is_busy)
        answer = daemon.answer_text(f"{statement} {w.id}", server)
        t.note(f"{statement}: {answer}")
        check(answer.startswith("confirmed"), answer)
        try:
            w.results()
            raise Failure("the statement was not killed")
        except wire.ServerError as error:
            check_equal(error.code, 1317, "what the victim got")
        except (wire.Closed, OSError):
            check(closed, "the session was closed")
        if closed:
            daemon.wait_gone(server, w.id)
        else:
            daemon.wait_idle(server, w.id)


def test_hidden_pg(t):
    server, daemon = postgres_pair(t, hide=b"be_tls_read")
    status, detail = doctor(daemon, server, "TLS")
    check_equal(status, "missing", detail)
    client = pg_encrypted(t, server)
    for n in range(1, 4):
        daemon.wait_session(server, client.pid, "the end", lambda r: r["state"] == "SLEEP")
        client.send(query("select pg_sleep(30)"))
        row = daemon.wait_session(server, client.pid, "the statement", is_busy)
        check_equal((row["command"], row["info"], row["why_no_info"], row["sequence"]),
                    ("Busy", None, WHY, n), "busy")
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        check(answer.startswith("confirmed") and daemon.signal_word() in answer, answer)
        with contextlib.suppress(PgError):
            client.until_ready()


def test_older_is_read_from_its_next_statement(t):
    """A session that was encrypted before dbpsd came, in a library that can be probed."""
    key, cert = make_certificate(t)
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}")
    server.run("create user app@'%' identified by 'secret' require ssl", "grant all on *.* to app@'%'")
    idle, busy = encrypted(t, server), encrypted(t, server)
    busy.send_command(wire.QUERY, b"select sleep(60), 'older'")
    wait(lambda: server.processlist()[busy.id][4], "the statement")
    daemon = t.daemon()
    daemon.wait_server(server)
    row = daemon.wait_session(server, busy.id, "what the link tells", lambda r: r["info"])
    check_equal((row["user"], row["info"], row["joined"]), ("app", "select sleep(60), 'older'", 1), "busy")
    server.run(f"kill query {busy.id}")
    with contextlib.suppress(wire.ServerError):
        busy.results()
    for w in (idle, busy):
        for n in range(3):
            text = f"select sleep(60), {n}"
            w.send_command(wire.QUERY, text.encode())
            row = daemon.wait_session(server, w.id, text, lambda r: r["info"] == text)
            check_equal((row["user"], row["tls"], row["command"], row["framing"]),
                        ("app", 1, "Query", "exact"), "the row")
            check(daemon.answer_text(f"kill query {w.id}", server).startswith("confirmed"), "kill")
            with contextlib.suppress(wire.ServerError):
                w.results()
            daemon.wait_idle(server, w.id)
        w.query("use mysql")
    daemon.wait_equal(server)


# ---------------------------------------------------------------- where the library is


def check_read(t, daemon, server):
    """A session that begins now is read."""
    w = encrypted(t, server)
    w.send_command(wire.QUERY, b"select sleep(60)")
    row = daemon.wait_session(server, w.id, "the statement", lambda r: r["info"])
    check_equal((row["info"], row["user"], row["tls"], row["framing"]),
                ("select sleep(60)", "app", 1, "exact"), "the row")
    check(daemon.answer_text(f"kill {w.id}", server).startswith("confirmed"), "kill")


def test_library_of_a_container(t):
    """A file that is in the server's mount namespace alone."""
    key, cert = make_certificate(t)
    there = os.path.join(t.directory, "there")
    os.mkdir(there)
    prefix = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c",
              f"ip link set lo up && mount -t tmpfs none {there} && cp {library()} {there}/libssl.so.3"
              f" && export LD_PRELOAD={there}/libssl.so.3 && exec \"$@\"", "sh"]
    daemon = t.daemon()
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}", prefix=prefix)
    server.own_network = True
    check_equal(os.listdir(there), [], "what is seen of it here")
    with open(f"/proc/{server.pid}/maps") as f:
        check(f"{there}/libssl.so.3" in f.read(), "the library is not used")
    daemon.wait_server(server)
    server.add_user("app", "secret")
    check_equal(doctor(daemon, server, "TLS")[0], "ok", "doctor")
    check_read(t, daemon, server)


def test_what_goes_on_without_its_client(t):
    key, cert = make_certificate(t)
    server, daemon = t.pair(f"--ssl-key={key}", f"--ssl-cert={cert}")
    server.add_user("app", "secret")
    check_goes_on(server, daemon, encrypted(t, server))


def test_library_is_upgraded(t):
    """The file that a server has mapped is replaced: it is read as long as it runs, and so is the new
    one when the server has started again."""
    key, cert = make_certificate(t)
    path, new = (os.path.join(t.directory, name) for name in ("libssl.so.3", "new"))
    shutil.copy(library(), path)
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}", env={"LD_PRELOAD": path})
    server.add_user("app", "secret")
    shutil.copy(library(), new)
    os.replace(new, path)
    with open(f"/proc/{server.pid}/maps") as f:
        check(f"{path} (deleted)" in f.read(), "the file is still there")
    daemon = t.daemon()
    daemon.wait_server(server)
    check_read(t, daemon, server)
    server.stop()
    server.start()
    daemon.wait_server(server)
    check_read(t, daemon, server)


def breakpoints(pid, path):
    """Where the code that a process has mapped of a file is not the file's."""
    with open(f"/proc/{pid}/maps") as f:
        line = next(line.split() for line in f if line.rstrip().endswith(path) and " r-xp " in line)
    start, end = (int(number, 16) for number in line[0].split("-"))
    offset = int(line[2], 16)
    with open(f"/proc/{pid}/mem", "rb", 0) as mapped, open(path, "rb") as file:
        mapped.seek(start)
        file.seek(offset)
        return [hex(offset + n) for n, (a, b) in enumerate(zip(mapped.read(end - start), file.read(end - start)))
                if a != b]


def test_probes_end_with_dbpsd(t):
    """Also with those that are killed; should the kernel leave breakpoints then, the last one takes them along."""
    t.run.close()  # another dbpsd would probe this server, too
    key, cert = make_certificate(t)
    path = os.path.join(t.directory, "libssl.so.3")
    shutil.copy(library(), path)
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}", env={"LD_PRELOAD": path})
    server.add_user("app", "secret")
    daemon = t.daemon()
    left = []
    for n in range(8):
        if n % 2:
            daemon.wait_server(server)
            check(breakpoints(server.pid, path), "nothing is probed")
        daemon.stop(signal.SIGKILL)  # in the midst of setting them, or later
        left.append(len(breakpoints(server.pid, path)))
        check_equal(encrypted(t, server).query("select 1"), [[b"\x011"]], "the server goes on")
        daemon.start()
    t.note(f"left by those that were killed: {left}")
    daemon.wait_server(server)
    check_read(t, daemon, server)
    daemon.stop()
    check_equal(breakpoints(server.pid, path), [], "what is left")


def other_begin(path):
    """Let SSL_read_ex() of a library make room on the stack in other words, which nothing here knows."""
    symbols = subprocess.run(["nm", "-D", "--defined-only", path], check=True, capture_output=True, text=True)
    at = next(int(line.split()[0], 16) for line in symbols.stdout.splitlines() if " SSL_read_ex@" in line)
    with open(path, "r+b") as f:
        f.seek(at)
        check_equal(f.read(5), bytes.fromhex("4883ec08e8"), "sub $8,%rsp; call")
        f.seek(at)
        f.write(bytes.fromhex("4883c4f8"))  # add $-8,%rsp


def test_library_of_unknown_code(t):
    """Where the code does not tell what the library's functions go on to, they are probed themselves."""
    key, cert = make_certificate(t)
    path = os.path.join(t.directory, "libssl.so.3")
    shutil.copy(library(), path)
    other_begin(path)
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}", env={"LD_PRELOAD": path})
    server.add_user("app", "secret")
    usual = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}")
    daemon = t.daemon()
    for known, where in ((server, "at SSL_read() itself"), (usual, "behind SSL_read()")):
        daemon.wait_server(known)
        check(where in doctor(daemon, known, "TLS")[1], doctor(daemon, known, "TLS"))
    check_read(t, daemon, server)


class LinkedServer:
    """tests/integration/tls_server.c, with the library in its program."""

    def __init__(self, t, *options, stripped=False):
        key, cert = make_certificate(t)
        program = os.path.join(BUILD, "tests/integration/tls_server")
        if stripped:
            copy = os.path.join(t.directory, "tls_server")
            subprocess.run(["strip", "-o", copy, program], check=True)
            program = copy
        self.port = free_port()
        self.name = f"tls_server-{self.port}"
        self.process = t.spawn([program, str(self.port), key, cert, *options],
                               stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        check_equal(self.process.stdout.readline(), "ready\n", "tls_server")

    def wire(self):
        return wire.Wire(("127.0.0.1", self.port))


def linked_session(t, *options, **kwargs):
    """A session of such a server, which is known by then, and its row at rest."""
    daemon = t.daemon()
    server = LinkedServer(t, *options, **kwargs)
    encrypted(t, server)
    daemon.wait_server(server, link=False)
    w = encrypted(t, server)
    return server, daemon, w


def test_linked_into_the_program(t):
    server, daemon, w = linked_session(t)
    t.note(str(doctor(daemon, server, "TLS")))
    for n in range(1, 4):
        w.send_command(wire.QUERY, b"sleep 2000")
        row = daemon.wait_session(server, w.id, "the statement", is_busy)
        check_equal((row["info"], row["user"], row["command"], row["sequence"], row["framing"]),
                    ("sleep 2000", "app", "Query", n, "exact"), "busy")
        w.receive()
        daemon.wait_idle(server, w.id)


def check_dark(server, daemon, w):
    for n in range(1, 4):
        w.send_command(wire.QUERY, b"sleep 2000")
        row = daemon.wait_session(server, w.id, "the statement", is_busy)
        check_equal((row["info"], row["user"], row["command"], row["sequence"], row["why_no_info"]),
                    (None, None, "Busy", n, WHY), "busy")
        w.receive()
        check_equal(daemon.wait_idle(server, w.id)["sequence"], n, "at rest")


def test_linked_without_symbols(t):
    server, daemon, w = linked_session(t, stripped=True)
    check_equal(doctor(daemon, server, "TLS")[0], "missing", "doctor")
    check_dark(server, daemon, w)


def test_library_without_a_socket(t):
    """A program that hands its library the bytes: no call of it moves any of a socket."""
    server, daemon, w = linked_session(t, "memory")
    check_dark(server, daemon, w)
    check_in_vain(daemon, server)


def check_in_vain(daemon, server):
    status, detail = doctor(daemon, server, "TLS")
    check("is probed in vain" in detail, detail)
    check_equal(status, "missing", detail)


class ScriptedServer:
    """A server of a language whose own library hands OpenSSL the bytes: MySQL's protocol, as tls_server.c."""

    def __init__(self, t, command):
        key, cert = make_certificate(t)
        self.port = free_port()
        self.process = t.spawn([*command, str(self.port), key, cert], stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        check_equal(self.process.stdout.readline(), "ready\n", command)

    def wire(self):
        return wire.Wire(("127.0.0.1", self.port))


def check_scripted(t, *command):
    """Its first session makes it known, the second begins when its library is probed."""
    here = os.path.dirname(os.path.abspath(__file__))
    daemon = t.daemon()
    server = ScriptedServer(t, [*command[:-1], os.path.join(here, command[-1])])
    first = encrypted(t, server)
    server.name = wait(lambda: [row["name"] for row in daemon.servers() if row["pid"] == server.pid],
                       "the server to be found")[0]
    for w in (first, encrypted(t, server)):
        check_dark(server, daemon, w)
    check_in_vain(daemon, server)


def test_node(t):
    check_scripted(t, need_program("node"), "tls_server.js")


def test_asyncio(t):
    check_scripted(t, "/usr/bin/python3", "tls_server.py")


# ---------------------------------------------------------------- PostgreSQL


def postgres_pair(t, *options, **kwargs):
    daemon = t.daemon()
    server = t.postgres(*options, tls=True, **kwargs)
    daemon.wait_server(server, link=False)
    return server, daemon


def pg_encrypted(t, server, **kwargs):
    client = t.keep(server.connect(tcp=True, ssl=pgwire.SSL_REQUEST, **kwargs))
    check_equal(client.ssl_answer, b"S", "the answer to SSLRequest")
    return client


def test_pg_statement(t):
    server, daemon = postgres_pair(t)
    t.note(str(doctor(daemon, server, "TLS")))
    client = pg_encrypted(t, server, program="in secret", database="template1")
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["user"], row["db"], row["program"], row["tls"], row["framing"]),
                ("postgres", "template1", "in secret", 1, "exact"), "idle")
    for text in ("select pg_sleep(30)", "select pg_sleep(30), '" + "x" * 900 + "'"):
        client.send(query(text))
        row = daemon.wait_session(server, client.pid, "the statement", is_busy)
        check_equal((row["command"], row["info"], row["user"]), ("Query", text, "postgres"), "busy")
        check_equal(server.activity()[client.pid]["query"], text, "pg_stat_activity")
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        check(answer.startswith("confirmed") and daemon.signal_word() in answer, answer)
        with contextlib.suppress(PgError):
            client.until_ready()
        row = daemon.wait_idle(server, client.pid)
        check_equal(row["sqlstate"], "57014", "SQLSTATE")
    answer = daemon.answer_text(f"kill query {row['id']}", server)
    check(answer.startswith("missed: nothing is running"), answer)
    check_equal(client.query("select 1"), [("1",)], "the next statement")
    client.send(query("select pg_sleep(30)"))
    row = daemon.wait_session(server, client.pid, "the statement", is_busy)
    answer = daemon.answer_text(f"kill {row['id']}", server)
    check(answer.startswith("confirmed: session closed"), answer)
    wait(lambda: client.pid not in server.activity(), "the backend to end")
    daemon.wait_gone(server, client.pid)


def test_pg_pipeline(t):
    """One record of TLS holds more than the server's buffer: later reads move no byte of the socket."""
    server, daemon = postgres_pair(t)
    client = pg_encrypted(t, server)
    client.run(parse("select pg_sleep($1::float8)", "slow"), sync())
    texts = [f"select pg_sleep(30), {n}, '{'y' * 3000}'" for n in range(4)]
    client.send(*(group(text) for text in texts), query("select pg_sleep(30), 'last'"),
                bind("slow", values=["30"]), execute(), sync())
    for text in (*texts, "select pg_sleep(30), 'last'", "select pg_sleep($1::float8)"):
        row = daemon.wait_session(server, client.pid, text[:40], lambda r: is_busy(r) and (
            r["info"] or "")[:900] == text[:900])
        check_equal(row["framing"], "exact", "framing")
        check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    daemon.wait_idle(server, client.pid)


def test_pg_older(t):
    server = t.postgres(tls=True)
    idle, busy = pg_encrypted(t, server), pg_encrypted(t, server, database="template1")
    busy.send(query("select pg_sleep(30)"))
    wait(lambda: server.activity()[busy.pid]["state"] == "active", "the statement to run")
    daemon = t.daemon()
    daemon.wait_server(server, link=False)
    row = daemon.session(server, busy.pid)
    check_equal((row["user"], row["db"], row["state"], row["info"]),
                ("postgres", "template1", "ACTIVE", None), "busy")
    check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
    with contextlib.suppress(PgError):
        busy.until_ready()
    for client in (idle, busy):
        for n in range(2):
            text = f"select pg_sleep(30), {n}"
            client.send(query(text))
            row = daemon.wait_session(server, client.pid, text, lambda r: r["info"] == text)
            check_equal((row["tls"], row["framing"], row["user"]), (1, "exact", "postgres"), "the row")
            check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
            with contextlib.suppress(PgError):
                client.until_ready()
            daemon.wait_idle(server, client.pid)


def test_pg_two_servers(t):
    """Both have one program's file, in which each has its own probes."""
    daemon = t.daemon()
    servers = [t.postgres(tls=True) for _ in range(2)]
    for server in servers:
        daemon.wait_server(server, link=False)
    clients = [pg_encrypted(t, server) for server in servers]
    for n, (server, client) in enumerate(zip(servers, clients)):
        client.query("select 1")
        text = f"select pg_sleep(30), {n}"
        client.send(query(text))
        row = daemon.wait_session(server, client.pid, text, lambda r: r["info"] == text)
        check_equal((row["sequence"], row["framing"]), (2, "exact"), "counted once")
    servers[0].stop()
    wait(lambda: servers[0].pid not in [row["pid"] for row in daemon.servers()], "the first to be gone")
    client = pg_encrypted(t, servers[1])
    client.send(query("select pg_sleep(30), 'after'"))
    daemon.wait_session(servers[1], client.pid, "the other goes on",
                        lambda r: r["info"] == "select pg_sleep(30), 'after'")


# ---------------------------------------------------------------- GSSAPI


class Psql:
    """The stock client, encrypting by GSSAPI; it sends a statement at each line."""

    def __init__(self, t, realm, server, database="template1"):
        env = {**os.environ, **realm.env, "PGGSSENCMODE": "require", "PGSSLMODE": "disable",
               "PGAPPNAME": "in secret"}
        self.process = t.spawn(server.program("psql", "-h", "localhost", "-qAtX", database), env=env, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.pid = int(self.ask("select pg_backend_pid();"))

    def send(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def ask(self, line):
        self.send(line)
        return self.line()


def gss_server(t, **kwargs):
    """(a KDC, a PostgreSQL that clients can encrypt to by it)"""
    realm = t.keep(Realm(t.run))
    server = t.postgres("-c", f"krb_server_keyfile=FILE:{realm.keytab}", env=realm.env, **kwargs)
    return realm, server


def check_encrypts(server, client):
    rows = server.query(f"select gss_authenticated, encrypted from pg_stat_gssapi where pid = {client.pid}")
    check_equal(rows[0][1], "t", "pg_stat_gssapi")


def test_gss(t):
    realm, server = gss_server(t)
    daemon = t.daemon()
    daemon.wait_server(server, link=False)
    client = Psql(t, realm, server)
    check_encrypts(server, client)
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["user"], row["db"], row["program"], row["tls"], row["framing"], row["sequence"]),
                ("postgres", "template1", "in secret", 1, "exact", 1), "idle")
    for n, text in enumerate(("select pg_sleep(30);", f"select pg_sleep(30), '{'x' * 900}';"), 2):
        client.send(text)
        row = daemon.wait_session(server, client.pid, "the statement", is_busy)
        check_equal((row["command"], row["info"], row["user"], row["sequence"]), ("Query", text, "postgres", n), "busy")
        check_equal(server.activity()[client.pid]["query"], text, "pg_stat_activity")
        answer = daemon.answer_text(f"kill query {row['id']}", server)
        check(answer.startswith("confirmed"), answer)
        check("canceling statement" in client.line(), "what the client got")
        check_equal(daemon.wait_idle(server, client.pid)["sqlstate"], "57014", "SQLSTATE")
    long = f"select length('{'y' * 100000}'), repeat('z', 100000);"
    check_equal(client.ask(long), "100000|" + "z" * 100000, "several packets of GSSAPI both ways")
    row = daemon.wait_idle(server, client.pid)
    check_equal((row["framing"], row["sequence"], row["rows"]), ("exact", 4, 2), "after them")
    client.send("select pg_sleep(30);")
    row = daemon.wait_session(server, client.pid, "the statement", is_busy)
    answer = daemon.answer_text(f"kill {row['id']}", server)
    check(answer.startswith("confirmed: session closed"), answer)
    wait(lambda: client.pid not in server.activity(), "the backend to end")
    daemon.wait_gone(server, client.pid)


def test_gss_older(t):
    realm, server = gss_server(t)
    client = Psql(t, realm, server)
    daemon = t.daemon()
    daemon.wait_server(server, link=False)
    for n in range(2):
        text = f"select pg_sleep(30), {n};"
        client.send(text)
        row = daemon.wait_session(server, client.pid, text, lambda r: r["info"] == text)
        check_equal((row["tls"], row["framing"], row["user"]), (1, "exact", "postgres"), "the row")
        check(daemon.answer_text(f"kill query {row['id']}", server).startswith("confirmed"), "kill")
        client.line()
        daemon.wait_idle(server, client.pid)


def test_gss_hidden(t):
    """Not read: begin and end from the socket, also of a session that is older than dbpsd."""
    realm, server = gss_server(t, hide=b"be_tls_read")
    older = Psql(t, realm, server)
    daemon = t.daemon()
    daemon.wait_server(server, link=False)
    check_equal(doctor(daemon, server, "TLS")[0], "missing", "doctor")
    for client in (older, Psql(t, realm, server)):
        before = daemon.wait_session(server, client.pid, "the end", lambda r: r["state"] == "SLEEP")["sequence"] or 0
        for n in range(1, 4):
            client.send("select pg_sleep(30);")
            row = daemon.wait_session(server, client.pid, "the statement", is_busy)
            check_equal((row["command"], row["info"], row["why_no_info"], row["tls"], row["sequence"]),
                        ("Busy", None, WHY, 1, before + n), "busy")
            answer = daemon.answer_text(f"kill query {row['id']}", server)
            check(answer.startswith("confirmed"), answer)
            check("canceling statement" in client.line(), "what the client got")
            daemon.wait_session(server, client.pid, "the end", lambda r: r["state"] == "SLEEP")
