"""KILL QUERY and KILL of a session in each state in which one can be stuck, over each transport. STATES is the
table of what must come of it: what dbps answers, what the victim's client gets, what the server's own list then
shows of it, and whether its locks are free for others."""

import concurrent.futures
import os
import re
import select
import signal
import time
from dataclasses import dataclass
from typing import Callable

import pymysql

from deadline import milliseconds
from harness import Failure, check, check_equal, stop_process, wait
from test_kill import kill

import wire

# What the server's list shows of the victim when dbps has answered.
GONE = None
# Whether others get what the victim had locked; FREED without a wait to speak of.
KEPT, FREED, FREED_AFTER_ROLLBACK, NO_LOCK = "kept", "freed", "freed after the rollback", "-"
# What the victim's client gets, besides codes of errors. CUT is the transport's word for an end of the connection.
CUT, RESULT, NOTHING = "cut", "result", "nothing"
# How long after the answer a lock may take to be free, ms, on a machine that is busy with other tests.
AT_ONCE_MS = 1500
ROWS_TO_ROLL_BACK = 200000
WORKERS = 5

# Numbers are written as N, and the ways to cut a connection as CUT.
INTERRUPTED = "confirmed: statement N interrupted after N ms (control link)"
CLOSED = "confirmed: session closed after N ms (CUT)"
CLOSED_TOO = "confirmed: session closed after N ms (CUT, control link)"
# One that waits for its client, or looks at the connection while it waits for a metadata lock, may see the end of
# the connection before the server's own KILL comes.
CLOSED_EITHER = (CLOSED, CLOSED_TOO)
NOTHING_RUNS = "missed: nothing is running in this session"
SERVER_HAS_IT = "pending: statement N still executes in thread N, for N s; the server has the kill (control link)"
NOT_READ = SERVER_HAS_IT + "; while its client does not read the rows, only KILL CONNECTION ends it"
NOT_SENT = SERVER_HAS_IT + "; while its client does not send the file, only KILL CONNECTION ends it"
STILL_EXECUTES = ("pending: the connection is cut, but statement N still executes in thread N, for N s "
                  "(CUT, control link)")


@dataclass(frozen=True)
class Transport:
    """How the victim's client reaches the server."""

    name: str
    tcp: object  # as Server.wire() takes it
    own_network: bool = False

    @property
    def cut(self):
        """What CUT stands for in an answer, and what the client then sees."""
        return ("reset", "reset") if self.tcp else ("shutdown", "closed")


@dataclass(frozen=True)
class Ends:
    """What must come of one kind of KILL; `answer` is a text, or several of which it is one."""

    answer: object
    client: object
    server: object
    lock: str = NO_LOCK


@dataclass(frozen=True)
class State:
    """A state of the victim: how it comes into it, how that is seen (by the server and by dbps), what its client
    does when the kill is over."""

    name: str
    enter: Callable
    of_server: str
    of_dbps: Callable
    query: Ends
    connection: Ends
    go_on: Callable = lambda case: case.results()
    lock: Callable = None
    hasty: bool = False  # by the console that does not wait long for the outcome


def attempt(call, *args):
    """What a client gets for what it does: an error's code, RESULT, or how its connection ended."""
    try:
        call(*args)
        return RESULT
    except wire.ServerError as error:
        return error.code
    except (wire.Closed, OSError) as error:
        return "reset" if ConnectionResetError in (type(error), type(error.__cause__)) else "closed"


