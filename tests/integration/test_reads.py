"""Other ways to read than a thread per connection: MariaDB's pool of threads, Sphinx, a server made with mysql2
for Node, the compressed protocol, io_uring."""

import os
import re
import socket
import subprocess
import zlib

import pymysql

from deadline import seconds, times
from harness import BUILD, Skip, check, check_equal, free_port, need_program, tail, wait

import wire
from test_console import node_modules
from test_paired_list import run_pairs

POOL = "--thread-handling=pool-of-threads"
POOL_PAIRS = int(os.environ.get("DBPS_TEST_POOL_PAIRS", times(200)))
KILLED = (wire.Closed, OSError, pymysql.err.MySQLError)


# ---------------------------------------------------------------- MariaDB's pool of threads


def test_the_pools_list_is_the_servers(t):
    run_pairs(t, POOL_PAIRS, POOL)


def test_the_pools_kills(t):
    server, daemon = t.shared_pair(POOL)
    server.run("create or replace user app@'%' identified by 'secret'")
    for tcp in (True, False):
        w = t.keep(server.wire(tcp=tcp)).login(*(("app", "secret") if tcp else ("root",)))
        w.send_command(wire.QUERY, b"select sleep(60)")
        daemon.wait_session(server, w.id, "the statement", lambda row: row["info"])
        answer = daemon.answer_text(f"kill query {w.id}", server)
        check(re.match(r"confirmed: statement 1 interrupted after .* \(control link\)", answer), answer)
        try:
            w.results()
            check(False, "the statement was not interrupted")
        except wire.ServerError as error:
            check_equal(error.code, 1317, "the victim")
        w.query("select 1")
        w.send_command(wire.QUERY, b"select sleep(60)")
        daemon.wait_session(server, w.id, "the statement", lambda row: row["info"])
        answer = daemon.answer_text(f"kill {w.id}", server)
        check(answer.startswith("confirmed: session closed"), answer)
        try:
            w.results()
            check(False, "the session lives")
        except KILLED:
            pass
        daemon.wait_gone(server, w.id)


# ---------------------------------------------------------------- Sphinx

SPHINX = """
index t
{{
 type = rt
 path = {directory}/t
 rt_field = title
 rt_attr_uint = n
}}
searchd
{{
 listen = 127.0.0.1:{port}:mysql41
 log = {directory}/log
 query_log = {directory}/queries
 pid_file = {directory}/pid
 binlog_path =
 workers = threads
 max_packet_size = 64M
}}
"""


