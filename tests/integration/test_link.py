"""The control link when the server is in trouble: KILL works by the link that was kept, a link that broke comes
back by itself, and `dbps doctor` says meanwhile what is wrong and what a KILL can still do."""

import contextlib
import json
import os
import re
import signal

from harness import check, check_equal, wait
from test_kill import login
from test_victims import answer_of

import wire

DENIED, FULL = "Access denied for user", "Too many connections"


def victims_of(server):
    """Accounts of a client and of a link, and rows to lock."""
    server.add_user("app", "secret")


def fill_up(t, server):
    """Take every connection, and the one more that SUPER has: the sessions of app that were let in."""
    kept = []
    for user, password in (("app", "secret"), ("root", "")):
        with contextlib.suppress(wire.ServerError):
            while len(kept) < 100:
                w = t.keep(server.wire(tcp=user == "app"))
                w.login(user, password)
                kept.append(w)
    w = t.keep(server.wire(tcp=False))
    try:
        w.login("root")
        check(False, "SUPER was let in once more")
    except wire.ServerError as error:
        check_equal(error.code, 1040, "the error of one too many")
    return kept


def doctor(daemon, server):
    """{item: (status, detail)} of what dbps doctor says of a server, and its exit code."""
    r = daemon.dbps("doctor", "--json", check_exit=False)
    return {f["item"]: (f["status"], f["detail"]) for f in json.loads(r.stdout)
            if f["subject"] == server.name}, r.returncode


def wait_link(daemon, server, state, text=""):
    """SHOW SERVERS' row of a server once its link is so."""
    def look():
        rows = [row for row in daemon.servers() if row["pid"] == server.pid]
        return next((row for row in rows if row["link"] == state and text in row["link_text"]), None)

    return wait(look, f"the link to be {state}, with {text!r} in what is said of it")


def link_id(daemon, server):
    """Connection id of the link, 0 when there is none."""
    return next((row["server_id"] for row in daemon.sessions(server) if row["own"]), 0)


def check_doctor_is_well(daemon, server):
    findings, _ = doctor(daemon, server)
    check_equal({status for status, _ in findings.values()}, {"ok"}, f"doctor: {findings}")


def check_doctor_tells(daemon, server, why):
    """That the link is a problem, and why; and what KILL QUERY and KILL can do without it."""
    findings, code = doctor(daemon, server)
    for item, status in (("control link", "problem"), ("KILL QUERY", "problem"), ("KILL", "fallback")):
        check_equal(findings[item][0], status, f"doctor on {item}, in {findings}")
    check(why in findings["control link"][1], f"doctor does not say {why!r}: {findings}")
    check_equal(code, 1, "exit code of dbps doctor")


def check_kills(t, daemon, server, tcp=True):
    """A statement and a session are ended, exactly, by the link."""
    w = login(t, server, tcp)
    row = daemon.running(server, w, "select sleep(60)")
    answer = answer_of(daemon, server, f"kill query {row['id']}")
    check(re.fullmatch(r"confirmed: statement \d+ interrupted after [\d.]+ ms \(control link\)", answer), answer)
    check_equal(w.ending(), 1317, "the victim")
    w.close()


def test_kill_when_every_connection_is_taken(t):
    """Also the one that is kept for SUPER."""
    server, daemon = t.pair("--max-connections=10")
    victims_of(server)
    kept = fill_up(t, server)
    victim = kept[0]
    row = daemon.running(server, victim, "select sleep(60)")
    answer = answer_of(daemon, server, f"kill query {row['id']}")
    check(answer.startswith("confirmed: statement"), answer)
    check_equal(victim.ending(), 1317, "the victim")
    row = daemon.running(server, victim, "select sleep(61)")
    answer = answer_of(daemon, server, f"kill {row['id']}")
    check(answer.startswith("confirmed: session closed"), answer)
    check_equal(victim.ending(), "closed", "the victim")
    check_doctor_is_well(daemon, server)
    wait(lambda: let_in(t, server), "somebody to be let in where the victim was")


def let_in(t, server):
    with contextlib.suppress(wire.ServerError):
        return login(t, server, True)
    return None