class Case:
    """One victim: its connections, and what is locked by it, told apart from all others by its number."""

    def __init__(self, arena, state, transport, connection, number):
        self.arena = arena
        self.state = state
        self.transport = transport
        self.connection = connection
        self.number = number
        self.ends = state.connection if connection else state.query
        self.kept = []
        self.watcher = self.keep(arena.server.connect())
        self.console = arena.hasty if state.hasty else arena.patient
        self.lister = self.keep(self.console.connect(db=arena.server.name,
                                                     cursorclass=pymysql.cursors.DictCursor))
        self.w = self.keep(arena.server.wire(tcp=transport.tcp))

    def keep(self, closable):
        self.kept.append(closable)
        return closable

    def close(self):
        for closable in reversed(self.kept):
            closable.close()

    @property
    def name(self):
        return f"{'KILL      ' if self.connection else 'KILL QUERY'} {self.state.name}"

    def ask(self, statement, *values):
        """Rows of a statement by somebody who has nothing to do with it."""
        with self.watcher.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    # ------------------------------------------------------------------ the victim's client

    def login(self):
        self.w.login("app", "secret", "alpha")

    def begin(self):
        """Log in, open a transaction and lock a row of its own."""
        self.login()
        self.w.query("begin")
        self.w.query(f"update own set v = 1 where id = {self.number}")

    def send(self, statement):
        self.w.send_command(wire.QUERY, statement.encode())

    def other(self, *statements):
        """Another client, and what it does first."""
        w = self.keep(self.arena.server.wire(tcp=False)).login("root", db="alpha")
        for statement in statements:
            w.query(statement)
        return w

    def results(self):
        return attempt(self.w.results)

    # ------------------------------------------------------------------ what is seen of it

    def row(self):
        """The session as dbps has it, or None."""
        with self.lister.cursor() as cursor:
            cursor.execute("show full sessions")
            rows = [{k.lower(): v for k, v in row.items()} for row in cursor.fetchall()]
        return next((row for row in rows if row["server_id"] == self.w.id), None)

    def wait_row(self, what, predicate):
        """The session once dbps has it so."""
        def look():
            row = self.row()
            return row if row and predicate(row) else None

        return wait(look, f"dbps to see {what}")

    def server_row(self):
        """(Command, State) of the server's own list."""
        rows = self.ask("select command, state from information_schema.processlist where id = %s", self.w.id)
        return rows[0] if rows else (GONE, "")

    def of_engine(self):
        """What InnoDB says of its transaction. The tables of it would be old as long as somebody reads them."""
        text = self.ask("show engine innodb status")[0][2]
        blocks = (block for block in text.split("---TRANSACTION ") if f"thread id {self.w.id}," in block)
        return next(blocks, "")

    def seen_by_server(self):
        command, state = self.server_row()
        return self.state.of_server in (command, state) or (
            self.state.of_server.isupper() and self.state.of_server in self.of_engine())


# ---------------------------------------------------------------- how a victim comes into its state


def sleep(case):
    case.begin()
    case.send("select sleep(60)")


def compute(case):
    case.begin()
    case.send("select count(*) from seq_1_to_1000000 a, seq_1_to_1000000 b where a.seq ^ b.seq = 0")


def wait_for_row(case):
    case.other("begin", f"update own set v = 2 where id = {1000 + case.number}")
    case.begin()
    case.send(f"update own set v = 3 where id = {1000 + case.number}")


def wait_for_metadata(case):
    """Behind a reader that does not end its transaction, and before all readers that come later."""
    case.other(f"create table mdl_{case.number} (id int) engine=innodb", "begin",
               f"select * from mdl_{case.number}")
    case.login()
    case.send(f"alter table mdl_{case.number} add column v int")


def write_to_no_reader(case):
    """Until nothing more goes into the buffers."""
    case.begin()
    case.send("select seq, repeat('x', 10000) from seq_1_to_20000")
    sent = [0]

    def stuck():
        sent.append(case.row()["bytes_out"])
        return sent[-1] == sent[-2] > 1 << 16

    wait(stuck, "the server to write no more", every=0.1)


def stay_idle(case):
    case.login()
    case.w.query("select 1")


def stay_idle_in_transaction(case):
    case.begin()


def load_infile(case):
    case.begin()
    case.send("load data local infile 'x' into table own (id) set v = 7")
    check_equal(case.w.receive()[:1], b"\xfb", "the server asks for the file")


def send_file(case):
    def send():
        case.w.send(f"{2000 + case.number}\n".encode())
        case.w.send(b"")
        case.w.results()

    return attempt(send)


def greet(case):
    case.w.greeting()


def log_in(case):
    def finish():
        case.w.send(case.w.login_packet("app", "secret", "alpha"))
        case.w.finish_login("secret")

    return attempt(finish)


def send_half(case):
    case.login()
    whole = case.w.packet(b"\3select length('" + b"x" * (17 << 20) + b"')", seq=0)
    case.half = whole[9 << 20:]
    case.w.send_raw(whole[:9 << 20])


def send_rest(case):
    def send():
        case.w.send_raw(case.half)
        case.w.results()

    return attempt(send)


