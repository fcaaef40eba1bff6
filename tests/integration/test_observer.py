"""Servers that read many packets in one call and answer from another thread, as OceanBase and TiDB do. They are
simulated (scripted_server.py): no OceanBase and no TiDB can be had here."""

import os
import re
import shutil
import signal
import sys
import time

from harness import check, check_equal, free_port, kernel_features, stop_process, tail, wait

import ob20
import wire
from deadline import milliseconds, seconds

FIRST_ID = 3221638212
PROGRAMS = {"oceanbase": "observer", "tidb": "tidb-server"}
LINK = "root@sys:observers"


class Scripted:
    """The simulated server, run by a copy of the interpreter that bears the real one's name."""

    def __init__(self, t, engine, **options):
        self.port = free_port()
        self.log = os.path.join(t.directory, f"{engine}-{self.port}.log")
        program = os.path.join(t.directory, PROGRAMS[engine])
        if not os.path.exists(program):
            shutil.copy(os.path.realpath("/usr/bin/python3"), program)
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripted_server.py")
        with open(self.log, "w") as log:
            self.process = t.spawn(
                [program, "-B", here, engine, str(self.port), *(f"{k}={v}" for k, v in options.items())],
                env={**os.environ, "PYTHONHOME": sys.prefix}, stdout=-1, stderr=log, text=True)
        check(self.process.stdout.readline() == "ready\n", f"{engine} did not start\n{tail(self.log)}")
        t.stack.callback(self.process.stdout.close)
        self.pid = self.process.pid
        self.name = f"{engine}-{self.port}"


class Client(wire.Wire):
    """A client of it; framed: what follows the login is in OceanBase frames."""

    def __init__(self, server, framed=False, extra=None, cut=0):
        super().__init__(("127.0.0.1", server.port))
        self.framed, self.extra, self.cut = framed, extra, cut
        self.frames = b""
        self.after_login = False

    def finish_login(self, password=""):
        super().finish_login(password)
        self.after_login = True
        return self

    def send_raw(self, data):
        if self.framed and self.after_login:
            data = ob20.frame(data, connection=self.id, extra=self.extra)
        if not self.cut:
            return super().send_raw(data)
        for i in range(0, len(data), self.cut):
            super().send_raw(data[i:i + self.cut])
            time.sleep(0.002)

    def receive_bytes(self, n):
        if not (self.framed and self.after_login):
            return super().receive_bytes(n)
        while len(self.buffer) < n:
            more = self.sock.recv(65536)
            if not more:
                raise wire.Closed
            self.frames += more
            while taken := ob20.take(self.frames):
                self.buffer += taken[0]
                self.frames = self.frames[taken[2]:]
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken


def login(t, server, user="admin@test", db="test", **kwargs):
    return t.keep(Client(server, **kwargs)).login(user, db=db)


def start(t, engine="oceanbase", link=True, **options):
    """A server, and a dbpsd whose link to it has credentials of that server's own."""
    options.setdefault("first", FIRST_ID - 1 if link else FIRST_ID)
    server = Scripted(t, engine, user=LINK, **options)
    file = os.path.join(t.directory, "link.cnf")
    with open(file, "w") as f:
        f.write("[client]\nuser = nobody\npassword = wrong\n")
        if link:
            user, password = LINK.split(":")
            f.write(f"[dbps-{server.name}]\nuser = {user}\npassword = {password}\n")
    daemon = t.daemon("--set", f"link.option_file={file}",
                      "--set", f"console.kill_wait_ms={milliseconds(2000)}",
                      *(() if link else ("--set", "link.enabled=no")))
    daemon.wait_server(server, link=link)
    return server, daemon


def execute(daemon, server, client, text):
    """Send a statement and see it executed; its row."""
    client.send_command(wire.QUERY, text.encode())
    return daemon.wait_session(server, client.id, text, lambda row: row["info"] == text)


def kill(daemon, server, statement):
    with daemon.connect(db=server.name) as console, console.cursor() as cursor:
        affected = cursor.execute(statement)
        return affected, re.sub(r"^.(?=confirmed|missed|pending)", "", console._result.message.decode())


