"""PgBouncer in front of PostgreSQL: a server of its own, whose sessions are its clients', while those of PostgreSQL
behind it are PgBouncer's. It is one process with many sockets and is never signalled."""

import contextlib
import os
import random
import select

import pgwire
from deadline import seconds
from harness import (Failure, become_unprivileged, check, check_equal, end_process, free_port, need_program, spawn,
                     tail, unprivileged_user, wait, write_certificate)
from pgwire import PgError, bind, execute, group, message, parse, query, sync
from test_postgres import is_active, refused

SEEN_S = max(1, seconds(0.3))  # a statement of which one list at least is read

CONFIG = """[databases]
* = host={sockets} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users
admin_users = postgres
pool_mode = {mode}
default_pool_size = {pool}
"""

TLS_CONFIG = """client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {cert}
"""


class PgBouncer:
    """A throwaway one in front of a server. `tls`: to its clients over TCP it speaks nothing else."""

    def __init__(self, server, mode="transaction", pool=20, tls=False):
        program = need_program("pgbouncer")
        self.directory = os.path.join(server.directory, "bouncer")
        os.mkdir(self.directory)
        self.port = free_port()
        self.name = f"pgbouncer-{self.port}"
        self.log = os.path.join(self.directory, "log")
        config = os.path.join(self.directory, "ini")
        self.tls = tls
        more = self._tls_config() if tls else ""
        for path, text in ((os.path.join(self.directory, "users"), '"postgres" ""\n'),
                           (config, CONFIG.format(sockets=os.path.dirname(server.socket), port=server.port, mode=mode,
                                                  own_port=self.port, directory=self.directory, pool=pool) + more)):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        for path in (self.directory, config):
            os.chown(path, *unprivileged_user())
        with open(self.log, "w", encoding="ascii") as log:
            self.process = spawn([program, config], stdout=log, stderr=log, cwd=self.directory,
                                 preexec_fn=become_unprivileged)
        self.pid = self.process.pid
        wait(self._is_up, f"pgbouncer to answer\n{tail(self.log)}", timeout=20)

    def _tls_config(self):
        key, cert = write_certificate(self.directory)
        os.chown(key, *unprivileged_user())
        return TLS_CONFIG.format(key=key, cert=cert)

    def _is_up(self):
        check(self.process.poll() is None, f"pgbouncer ended:\n{tail(self.log)}")
        try:
            self.connect(database="pgbouncer").close()
            return True
        except (OSError, EOFError, PgError):
            return False

    def connect(self, tcp=True, **kwargs):
        address = ("127.0.0.1", self.port) if tcp else os.path.join(self.directory, f".s.PGSQL.{self.port}")
        return pgwire.PgWire(address, ssl=pgwire.SSL_REQUEST if self.tls and tcp else None, **kwargs)

    def close(self):
        end_process(self.process)


def trio(context, **options):
    """PostgreSQL, PgBouncer in front of it, and a daemon that has found both."""
    server = context.postgres()
    bouncer = context.keep(PgBouncer(server, **options))
    daemon = context.daemon()
    for one in (server, bouncer):
        daemon.wait_server(one, link=False)
    return server, bouncer, daemon


def ours(daemon, bouncer, client):
    """The row of this client, by its port: its id is none of PgBouncer's."""
    rows = [row for row in daemon.sessions(bouncer) if row["host"] == f"127.0.0.1:{client.port}"]
    check(len(rows) <= 1, f"one client twice: {rows}")
    return rows[0] if rows else None


def wait_ours(daemon, bouncer, client, what, condition):
    seen = []

    def look():
        seen[:] = [ours(daemon, bouncer, client)]
        return seen[0] if seen[0] and condition(seen[0]) else None

    try:
        return wait(look, what)
    except Failure as failure:
        raise Failure(f"{failure}: {seen}") from None


def running(daemon, bouncer, client, text):
    return wait_ours(daemon, bouncer, client, f"{text!r} to run", lambda r: is_active(r) and r["info"] == text)