def fill(case, rows):
    case.other(f"create table big_{case.number} (id int primary key, v char(40)) engine=innodb")
    case.begin()
    return f"insert into big_{case.number} select seq, md5(seq) from seq_1_to_{rows}"


def roll_back(case):
    case.w.query(fill(case, ROWS_TO_ROLL_BACK))
    case.send("rollback")


def undo_of(case):
    """Changed rows that are to be undone if the victim's transaction is."""
    return int(next(iter(re.findall(r"undo log entries (\d+)", case.of_engine())), 0))


def be_rolled_back(case):
    """A statement that somebody has killed at the server already."""
    case.send(fill(case, 100 * ROWS_TO_ROLL_BACK))
    wait(lambda: undo_of(case) > ROWS_TO_ROLL_BACK, "rows to roll back", every=0.05)
    case.ask(f"kill query {case.w.id}")


def stay(case):
    """A client that has sent nothing: what has come for it?"""
    if not case.connection and not select.select([case.w.sock], [], [], 0)[0]:
        return NOTHING
    return attempt(case.w.receive)


# ---------------------------------------------------------------- what a victim has locked


def own_row(case):
    """Whether another session gets the row that the victim has changed, and after how many ms."""
    locked = case.ends.lock == KEPT
    prober = case.other("set innodb_lock_wait_timeout = 60")
    began = time.monotonic()
    seen = attempt(prober.query, f"select v from own where id = {case.number} for update"
                        + (" nowait" if locked else ""))
    check(seen == (1205 if locked else RESULT), f"the prober of the row got {seen}")
    return (time.monotonic() - began) * 1e3


class MetadataQueue:
    """A reader that comes after the victim, and waits for it."""

    def __init__(self, case):
        self.case = case
        self.reader = case.other()
        self.reader.send_command(wire.QUERY, f"select * from mdl_{case.number}".encode())
        wait(lambda: case.ask("select 1 from information_schema.processlist where id = %s and "
                              "state = 'Waiting for table metadata lock'", self.reader.id), "the queue")

    def __call__(self, case):
        began = time.monotonic()
        seen = attempt(self.reader.results)
        check(seen == RESULT, f"the reader behind the victim got {seen}")
        return (time.monotonic() - began) * 1e3


def runs(row):
    return row["info"] is not None


def phase(*words):
    return lambda row: row["phase"] in words


# ---------------------------------------------------------------- the table

STATES = (
    State("SLEEP", sleep, "User sleep", runs,
          query=Ends(INTERRUPTED, 1317, "Sleep", KEPT),
          connection=Ends(CLOSED_TOO, CUT, GONE, FREED), lock=own_row),
    State("a CPU-bound SELECT", compute, "Sending data", runs,
          query=Ends(INTERRUPTED, 1317, "Sleep", KEPT),
          connection=Ends(CLOSED_TOO, CUT, GONE, FREED), lock=own_row),
    State("waiting for a row lock", wait_for_row, "LOCK WAIT", runs,
          query=Ends(INTERRUPTED, 1317, "Sleep", KEPT),
          connection=Ends(CLOSED_TOO, CUT, GONE, FREED), lock=own_row),
    State("waiting for a metadata lock", wait_for_metadata, "Waiting for table metadata lock", runs,
          query=Ends(INTERRUPTED, 1317, "Sleep", FREED),
          connection=Ends(CLOSED_EITHER, CUT, GONE, FREED), lock=MetadataQueue),
    State("writing to a client that does not read", write_to_no_reader, "Writing to net", phase("sending rows"),
          query=Ends(NOT_READ, 1317, "Killed", KEPT),
          connection=Ends(CLOSED_EITHER, CUT, GONE, FREED), lock=own_row, hasty=True),
    State("idle", stay_idle, "Sleep", phase("idle"),
          query=Ends(NOTHING_RUNS, NOTHING, "Sleep"),
          connection=Ends(CLOSED, CUT, GONE), go_on=stay),
    State("idle in transaction", stay_idle_in_transaction, "Sleep", phase("idle in transaction"),
          query=Ends(NOTHING_RUNS, NOTHING, "Sleep", KEPT),
          connection=Ends(CLOSED, CUT, GONE, FREED), go_on=stay, lock=own_row),
    State("in LOCAL INFILE", load_infile, "Reading from net", phase("reading file from client"),
          query=Ends(NOT_SENT, 1317, "Killed", KEPT),
          connection=Ends(CLOSED_EITHER, CUT, GONE, FREED), go_on=send_file, lock=own_row, hasty=True),
    State("in login", greet, "Connect", phase("waiting for login"),
          query=Ends(NOTHING_RUNS, RESULT, "Connect"),
          connection=Ends(CLOSED, CUT, GONE), go_on=log_in),
    State("in the middle of a request of 17 MiB", send_half, "Sleep", phase("reading request"),
          query=Ends(NOTHING_RUNS, RESULT, "Sleep"),
          connection=Ends(CLOSED, CUT, GONE), go_on=send_rest),
    State("ROLLBACK", roll_back, "ROLLING BACK", runs,
          query=Ends(SERVER_HAS_IT, RESULT, "Killed", FREED_AFTER_ROLLBACK),
          connection=Ends(STILL_EXECUTES, CUT, "Killed", FREED_AFTER_ROLLBACK), lock=own_row, hasty=True),
    State("a killed statement that is rolled back", be_rolled_back, "ROLLING BACK", runs,
          query=Ends(SERVER_HAS_IT, 1317, "Killed", KEPT),
          connection=Ends(STILL_EXECUTES, CUT, "Killed", FREED_AFTER_ROLLBACK), lock=own_row, hasty=True),
)