# ---------------------------------------------------------------- OceanBase


def test_the_example_of_the_manual(t):
    server, daemon = start(t)
    first, second = login(t, server), login(t, server)
    check_equal((first.id, second.id), (FIRST_ID, FIRST_ID + 1), "ids")
    execute(daemon, server, first, 'select "first"')
    execute(daemon, server, second, 'select "abcedfg"')
    listed = {row[0]: row for row in daemon.query("show processlist", server.name)}
    for number, text in ((FIRST_ID, 'select "first"'), (FIRST_ID + 1, 'select "abcedfg"')):
        row = listed[number]
        check_equal(row[1:2] + row[3:5] + row[6:], ("admin", "test", "Query", "ACTIVE", text), "a row")
        check(0 <= row[5] < seconds(5), f"its time: {row}")
        check(re.fullmatch(r"127.0.0.1:\d+", row[2]), row[2])
    affected, text = kill(daemon, server, f"kill query {FIRST_ID + 1}")
    check_equal(affected, 0, "rows affected")
    check(text.startswith("confirmed: statement 1 interrupted"), text)
    check_equal(second.ending(), 1317, "the statement")
    second.query("select 1")
    affected, text = kill(daemon, server, f"kill {FIRST_ID}")
    check_equal(affected, 0, "rows affected")
    check(text.startswith("confirmed: session closed"), text)
    check(first.ending() in (1317, "closed"), "the session")
    daemon.wait_gone(server, FIRST_ID)
    t.note(text)


def test_ids_with_the_top_bits(t):
    server, daemon = start(t, first=0xC0040001)
    client = login(t, server)
    row = daemon.wait_idle(server, client.id)
    check_equal((row["server_id"], row["id"]), (0xC0040002, 0xC0040002), "ids")


def test_tenant_and_cluster_of_the_login(t):
    server, daemon = start(t)
    for user, parts in (("admin@test", ("admin", "test", None)),
                        ("app@shop#prod", ("app", "shop", "prod")),
                        ("app@shop#prod:17", ("app", "shop", "prod")),
                        ("app#prod", ("app", None, "prod")),
                        ("root", ("root", None, None)),
                        ("a@b@c", ("a", "b@c", None))):
        client = login(t, server, user)
        row = daemon.wait_idle(server, client.id)
        check_equal((row["user"], row["tenant"], row["cluster"]), parts, user)
        client.close()
        daemon.wait_gone(server, client.id)


def test_full_has_more_columns_and_info_is_whole(t):
    server, daemon = start(t)
    client = login(t, server, "app@shop")
    text = 'select "' + "x" * 300 + '"'
    execute(daemon, server, client, text)
    with daemon.connect(db=server.name) as console, console.cursor() as cursor:
        cursor.execute("show processlist")
        names = [column[0] for column in cursor.description]
        rows = {row[0]: row for row in cursor.fetchall()}
        check_equal(names, ["Id", "User", "Host", "db", "Command", "Time", "State", "Info"], "columns")
        check_equal(rows[client.id][7], text, "Info, not cut at 100")
        cursor.execute("show full processlist")
        names = [column[0] for column in cursor.description]
        rows = {row[0]: row for row in cursor.fetchall()}
        check_equal(names, ["Id", "User", "Tenant", "Host", "db", "Command", "Time", "State", "Info",
                            "Ip", "Port"], "columns of FULL")
        check_equal((rows[client.id][2], rows[client.id][9:]), ("shop", ("127.0.0.1", server.port)),
                    "what FULL adds")