def idle(daemon, bouncer, client):
    return wait_ours(daemon, bouncer, client, "it to be idle", lambda r: r["state"] == "SLEEP")


def check_sessions(context, **options):
    server, bouncer, daemon = trio(context, **options)
    first, second = (context.keep(bouncer.connect(program=name)) for name in ("one", "two"))
    row = idle(daemon, bouncer, first)
    check_equal((row["user"], row["db"], row["program"], row["pid"], row["server_id"], row["framing"], row["tls"]),
                ("postgres", "postgres", "one", bouncer.pid, None, "exact", int(bouncer.tls)), "a client")
    check(row["id"] != idle(daemon, bouncer, second)["id"], "ids are unique")
    text = "select pg_sleep(20), 'behind'"
    first.send(query(text))
    row = running(daemon, bouncer, first, text)
    check_equal(row["command"], "Query", "its command")
    behind = wait(lambda: [r for r in daemon.sessions(server) if is_active(r)], "it to come to the server")
    check_equal([(r["info"], r["user"], r["db"]) for r in behind], [(text, "postgres", "postgres")], "behind it")
    check(behind[0]["server_id"] in server.activity(), "that is a backend")
    answer = daemon.answer_text(f"kill query {behind[0]['id']}", server)
    check(answer.startswith("confirmed"), answer)
    check_equal(refused(first), "57014", "what the client got")
    row = idle(daemon, bouncer, first)
    check_equal((row["sqlstate"], row["errors"]), ("57014", 1), "the error, seen at the client's side")


def test_sessions(context):
    """Those of PgBouncer are its clients', those of PostgreSQL are PgBouncer's, with the same statement."""
    check_sessions(context)


def test_tls_sessions(context):
    check_sessions(context, tls=True)


def check_protocol(context, **options):
    _, bouncer, daemon = trio(context, mode="session", **options)
    client = context.keep(bouncer.connect())
    client.query("begin")
    check_equal(idle(daemon, bouncer, client)["phase"], "idle in transaction", "in a transaction")
    check_equal(refused(client, query("select 1/0")), "22012", "an error")
    check_equal(idle(daemon, bouncer, client)["phase"], "idle in transaction (aborted)", "aborted")
    client.query("rollback")
    text = "select pg_sleep($1::float8)"
    client.run(parse(text, "named"), sync())
    client.send(bind("named", values=[str(SEEN_S)]), execute(), sync())
    check_equal(running(daemon, bouncer, client, text)["command"], "Execute", "by name")
    client.until_ready()
    client.query("create table t (n int)")
    client.send(query("copy t from stdin"))
    wait_ours(daemon, bouncer, client, "the COPY", lambda row: row["phase"] == "reading data from client")
    client.send(message("d", b"1\n2\n"), message("c"))
    client.until_ready()
    before = idle(daemon, bouncer, client)["sequence"]
    texts = [f"select pg_sleep({seconds(0.3)}), {i}" for i in range(4)]
    client.send(query(texts[0]), group(texts[1]), query(texts[2]), group(texts[3]))
    check_equal(running(daemon, bouncer, client, texts[0])["sequence"], before + 1, "the first")
    for n in (2, 3, 4):
        row = wait_ours(daemon, bouncer, client, f"number {n}", lambda row: row["sequence"] == before + n)
        check_equal((row["state"], row["info"]), ("ACTIVE", None), "one whose text was not kept")
    for _ in texts:
        client.until_ready()
    row = idle(daemon, bouncer, client)
    check_equal((row["sequence"] - before, row["framing"]), (4, "exact"), "all of them")
    text = f"select pg_sleep({SEEN_S}), 'after'"
    client.send(query(text))
    running(daemon, bouncer, client, text)
    client.until_ready()


def test_protocol(context):
    """Named statements, transactions, COPY, pipelines that PgBouncer reads ahead of their answers."""
    check_protocol(context)


def test_tls_protocol(context):
    check_protocol(context, tls=True)


