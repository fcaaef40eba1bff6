"""Who may see and kill what: real uids and groups, over Unix sockets and loopback TCP, through every way to
ask, and what is told of sessions that one may not see."""

import os
import pwd
import subprocess

import pymysql

from harness import check, check_equal, need_program, wait

# Ids that nobody has: what counts is the number.
PLAIN, LOOKS, KILLS, OTHER = 47001, 47002, 47003, 47009
KILLERS_GROUP = 47103
UNKNOWN_ID = 4242424242
CPU_BOUND = "select benchmark(2000000000, md5('x'))"

RIGHTS = ("--set", f"access.process={LOOKS} games", "--set", f"access.super=@{KILLERS_GROUP} games")


def open_directories(t):
    os.chmod(t.root_directory, 0o711)
    os.chmod(t.directory, 0o711)


def add_user(server):
    server.run("create or replace user app@'%' identified by 'secret'",
               "create or replace user app@localhost identified by 'secret'")


def login(server, tcp):
    where = {"host": "127.0.0.1", "port": server.port} if tcp else {"unix_socket": server.socket}
    return {"user": "app", "password": "secret", **where}


def ids_of(reply):
    check("rows" in reply, f"no list: {reply}")
    return {int(row[0]) for row in reply["rows"]}


def host_id(daemon, server, number):
    """The id of a session on the console of the whole host."""
    daemon.wait_idle(server, number)
    return next(row["id"] for row in daemon.sessions()
                if (row["server"], row["server_id"]) == (server.name, number))


class Session:
    """A session by both of its ids: on the console of its server, and on the whole host's."""

    def __init__(self, daemon, server, number):
        self.number = number
        self.host_number = host_id(daemon, server, number)


class Case:
    """Somebody with sessions of their own, and a console."""

    def __init__(self, t, server, daemon, person, sees, kills):
        self.person, self.sees, self.kills = person, sees, kills
        self.own = {tcp: Session(daemon, server,
                                 person.connect(f"own{tcp}", **login(server, tcp))["id"])
                    for tcp in (False, True)}
        person.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
        person.connect("host", user="x", unix_socket=daemon.socket)

    def query(self, sql, console="console"):
        return self.person.do("query", name=console, sql=sql)


def check_lists(case, everybody):
    """Each way to list has all sessions, or the own ones alone."""
    expected = set(everybody if case.sees else case.own.values())
    ways = {"SHOW PROCESSLIST": case.query("show processlist"),
            "SHOW FULL PROCESSLIST": case.query("show full processlist"),
            "SHOW SESSIONS": case.query("show sessions"),
            "SELECT": case.query("select id from processlist"),
            "SELECT of others": case.query("select id, user from processlist where user = 'app'"),
            "COM_PROCESS_INFO": case.person.do("process_info", name="console"),
            "the whole host": case.query("show processlist", "host"),
            "SELECT of the whole host": case.query("select id from processlist", "host")}
    for way, reply in ways.items():
        def number(session, host="host" in way):
            return session.host_number if host else session.number

        what = f"{way} of uid {case.person.uid}"
        check_equal(ids_of(reply) & set(map(number, everybody)), set(map(number, expected)), what)
        if not case.sees:
            check_equal(ids_of(reply), set(map(number, expected)), f"{what}, all of it")
    reply = case.query("select count(*) from processlist")
    check(case.sees or reply["rows"] == [[len(expected)]], f"count(*): {reply}")
    for statement in ("show servers", "show doctor"):
        reply = case.query(statement)
        check_equal("error" in reply, not case.sees, f"{statement}: {reply}")
        if not case.sees:
            check_equal(reply["error"][0], 1227, statement)


def ways_to_kill(case, number, host_number):
    yield "KILL QUERY", number, case.query(f"kill query {number}")
    yield "KILL QUERY 'id'", number, case.query(f"kill query '{number}'")
    yield "KILL QUERY on the host", host_number, case.query(f"kill query {host_number}", "host")


