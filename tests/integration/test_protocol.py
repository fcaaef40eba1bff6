"""Corners of the protocol against a real server: each exchange is followed to its exact end, and the row
tells what the server would tell."""

import struct
import threading
import time

from harness import Failure, check, check_equal, wait

import wire

STYLES = {
    "plain": 0,
    "deprecate-eof": wire.DEPRECATE_EOF,
    "track": wire.SESSION_TRACK,
    "deprecate-eof+track": wire.DEPRECATE_EOF | wire.SESSION_TRACK,
}
OPTIONS = ("--max-allowed-packet=96M", "--local-infile=1", "--log-bin", "--server-id=7",
           "--max-connections=60")


def pair(t):
    server, daemon = t.shared_pair(*OPTIONS)
    server.run("create database if not exists alpha", "create database if not exists beta",
               "create database if not exists `a``b ;c`", "create database if not exists größe",
               "create or replace table alpha.t (id int auto_increment primary key, v longtext)",
               "insert into alpha.t (v) values ('one'), ('two'), ('three')",
               "create or replace user app@'%' identified by 'secret'",
               "grant all on *.* to app@'%'")
    return server, daemon


def login(t, server, style=0, tcp=True, user="root", password="", db=None, **kwargs):
    if tcp and user == "root":
        user, password = "app", "secret"
    w = t.keep(server.wire(tcp=tcp, caps=wire.DEFAULT_CAPS | style, **kwargs))
    return w.login(user, password, db)


class Follow:
    """A session that must go on being followed exactly: one statement at a time."""

    def __init__(self, server, daemon, w):
        self.server, self.daemon, self.w = server, daemon, w
        self.row = daemon.wait_idle(server, w.id)

    def ended(self, what, statements=1, rows=None, errors=0):
        """The statements are over and counted, no end was guessed."""
        before = self.row
        row = self.daemon.wait_session(
            self.server, self.w.id, f"{what}: idle after {statements} statements",
            lambda r: r["command"] == "Sleep"
            and r["sequence"] == (before["sequence"] or 0) + statements, timeout=5)
        check_equal(row["framing"], "exact", f"{what}: framing")
        check_equal(row["info"], None, f"{what}: info")
        check_equal(row["errors"], before["errors"] + errors, f"{what}: errors")
        check_equal(row["note"], None, f"{what}: note")
        if rows is not None:
            check_equal(row["rows"] - before["rows"], rows, f"{what}: rows")
        self.row = row
        return row

    def runs(self, what, predicate):
        return self.daemon.wait_session(self.server, self.w.id, what, predicate, timeout=5)


def follow(t, style=0, **kwargs):
    server, daemon = pair(t)
    w = login(t, server, style, **kwargs)
    return Follow(server, daemon, w), w


def each_style(t, run):
    for name, style in STYLES.items():
        for tcp in (True, False):
            f, w = follow(t, style, tcp=tcp)
            run(f, w, f"{name} {'tcp' if tcp else 'unix'}")


def interrupt(f, w, count=1):
    """End the statement that runs from outside, and read its answer. Returns how many errors came: SLEEP
    that is killed at some moments ends early and without one."""
    wait(lambda: f.server.processlist()[w.id][4], "the statement at the server")
    f.server.run(f"kill query {w.id}")
    errors = 0
    try:
        w.results()
    except wire.ServerError as error:
        check_equal(error.code, 1317, "error code")
        errors = 1
    if count:
        f.ended("interrupted statement", statements=count, errors=errors)
    return errors


def rejected(code, call, *args):
    try:
        call(*args)
    except wire.ServerError as error:
        check_equal(error.code, code, "error code")
        return
    check(False, f"no error {code}")


# ---------------------------------------------------------------- results


def test_results_end_exactly_in_every_style(t):
    def run(f, w, name):
        cases = (
            ("select 1", 1), ("select id from alpha.t", 3), ("select 1 from dual where 0", 0),
            ("do 1", 0), ("select repeat('x', 100000)", 1), ("select null, '', 'a'", 1),
            ("select seq, repeat('y', seq) from alpha.seq_1_to_3000", 3000),
            ("select 1; do 1; select 1 union select 2; set @a = 1", 3),
        )
        for sql, rows in cases:
            w.query(sql)
            f.ended(f"{name}: {sql}", rows=rows)

    each_style(t, run)