# ---------------------------------------------------------------- one row of it


@dataclass
class Arena:
    """A server with rows to lock, and two consoles: one that waits for outcomes, and one that does not for long."""

    server: object
    patient: object
    hasty: object


def answer_of(console, server, statement):
    """The text that answers a KILL, wherever it stands."""
    try:
        text, warnings, _ = kill(console, server, statement)
    except pymysql.err.MySQLError as error:
        return f"error {error.args[0]}: {error.args[1]}"
    return text or warnings[0][2]


def general(answer, transport):
    """An answer as the table has it. Under load the exact way may find that it hit nothing, and says so."""
    answer = answer.replace("control link, by connection", "control link")
    return re.sub(rf"\b{transport.cut[0]}\b", "CUT", re.sub(r"\d+(\.\d+)?", "N", answer))


def check_answer(case, answer):
    """It is the table's, and, whatever the table says, what was answered is what the server shows."""
    command, state = case.server_row()
    wanted = case.ends.answer if isinstance(case.ends.answer, tuple) else (case.ends.answer,)
    check(general(answer, case.transport) in wanted, f"the answer is {answer!r}, and not one of {wanted}")
    if answer.startswith("pending"):
        check(command is not GONE, f"pending, and yet the server does not show it any more: {answer}")
    if answer.startswith("missed"):
        check(command != "Killed", f"missed, and yet the server shows it as killed ({state}): {answer}")


def wait_command(case, command):
    """The statement's last byte leaves, or the socket ends, before the server's list shows it."""
    seen = []

    def shown():
        seen[:] = case.server_row()
        return seen[0] == command

    began = time.monotonic()
    try:
        wait(shown, f"the server to show {command}", timeout=5)
    except Failure as failure:
        raise Failure(f"{failure}; it shows {seen}") from None
    return (time.monotonic() - began) * 1e3


def check_lives(case):
    """The session's next statements work, and it is listed as idle after them."""
    case.w.query("rollback")
    case.w.query("select 'next'")
    case.wait_row("it idle", lambda row: row["phase"] == "idle" and row["user"] == "app")


def play(case):
    """Bring the victim into its state, kill it, and look: a line for the report."""
    state, ends, server = case.state, case.ends, case.arena.server
    state.enter(case)
    row = case.wait_row(state.name, state.of_dbps)
    wait(case.seen_by_server, f"the server to see it: {state.of_server}")
    probe = state.lock(case) if state.lock is MetadataQueue else state.lock
    answer = answer_of(case.console, server, f"kill {'' if case.connection else 'query '}{row['id']}")
    check_answer(case, answer)
    after_ms = wait_command(case, ends.server)
    lock_ms = probe(case) if probe else 0
    lock_ms += after_ms
    check(ends.lock != FREED or lock_ms < milliseconds(AT_ONCE_MS), f"the lock was free after {lock_ms:.0f} ms")
    client = state.go_on(case)
    check_equal(client, case.transport.cut[1] if ends.client == CUT else ends.client, f"the client, after {answer!r}")
    if not case.connection:
        check_lives(case)
    else:
        wait(lambda: case.server_row()[0] is GONE, "the server to end it", timeout=30)
        wait(lambda: case.row() is None, "dbps to see it gone")
    lock = ends.lock + (f", {lock_ms:.0f} ms" if ends.lock not in (KEPT, NO_LOCK) else "")
    shown = f"{ends.server or 'gone'}, {after_ms:.0f} ms later"
    return f"{case.name:50} client: {client!s:7} server: {shown:20} lock: {lock:33} {answer}"