def check_kill(reply, number, expected, what):
    if expected is None:
        check(reply.get("message", "").startswith("missed: "), f"{what}: {reply}")
    else:
        check_equal(reply.get("error"), [expected[0], expected[1] % number], what)


UNKNOWN = (1094, "Unknown thread id: %d")
NOT_OWNER = (1095, "You are not owner of thread %d")


def check_kills(case, others):
    """KILL QUERY of idle sessions: nothing is touched, and the answer tells who may."""
    for session in case.own.values():
        for way, number, reply in ways_to_kill(case, session.number, session.host_number):
            check_kill(reply, number, None, f"{way}, own, uid {case.person.uid}")
    for session in others:
        expected = None if case.kills else NOT_OWNER
        for way, number, reply in ways_to_kill(case, session.number, session.host_number):
            check_kill(reply, number, expected, f"{way}, another's, uid {case.person.uid}")
        number = session.number
        if not case.kills:
            check_kill(case.query(f"kill {number}"), number, NOT_OWNER, "KILL, another's")
            check_kill(case.person.do("process_kill", name="console", number=number), number,
                       NOT_OWNER, "COM_PROCESS_KILL, another's")
    # Existence is told as the server does: before rights (protocol.md 3.1).
    for way, number, reply in ways_to_kill(case, UNKNOWN_ID, UNKNOWN_ID):
        check_kill(reply, number, UNKNOWN, f"{way}, unknown, uid {case.person.uid}")
    check_kill(case.person.do("process_kill", name="console", number=UNKNOWN_ID), UNKNOWN_ID,
               UNKNOWN, "COM_PROCESS_KILL, unknown")


def check_many(case, everybody):
    """A kill of many chooses among what the caller sees and may kill, without a word of the rest."""
    own = {session.number for session in case.own.values()}
    chosen = {session.number for session in everybody} if case.sees and case.kills else own
    reply = case.query("kill connection where user = 'app' dry run")
    check_equal(ids_of(reply), chosen, f"KILL WHERE of uid {case.person.uid}")
    reply = case.query("kill connection user app dry run")
    if case.sees and not case.kills:                 # as MariaDB (protocol.md 3.1)
        check_equal(reply["error"][0], 1095, f"KILL USER: {reply}")
    else:
        check_equal(ids_of(reply), chosen, f"KILL USER of uid {case.person.uid}")


def check_query_ids(case, query_id):
    """By the id of another's statement, and by one that nobody has."""
    reply = case.query("kill query id 4242424242")
    check_equal(reply["error"], [1957, "Unknown query id: 4242424242"], "an unknown query")
    if not case.kills:
        reply = case.query(f"kill query id {query_id}")
        check_equal(reply["error"], [1979, f"You are not owner of query {query_id}"], "another's")


def check_own_end(daemon, server, case):
    """Own sessions are ended, by KILL and by COM_PROCESS_KILL."""
    reply = case.query(f"kill {case.own[True].number}")
    check(reply.get("message", "").startswith("confirmed: "), f"KILL of an own one: {reply}")
    reply = case.person.do("process_kill", name="console", number=case.own[False].number)
    check(reply.get("message", "").startswith("confirmed: "), f"COM_PROCESS_KILL: {reply}")
    for tcp, session in case.own.items():
        daemon.wait_gone(server, session.number)
        check("error" in case.person.do("query", name=f"own{tcp}", sql="select 1"), "it lives")


