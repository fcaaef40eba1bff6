"""What a row says of sessions of every kind: clients over every transport, texts with passwords, and what
cannot be seen, which is told and not guessed."""

import contextlib
import subprocess
import threading

import pymysql

from harness import Failure, check, check_equal, make_certificate, need_program, wait

import wire


def run_statement(t, w, text, prepared=False):
    """Start a statement without waiting for its answer."""
    if prepared:
        statement = w.prepare(text)
        w.send_command(wire.STMT_EXECUTE, w.execute_body(statement))
    else:
        w.send_command(wire.QUERY, text.encode())


def test_passwords_are_masked(t):
    """A lock makes each of them wait, so that it can be looked at."""
    server, daemon = t.shared_pair()
    server.run("create or replace user app@'%' identified by 'secret'")
    holder = t.keep(server.wire(tcp=False)).login("root")
    cases = (
        ("create user u1 identified by 'hidden'", "create user u1 identified by '***'"),
        ("ALTER USER app IDENTIFIED /* x */ VIA mysql_native_password USING PASSWORD(\"hidden\")",
         "ALTER USER app IDENTIFIED /* x */ VIA mysql_native_password USING PASSWORD(\"***\")"),
        ("set password for app@'%' = password('hidden')",
         "set password for app@'%' = password('***')"),
        ("grant select on *.* to u2 identified by 'hid''den'",
         "grant select on *.* to u2 identified by '***'"),
    )
    for text, masked in cases:
        holder.query("flush tables with read lock")
        w = t.keep(server.wire(tcp=False)).login("root")
        run_statement(t, w, text)
        row = daemon.wait_session(server, w.id, text, lambda r: r["info"])
        check_equal(row["info"], masked, "info")
        check_equal(row["info_bytes"], len(text), "info_bytes")
        check("hidden" not in daemon.dbps("ps", "--full", "--json").stdout, "dbps ps")
        holder.query("unlock tables")
        w.results()
    for text in ("select sleep(30), password('hidden')", "select sleep(30), old_password('hidden')"):
        for prepared in (False, True):
            w = t.keep(server.wire(tcp=False)).login("root")
            run_statement(t, w, text, prepared)
            row = daemon.wait_session(
                server, w.id, text, lambda r: r["info"] and r["command"] in ("Query", "Execute"))
            check_equal(row["info"], text.replace("hidden", "***"), "info")
            server.run(f"kill {w.id}")


def test_a_password_where_the_text_is_cut(t):
    server, daemon = t.shared_pair()
    prefix = "select sleep(30), '" + "x" * 950 + "', password('"
    for more in range(60):
        w = t.keep(server.wire(tcp=False)).login("root")
        text = prefix + "y" * more + "hidden" * 40 + "')"
        run_statement(t, w, text)
        row = daemon.wait_session(server, w.id, "the statement", lambda r: r["info"])
        check("hid" not in row["info"] and "yy" not in row["info"], row["info"][-80:])
        server.run(f"kill {w.id}")


def test_the_short_list_cuts_info_as_the_server_does(t):
    server, daemon = t.shared_pair()
    sessions = []
    for text in ("select sleep(30), '" + "x" * 200 + "'", "select sleep(30), '" + "é" * 200 + "'",
                 "select sleep(30), 'x" + "é" * 200 + "'", "select sleep(30), '" + "x" * 79 + "'",
                 "select sleep(30), '" + "x" * 80 + "'", "select sleep(30), '" + "x" * 81 + "'",
                 "select sleep(30), '" + "€" * 200 + "'", "select sleep(30), 'x" + "€" * 60 + "'"):
        w = t.keep(server.wire(tcp=False)).login("root")
        run_statement(t, w, text)
        daemon.wait_session(server, w.id, "the statement", lambda r: r["info"])
        sessions.append(w)
    latin1 = t.keep(server.connect(charset="latin1", use_unicode=False, init_command="set names utf8"))
    with latin1.cursor() as cursor:
        cursor.execute("show processlist")
        theirs = {int(r[0]): r[7] for r in cursor.fetchall()}
    ours = {r[0]: r[7] for r in daemon.query("show processlist", server.name)}
    for w in sessions:
        # The server cuts in the middle of a letter, of which it sends a piece or a "?".
        whole = theirs[w.id].decode(errors="ignore").rstrip("?")
        check_equal(ours[w.id].rstrip("?"), whole, "info of SHOW PROCESSLIST")
        server.run(f"kill {w.id}")


