"""Who the client of a session is: its process, as the kernel knows it, and what stands between."""

import contextlib
import os
import shutil
import socket
import subprocess

import wire
from harness import (DEADLINE, become_unprivileged, cgroup, check, check_equal, free_port, in_new_network,
                     need_program, network_of, unprivileged_user, wait)
from pgwire import PgWire, query

NAMES = ("client_pid", "client_uid", "client_command", "client_exe", "client_unit",
         "client_container", "client_cgroup", "proxy")


def client_of(row):
    return {name: row[name] for name in NAMES}


def mariadb(context, server, *options, **kwargs):
    """A stock client that sleeps in a statement."""
    where = ["-h", "127.0.0.1", "-P", str(server.port)]
    if "--protocol=socket" in options:
        where = ["-S", server.socket]
    return context.spawn(["mariadb", "--no-defaults", "-u", "knocker", *where, *options,
                          "-e", "select sleep(100)"], stderr=subprocess.DEVNULL, **kwargs)


def session_of(context, daemon, server, process):
    """The row whose client is that process."""
    row = wait(lambda: next((row for row in daemon.sessions(server)
                             if row["client_pid"] == process.pid and row["info"]), None),
               f"a session of process {process.pid}")
    context.note(str(client_of(row)))
    return row


def pair(context):
    server, daemon = context.shared_pair()
    server.run("create or replace user knocker", "grant all on *.* to knocker")
    return server, daemon


def test_process(context):
    server, daemon = pair(context)
    for options in (["--protocol=socket"], ["--protocol=tcp"]):
        process = mariadb(context, server, *options)
        row = session_of(context, daemon, server, process)
        check_equal((row["client_uid"], row["client_command"], row["proxy"]),
                    (os.getuid(), "mariadb", None), str(row))
        check_equal(row["client_exe"], os.readlink(f"/proc/{process.pid}/exe"), "exe")
        selected = daemon.query(f"select client_command from processlist where id = {row['id']}",
                                server.name)
        check_equal(selected, (("mariadb",),), "SELECT")
        daemon.query(f"kill {row['id']}", server.name)


def test_cgroup(context):
    server, daemon = pair(context)
    slice_ = f"dbpstest{os.getpid()}.slice"
    for path, unit, container in (
            (f"{slice_}/web@1.service", "web@1.service", None),
            (f"{slice_}/docker-{'3f' * 32}.scope", None, "3f3f3f3f3f3f")):
        with cgroup(path) as procs:
            def enter(procs=procs):
                with open(procs, "w") as f:
                    f.write("0")
            process = mariadb(context, server, preexec_fn=enter)
            row = session_of(context, daemon, server, process)
            check(row["client_cgroup"].endswith(f"/{path}"), row["client_cgroup"])
            check_equal((row["client_unit"], row["client_container"]), (unit, container), path)
            process.kill()
            process.wait()


def test_gone(context):
    """A client that has gone is nobody, also when its number is another's; what it left is another
    process's."""
    server, daemon = pair(context)
    client = context.keep(server.wire())
    client.login("knocker")
    row = daemon.wait_idle(server, client.id)
    check_equal(row["client_pid"], os.getpid(), "this process")
    # A child has the connection now, and is the only one.
    child = context.spawn(["sleep", "100"], pass_fds=[client.sock.fileno()])
    client.sock.close()
    row = daemon.session(server, client.id)
    check_equal((row["client_pid"], row["client_command"]), (child.pid, "sleep"), "the child")
    process = mariadb(context, server)
    row = session_of(context, daemon, server, process)
    process.kill()
    process.wait()
    row = daemon.wait_session(server, row["server_id"], "an orphan", lambda row: row["orphan"])
    check_equal(client_of(row), {name: None for name in NAMES}, "nobody")
    daemon.query(f"kill {row['id']}", server.name)


def test_other_user(context):
    server, daemon = pair(context)
    process = mariadb(context, server, user=65534, group=65534, extra_groups=[])
    row = session_of(context, daemon, server, process)
    check_equal(row["client_uid"], 65534, "uid")
    daemon.query(f"kill {row['id']}", server.name)