def test_rights_of_each_kind(t):
    open_directories(t)
    server, daemon = t.pair(daemon_options=RIGHTS)
    add_user(server)
    games = pwd.getpwnam("games")
    people = (
        (t.person(PLAIN), False, False),
        (t.person(LOOKS), True, False),
        (t.person(KILLS, groups=[KILLERS_GROUP]), False, True),
        (t.person(games.pw_uid, games.pw_gid), True, True),
        (t.person(0), True, True),
    )
    other = t.person(OTHER)
    others = [Session(daemon, server, other.connect(f"s{tcp}", **login(server, tcp))["id"])
              for tcp in (False, True)]
    cases = [Case(t, server, daemon, *entry) for entry in people]
    everybody = set(others).union(*(case.own.values() for case in cases))
    for case in cases:
        check_lists(case, everybody)
        check_kills(case, others)
        check_many(case, everybody)
    other.do("begin", name="sTrue", sql="select sleep(100)")
    daemon.wait_session(server, others[1].number, "the statement", lambda row: row["info"])
    query_id = server.run("select query_id from information_schema.processlist "
                          f"where id = {others[1].number}")[0][0]
    for case in cases:
        check_query_ids(case, query_id)
    reply = cases[2].query(f"kill query id {query_id}")
    check(reply.get("message", "").startswith("confirmed: "), f"KILL QUERY ID: {reply}")
    check_equal(other.do("end", name="sTrue")["error"][0], 1317, "what the other session got")
    for case in cases:
        check_own_end(daemon, server, case)
    for tcp in (False, True):
        reply = other.do("query", name=f"s{tcp}", sql="select 1")
        check_equal(reply.get("rows"), [[1]], "a session of somebody else")
    # With SUPER and without PROCESS: killed unseen.
    case = cases[2]
    for session in others:
        check(session.number not in ids_of(case.query("show processlist")), "what SUPER sees")
        reply = case.query(f"kill {session.number}")
        check(reply.get("message", "").startswith("confirmed: "), f"KILL with SUPER: {reply}")


def test_a_statement_of_an_own_session_over_tcp(t):
    open_directories(t)
    server, daemon = t.shared_pair()
    add_user(server)
    person = t.person(PLAIN)
    person.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
    for tcp in (True, False):
        number = person.connect(f"s{tcp}", **login(server, tcp))["id"]
        person.do("begin", name=f"s{tcp}", sql="select sleep(100)")
        daemon.wait_session(server, number, "the statement", lambda row: row["info"])
        rows = person.do("query", name="console", sql="show processlist")["rows"]
        check_equal([(int(row[0]), row[7]) for row in rows if int(row[0]) == number],
                    [(number, "select sleep(100)")], "the own list")
        reply = person.do("query", name="console", sql=f"kill query {number}")
        check(reply.get("message", "").startswith("confirmed: "), f"KILL QUERY: {reply}")
        check_equal(person.do("end", name=f"s{tcp}")["error"][0], 1317, "what the session got")


def take_over(server, daemon, owner, heir):
    """A statement whose client was reset, and a session from the same port: both as connected. None when
    somebody else on this host was quicker."""
    old = owner.connect("s", **login(server, True))
    owner.do("begin", name="s", sql=CPU_BOUND)
    daemon.wait_session(server, old["id"], "the statement", lambda row: row["info"])
    owner.do("reset", name="s")
    new = heir.do("connect", name="s", from_port=old["port"], **login(server, True))
    if "error" not in new:
        return old, new
    check_equal(new["error"][0], 0, f"not the address: {new}")
    daemon.query(f"kill {old['id']}", server.name)
    return None


def test_an_address_taken_over_is_no_session_taken_over(t):
    """A CPU-bound statement outlives its client's RST; the client's port is then another's."""
    open_directories(t)
    server, daemon = t.shared_pair()
    add_user(server)
    owner, heir = t.person(PLAIN), t.person(OTHER)
    old, new = next(filter(None, (take_over(server, daemon, owner, heir) for _ in range(10))))
    check_equal(new["port"], old["port"], "port")
    daemon.wait_idle(server, new["id"])
    heir.connect("console", user="x", unix_socket=daemon.socket, db=server.name)
    owner.connect("console", user="x", unix_socket=daemon.socket, db=server.name)

    seen = ids_of(heir.do("query", name="console", sql="show processlist"))
    check(old["id"] not in seen and new["id"] in seen, f"what the heir sees: {seen}")
    reply = heir.do("query", name="console", sql=f"kill {old['id']}")
    check_kill(reply, old["id"], NOT_OWNER, "the heir's KILL of the old session")
    # Who made it cannot be told any more: its client's socket is gone.
    seen = ids_of(owner.do("query", name="console", sql="show processlist"))
    check(not seen & {old["id"], new["id"]}, f"what the old owner sees: {seen}")
    check(daemon.session(server, old["id"])["info"], "the statement")
    daemon.query(f"kill {old['id']}", server.name)
    wait(lambda: old["id"] not in server.processlist(), "the statement to end")