def test_hosts_of_every_family(t):
    """IPv4, IPv6, IPv4 over an IPv6 socket, Unix: Host is the server's own."""
    server, daemon = t.pair("--bind-address=*")
    server.run("create user app@'%' identified by 'secret'", "create user app@'::1' identified by 'secret'")
    kept = []
    for address in (("127.0.0.1", server.port), ("::1", server.port),
                    ("::ffff:127.0.0.1", server.port), server.socket):
        with contextlib.suppress(OSError):
            w = t.keep(wire.Wire(address))
            w.login(*(("root",) if address == server.socket else ("app", "secret")))
            kept.append(w)
    check(len(kept) >= 2, "addresses")
    daemon.wait_equal(server)
    rows = [daemon.session(server, w.id) for w in kept]
    t.note(", ".join(f"{row['transport']} {row['host']}" for row in rows))


def test_an_encrypted_session(t):
    key, cert = make_certificate(t)
    server, daemon = t.pair(f"--ssl-key={key}", f"--ssl-cert={cert}")
    server.run("create user app@'%' identified by 'secret' require ssl",
               "create database alpha", "grant all on alpha.* to app@'%'")
    connection = t.keep(server.connect(tcp=True, user="app", password="secret", db="alpha",
                                       ssl={"check_hostname": False}))
    number = connection.thread_id()
    row = daemon.session(server, number)
    check_equal((row["tls"], row["user"], row["db"], row["command"], row["framing"]),
                (1, "app", "alpha", "Sleep", "exact"), "idle")
    codes = []

    def execute():
        try:
            connection.cursor().execute("select sleep(60)")
        except pymysql.Error as error:
            codes.append(error.args[0])

    worker = threading.Thread(target=execute)
    worker.start()
    row = daemon.wait_session(server, number, "the statement", lambda r: r["info"])
    check_equal((row["info"], row["command"], row["state"]),
                ("select sleep(60)", "Query", "ACTIVE"), "while it runs")
    answer = daemon.answer_text(f"kill query {number}", server)
    check(answer.startswith("confirmed"), answer)
    worker.join()
    check_equal(codes, [1317], "what the victim got")
    daemon.wait_idle(server, number)
    connection.close()
    daemon.wait_gone(server, number)


def test_an_older_encrypted_session(t):
    key, cert = make_certificate(t)
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}")
    server.run("create user app@'%' identified by 'secret' require ssl")
    connection = t.keep(server.connect(tcp=True, user="app", password="secret",
                                       ssl={"check_hostname": False}))
    daemon = t.daemon()
    daemon.wait_server(server)
    row = daemon.wait_session(server, connection.thread_id(), "adopted", lambda r: r["user"])
    check_equal((row["user"], row["joined"]), ("app", 1), "the row")
    check(row["info"] is None, f"a guess: {row}")