def try_case(*args):
    """(line, None) of one row of the table, or (None, what was wrong)."""
    case = Case(*args)
    try:
        return play(case), None
    except Exception as error:  # pylint: disable=broad-except
        return None, f"{case.name}: {type(error).__name__}: {error}"
    finally:
        case.close()


def arena_of(t, own_network=False):
    hasty = t.daemon("--set", f"console.kill_wait_ms={milliseconds(250)}")
    patient = t.daemon()
    server = t.server("--bind-address=127.0.0.1,::1", "--max-allowed-packet=64M", "--innodb-buffer-pool-size=128M",
                      "--innodb-log-file-size=96M",
                      "--net-write-timeout=600", "--net-read-timeout=600", own_network=own_network)
    for daemon in (hasty, patient):
        daemon.wait_server(server)
    server.add_user("app", "secret")
    server.run("create database alpha", "use alpha",
               "create table own (id int primary key, v int) engine=innodb",
               "insert into own select seq, 0 from seq_1_to_2000")
    return Arena(server, patient, hasty)


def check_all(t, transport):
    """Every row of the table over one transport, some at a time: the long ones begin."""
    arena = arena_of(t, transport.own_network)
    cases = [(arena, state, transport, connection, 2 * i + connection)
             for i, state in reversed(list(enumerate(STATES, 1))) for connection in (False, True)]
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        results = list(pool.map(lambda args: try_case(*args), cases))
    for line, _ in sorted(results, key=str):
        if line:
            t.note(line)
    wrong = [error for _, error in results if error]
    check(not wrong, "\n  ".join([f"{len(wrong)} of {len(cases)} rows of the table", *wrong]))


def test_over_tcp(t):
    check_all(t, Transport("TCP", "127.0.0.1"))


def test_over_ipv6(t):
    check_all(t, Transport("IPv6", "::1"))


def test_over_a_unix_socket(t):
    check_all(t, Transport("Unix socket", None))


def test_in_another_network_namespace(t):
    check_all(t, Transport("TCP elsewhere", "127.0.0.1", own_network=True))


def test_a_stopped_server(t):
    """It cannot close its end before it goes on; that is said, also to one who tries again."""
    arena = arena_of(t)
    server, daemon = arena.server, arena.hasty
    for transport in (Transport("TCP", "127.0.0.1"), Transport("Unix socket", None)):
        idle, busy = (t.keep(server.wire(tcp=transport.tcp)).login("app", "secret") for _ in range(2))
        busy.send_command(wire.QUERY, b"select sleep(60)")
        busy_id = daemon.wait_session(server, busy.id, "the statement", runs)["id"]
        idle_id = daemon.wait_idle(server, idle.id)["id"]
        stop_process(server.pid)
        try:
            again = "it was cut before" if transport.tcp else "CUT"
            for number, what in ((idle_id, "the server is stopped by a signal and has not closed its end yet (HOW)"),
                                 (busy_id, "statement N still executes in thread N, for N s (HOW; no help from a "
                                           "control link: the server process is stopped by a signal)")):
                for how in ("CUT", again):
                    answer = answer_of(daemon, server, f"kill {number}")
                    check_equal(general(answer, transport),
                                f"pending: the connection is cut, but {what.replace('HOW', how)}", answer)
            answer = answer_of(daemon, server, f"kill query {busy_id}")
            check(answer.startswith("error 1105: KILL QUERY needs a control link"), answer)
            check_equal(attempt(idle.receive), transport.cut[1], "the idle client")
        finally:
            os.kill(server.pid, signal.SIGCONT)
        daemon.wait_gone(server, idle.id)
        t.note(f"{transport.name}: {answer}")
