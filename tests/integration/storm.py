#!/usr/bin/python3
"""Both sides of a storm of kills. `storm.py victims PORT SEED N` are N clients that run short statements without
pause, `storm.py pgvictims PORT SEED N` the same on a PostgreSQL, `storm.py comers PORT SEED N` N clients that come and go, each on a source port of its own, both until the end
of standard input; `storm.py killers SOCKET SERVER SEED KILLS ID...` fires KILL QUERY at these sessions, or, without
any, KILL at whoever is there. Each prints "ready" with its connection ids, and what it saw as JSON when it ends."""

import contextlib
import json
import random
import re
import sys
import threading

import pgwire
import wire

LONGEST_S = 0.01

STATEMENTS = (
    "select 1",
    "select sleep({s})",
    "select sleep({s}), {n}",
    "update storm.t set v = v + 1 where id = {n}",
    "select 1; select sleep({s})",
    "select count(*) from storm.t where v < {n}",
    "select sleep({l})",
)


def statement(chance):
    """Most take 0 to 2 ms, and some longer: dbpsd lets the youngest end before it sends a kill."""
    return chance.choice(STATEMENTS).format(s=chance.random() * 0.002, l=chance.random() * LONGEST_S, n=chance.randrange(1, 50))


def outcome(w, text):
    """0, the code of the error that ended a statement, or "closed"."""
    try:
        w.query(text)
        return 0
    except wire.ServerError as error:
        return error.code
    except (wire.Closed, OSError):
        return "closed"


class Victim:
    """Statements without pause on one connection; what did not end well, by the statement's number."""

    def __init__(self, port, seed, stop):
        self.chance = random.Random(seed)
        self.stop = stop
        self.w = wire.Wire(("127.0.0.1", port)).login("app", "secret", "storm")
        self.ended = {}
        self.statements = 0

    def run(self):
        while not self.stop.is_set():
            self.statements += 1
            code = outcome(self.w, statement(self.chance))
            if code:
                self.ended[self.statements] = code
            if code == "closed":
                return

    def told(self):
        return {"id": self.w.id, "statements": self.statements, "ended": self.ended}


PG_STATEMENTS = (
    "select 1",
    "select pg_sleep({s})",
    "select pg_sleep({s}), {n}",
    "update storm set v = v + 1 where id = {n}",
    "select 1; select pg_sleep({s})",
    "select count(*) from storm where v < {n}",
    "select pg_sleep({l})",
)


class PgVictim:
    """The same on a PostgreSQL: as one message, as the steps of the extended protocol, and some in one call."""

    def __init__(self, port, seed, stop):
        self.chance = random.Random(seed)
        self.stop = stop
        self.w = pgwire.PgWire(("127.0.0.1", port))
        self.w.id = self.w.pid
        self.w.run(pgwire.parse("select pg_sleep($1::float8)", "named"), pgwire.sync())
        self.ended = {}
        self.statements = 1

    def messages(self):
        text = self.chance.choice(PG_STATEMENTS).format(
            s=self.chance.random() * 0.002, l=self.chance.random() * LONGEST_S, n=self.chance.randrange(1, 50))
        way = self.chance.randrange(4)
        if way == 1 and ";" not in text:
            return pgwire.group(text)
        if way == 2:
            return pgwire.bind("named", values=[str(self.chance.random() * 0.002)]) + pgwire.execute() + pgwire.sync()
        return pgwire.query(text)

    def run(self):
        while not self.stop.is_set():
            n = self.chance.choice((1, 1, 5, 20))
            self.w.send(*[self.messages() for _ in range(n)])
            for _ in range(n):
                self.statements += 1
                try:
                    self.w.until_ready()
                except pgwire.PgError as error:
                    self.ended[self.statements] = error.sqlstate

    told = Victim.told


class Comer:
    """Logs in, runs some statements, leaves, and comes back from the same port; how each connection ended."""

    def __init__(self, port, seed, stop):
        self.chance = random.Random(seed)
        self.stop = stop
        self.port = port
        self.source = 0
        self.seen = {}

    def visit(self):
        with wire.Wire(("127.0.0.1", self.port), source=self.source) as w:
            self.source = w.sock.getsockname()[1]
            w.greeting()
            self.seen[w.id] = "closed"
            w.send(w.login_packet("app", "secret", "storm"))
            w.finish_login("secret")
            for _ in range(self.chance.randrange(20)):
                code = outcome(w, statement(self.chance))
                if code:
                    self.seen[w.id] = code
                    return
            self.seen[w.id] = 0

    def run(self):
        while not self.stop.is_set():
            with contextlib.suppress(wire.Closed, wire.ServerError, OSError):
                self.visit()

    def told(self):
        return {"port": self.source, "seen": self.seen}


class Killer:
    """KILLs as fast as they are answered, and their answers."""

    def __init__(self, path, server, seed, kills, ids):
        self.chance = random.Random(seed)
        self.console = wire.Wire(path).login("root", db=server)
        self.server = server
        self.kills = kills
        self.ids = ids
        self.answers = []

    def sessions(self):
        """Ids of those who are there, as the console lists them."""
        rows, = self.console.query("show processlist")
        cells = [(row[1:1 + row[0]], row[2 + row[0]:][:row[1 + row[0]]]) for row in rows]
        return [int(number) for number, user in cells if user in (b"app", b"unauthenticated user")]

    def kill(self, text):
        self.console.send_command(wire.QUERY, text.encode())
        packet = self.console.receive()
        if packet[0] == 0xFF:
            return str(wire.error_of(packet))
        told = re.search(rb"(confirmed|missed|pending).*", packet, re.S)
        return told.group().decode(errors="replace") if told else "pending"

    def run(self):
        while len(self.answers) < self.kills:
            number = self.chance.choice(self.ids or self.sessions() or [0])
            text = f"kill query {number}" if self.ids else f"kill {number}"
            self.answers.append((number, self.kill(text)))


def wait_for_end(stop):
    sys.stdin.read()
    stop.set()


def clients(kind, port, seed, n):
    stop = threading.Event()
    all_of_them = [kind(port, seed * 1000 + i, stop) for i in range(n)]
    threads = [threading.Thread(target=one.run) for one in all_of_them]
    print("ready", *[one.w.id for one in all_of_them if kind is not Comer], flush=True)
    for thread in threads:
        thread.start()
    wait_for_end(stop)
    for thread in threads:
        thread.join()
    print(json.dumps([one.told() for one in all_of_them]))


def killers(path, server, seed, kills, ids):
    killer = Killer(path, server, seed, kills, ids)
    print("ready", flush=True)
    with contextlib.suppress(wire.Closed, OSError):
        killer.run()
    print(json.dumps(killer.answers))


if __name__ == "__main__":
    if sys.argv[1] == "killers":
        killers(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), [int(n) for n in sys.argv[6:]])
    else:
        clients({"victims": Victim, "pgvictims": PgVictim, "comers": Comer}[sys.argv[1]], *[int(n) for n in sys.argv[2:]])