class Searchd:
    """Sphinx: it speaks the MySQL protocol, and no SQL but for searches."""

    def __init__(self, t):
        program = need_program("searchd")
        self.port = free_port()
        conf = os.path.join(t.directory, "sphinx.conf")
        with open(conf, "w") as f:
            f.write(SPHINX.format(directory=t.directory, port=self.port))
        self.log = os.path.join(t.directory, "log")
        self.process = t.spawn([program, "--nodetach", "-c", conf], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        self.name = f"sphinx-{self.port}"
        wait(self._is_up, f"searchd to answer\n{tail(self.log)}", every=0.02)

    def _is_up(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def connect(self, t):
        return t.keep(wire.Wire(("127.0.0.1", self.port), wire.DEFAULT_CAPS & ~wire.PLUGIN_AUTH)).login("x")


def test_sphinx(t):
    daemon = t.daemon("--set", "link.enabled=no")
    server = Searchd(t)
    w = server.connect(t)
    daemon.wait_server(server, link=False)
    for first in range(1, 60000, 3000):
        values = ", ".join(f"({n}, 'word number{n}', {n})" for n in range(first, first + 3000))
        w.query(f"insert into t (id, title, n) values {values}")
    row = daemon.wait_idle(server, w.id)
    check_equal((row["statements"], row["framing"], row["errors"]), (20, "exact", 0), "after inserts")
    # A statement that lasts: one expression of many terms for each document.
    terms = " + ".join(f"sin(n*{k})*cos(n/{k})" for k in range(1, 200))
    text = f"select id, {terms} as s from t order by s asc limit 3 option max_matches=10"
    w.send_command(wire.QUERY, text.encode())
    row = daemon.wait_session(server, w.id, "the search", lambda row: row["info"])
    check(row["info"].startswith("select id, sin(n*1)") and row["info_bytes"] == len(text), row["info"])
    check_equal((row["command"], row["state"]), ("Query", "ACTIVE"), "while it searches")
    seen_ns = row["start_ns"]
    (rows,) = w.results()
    row = daemon.wait_idle(server, w.id)
    check_equal((row["rows"], row["statements"], row["start_ns"]), (len(rows), 21, seen_ns), "its end")
    check(row["end_ns"] > row["start_ns"], "its times")
    t.note(f"a search of {(row['end_ns'] - row['start_ns']) / 1e6:.0f} ms")
    answer = daemon.answer_text(f"kill {w.id}", server)
    check(re.match(r"confirmed: session closed after .* \(reset\)", answer), answer)
    try:
        w.query("show tables")
        check(False, "the session lives")
    except KILLED:
        pass


# ---------------------------------------------------------------- mysql2 for Node

NODE = """
const mysql = require('mysql2');
let id = 0;
const column = {catalog: 'def', schema: '', table: '', orgTable: '', name: 'a', orgName: 'a', characterSet: 33,
                columnLength: 255, columnType: 253, flags: 0, decimals: 0};
const server = mysql.createServer();
server.on('connection', (c) => {
    c.serverHandshake({protocolVersion: 10, serverVersion: '8.0.0-node', connectionId: ++id, statusFlags: 2,
                       characterSet: 33, capabilityFlags: 0xfff7ff & ~(1 << 5)});
    c.on('error', () => {});
    c.on('query', (text) => {
        const m = /sleep\\(([\\d.]+)/.exec(text), n = +(/rows\\((\\d+)/.exec(text) || [0, 1])[1];
        setTimeout(() => {
            c._resetSequenceId();
            c.sequenceId = 1;
            if (/^set|^use/i.test(text))
                c.writeOk({affectedRows: 0});
            else
                c.writeTextResult(Array(n).fill({a: 'x'.repeat(200)}), [column]);
        }, m ? m[1] * 1000 : 0);
    });
});
server.listen(PORT, '127.0.0.1', () => console.log('ready'));
"""


class NodeServer:
    def __init__(self, t):
        modules = node_modules()
        self.port = free_port()
        self.process = t.spawn(["node", "-e", NODE.replace("PORT", str(self.port))], stdout=-1,
                               stderr=open(os.path.join(t.directory, "node.log"), "w"), text=True,
                               env={**os.environ, **({"NODE_PATH": modules} if modules else {})})
        check(self.process.stdout.readline() == "ready\n", "node did not start")
        t.stack.callback(self.process.stdout.close)
        self.pid = self.process.pid
        self.name = f"node-{self.port}"


def test_node(t):
    daemon = t.daemon("--set", "link.enabled=no")
    server = NodeServer(t)
    w = t.keep(wire.Wire(("127.0.0.1", server.port))).login("web", db="shop")
    daemon.wait_server(server, link=False)
    w.query("select 1")
    row = daemon.wait_idle(server, w.id)
    check_equal((row["user"], row["db"], row["statements"], row["rows"], row["framing"]),
                ("web", "shop", 1, 1, "exact"), "first")
    text = f"select sleep({seconds(0.5)}), rows(400)"
    w.send_command(wire.QUERY, text.encode())
    row = daemon.wait_session(server, w.id, "the statement", lambda row: row["info"])
    check_equal((row["info"], row["state"]), (text, "ACTIVE"), "executed")
    (rows,) = w.results()
    check_equal(len(rows), 400, "rows")
    row = daemon.wait_idle(server, w.id)
    check_equal((row["rows"], row["statements"], row["framing"]), (401, 2, "exact"), "its end")
    check(row["end_ns"] - row["start_ns"] > 0.4e9, "its times")
    # Two of the server's sessions at once, of one thread.
    other = t.keep(wire.Wire(("127.0.0.1", server.port))).login("batch")
    for n, client in ((1, w), (2, other)):
        client.send_command(wire.QUERY, f"select sleep(20) /* {n} */".encode())
        daemon.wait_session(server, client.id, f"statement of {n}",
                            lambda row, n=n: row["info"] == f"select sleep(20) /* {n} */")
    answer = daemon.answer_text(f"kill {w.id}", server)
    check(re.match(r"confirmed: session closed", answer), answer)
    try:
        w.results()
        check(False, "the session lives")
    except KILLED:
        pass
    check_equal(daemon.session(server, other.id)["state"], "ACTIVE", "the other one")


# ---------------------------------------------------------------- compression


class Compressed(wire.Wire):
    """Its packets are wrapped after the login (protocol.md 1.10): those of 50 bytes and more are deflated."""

    inside = False
    unwrapped = b""

    def finish_login(self, password=""):
        super().finish_login(password)
        self.inside = True
        return self

    def send_raw(self, data):
        if self.inside:
            seq, whole = data[3], data
            deflated = zlib.compress(data) if len(data) >= 50 else b""
            data = deflated or whole
            data = len(data).to_bytes(3, "little") + bytes([seq]) + (
                len(whole) if deflated else 0).to_bytes(3, "little") + data
        super().send_raw(data)

    def receive_bytes(self, n):
        if not self.inside:
            return super().receive_bytes(n)
        while len(self.unwrapped) < n:
            header = super().receive_bytes(7)
            body = super().receive_bytes(int.from_bytes(header[:3], "little"))
            self.unwrapped += zlib.decompress(body) if any(header[4:]) else body
        taken, self.unwrapped = self.unwrapped[:n], self.unwrapped[n:]
        return taken


def compressed(t, server, tcp=True):
    address = ("127.0.0.1", server.port) if tcp else server.socket
    return t.keep(Compressed(address, wire.DEFAULT_CAPS | 1 << 5)).login("root" if not tcp else "zip")


def test_compressed_sessions(t):
    server, daemon = t.shared_pair()
    server.run("create or replace user zip@'%'", "grant all on *.* to zip@'%'")
    for tcp in (True, False):
        w = compressed(t, server, tcp)
        text = f"select sleep({seconds(0.3)})"
        w.send_command(wire.QUERY, text.encode())
        row = daemon.wait_session(server, w.id, "a short request", lambda row: row["info"])
        check_equal((row["info"], row["command"], row["compressed"]), (text, "Query", 1), "a short request")
        w.results()
        daemon.wait_idle(server, w.id)
        w.send_command(wire.QUERY, f"select sleep({seconds(0.5)}) /* {'x' * 100} */".encode())
        row = daemon.wait_session(server, w.id, "a long one", lambda row: row["state"] == "ACTIVE")
        check_equal((row["info"], row["command"]), (None, "Busy"), "a long request")
        check("compressed" in row["why_no_info"], row["why_no_info"])
        w.results()
        row = daemon.wait_idle(server, w.id)
        check(seconds(0.5e9) <= row["end_ns"] - row["start_ns"] < seconds(5e9), "its times")
        w.query("select repeat('abc', 100000)")  # a long answer, compressed
        w.query("select seq from mysql.seq_1_to_1000")
        w.query("do 1")
        row = daemon.wait_idle(server, w.id)
        check_equal((row["statements"], row["errors"]), (5, 0), "statements")
        # Kills: of a readable one, and of one that is not.
        for text in (b"select sleep(60)", b"select sleep(60) /* " + b"y" * 90 + b" */"):
            w.send_command(wire.QUERY, text)
            daemon.wait_session(server, w.id, "the victim", lambda row: row["state"] == "ACTIVE")
            answer = daemon.answer_text(f"kill query {w.id}", server)
            check(re.match(r"confirmed: statement \d+ interrupted after .* \(control link\)", answer), answer)
            try:
                w.results()
                check(False, "the statement was not interrupted")
            except wire.ServerError as error:
                check_equal(error.code, 1317, "the victim")
        row = daemon.wait_idle(server, w.id)
        check_equal((row["statements"], row["errors"], row["last_error"]), (7, 2, 1317), "after kills")
        check_equal(row["framing"], "exact", "framing")


def test_a_compressed_session_that_is_older(t):
    """It shows by what the server asks for, in its next request."""
    server = t.server()
    server.run("create user zip@'%'", "grant all on *.* to zip@'%'")
    clients = [compressed(t, server, tcp) for tcp in (True, False)]
    daemon = t.daemon()
    daemon.wait_server(server)
    for w in clients:
        w.query("do 1")
        row = daemon.wait_idle(server, w.id)
        check_equal((row["compressed"], row["framing"]), (1, "exact"), "behind one request")
        for text, shown in ((f"select sleep({seconds(0.3)})", True), (f"do sleep({seconds(0.3)}) /* {'x' * 99} */", False)):
            w.send_command(wire.QUERY, text.encode())
            row = daemon.wait_session(server, w.id, text, lambda row: row["state"] == "ACTIVE")
            check_equal(row["info"], text if shown else None, "its text")
            w.results()
            row = daemon.wait_idle(server, w.id)
        check_equal((row["statements"], row["framing"]), (3, "exact"), "statements")
    check_equal(daemon.losses()["packets_bad"], 0, "packets that are none")


# ---------------------------------------------------------------- io_uring


def test_io_uring(t):
    """What io_uring moves is not seen: it is counted, and the session says so."""
    program = os.path.join(BUILD, "tests", "integration", "uring_server")
    if not os.path.exists(program):
        raise Skip("uring_server is not built (liburing-dev)")
    if subprocess.run([program, "try"], check=False).returncode:
        raise Skip("this kernel lets nobody use io_uring")
    daemon = t.daemon("--set", "link.enabled=no")
    port = free_port()
    process = t.spawn([program, str(port)], stdout=-1, text=True)
    check(process.stdout.readline() == "ready\n", "uring_server did not start")
    t.stack.callback(process.stdout.close)
    w = t.keep(wire.Wire(("127.0.0.1", port))).login("x")
    w.query("select 1")
    rows = [row for row in daemon.sessions() if row["pid"] == process.pid]
    check_equal(len(rows), 1, "the session is listed")
    check(rows[0]["why_no_info"] and "io_uring" in rows[0]["why_no_info"], rows[0]["why_no_info"])
    check_equal((rows[0]["framing"], rows[0]["info"]), ("unknown", None), "it is marked")
    check(daemon.losses()["calls_unknown"], "it is counted")
    t.note(rows[0]["why_no_info"])