def test_the_state_while_a_kill_is_on_its_way(t):
    """Until the statement heeds it, or the server, which is stopped, sees that the connection is cut."""
    server, daemon = start(t)
    for statement, state in (("kill query", "QUERY_KILLED"), ("kill", "SESSION_KILLED")):
        client = login(t, server)
        execute(daemon, server, client, f"select sleep({seconds(1.5)}) /* deaf */")
        if state == "SESSION_KILLED":
            stop_process(server.pid)
        console = t.spawn([os.path.join(os.environ.get("BUILD", "build"), "dbps"), "--socket",
                           daemon.socket, "sql", "--server", server.name, f"{statement} {client.id}"],
                          stdout=-1, stderr=-1, text=True)
        daemon.wait_session(server, client.id, state, lambda row: row["state"] == state)
        os.kill(server.pid, signal.SIGCONT)
        out, err = console.communicate(timeout=seconds(20))
        check_equal(console.returncode, 0, out + err)
        check(client.ending() in (1317, "closed"), "the victim")


def test_its_error_answers(t):
    server, daemon = start(t)
    client = login(t, server, "app@shop")
    daemon.wait_idle(server, client.id)
    r = daemon.dbps("sql", f"kill {FIRST_ID + 99}", check_exit=False)
    check("1094" in r.stderr and f"Unknown thread id: {FIRST_ID + 99}" in r.stderr, r.stderr)
    # A link of another tenant may not: the server's own error is told.
    other = Scripted(t, "oceanbase", first=0xC0080001, user="app@other:observers")
    file = os.path.join(t.directory, "other.cnf")
    with open(file, "w") as f:
        f.write("[dbps]\nuser = app@other\npassword = observers\n")
    second = t.daemon("--set", f"link.option_file={file}")
    second.wait_server(other)
    victim = login(t, other, "app@shop")
    execute(second, other, victim, 'select "kept"')
    r = second.dbps("sql", "--server", other.name, f"kill query {victim.id}", check_exit=False)
    check("You are not owner of thread" in r.stderr, r.stdout + r.stderr)


def one_by_one(daemon, server, client, *texts):
    """Statements in frames, each when the one before is seen to have ended, and the last one seen to. One thread of
    the server answers and another reads: a client that has the whole answer could be faster than the end of the call
    that sent it, and the end of one statement would be taken for that of the next."""
    for text in texts:
        daemon.wait_idle(server, client.id)
        client.query(text)
    daemon.wait_idle(server, client.id)


def test_frames(t):
    """OceanBase 2.0 frames with and without extra information, answers in one frame and in several."""
    daemon = t.daemon("--set", "link.enabled=no")
    for options in ({}, {"extra": 1}, {"pieces": 7}, {"extra": 1, "pieces": 11}):
        server = Scripted(t, "oceanbase", first=FIRST_ID, **options)
        for kwargs in ({"framed": True}, {"framed": True, "extra": b"k" * 300}):
            client = login(t, server, **kwargs)
            client.query("select 1")
            daemon.wait_server(server, link=False)
            row = daemon.wait_idle(server, client.id)
            check_equal((row["framing"], row["statements"], row["rows"]), ("exact", 1, 1), "first")
            execute(daemon, server, client, f"select sleep({seconds(0.2)})")
            client.results()
            one_by_one(daemon, server, client, "use other", "select repeat('x', 20000)")
            client.command(wire.PING)
            row = daemon.wait_idle(server, client.id)
            check_equal((row["framing"], row["statements"], row["rows"], row["db"]),
                        ("exact", 5, 3, "other"), str(options))
            with_error = execute(daemon, server, client, 'select "abc"')
            check_equal(with_error["command"], "Query", "command")
            client.close()
            daemon.wait_gone(server, client.id)


def test_frames_cut_anywhere(t):
    server, daemon = start(t, link=False, extra=1, pieces=9)
    for cut in (3, 5, 40, 67):
        client = login(t, server, framed=True, extra=b"extra", cut=cut)
        one_by_one(daemon, server, client, *(f"select {n} /* {'x' * 40} */" for n in range(3)))
        row = daemon.wait_idle(server, client.id)
        check_equal((row["framing"], row["statements"], row["rows"]), ("exact", 3, 3), f"cut {cut}")