def test_claims_of_the_login_give_nothing(t):
    """Neither the database user, nor its password, nor connection attributes: the client's own word."""
    open_directories(t)
    server, daemon = t.shared_pair()
    add_user(server)
    victim, person = t.person(OTHER), t.person(PLAIN)
    number = victim.connect("s", **login(server, True))["id"]
    row = daemon.wait_idle(server, number)
    check_equal(row["attr_pid"], victim.process.pid, "_pid, as the client claims it")
    for user in ("root", "app"):
        reply = person.connect("console", user=user, password="secret", unix_socket=daemon.socket,
                               db=server.name)
        check("error" not in reply, "login")
        check(number not in ids_of(person.do("query", name="console", sql="show processlist")),
              "what a name sees")
        check_kill(person.do("query", name="console", sql=f"kill {number}"), number, NOT_OWNER,
                   f"KILL as {user}")


def test_grants_tell_the_rule(t):
    open_directories(t)
    daemon = t.daemon(*RIGHTS)
    own = "own sessions: those whose client runs on this host as uid %d"
    cases = (
        (t.person(0), "root", ["root may do all"] * 2),
        (t.person(PLAIN), str(PLAIN), []),
        (t.person(LOOKS), str(LOOKS), [f"access.process names {LOOKS}"]),
        (t.person(KILLS, groups=[1, KILLERS_GROUP]), str(KILLS),
         [f"access.super names @{KILLERS_GROUP}"]),
        (t.person(pwd.getpwnam("games").pw_uid), "games",
         ["access.process names games", "access.super names games"]),
    )
    for person, name, rules in cases:
        person.connect("console", user="x", unix_socket=daemon.socket)
        for statement in ("show grants", "show grants for current_user()",
                          f"show grants for '{name}'@'localhost'"):
            reply = person.do("query", name="console", sql=statement)
            check_equal(reply.get("columns"), [f"Grants for {name}@localhost", "why"], statement)
            check_equal([row[1] for row in reply["rows"]], rules + [own % person.uid], statement)
        reply = person.do("query", name="console", sql="show grants for somebody")
        check_equal(reply["error"][0], 1044, "grants of others")