def test_errors_end_a_statement_and_are_counted(t):
    def run(f, w, name):
        for sql, code in (("selec", 1064), ("select * from alpha.missing", 1146), ("", 1065),
                          ("select 1; selec", 1064), ("use nosuch", 1049)):
            rejected(code, w.query, sql)
            row = f.ended(f"{name}: {sql}", errors=1)
            check_equal(row["last_error"], code, f"{name}: last_error")
        rejected(1242, w.query, "select id, (select id from alpha.t) from alpha.t")
        f.ended(f"{name}: error after columns", errors=1)

    each_style(t, run)


def test_call_returns_many_results(t):
    server, _ = pair(t)
    server.run("create or replace procedure alpha.p() begin select 1; select 2, 3 union select 4, 5; end")

    def run(f, w, name):
        check_equal(len(w.query("call alpha.p()")), 3, "results of CALL")
        f.ended(f"{name}: call", rows=3)
        w.query("do 1; call alpha.p(); select 9")
        f.ended(f"{name}: call among others", rows=4)

    each_style(t, run)


def test_rows_of_sixteen_mebibytes(t):
    def run(f, w, name):
        for size in (0xFFFFFF - 5, 0xFFFFFF - 4, 0xFFFFFF - 3, 0x1000000, 0x1FFFFFF):
            w.query(f"select repeat('x', {size}), 1")
            f.ended(f"{name}: row of {size} bytes", rows=1)

    f, w = follow(t)
    run(f, w, "plain")
    f, w = follow(t, wire.DEPRECATE_EOF, tcp=False)
    run(f, w, "deprecate-eof")


def test_requests_of_sixteen_mebibytes(t):
    f, w = follow(t)
    for payload in (0xFFFFFE, 0xFFFFFF, 0x1000000, 2 * 0xFFFFFF, 40 << 20):
        text = b"select /*" + b"x" * (payload - 21) + b"*/ 'abcdef'"
        check_equal(len(text), payload - 1, "length of the text")
        w.query(text)
        f.ended(f"request of {payload} bytes", rows=1)


def test_text_of_a_large_request_is_cut_and_tells_its_length(t):
    f, w = follow(t)
    text = "select sleep(20) /*" + "x" * (17 << 20) + "*/"
    w.send_command(wire.QUERY, text.encode())
    row = f.runs("the large statement", lambda r: r["info"])
    check_equal(row["info_bytes"], len(text), "info_bytes")
    check_equal(row["info_cut"], 1, "info_cut")
    check(text.startswith(row["info"]) and len(row["info"]) >= 1000, "info is its beginning")
    interrupt(f, w)


def test_a_packet_that_is_too_large_is_answered(t):
    f, w = follow(t)
    w.send_command(wire.QUERY, b"select '" + b"x" * (97 << 20) + b"'")
    rejected(1153, w.results)


# ---------------------------------------------------------------- how bytes arrive


def test_a_header_and_a_body_that_arrive_apart(t):
    f, w = follow(t)
    packet = w.packet(b"\x03select sleep(20)", 0)
    w.send_raw(packet[:4])
    row = f.runs("the header to be read", lambda r: r["bytes_in"] == f.row["bytes_in"] + 4)
    check_equal((row["command"], row["info"], row["phase"]), ("Sleep", None, "reading request"),
                "with a header only")
    w.send_raw(packet[4:10])
    row = f.runs("half of the body to be read", lambda r: r["bytes_in"] == f.row["bytes_in"] + 10)
    check_equal((row["command"], row["info"]), ("Sleep", None), "with half of the body")
    w.send_raw(packet[10:])
    row = f.runs("the statement", lambda r: r["command"] == "Query")
    check_equal(row["info"], "select sleep(20)", "info")
    interrupt(f, w)


def test_bytes_that_arrive_one_by_one(t):
    server, daemon = pair(t)
    w = t.keep(server.wire())
    w.greeting()
    for byte in w.packet(w.login_packet("app", "secret", "alpha")):
        w.send_raw(bytes([byte]))
    w.finish_login("secret")
    f = Follow(server, daemon, w)
    check_equal((f.row["user"], f.row["db"]), ("app", "alpha"), "login")
    for byte in w.packet(b"\x03select 1", 0):
        w.send_raw(bytes([byte]))
    w.results()
    f.ended("statement", rows=1)