def test_requests_that_are_read_ahead(t):
    """Three statements in one call: each begins when the one before was answered."""
    server, daemon = start(t, link=False)
    client = login(t, server)
    texts = [f"select sleep({seconds(0.3)}) /* {n} */" for n in range(3)]
    client.send_raw(b"".join(client.packet(b"\x03" + text.encode(), 0) for text in texts))
    for n, text in enumerate(texts):
        row = daemon.wait_session(server, client.id, text, lambda r, text=text: r["info"] == text)
        check_equal(row["sequence"], n + 1, "sequence")
        client.results()
    row = daemon.wait_idle(server, client.id)
    check_equal((row["framing"], row["statements"], row["rows"]), ("exact", 3, 3), "after all")


def test_a_session_older_than_dbps(t):
    """Its framing is found at a call that reads just one request."""
    server = Scripted(t, "oceanbase", first=FIRST_ID)
    clients = [login(t, server), login(t, server, framed=True)]
    for client in clients:
        client.query("select 1")
    daemon = t.daemon("--set", "link.enabled=no")
    daemon.wait_server(server, link=False)
    if kernel_features()["tp_btf/sock_recv_length"][0] != "ok":
        # It waits inside of a receive, whose end a fexit program sees that was there when it began.
        for client in clients:
            client.query("select 1")
            check(not any(row["info"] or row["command"] for row in daemon.sessions(server)), "what was not seen")
        t.note("older kernel: seen from the second statement on")
    text = f"select sleep({seconds(0.5)})"
    for client in clients:
        client.send_command(wire.QUERY, text.encode())
        row = wait(lambda: next((r for r in daemon.sessions(server) if r["info"]), None), "the statement")
        check_equal((row["info"], row["joined"]), (text, 1), "the row")
        client.results()
        wait(lambda: not any(r["info"] for r in daemon.sessions(server)), "its end")


# ---------------------------------------------------------------- how bytes are moved


def test_calls_with_several_buffers(t):
    daemon = t.daemon("--set", "link.enabled=no")
    for reads, sends in (("recvmsg", "sendmsg"), ("readv", "writev"), ("recv", "sendmsg"),
                         ("readv", "send")):
        server = Scripted(t, "oceanbase", first=FIRST_ID, reads=reads, sends=sends)
        for kwargs in ({}, {"framed": True, "extra": b"e" * 9}):
            client = login(t, server, **kwargs)
            daemon.wait_server(server, link=False)
            execute(daemon, server, client, f"select sleep({seconds(0.1)})")
            client.results()
            one_by_one(daemon, server, client, "use other", "select repeat('y', 5000)")
            row = daemon.wait_idle(server, client.id)
            check_equal((row["server_id"], row["user"], row["db"], row["framing"], row["statements"],
                         row["rows"]), (client.id, "admin", "other", "exact", 3, 2),
                        f"{reads}, {sends}, {kwargs}")


# ---------------------------------------------------------------- TiDB


def test_tidb_ids(t):
    """Of 32 bits in the greeting, or the lower half of 64: then only the server itself can tell it."""
    server, daemon = start(t, "tidb", first=1 << 21 | 2)
    client = login(t, server, "root", "test")
    execute(daemon, server, client, 'select "tidb"')
    affected, text = kill(daemon, server, f"kill query {client.id}")
    check(text.startswith("confirmed: statement 1 interrupted"), text)
    check_equal(client.ending(), 1317, "the statement")
    daemon.stop()
    number = 5 << 41 | 3 << 1 | 1
    server, daemon = start(t, "tidb", first=number - 2)
    client = login(t, server, "root", "test")
    client.send_command(wire.QUERY, b'select "tidb"')
    row = wait(lambda: next((r for r in daemon.sessions(server) if r["info"]), None), "the statement")
    check_equal(row["server_id"], None, "its id, of which half was greeted with")
    affected, text = kill(daemon, server, f"kill query {row['id']}")
    check(text.startswith("confirmed: statement 1 interrupted"), text)
    check_equal(client.ending(), 1317, "the statement")
    rows = [r["server_id"] for r in daemon.sessions(server) if not r["own"]]
    check_equal(rows, [number], "its id, as the server told it")