def test_the_protected_are_spared_unless_named(t):
    """A real backup, a replica's user, and the control link, in a KILL of many; then each by its id."""
    need_program("mariadb-dump")
    server, daemon = t.pair()
    server.run("create database shop", "create table shop.t (a int)", "insert into shop.t values (1)",
               "create user repl@localhost", "create user app@localhost")
    t.spawn(["mariadb-dump", "--no-defaults", f"--socket={server.socket}", "--where=sleep(100)=0",
             "shop", "t"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    dump = wait(lambda: next((row for row in daemon.sessions(server)
                              if row["info"] and "sleep(100)" in row["info"]), None), "the dump")
    check_equal((dump["program"], dump["protected"]), ("mysqldump", "protect.programs"), "the dump")
    replica = t.keep(server.connect(user="repl"))
    victim = t.keep(server.connect(user="app"))
    row = daemon.wait_idle(server, replica.thread_id())
    check_equal(row["protected"], "protect.users", "the replica's user")
    row = daemon.wait_idle(server, victim.thread_id())
    check_equal(row["protected"], None, "an ordinary user")

    admin = server.admin_connection.thread_id()
    daemon.query(f"kill where id <> {admin}", server.name)
    daemon.wait_gone(server, victim.thread_id())
    left = {row["server_id"]: row["protected"] for row in daemon.sessions(server)}
    left.pop(admin, None)
    others = "control link of another dbpsd"         # one that runs on this host, too
    left = {number: why for number, why in left.items() if why != others}
    check_equal(sorted(left.values()),
                ["control link of dbpsd", "protect.programs", "protect.users"], "who is left")
    daemon.query("kill user repl", server.name)
    replica.ping(reconnect=False)
    for number in (dump["server_id"], replica.thread_id()):
        daemon.query(f"kill {number}", server.name)
        daemon.wait_gone(server, number)
    link = next(number for number, why in left.items() if why == "control link of dbpsd")
    with daemon.connect(db=server.name) as console, console.cursor() as cursor:
        try:
            cursor.execute(f"kill {link}")
            check(False, "the link was killed")
        except pymysql.err.MySQLError as error:
            check_equal(error.args[0], 1105, str(error))


def equal_ids(servers, people):
    """A session of each person on each server, with the same connection id: {(server, uid): id}."""
    numbers = {}
    for person in people:
        where = [login(server, True) for server in servers]
        ids = [person.connect(f"{server.name}", **w)["id"] for server, w in zip(servers, where)]
        while ids[0] != ids[1]:
            behind = ids.index(min(ids))
            ids[behind] = person.connect(servers[behind].name, **where[behind])["id"]
        numbers[person.uid] = ids[0]
    return numbers


def test_equal_ids_of_two_servers(t):
    """An id of the whole host means one session: those of server n have n << 32 added."""
    open_directories(t)
    daemon = t.daemon()
    servers = [t.server(), t.server()]
    for server in servers:
        daemon.wait_server(server)
        add_user(server)
    person, other = t.person(PLAIN), t.person(OTHER)
    ids = equal_ids(servers, (person, other))
    host_ids = {(server.name, number): host_id(daemon, server, number)
                for server in servers for number in ids.values()}
    person.connect("console", user="x", unix_socket=daemon.socket)
    check_equal(len(set(host_ids.values())), 4, "each session has an id of its own")
    check_equal({number & 0xffffffff for number in host_ids.values()}, set(ids.values()),
                "which is the server's behind the server's number")
    own = {host_ids[server.name, ids[PLAIN]] for server in servers}
    seen = ids_of(person.do("query", name="console", sql="show processlist"))
    check(own <= seen, f"own sessions {own} in {seen}")
    foreign = {host_ids[server.name, ids[OTHER]] for server in servers}
    check(not foreign & seen, f"sessions of others {foreign} in {seen}")
    check(own | foreign <= {int(row[0]) for row in daemon.query("show processlist")}, "root's list")

    for server in servers:                           # nobody is hit by the other's id
        number = host_ids[server.name, ids[OTHER]]
        check_kill(person.do("query", name="console", sql=f"kill {number}"), number, NOT_OWNER,
                   "KILL of another's")
    for killer in ("person", "root"):
        first, second = servers if killer == "person" else reversed(servers)
        number = ids[PLAIN] if killer == "person" else ids[OTHER]
        statement = f"kill {host_ids[second.name, number]}"
        if killer == "person":
            reply = person.do("query", name="console", sql=statement)
            check(reply.get("message", "").startswith("confirmed: "), f"{statement}: {reply}")
        else:
            daemon.query(statement)
        daemon.wait_gone(second, number)
        victim = person if killer == "person" else other
        check_equal(victim.do("query", name=first.name, sql="select 1").get("rows"), [[1]],
                    "the session of the same id on the other server")
        check("error" in victim.do("query", name=second.name, sql="select 1"), "the one named")
    unknown = 1000000 << 32 | ids[PLAIN]
    check_kill(person.do("query", name="console", sql=f"kill {unknown}"), unknown, UNKNOWN,
               "an id of a server that is not there")