def test_pipelined_requests(t):
    def run(f, w, name):
        texts = [b"select sleep(30), 1", b"do 2", b"select 3 union select 4", b"selec 5"]
        w.send_raw(b"".join(w.packet(b"\x03" + text, 0) for text in texts))
        row = f.runs(f"{name}: the first", lambda r: r["info"])
        check_equal(row["info"], "select sleep(30), 1", f"{name}: info of the first")
        errors = interrupt(f, w, count=0)
        for _ in texts[1:3]:
            w.results()
        rejected(1064, w.results)
        f.ended(name, statements=4, rows=3 - errors, errors=1 + errors)

    each_style(t, run)


def test_an_answer_that_the_client_does_not_read(t):
    f, w = follow(t, tcp=False)
    w.send_command(wire.QUERY, b"select seq, repeat('x', 1000) from alpha.seq_1_to_20000")
    row = f.runs("rows to be sent", lambda r: r["phase"] == "sending rows")
    check_equal(row["command"], "Query", "command")
    check(row["info"].startswith("select seq"), "info")
    w.results()
    f.ended("statement", rows=20000)


# ---------------------------------------------------------------- user and database


def differs_from_server(f):
    """The row as the server has it and as dbps has it, or None when they come to be equal."""
    number = f.w.id
    seen = []

    def equal():
        seen[:] = [f.server.processlist()[number], f.daemon.processlist(f.server)[number]]
        return seen[0] == seen[1]

    try:
        return wait(equal, "equal rows", timeout=0.5) and None
    except Failure:
        return f"server {seen[0]}, dbps {seen[1]}"


def check_as_server(f, what):
    difference = differs_from_server(f)
    check(not difference, f"{what}: {difference}")


def check_use(t, texts, execute=None):
    """After each statement the row is as the server's; all that differ are told."""
    wrong = []

    def run(f, w, name):
        for text in texts:
            try:
                (execute or wire.Wire.query)(w, text)
            except wire.ServerError:
                pass
            difference = differs_from_server(f)
            if difference:
                wrong.append(f"{name}: {text!r}: {difference}")
                w.command(wire.INIT_DB, b"alpha")

    each_style(t, run)
    check(not wrong, "\n".join(wrong))


def test_the_database_follows_use(t):
    check_use(t, ("use alpha", "USE beta ;", " /* c */ use\n`alpha`", "-- c\nuse beta",
                  "use größe", "use`beta`", "# c\n use alpha# c", "/* * */use beta/**/",
                  "use nosuch", "use alpha alpha", "use `nosuch`", "use alpha"))


def test_the_database_follows_use_among_other_statements(t):
    check_use(t, ("use beta; select 1", "select 1; use alpha", "use beta; use größe; use beta",
                  "select 1; use nosuch", "use alpha; use nosuch; use beta"))


def test_the_database_follows_use_of_a_quoted_name(t):
    check_use(t, ("use `a``b ;c`", "use beta", "/*!50000 use alpha */", "use /* to */ beta",
                  "use -- to\n alpha"))


def test_the_database_follows_use_when_prepared(t):
    def execute(w, text):
        statement = w.prepare(text)
        w.execute(statement)
        w.close_statement(statement)

    check_use(t, ("use beta", " use `alpha` ;", "use nosuch"), execute)


def test_the_database_follows_init_db_and_drop(t):
    def run(f, w, name):
        for db in ("alpha", "größe", "a`b ;c"):
            w.command(wire.INIT_DB, db.encode())
            f.ended(f"{name}: {db}")
            check_as_server(f, f"{name}: {db}")
        rejected(1049, w.command, wire.INIT_DB, b"nosuch")
        check_as_server(f, f"{name}: after an error")
        w.query("create database passing")
        w.command(wire.INIT_DB, b"passing")
        w.query("drop database passing")
        check_as_server(f, f"{name}: after DROP DATABASE")
        check_equal(f.daemon.session(f.server, w.id)["db"], None, f"{name}: db")

    each_style(t, run)


def test_a_statement_that_only_looks_like_use(t):
    f, w = follow(t, db="alpha")
    for sql in ("select 'use beta'", "/* use beta */ select 1", "do 1 -- use beta"):
        w.query(sql)
        check_as_server(f, sql)
    w.prepare("use beta")
    check_as_server(f, "prepare")