def test_remote(context):
    """A client of another network namespace is a remote one: nothing is known of its process."""
    server, daemon = context.server("--bind-address=0.0.0.0", own_network=True), context.daemon()
    daemon.wait_server(server)
    server.run("create user knocker", "grant all on *.* to knocker")
    client = context.spawn(in_new_network(["sleep", "1000"]))
    wait(lambda: os.readlink(f"/proc/{client.pid}/ns/net") != os.readlink("/proc/self/ns/net"),
         "the client's network")
    subprocess.run(["ip", "link", "add", "there", "netns", str(client.pid), "type", "veth", "peer",
                    "name", "here", "netns", str(server.pid)], check=True)
    for pid, device, address in ((client.pid, "there", "198.18.0.1"),
                                 (server.pid, "here", "198.18.0.2")):
        for words in (["addr", "add", f"{address}/24", "dev", device], ["link", "set", device, "up"]):
            subprocess.run(["nsenter", "-t", str(pid), "--net", "ip", *words], check=True)
    with network_of(client.pid):
        w = context.keep(wire.Wire(("198.18.0.2", server.port)))
    w.login("knocker")
    row = daemon.wait_idle(server, w.id)
    check(row["host"].startswith("198.18.0.1:"), row["host"])
    check_equal(client_of(row), {name: None for name in NAMES}, "nobody")


def test_server_as_client(context):
    """A session that another server opened is marked, and spared by a kill of many."""
    server = context.postgres()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    server.query("create extension dblink")
    client = context.keep(server.connect(tcp=True))
    client.send(query(f"select * from dblink('host=127.0.0.1 port={server.port} user=postgres',"
                      " 'select 1 from pg_sleep(100)') as t(n int)"))
    row = wait(lambda: next((row for row in daemon.sessions(server)
                             if row["proxy"] and row["info"]), None), "the inner session")
    context.note(str(client_of(row)))
    check_equal((row["proxy"], row["client_pid"], row["protected"], row["client_command"]),
                (server.name, client.pid, "protect.proxies", "postgres"), str(row))
    answer = daemon.query("kill query where info like 'select 1 from pg_sleep%'", server.name)
    check_equal([row[1] for row in answer], ["spared"], str(answer))
    check_equal(daemon.session(server, row["server_id"])["state"], "ACTIVE", "spared")
    daemon.query(f"kill query {row['id']}", server.name)
    daemon.wait_idle(server, client.pid)


def test_replica(context):
    server, replica = context.server("--log-bin=log", "--server-id=1"), context.server("--server-id=2")
    daemon = context.daemon()
    for each in (server, replica):
        daemon.wait_server(each)
    server.run("create user repl identified by 'secret'", "grant replication slave on *.* to repl")
    replica.run(f"change master to master_host = '127.0.0.1', master_port = {server.port}, master_user = 'repl',"
                " master_password = 'secret'", "start slave")
    row = wait(lambda: next((row for row in daemon.sessions(server) if row["command"] == "Binlog Dump"), None),
               "the replica")
    check_equal((row["user"], row["proxy"], row["client_pid"], row["protected"]),
                ("repl", replica.name, replica.pid, "protect.commands"), str(row))
    answer = daemon.query("kill where user = 'repl'", server.name)
    check_equal([row[1] for row in answer], ["spared"], str(answer))
    replica.run("stop slave")


def haproxy(context, *behind, program="haproxy"):
    """A HAProxy that passes on what it is sent to the servers in turn: its process, and the port that it listens on."""
    need_program("haproxy")
    port = free_port()
    settings = os.path.join(context.directory, f"haproxy-{port}.cfg")
    with open(settings, "w") as f:
        f.write("global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 20s\n timeout client 1h\n"
                f" timeout server 1h\nlisten all\n bind 127.0.0.1:{port}\n balance roundrobin\n")
        f.writelines(f" server s{server.port} 127.0.0.1:{server.port}\n" for server in behind)
    process = context.spawn([program, "-db", "-f", settings], stderr=subprocess.DEVNULL)

    def listens():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    wait(listens, "HAProxy to listen", every=0.02)
    return process, port


def test_haproxy(context):
    """What it relays is at the server others' work, marked and spared; at itself it is its client's, and no statement
    can be killed there. The ids that it relays are those of the servers, and are not taken for its own."""
    server, daemon = pair(context)
    proxy, port = haproxy(context, server)
    client = context.spawn(["mariadb", "--no-defaults", "-u", "knocker", "-h", "127.0.0.1", "-P", str(port),
                            "-e", "select sleep(100), 'relayed'"], stderr=subprocess.DEVNULL)

    def both():
        rows = {row["server"]: row for row in daemon.sessions() if "relayed" in (row["info"] or "")}
        return rows if rows.keys() == {server.name, f"haproxy-{port}"} else None

    rows = wait(both, "the statement, twice")
    behind, front = rows[server.name], rows[f"haproxy-{port}"]
    check_equal((behind["proxy"], behind["protected"], behind["client_pid"]),
                (f"haproxy-{port}", "protect.proxies", proxy.pid), str(behind))
    check_equal((front["proxy"], front["server_id"], front["client_pid"]), (None, None, client.pid), str(front))
    row = next(row for row in daemon.servers() if row["pid"] == proxy.pid)
    check_equal((row["engine"], row["link"]), ("proxy", "none"), str(row))
    answer = {row[0]: row[1:] for row in daemon.query("kill query where info like '%relayed%'")}
    context.note(str(answer))
    check_equal((answer[behind["id"]][0], answer[front["id"]][0]), ("spared", "refused"), str(answer))
    check("server behind" in answer[front["id"]][2], str(answer))
    check(": confirmed: " in daemon.dbps("kill", "query", str(behind["id"])).stdout, "of the server")
    check_equal(client.wait(DEADLINE), 1, "the client's exit")