def check_kill(context, **options):
    server, bouncer, daemon = trio(context, **options)
    other = context.keep(bouncer.connect())
    other.query("begin")
    doctor = {row[1]: row[2:4] for row in daemon.query("show doctor") if row[0] == bouncer.name}
    check_equal(doctor["KILL QUERY"], ("missing", "a statement is ended in its session of the server behind"), "doctor")
    for tcp in (True, False):
        for text in (None, "select pg_sleep(30)"):
            known = {row["id"] for row in daemon.sessions(bouncer)}
            client = context.keep(bouncer.connect(tcp=tcp))
            if text:
                client.send(query(text))
            rows = wait(lambda: [r for r in daemon.sessions(bouncer) if r["id"] not in known
                                 and r["state"] == ("ACTIVE" if text else "SLEEP")], "the session")
            if text:
                with contextlib.suppress(Exception):
                    answer = daemon.answer_text(f"kill query {rows[0]['id']}", bouncer)
                    raise Failure(f"KILL QUERY: {answer}")
            answer = daemon.answer_text(f"kill {rows[0]['id']}", bouncer)
            context.note(f"{'TCP' if tcp else 'Unix'}, {text}: {answer}")
            check(answer.startswith("confirmed: session closed"), answer)
            try:
                client.until_ready()
                raise Failure("the client is still served")
            except (OSError, EOFError, PgError):
                pass
    check(bouncer.process.poll() is None, "PgBouncer is there")
    check_equal(other.query("select 1"), [("1",)], "the other client")
    check(server.process.poll() is None, "the server is there")


def test_kill(context):
    """KILL resets the client, whatever it does; KILL QUERY says where to go. Nobody else is touched."""
    check_kill(context)


def test_tls_kill(context):
    check_kill(context, tls=True)


def check_many_clients(context, **options):
    server, bouncer, daemon = trio(context, pool=3, **options)
    clients = [context.keep(bouncer.connect()) for _ in range(20)]
    for _ in range(5):
        busy = {client: f"select pg_sleep(30), {i}" for i, client in enumerate(clients) if random.random() < 0.4}
        for client, text in busy.items():
            client.send(query(text))

        def look():
            rows = {row["host"]: row for row in daemon.sessions(bouncer)}
            return all((rows[f"127.0.0.1:{c.port}"]["info"], rows[f"127.0.0.1:{c.port}"]["framing"])
                       == (busy.get(c), "exact") for c in clients)

        wait(look, "each row to be its client's")
        # As one is cancelled behind, the next client gets its place.
        left = set(busy)
        while left:
            server.query("select pg_cancel_backend(pid) from pg_stat_activity where query like 'select pg_sleep(30)%'"
                         " and state = 'active' and pid <> pg_backend_pid()")
            ready, _, _ = select.select([c.socket for c in left], [], [], 0.05)
            for client in [c for c in left if c.socket in ready]:
                check_equal(refused(client), "57014", "cancelled behind")
                left.remove(client)


def test_many_clients(context):
    """More clients than the pool has servers: each row is what that client does."""
    check_many_clients(context)


def test_tls_many_clients(context):
    check_many_clients(context, tls=True)


def test_older_sessions(context):
    """Clients that were there before dbpsd: exact from their next statement on."""
    server = context.postgres()
    bouncer = context.keep(PgBouncer(server))
    client = context.keep(bouncer.connect())
    client.query("select 1")
    daemon = context.daemon()
    daemon.wait_server(bouncer, link=False)
    row = ours(daemon, bouncer, client)
    check_equal((row["user"], row["joined"]), (None, 1), "not known")
    client.send(query("select pg_sleep(20), 'older'"))
    row = running(daemon, bouncer, client, "select pg_sleep(20), 'older'")
    check_equal(row["framing"], "exact", "framing")
    answer = daemon.answer_text(f"kill {row['id']}", bouncer)
    check(answer.startswith("confirmed"), answer)