def test_change_user_switches_at_ok(t):
    def run(f, w, name):
        w.change_user("app", "secret", "beta")
        f.ended(f"{name}: change user")
        check_as_server(f, f"{name}: change user")
        w.change_user("app", "secret", "")
        f.ended(f"{name}: change user without db")
        check_as_server(f, f"{name}: change user without db")

    each_style(t, run)


def test_a_refused_change_user_drops_what_was_prepared(t):
    """MariaDB goes on with user and database of before, so what comes next is followed as well."""
    f, w = follow(t, db="alpha")
    w.query("begin")
    f.ended("begin")
    check(f.row["transaction_ms"] is not None, "in a transaction")
    rejected(1045, w.change_user, "app", "wrong", "beta")
    f.ended("refused change user", errors=1)
    check_as_server(f, "refused change user")
    check_equal((f.row["user"], f.row["db"], f.row["phase"], f.row["transaction_ms"]), ("app", "alpha", "idle", None),
                "behind a refused change user")
    w.send_command(wire.QUERY, b"select sleep(30)")
    f.runs("the next statement", lambda r: r["info"] == "select sleep(30)")
    interrupt(f, w)


def test_reset_connection_keeps_user_and_database(t):
    f, w = follow(t, db="alpha")
    w.query("begin")
    f.ended("begin")
    statement = w.prepare("select 1")
    f.ended("prepare")
    check(f.row["transaction_ms"] is not None, "in a transaction")
    w.command(wire.RESET_CONNECTION)
    f.ended("reset")
    check_as_server(f, "reset")
    check_equal(f.row["transaction_ms"], None, "transaction after reset")
    rejected(1243, w.execute, statement)
    f.ended("execute", errors=1)