def test_haproxy_postgres(context):
    server, daemon = context.postgres(), context.daemon()
    daemon.wait_server(server, link=False)
    _, port = haproxy(context, server)
    client = context.keep(PgWire(("127.0.0.1", port)))
    client.send(query("select pg_sleep(100)"))
    row = wait(lambda: next((row for row in daemon.sessions(server) if row["info"]), None), "the statement")
    check_equal((row["proxy"], row["protected"]), ("haproxy", "protect.proxies"), str(row))
    answer = daemon.query("kill query where info like 'select pg_sleep%'", server.name)
    check_equal([row[1] for row in answer], ["spared"], str(answer))
    daemon.query(f"kill query {row['id']}", server.name)
    daemon.wait_idle(server, row["server_id"])


def test_relay(context):
    """One that nobody knows by its name, before two servers: a link through it would kill a stranger's statement, at the
    server that it ends up at, by the id that a session has at the other."""
    options = os.path.join(context.directory, "link.cnf")
    with open(options, "w") as f:
        f.write("[client]\nuser = keeper\npassword = secret\n")
    os.chmod(options, 0o600)
    program = shutil.copy(need_program("haproxy"), os.path.join(context.directory, "relay"))
    servers = context.server(), context.server()
    for server in servers:
        server.add_user("keeper", "secret")
        server.add_user("app", "secret")
    daemon = context.daemon("--set", f"link.option_file={options}")
    for server in servers:
        daemon.wait_server(server)
    proxy, port = haproxy(context, *servers, program=program)
    context.keep(wire.Wire(("127.0.0.1", port)))  # it greets, and is found
    row = wait(lambda: next((row for row in daemon.servers() if row["pid"] == proxy.pid and row["link"] == "down"), None),
               "its link to be refused")
    check("it is a proxy" in row["link_text"], row["link_text"])


def pgbouncer(context, server):
    """A PgBouncer before a server: the port that it listens on."""
    need_program("pgbouncer")
    directory = os.path.join(server.directory, "pgbouncer")
    os.mkdir(directory)
    os.chown(directory, *unprivileged_user())
    port = free_port()
    settings = os.path.join(directory, "pgbouncer.ini")
    with open(settings, "w") as f:
        f.write(f"[databases]\n* = host=127.0.0.1 port={server.port} user=postgres\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
                f"unix_socket_dir =\nauth_type = any\nlogfile = {directory}/log\n")
    context.spawn(["pgbouncer", "-q", settings], preexec_fn=become_unprivileged,
                  stderr=subprocess.DEVNULL)
    return port


def test_pooler(context):
    """What PgBouncer sends is others' work: marked, spared by many, killed by its id."""
    server = context.postgres()
    daemon = context.daemon()
    daemon.wait_server(server, link=False)
    port = pgbouncer(context, server)

    def connect():
        with contextlib.suppress(OSError, EOFError):
            return context.keep(PgWire(("127.0.0.1", port)))

    client = wait(connect, "PgBouncer to listen", every=0.02)
    client.send(query("select pg_sleep(100)"))
    row = wait(lambda: next((row for row in daemon.sessions(server)
                             if row["info"] == "select pg_sleep(100)"), None), "the statement")
    context.note(str(client_of(row)))
    check(row["proxy"] in ("pgbouncer", f"pgbouncer-{port}"), str(row))  # before it is known as a server, and after
    check_equal((row["protected"], row["client_command"]), ("protect.proxies", "pgbouncer"), str(row))
    answer = daemon.query("kill query where info like 'select pg_sleep%'", server.name)
    check_equal([row[1] for row in answer], ["spared"], str(answer))
    daemon.query(f"kill query {row['id']}", server.name)
    daemon.wait_idle(server, row["server_id"])
