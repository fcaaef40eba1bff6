#!/usr/bin/python3
"""Clients of a MariaDB that do mixed work until they are ended: workload.py SOCKET PORT SEED CLIENTS.

Prints "ready" when all are logged in. Each client is a thread with a connection by hand (wire.py); what
it does next is drawn from ACTIONS by its own random numbers."""

import random
import struct
import sys
import threading
import time

import wire

DATABASES = ("alpha", "beta", "gamma")
USERS = (("app", "secret"), ("web", ""), ("reporting", "p'a\"ss"))

SHORT_TEXTS = (
    "select 1",
    "  \n select 'a;b', \"c;d\", `n` from {db}.t limit 1 ; ;\t",
    "/* first */ select count(*) from {db}.t /* last */",
    "select 'größe € 中文', 'it''s', 'back\\'slash' -- comment",
    "select n from {db}.t where id = {n} # comment",
    "/*!50000 select */ {n}",
    "show variables like 'max_conn%'",
    "(select {n}) union (select 2);",
    "set @a = {n}",
    "do 1",
)
MULTI_TEXTS = (
    "select 1; do sleep({s}); select 2",
    "select ';' ; \n select sleep({s}) ; -- end",
    "set @x = 1;do sleep({s}) /* ; */;do sleep({s}) # ;\n;",
    "insert into {db}.t (n) values ({n}); select sleep({s}), \"a;\"; select count(*) from {db}.t",
    "do 0; select n from {db}.missing; select 3",
    "select 1; use {db}; select sleep({s})",
    "use `{db}`; do sleep({s}); use {db}; do sleep({s})",
)
ERRORS = ("selec 1", "select * from {db}.missing", "select 1 from", "use nosuchdb", "")