def test_a_compressed_connection_says_so(t):
    need_program("mariadb")
    server, daemon = t.shared_pair()
    client = t.spawn(["mariadb", "--no-defaults", "--compress", f"--socket={server.socket}", "-e",
                      "select sleep(60)"], stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
    row = wait(lambda: next((r for r in daemon.sessions(server)
                             if r["client_pid"] == client.pid and r["compressed"]
                             and r["state"] == "ACTIVE"), None), "the compressed session")
    check_equal((row["user"], row["command"], row["info"], row["tls"]),
                ("root", "Query", "select sleep(60)", 0), "the row: a short request is in clear")
    server.run(f"kill {row['server_id']}")
    daemon.wait_gone(server, row["server_id"])


def test_a_server_with_a_thread_pool(t):
    server, daemon = t.pair("--thread-handling=pool-of-threads", "--thread-pool-size=2")
    server.run("create user app@'%' identified by 'secret'")
    for tcp in (True, False):
        w = t.keep(server.wire(tcp=tcp)).login(*(("app", "secret") if tcp else ("root",)))
        row = daemon.wait_idle(server, w.id)
        for n, text in enumerate(("select 1", "do 1", "select 1; select 2; do 3", "use mysql", "selec")):
            with contextlib.suppress(wire.ServerError):
                w.query(text)
            row = daemon.wait_session(server, w.id, f"the end of {text}", lambda r: (
                r["command"] == "Sleep" and r["sequence"] == n + 1))
            check_equal(row["framing"], "exact", text)
        statement = w.prepare("select sleep(?)")
        w.send_command(wire.STMT_EXECUTE, w.execute_body(statement, ("30",)))
        daemon.wait_session(server, w.id, "Execute", lambda r: r["info"] == "select sleep(?)")
        daemon.wait_equal(server)
        server.run(f"kill query {w.id}")
        with contextlib.suppress(wire.ServerError):
            w.results()
        daemon.wait_idle(server, w.id)
    daemon.wait_equal(server)


def test_the_daemons_own_sessions_are_marked(t):
    server, daemon = t.shared_pair()

    def own():
        return [r for r in daemon.sessions(server) if r["own"]]

    rows = wait(own, "a session of its own")
    check_equal(len(rows), 1, "control links")
    check_equal((rows[0]["client_pid"], rows[0]["user"]), (daemon.pid, "root"), "the link")
    check(rows[0]["note"], "a note")


def test_the_inner_statement_of_a_routine_is_not_seen(t):
    """The server shows what a procedure runs; from outside it is the CALL, as it was sent."""
    server, daemon = t.shared_pair()
    server.run("create database if not exists alpha",
               "create or replace procedure alpha.p() begin do 1; do sleep(30); end")
    for text in ("call alpha.p()", "execute immediate 'do sleep(30)'",
                 "begin not atomic do 1; do sleep(30); end"):
        w = t.keep(server.wire(tcp=False)).login("root")
        run_statement(t, w, text)
        row = daemon.wait_session(server, w.id, text, lambda r: r["info"])
        check_equal(row["info"], text, "info")
        wait(lambda: server.processlist()[w.id][4] == "do sleep(30)", "the server's own Info")
        server.run(f"kill {w.id}")


def test_info_of_several_statements_is_the_servers(t):
    """Texts of one packet; each is looked at while its SLEEP runs."""
    server, daemon = t.shared_pair()
    server.run("create database if not exists alpha",
               "create or replace procedure alpha.q() begin select 1; select 2; end")
    z = "sleep(30)"
    wrong = []
    for text in (f"  \t\n select {z} ; ;\n ;  ", f"/* a */ select {z}; /* b */", f"select {z} # x;",
                 f"select 1; do {z}; select 2", f"select 1;\n\n  do {z}  ; select 2",
                 f"select 1; -- c\n do {z} /* ; */ ; select 2;", f"select 1; do {z} ; -- end",
                 f"select ';', \"a;b\", 1 `;` ; do {z}; select 3", f"select 'a\\';', 1; do {z}; do 3",
                 f"select 'a'';' ; do {z}; select 3", f"do 1;/*! do {z} */; select 3",
                 f"select/* ' */1; do {z} # ;\n ; do 1", f"do {z}\0", f"do 1; (select {z}); do 1",
                 f"begin; do {z}; commit", f"set @call = 1; do {z}; do 1",
                 f"set statement max_statement_time=40 for do {z}; do 1",
                 f"load data local infile 'x' into table alpha.none; do {z}",
                 f"create or replace table alpha.event (a int); do {z}; do 1"):
        w = t.keep(server.wire(tcp=False)).login("root")
        run_statement(t, w, text)

        def equal():
            theirs = server.processlist().get(w.id)
            return theirs and theirs[4] and theirs == daemon.processlist(server)[w.id]

        try:
            wait(equal, "equal rows", timeout=1)
        except Failure:
            theirs = server.processlist().get(w.id)
            if theirs and theirs[4]:
                wrong.append(f"{text!r}: server {theirs[4]!r}, "
                             f"dbps {daemon.processlist(server)[w.id][4]!r}")
        server.run(f"kill {w.id}") if w.id in server.processlist() else None
    check(not wrong, "\n".join(wrong))