def test_the_link_is_lost_while_every_connection_is_taken(t):
    """Its place is taken at once. A KILL of an idle session needs no link, and makes room for it."""
    server, daemon = t.pair("--max-connections=10")
    victims_of(server)
    kept = fill_up(t, server)
    busy = daemon.running(server, kept[0], "select sleep(60)")
    idle = daemon.wait_idle(server, kept[1].id)
    number = link_id(daemon, server)
    server.run(f"kill {number}")
    wait(lambda: number not in server.processlist() and let_in(t, server), "the link's place to be taken")
    wait_link(daemon, server, "down", FULL)
    check_doctor_tells(daemon, server, FULL)
    answer = answer_of(daemon, server, f"kill query {busy['id']}")
    check(answer.startswith("error 1105: KILL QUERY needs a control link") and FULL in answer, answer)
    answer = answer_of(daemon, server, f"kill {idle['id']}")
    check(answer.startswith("confirmed: session closed"), answer)
    wait_link(daemon, server, "up")
    answer = answer_of(daemon, server, f"kill query {busy['id']}")
    check(answer.startswith("confirmed: statement"), answer)
    check_equal(kept[0].ending(), 1317, "the victim")
    check_doctor_is_well(daemon, server)


def test_the_link_is_killed_at_the_server(t):
    """A KILL that comes right behind finds it back."""
    server, daemon = t.pair()
    victims_of(server)
    for _ in range(3):
        w = login(t, server, True)
        row = daemon.running(server, w, "select sleep(60)")
        number = link_id(daemon, server)
        server.run(f"kill {number}")
        answer = answer_of(daemon, server, f"kill query {row['id']}")
        check(answer.startswith("confirmed: statement"), answer)
        check_equal(w.ending(), 1317, "the victim")
        wait(lambda: link_id(daemon, server) not in (0, number), "another link")
        check_doctor_is_well(daemon, server)


def test_the_server_is_restarted(t):
    """By an orderly stop, and by a crash."""
    server, daemon = t.pair()
    victims_of(server)
    check_kills(t, daemon, server)
    for sig in (signal.SIGTERM, signal.SIGKILL):
        pid = server.pid
        server.stop(sig)
        wait(lambda: not any(row["pid"] == pid for row in daemon.servers()), "the server to be gone")
        check_equal(doctor(daemon, server)[0], {}, "what doctor says of a server that is gone")
        server.start()
        daemon.wait_server(server)
        check_doctor_is_well(daemon, server)
        check_kills(t, daemon, server)


def write_options(path, password):
    with open(path, "w") as f:
        os.fchmod(f.fileno(), 0o600)
        f.write(f"[dbps]\nuser=keeper\npassword={password}\n")


def test_the_password_of_the_link_is_changed(t):
    """A link that is up stays. One that is lost then is not let in, until the option file has the password."""
    options = os.path.join(t.directory, "link.cnf")
    write_options(options, "first")
    server, daemon = t.server(), t.daemon("--set", f"link.option_file={options}", "--set", "link.user=nobody")
    victims_of(server)
    server.run("create user keeper@localhost identified by 'first'",
               "grant process, connection admin on *.* to keeper@localhost")
    wait_link(daemon, server, "up", "keeper")
    server.name = next(row["name"] for row in daemon.servers() if row["pid"] == server.pid)

    server.run("alter user keeper@localhost identified by 'second'")
    check_kills(t, daemon, server)
    number = link_id(daemon, server)
    server.run(f"kill {number}")
    wait_link(daemon, server, "down", DENIED)
    check_doctor_tells(daemon, server, DENIED)
    w = login(t, server, True)
    row = daemon.running(server, w, "select sleep(60)")
    answer = answer_of(daemon, server, f"kill query {row['id']}")
    check(answer.startswith("error 1105: KILL QUERY needs a control link") and DENIED in answer, answer)
    w.close()
    idle = daemon.wait_idle(server, login(t, server, True).id)
    answer = answer_of(daemon, server, f"kill {idle['id']}")
    check(answer.startswith("confirmed: session closed"), answer)

    write_options(options, "second")
    wait_link(daemon, server, "up", "keeper")
    check_doctor_is_well(daemon, server)
    check_kills(t, daemon, server)