def test_a_login_under_way_and_one_refused(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = t.keep(server.wire(tcp=tcp)).greeting()
        row = daemon.wait_session(server, w.id, "the greeted session", lambda r: True)
        check_equal((row["user"], row["db"], row["command"], row["state"]),
                    ("unauthenticated user", None, "Connect", "INIT"), "before login")
        check_equal(daemon.processlist(server)[w.id], server.processlist()[w.id], "the row")
        w.send(w.login_packet("app", "wrong"))
        rejected(1045, w.finish_login, "wrong")
        daemon.wait_gone(server, w.id)


def test_connection_attributes_and_peers(t):
    import os

    server, daemon = pair(t)
    w = t.keep(server.wire(tcp=False))
    w.login("root", attrs={"_os": "Linux", "_pid": "4711", "program_name": "report generator"})
    row = daemon.wait_idle(server, w.id)
    check_equal((row["program"], row["attr_pid"], row["transport"]),
                ("report generator", 4711, "unix"), "attributes")
    check_equal((row["client_pid"], row["client_uid"]), (os.getpid(), os.getuid()), "peer")
    check_equal((row["pid"], row["server"]), (server.pid, server.name), "server")
    w = login(t, server)
    row = daemon.wait_idle(server, w.id)
    check_equal((row["transport"], row["client_pid"], row["program"]), ("tcp", os.getpid(), None), "tcp")
    check_equal(row["host"], "127.0.0.1:%d" % w.sock.getsockname()[1], "host")


# ---------------------------------------------------------------- prepared statements


def test_prepared_statements_show_their_text(t):
    def run(f, w, name):
        first = w.prepare(" select sleep(?), 'a;b' ;")
        second = w.prepare("select sleep(?)")
        f.ended(f"{name}: prepare", statements=2)
        for statement, text in ((first, "select sleep(?), 'a;b'"), (second, "select sleep(?)"),
                                (first, "select sleep(?), 'a;b'")):
            w.send_command(wire.STMT_EXECUTE, w.execute_body(statement, ("30",)))
            row = f.runs(f"{name}: {text}", lambda r: r["command"] == "Execute")
            check_equal(row["info"], text, f"{name}: info")
            interrupt(f, w)
        w.close_statement(first)
        f.ended(f"{name}: close")
        rejected(1064, w.prepare, "selec ?")
        f.ended(f"{name}: failing prepare", errors=1)
        w.execute(second, ("0",))
        f.ended(f"{name}: after a failing prepare")
        w.command(wire.STMT_RESET, struct.pack("<I", second))
        f.ended(f"{name}: reset statement")

    each_style(t, run)


def test_prepared_statements_of_all_shapes_end(t):
    def run(f, w, name):
        for sql, params, rows in (
                ("select 1", (), 1), ("select id, v from alpha.t where id > ?", (0,), 3),
                ("do ?", (None,), 0), ("update alpha.t set v = ? where id = ?", ("x", -1), 0),
                ("call alpha.p()", (), 3)):
            statement = w.prepare(sql)
            w.execute(statement, params)
            w.close_statement(statement)
            f.ended(f"{name}: {sql}", statements=3, rows=rows)

    server, _ = pair(t)
    server.run("create or replace procedure alpha.p() begin select 1; select 2 union select 3; end")
    each_style(t, run)


def test_direct_execution_names_the_last_statement(t):
    f, w = follow(t)
    w.prepare("select 'other'")
    f.ended("prepare")
    sent = w.packet(bytes([wire.STMT_PREPARE]) + b"select sleep(?), 'direct'", 0)
    sent += w.packet(bytes([wire.STMT_EXECUTE]) + w.execute_body(0xFFFFFFFF, ("30",)), 0)
    w.send_raw(sent)
    row = f.runs("direct execution", lambda r: r["command"] == "Execute")
    check_equal(row["info"], "select sleep(?), 'direct'", "info")
    w.prepare_answer()
    interrupt(f, w, count=2)


def test_long_data_has_no_answer(t):
    f, w = follow(t)
    statement = w.prepare("select sleep(30), length(?)")
    f.ended("prepare")
    for n in (0, 10, 70000, 17 << 20):
        w.long_data(statement, 0, b"y" * n)
    f.ended("long data", statements=4)
    w.send_command(wire.STMT_EXECUTE, w.execute_body(statement, (wire.LONG,)))
    row = f.runs("execute", lambda r: r["command"] == "Execute")
    check_equal(row["info"], "select sleep(30), length(?)", "info")
    interrupt(f, w)


def test_bulk_execution(t):
    """MariaDB: many rows of parameters with one command."""
    server, daemon = pair(t)
    w = login(t, server, extended=wire.BULK_OPERATIONS)
    f = Follow(server, daemon, w)
    statement = w.prepare("insert into alpha.t (v) values (?)")
    f.ended("prepare")
    holder = login(t, server)
    holder.query("lock tables alpha.t write")
    body = struct.pack("<IHH", statement, 128, 0xFD)
    for value in ("a", "bb", "ccc"):
        body += b"\0" + bytes([len(value)]) + value.encode()
    w.send_command(wire.STMT_BULK_EXECUTE, body)
    row = f.runs("bulk execution", lambda r: r["command"] == "Bulk_execute")
    check_equal(row["info"], "insert into alpha.t (v) values (?)", "info")
    wait(lambda: server.processlist()[w.id][4], "the statement at the server")
    check_as_server(f, "while it waits")
    holder.query("unlock tables")
    w.results()
    f.ended("bulk execution")
    w.query("select 1")
    f.ended("the next", rows=1)


def test_column_definitions_that_the_client_has_already(t):
    """MariaDB leaves them out of the second answer of a prepared statement."""
    server, daemon = pair(t)
    for style in STYLES.values():
        w = login(t, server, style, extended=wire.CACHE_METADATA | wire.EXTENDED_METADATA)
        f = Follow(server, daemon, w)
        statement = w.prepare("select id, v, 'x' from alpha.t limit 3")
        f.ended("prepare")
        cached = 0
        for _ in range(3):
            w.execute(statement)
            f.ended("execute", rows=3)
            cached += w.columns_cached
        check(cached >= 2, f"definitions were left out {cached} times")
        w.query("select 1, 2; select 3")
        f.ended("texts", rows=2)


def test_reports_of_progress_are_no_ends(t):
    """MariaDB sends them as errors of code 65535 in the middle of long statements."""
    server, daemon = pair(t)
    server.run("create or replace table alpha.wide (id int primary key, v varchar(200)) engine=myisam",
               "insert into alpha.wide select seq, repeat('x', 200) from alpha.seq_1_to_300000")
    w = login(t, server, extended=wire.PROGRESS)
    f = Follow(server, daemon, w)
    w.query("set progress_report_time = 1")
    f.ended("set")
    sql = "alter table alpha.wide modify v varchar(201), add index (v), order by v desc"
    w.send_command(wire.QUERY, sql.encode())
    seen = 0
    while True:
        packet = w.receive()
        if packet[:3] != b"\xff\xff\xff":
            break
        seen += 1
        row = daemon.session(server, w.id)
        check_equal((row["command"], row["info"]), ("Query", sql), "after a report")
    check_equal(packet[0], 0, "the answer is OK")
    f.ended("alter table")
    t.note(f"{seen} reports of progress")


def test_cursors_are_fetched_in_pieces(t):
    def run(f, w, name):
        statement = w.prepare("select seq from alpha.seq_1_to_100")
        f.ended(f"{name}: prepare")
        w.execute(statement, cursor=1)
        f.ended(f"{name}: open", rows=0)
        status, fetches = 0, 0
        while not status & wire.LAST_ROW_SENT:
            w.send_command(wire.STMT_FETCH, struct.pack("<II", statement, 30))
            rows, status = w.rows()
            fetches += 1
            f.ended(f"{name}: fetch {fetches}", rows=len(rows))
        check(fetches >= 4, "fetches")
        w.close_statement(statement)
        f.ended(f"{name}: close")

    each_style(t, run)


# ---------------------------------------------------------------- other commands


def test_local_infile_reads_from_the_client(t):
    def run(f, w, name):
        sql = "load data local infile 'x' into table alpha.t (v)"
        for size in (0, 1, 5, 100, 9000):
            w.query(sql, infile=b"v\n" * size)
            f.ended(f"{name}: {size} lines")
        w.send_command(wire.QUERY, sql.encode())
        w.receive()
        w.send(b"1\n2\n")
        row = f.runs(f"{name}: reading", lambda r: r["phase"] == "reading file from client")
        check_equal((row["command"], row["info"]), ("Query", sql), f"{name}: while reading")
        w.send(b"")
        w.results()
        f.ended(f"{name}: two pieces")
        rejected(1146, w.query, "load data local infile 'x' into table alpha.missing (v)")
        f.ended(f"{name}: error", errors=1)
        w.query("load data local infile 'x' into table alpha.t (v); select 1", infile=b"v\n")
        f.ended(f"{name}: and another", rows=1)

    each_style(t, run)


def test_small_commands_end(t):
    def run(f, w, name):
        w.command(wire.PING)
        f.ended(f"{name}: ping")
        w.send_command(wire.STATISTICS)
        check(w.receive().startswith(b"Uptime"), "statistics")
        f.ended(f"{name}: statistics")
        w.send_command(wire.FIELD_LIST, b"t\0")
        rejected(1046, w.rows)
        f.ended(f"{name}: field list without db", errors=1)
        w.command(wire.INIT_DB, b"alpha")
        w.send_command(wire.FIELD_LIST, b"t\0%")
        rows, _ = w.rows()
        check_equal(len(rows), 2, "fields")
        f.ended(f"{name}: field list", statements=2)
        w.send_command(wire.PROCESS_INFO)
        rows = w.results()[0]
        f.ended(f"{name}: process info", rows=len(rows))
        w.command(wire.SET_OPTION, struct.pack("<H", 1))
        f.ended(f"{name}: set option")
        rejected(1064, w.query, "select 1; select 2")
        f.ended(f"{name}: one statement only", errors=1)
        w.command(wire.SET_OPTION, struct.pack("<H", 0))
        f.ended(f"{name}: set option")
        w.query("select 1; select 2")
        f.ended(f"{name}: two statements", rows=2)
        w.command(wire.REFRESH, b"\x01")
        f.ended(f"{name}: refresh")
        w.command(wire.DEBUG)
        f.ended(f"{name}: debug")
        rejected(1094, w.command, wire.PROCESS_KILL, struct.pack("<I", 4000000))
        f.ended(f"{name}: kill", errors=1)
        rejected(1047, w.command, 0x77)
        f.ended(f"{name}: unknown command", errors=1)
        rejected(1047, w.command, 0x05, b"x")
        f.ended(f"{name}: create db", errors=1)
        w.send(b"", seq=0)
        rejected(1047, w.results)
        f.ended(f"{name}: empty packet", errors=1)
        w.query("select 1")
        f.ended(f"{name}: select", rows=1)

    each_style(t, run)


def test_a_quit_and_a_disappearance(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp=tcp)
        daemon.wait_idle(server, w.id)
        w.send_command(wire.QUIT)
        daemon.wait_gone(server, w.id)
        w = login(t, server, tcp=tcp)
        daemon.wait_idle(server, w.id)
        w.close()
        daemon.wait_gone(server, w.id)


def test_a_binlog_dump_goes_on_until_the_client_leaves(t):
    f, w = follow(t)
    w.query("set @master_binlog_checksum = 'NONE'")
    file = f.server.run("show master status")[0][0].encode()
    w.command(0x15, struct.pack("<I", 99) + b"\0\0\0" + struct.pack("<HII", 0, 0, 0))
    f.ended("register slave", statements=2)
    w.send_command(wire.BINLOG_DUMP, struct.pack("<IHI", 4, 0, 99) + file)
    w.receive()
    row = f.runs("binlog dump", lambda r: r["command"] == "Binlog Dump")
    check_equal((row["state"], row["info"]), ("ACTIVE", None), "while dumping")
    f.server.run("insert into alpha.t (v) values ('event')")
    w.receive()
    check_as_server(f, "while dumping")
    row = f.daemon.session(f.server, w.id)
    check_equal((row["command"], row["framing"]), ("Binlog Dump", "exact"), "after an event")
    f.server.run(f"kill {w.id}")
    f.daemon.wait_gone(f.server, w.id)


def test_transactions_are_seen(t):
    def run(f, w, name):
        for sql, inside in (("begin", True), ("select 1", True), ("commit", False),
                            ("start transaction read only", True), ("rollback", False),
                            ("set autocommit = 0", False), ("select v from alpha.t", True),
                            ("create or replace table alpha.u (a int)", False),
                            ("set autocommit = 1", False)):
            w.query(sql)
            row = f.ended(f"{name}: {sql}")
            check_equal(row["transaction_ms"] is not None, inside, f"{name}: {sql}: in transaction")
        w.query("begin")
        f.ended("begin")
        time.sleep(0.05)
        row = f.daemon.session(f.server, w.id)
        check(50 <= row["transaction_ms"] < 60000, f"age {row['transaction_ms']} ms")
        check(row["phase"] == "idle in transaction", row["phase"])
        w.query("commit")
        f.ended("commit")

    each_style(t, run)


def test_a_statement_killed_by_the_server_ends(t):
    for tcp in (True, False):
        f, w = follow(t, tcp=tcp)
        killer = threading.Timer(0.05, f.server.run, [f"kill query {w.id}"])
        killer.start()
        rejected(1317, w.query, "select sleep(20)")
        killer.join()
        row = f.ended("killed statement", errors=1)
        check_equal(row["last_error"], 1317, "last_error")
        w.query("select 1")
        f.ended("the next", rows=1)


def test_a_connection_killed_by_the_server_is_gone_though_its_client_sleeps(t):
    for tcp in (True, False):
        f, w = follow(t, tcp=tcp)
        f.server.run(f"kill {w.id}")
        f.daemon.wait_gone(f.server, w.id)
        check(w.id not in f.server.processlist(), "the server's own list")
    f, w = follow(t)
    w.send_command(wire.QUERY, b"select sleep(20)")
    f.runs("the statement", lambda r: r["info"])
    f.server.run(f"kill {w.id}")
    f.daemon.wait_gone(f.server, w.id)


def test_session_tracking_with_much_state(t):
    f, w = follow(t, wire.SESSION_TRACK | wire.DEPRECATE_EOF)
    w.query("set session_track_system_variables = '*', session_track_state_change = 1")
    f.ended("set")
    w.query("set names utf8, @@sql_mode = 'ansi_quotes,no_backslash_escapes', time_zone = '+01:00'")
    f.ended("set several")
    w.query("use beta")
    check_as_server(f, "use")
    f.ended("use")
    w.query("set session_track_transaction_info = 'CHARACTERISTICS'")
    w.query("begin")
    w.query("insert into alpha.t (v) values ('x')")
    w.query("rollback")
    f.ended("transaction", statements=4)
    w.query("use alpha; select 1")
    check_as_server(f, "use and select")