class Client:
    def __init__(self, socket_path, port, seed, tls):
        self.tls = tls
        self.random = random.Random(seed)
        self.socket_path = socket_path
        self.port = port
        self.wire = None

    def address(self):
        return self.socket_path if self.random.random() < 0.5 else ("127.0.0.1", self.port)

    def connect(self):
        if self.wire:
            self.wire.close()
        caps = wire.DEFAULT_CAPS
        for optional in (wire.DEPRECATE_EOF, wire.SESSION_TRACK):
            if self.random.random() < 0.5:
                caps |= optional
        user, password = self.random.choice(USERS)
        db = self.random.choice((None, "", *DATABASES))
        attrs = {"_pid": "4711", "program_name": "workload"} if self.random.random() < 0.5 else None
        address = self.address()
        self.wire = wire.Wire(address, caps)
        self.wire.greeting()
        if self.tls and address != self.socket_path:
            self.wire.start_tls(db, attrs)
        if self.random.random() < 0.1:
            self.pause()
        self.wire.send(self.wire.login_packet(user, password, db, attrs))
        self.wire.finish_login(password)
        self.wire.query("set innodb_lock_wait_timeout = 1")

    def pause(self):
        time.sleep(self.random.random() * 0.02)

    def fill(self, text):
        return text.format(db=self.random.choice(DATABASES), n=self.random.randrange(1000),
                           s=round(self.random.random() * 0.2, 3))

    def ask(self, text):
        try:
            self.wire.query(self.fill(text))
        except wire.ServerError:
            pass

    # ------------------------------------------------------------------ actions

    def short(self):
        self.ask(self.random.choice(SHORT_TEXTS))

    def sleep(self):
        self.ask("select sleep({s}), {n}")

    def multi(self):
        self.ask(self.random.choice(MULTI_TEXTS))

    def error(self):
        self.ask(self.random.choice(ERRORS))

    def idle(self):
        self.pause()

    def long_text(self):
        self.ask("select sleep({s}) /* " + "x" * self.random.randrange(9000) + " */, '{n}'")

    def prepared(self):
        statement = self.wire.prepare(self.fill(" select sleep(?), {n}, ? from {db}.t limit 1 ; "))
        for _ in range(self.random.randrange(1, 4)):
            self.wire.execute(statement, (str(round(self.random.random() * 0.1, 3)), None))
        if self.random.random() < 0.7:
            self.wire.close_statement(statement)

    def direct(self):
        """MariaDB: prepare and execute in one go, the statement's id being "the last one"."""
        sent = self.wire.packet(bytes([wire.STMT_PREPARE]) + self.fill("do sleep(?), {n}").encode(), 0)
        body = self.wire.execute_body(0xFFFFFFFF, (str(round(self.random.random() * 0.1, 3)),))
        self.wire.send_raw(sent + self.wire.packet(bytes([wire.STMT_EXECUTE]) + body, 0))
        statement = self.wire.prepare_answer()
        self.wire.results()
        self.wire.close_statement(statement)

    def cursor(self):
        statement = self.wire.prepare(self.fill("select id, v from {db}.big where id < {n}"))
        self.wire.execute(statement, cursor=1)
        status = 0
        for _ in range(5):
            if status & wire.LAST_ROW_SENT:
                break
            self.wire.send_command(wire.STMT_FETCH, struct.pack("<II", statement, 50))
            _, status = self.wire.rows()
        self.wire.close_statement(statement)

    def long_data(self):
        statement = self.wire.prepare("select length(?), sleep(?)")
        for _ in range(3):
            self.wire.long_data(statement, 0, b"y" * self.random.randrange(3000))
        self.wire.execute(statement, (wire.LONG, "0.01"))
        self.wire.close_statement(statement)

    def transaction(self):
        db = self.random.choice(DATABASES)
        try:
            self.wire.query(self.random.choice(("begin", "start transaction", "set autocommit = 0")))
            self.wire.query(f"insert into {db}.t (n) values (1), (2)")
            self.pause()
            self.wire.query(f"update {db}.t set n = n + 1 where id = {self.random.randrange(1, 4)}")
            self.wire.query(self.random.choice(("commit", "rollback")))
            self.wire.query("set autocommit = 1")
        except wire.ServerError:
            self.wire.query("rollback")

    def use(self):
        db = self.random.choice(DATABASES)
        form = self.random.randrange(4)
        if form == 0:
            self.wire.command(wire.INIT_DB, db.encode())
        else:
            self.ask(("use " + db, f" /* to */ USE `{db}` ;", f"uSe\n{db}")[form - 1])
        self.pause()

    def change_user(self):
        user, password = self.random.choice(USERS)
        self.wire.change_user(user, password, self.random.choice(("", *DATABASES)))

    def reset(self):
        self.wire.command(wire.RESET_CONNECTION)

    def big_result(self):
        """Read slowly, so that the server waits in the middle of its answer."""
        db = self.random.choice(DATABASES)
        self.wire.send_command(wire.QUERY, f"select * from {db}.big, (select 1) x".encode())
        self.pause()
        self.wire.results()

    def infile(self):
        rows = b"".join(b"%d\n" % i for i in range(self.random.randrange(200)))
        self.wire.send_command(wire.QUERY, self.fill(
            "load data local infile 'rows' into table {db}.t (n)").encode())
        packet = self.wire.receive()
        if packet[0] != 0xFB:
            raise wire.error_of(packet)
        self.pause()
        if rows:
            self.wire.send(rows)
        self.pause()
        self.wire.send(b"")
        self.wire.results()

    def reconnect(self):
        if self.random.random() < 0.5:
            self.wire.send_command(wire.QUIT)
        self.connect()

    def bad_login(self):
        with wire.Wire(self.address()) as other:
            try:
                other.login("app", "wrong")
            except wire.ServerError:
                pass

    ACTIONS = (
        (short, 20), (sleep, 20), (multi, 12), (error, 3), (idle, 8), (long_text, 6), (prepared, 10),
        (direct, 3), (cursor, 3), (long_data, 2), (transaction, 8), (use, 6), (change_user, 2),
        (reset, 2), (big_result, 3), (infile, 2), (reconnect, 3), (bad_login, 1),
    )

    def step(self):
        actions, weights = zip(*self.ACTIONS)
        try:
            self.random.choices(actions, weights)[0](self)
        except (wire.ServerError, wire.Closed, OSError):
            self.connect()


def main():
    socket_path, port, seed, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    tls = sys.argv[5:] == ["tls"]
    clients = [Client(socket_path, port, seed * 1000 + i, tls) for i in range(n)]
    for client in clients:
        client.connect()
    print("ready", flush=True)

    def run(client):
        while True:
            client.step()

    for client in clients[1:]:
        threading.Thread(target=run, args=(client,), daemon=True).start()
    run(clients[0])


if __name__ == "__main__":
    main()
