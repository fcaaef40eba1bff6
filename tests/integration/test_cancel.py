"""The defined ends of kills that meet: several of one session at once, of one that is going, of one that was killed,
and of a dbpsd that died between arming and settling."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import pymysql

import pgwire
from harness import check, check_equal, need_program, stop_process, wait
from test_exact import armed
from test_kill import kill, login, pair
from test_start import bpf_file_system


class Kills:
    """KILLs that run at the same time, each on a console of its own."""

    def __init__(self, daemon, server, *statements):
        self.answers = [None] * len(statements)
        self.threads = [threading.Thread(target=self._kill, args=(daemon, server, i, statement))
                        for i, statement in enumerate(statements)]
        for thread in self.threads:
            thread.start()

    def _kill(self, daemon, server, i, statement):
        try:
            answer, warnings, _ = kill(daemon, server, statement)
            self.answers[i] = answer or warnings[0][2]
        except pymysql.err.MySQLError as error:
            self.answers[i] = f"{error.args[0]}: {error.args[1]}" if len(error.args) > 1 else "gone"

    def told(self):
        for thread in self.threads:
            thread.join()
        return self.answers


def test_kills_of_one_statement_at_once(t):
    """Each acts or sees what another did; the session lives, and its next statement runs."""
    server, daemon = pair(t)
    for _ in range(5):
        w = login(t, server, True)
        number = daemon.running(server, w, "select sleep(60)")["id"]
        answers = Kills(daemon, server, *[f"kill query {number}"] * 4).told()
        check_equal(w.ending(), 1317, "the victim")
        check(any(a.startswith("confirmed: statement 1 interrupted") for a in answers), f"{answers}")
        for answer in answers:
            check(answer.startswith(("confirmed: statement 1 interrupted", "missed: statement 1 ",
                                     "missed: nothing is running")), f"{answers}")
        w.query("select sleep(0.02)")
    t.note(f"{answers}")


def test_a_kill_of_the_statement_and_of_the_session_at_once(t):
    server, daemon = pair(t)
    for _ in range(5):
        w = login(t, server, True)
        number = daemon.running(server, w, "select sleep(60)")["id"]
        by_query, by_connection = Kills(daemon, server, f"kill query {number}", f"kill {number}").told()
        check(by_connection.startswith("confirmed: session closed"), by_connection)
        check(by_query.startswith(("confirmed", "missed", "1094")), by_query)
        check(w.ending() in (1317, "closed"), "the victim")
        daemon.wait_gone(server, w.id)
    t.note(f"{by_query} | {by_connection}")


def test_kills_of_one_session_by_several(t):
    server, daemon = pair(t)
    for tcp in (True, False):
        w = login(t, server, tcp)
        number = daemon.wait_idle(server, w.id)["id"]
        answers = Kills(daemon, server, *[f"kill {number}"] * 4).told()
        check(any(a.startswith("confirmed: session closed") for a in answers), f"{answers}")
        for answer in answers:
            check(answer.startswith(("confirmed: session closed", "missed: the session had closed",
                                     "1094")), f"{answers}")
    t.note(f"{answers}")


def test_a_kill_of_a_session_that_is_going(t):
    """Its server is stopped when it was killed: it is still there, is killed again, and goes once."""
    server, daemon = t.pair()
    server.add_user("app", "secret")
    w = login(t, server, True)
    number = daemon.wait_idle(server, w.id)["id"]
    stop_process(server.pid)
    first = Kills(daemon, server, f"kill {number}").told()[0]
    check(first.startswith("pending: the connection is cut"), first)
    again = Kills(daemon, server, f"kill {number}")
    wait(lambda: "SESSION_KILLED" in str(daemon.session(server, w.id)), "the second kill to be under way")
    os.kill(server.pid, signal.SIGCONT)
    check(again.told()[0].startswith("confirmed: session closed"), again.answers[0])
    check(Kills(daemon, server, f"kill {number}").told()[0].startswith("1094"), "it is gone")
    t.note(f"{first} | {again.answers[0]}")


def test_a_kill_of_what_was_killed(t):
    server, daemon = pair(t)
    w = login(t, server, True)
    number = daemon.running(server, w, "select sleep(60)")["id"]
    for expected in ("confirmed: statement 1 interrupted", "missed: nothing is running"):
        answer = Kills(daemon, server, f"kill query {number}").told()[0]
        check(answer.startswith(expected), answer)
    check_equal(w.ending(), 1317, "the victim")
    w.query("select sleep(0.02)")


def test_many_statements_at_once(t):
    """Each of them is hit, and none of those that were not chosen."""
    server, daemon = t.pair("--max-connections=200")
    server.add_user("app", "secret")
    chosen, others = [login(t, server, False) for _ in range(100)], [login(t, server, True) for _ in range(20)]
    for i, w in enumerate(chosen + others):
        w.send_command(3, b"select sleep(60)" if i < len(chosen) else b"select sleep(61)")
    wait(lambda: sum(row[4] is not None for row in daemon.processlist(server).values()) >= 120, "all to run")
    began = time.monotonic()
    rows = daemon.query("kill query where info = 'select sleep(60)'", server.name)
    took = time.monotonic() - began
    check_equal(len(rows), len(chosen), "statements that were chosen")
    check(all("confirmed: statement" in str(row) for row in rows), f"{rows}")
    check_equal({w.ending() for w in chosen}, {1317}, "those that were chosen")
    left = [row[4] for row in daemon.processlist(server).values() if row[4] == "select sleep(61)"]
    check_equal(len(left), len(others), "those that were not")
    t.note(f"{len(rows)} statements in {took * 1e3:.0f} ms: {rows[0]}")


def test_what_a_dead_dbpsd_had_armed(t):
    """Killed between arming and settling. The next one forgets it, and the session goes on unharmed."""
    pins = bpf_file_system(t)
    daemon = t.daemon("--set", "console.kill_wait_ms=30000", pin=pins)
    server = t.server()
    server.add_user("app", "secret")
    daemon.wait_server(server)
    drained, killed = login(t, server, True), login(t, server, True)
    number = daemon.running(server, drained, "select sleep(3)")["id"]
    idle = daemon.wait_idle(server, killed.id)["id"]
    stop_process(server.pid)
    kills = Kills(daemon, server, f"kill {number} after statement", f"kill {idle}")
    wait(lambda: len(armed(pins)) == 2, "both to be armed")
    daemon.stop(signal.SIGKILL)
    kills.told()
    daemon.start()
    wait(lambda: not armed(pins), "the next dbpsd to take them away")
    with open(daemon.log) as log:
        told = [line for line in log if "an earlier dbpsd had under way" in line]
    check(len(told) == 2 and any("KILL CONNECTION" in line for line in told) and
          any("a wait for the end of statement 1" in line for line in told), f"{told}")
    os.kill(server.pid, signal.SIGCONT)
    daemon.wait_server(server)
    check_equal(drained.ending(), 0, "the statement that was to be let finish")
    drained.query("select 1")
    daemon.wait_gone(server, killed.id)
    t.note(told[0].strip())


def test_soft_kills_are_the_servers_own(t):
    """SOFT is passed to MariaDB; nothing is done to the socket."""
    server, daemon = pair(t)
    w = login(t, server, True)
    number = daemon.running(server, w, "select sleep(60)")["id"]
    answer = Kills(daemon, server, f"kill soft query {number}").told()[0]
    check(answer.startswith("confirmed: statement 1 interrupted") and answer.endswith("(control link)"), answer)
    check_equal(w.ending(), 1317, "the victim")
    daemon.wait_idle(server, w.id)
    answer = Kills(daemon, server, f"kill soft {number}").told()[0]
    check(answer.startswith("confirmed: session closed") and answer.endswith("(control link)"), answer)
    daemon.wait_gone(server, w.id)
    t.note(answer)


def bpftool_on(pins, name, *words):
    """What bpftool tells of a map that is pinned there."""
    map_file = os.path.join(pins, f"map_dbps_{name}")
    command = [need_program("bpftool"), "-j", *words[:2], *(("map",) if words[0] == "btf" else ()), "pinned", map_file,
               *words[2:]]
    out = subprocess.run(command, capture_output=True, check=True).stdout
    return json.loads(out) if out else None


def put(pins, name, key, value):
    bpftool_on(pins, name, "map", "update", "key", "hex", *[f"{b:02x}" for b in key],
               "value", "hex", *[f"{b:02x}" for b in value])


def put_control(pins, **fields):
    """Write fields of four or eight bytes of what the daemon tells the programs, by the map's own type."""
    types = bpftool_on(pins, "control", "btf", "dump")["types"]
    members = [m for kind in types if kind["name"] == "dbps_control" for m in kind["members"]]
    at = {m["name"]: m["bits_offset"] // 8 for m in members}
    after = {m["name"]: n["bits_offset"] // 8 for m, n in zip(members, members[1:])}
    value = bytearray(int(b, 16) for b in bpftool_on(pins, "control", "map", "dump")[0]["value"])
    for name, number in fields.items():
        value[at[name]:after[name]] = number.to_bytes(after[name] - at[name], sys.byteorder)
    put(pins, "control", bytes(4), value)


def test_what_a_dead_dbpsd_was_about_to_signal(t):
    """It asked for a SIGTERM, and died before its iterator came to the backend. The next one's KILL QUERY is no more."""
    pins = bpf_file_system(t)
    daemon = t.daemon(pin=pins)
    server = t.postgres()
    daemon.wait_server(server, link=False)
    client = t.keep(server.connect(tcp=True))
    cookie = daemon.wait_idle(server, client.pid)["cookie"]
    daemon.stop(signal.SIGKILL)
    put_control(pins, signal=signal.SIGTERM, signal_cookie=cookie, signal_sequence=0)
    daemon.start()
    daemon.wait_server(server, link=False)
    client.send(pgwire.query("select pg_sleep(60)"))
    row = daemon.wait_session(server, client.pid, "the statement", lambda row: row["state"] == "ACTIVE")
    answer = daemon.answer_text(f"kill query {row['id']}", server)
    check(answer.startswith("confirmed: statement 1 interrupted"), answer)
    try:
        client.until_ready()
    except pgwire.PgError as error:
        check_equal(error.sqlstate, "57014", "the error")
    check_equal(client.query("select 1"), [("1",)], "the next statement")


def test_what_a_dead_dbpsd_was_about_to_reset(t):
    """It had listed a session of many, and died before its iterator. The next one's kill of others does not cut it."""
    pins = bpf_file_system(t)
    daemon = t.daemon(pin=pins)
    server = t.server()
    for name in ("app", "other"):
        server.add_user(name, "secret")
    daemon.wait_server(server)
    spared = login(t, server, True)
    others = [t.keep(server.wire(tcp=True)).login("other", "secret") for _ in range(2)]
    spared.query("select 1")
    row = daemon.wait_idle(server, spared.id)
    daemon.stop(signal.SIGKILL)
    put(pins, "resets", struct.pack("=Q", row["cookie"]), struct.pack("=QIi", row["sequence"], 0, 0))
    daemon.start()
    daemon.wait_server(server)
    rows = daemon.query("kill where user = 'other'", server.name)
    check_equal([row[1] for row in rows], ["confirmed"] * len(others), f"the others: {rows}")
    spared.query("select 1")
