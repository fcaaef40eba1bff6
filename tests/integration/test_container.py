"""Servers in containers: with a network, a pid namespace, a mount namespace and a root directory of their own, and a
control group that names the container. Found, named, listed, killed. First in namespaces made by hand, then in those of
runc, with an overlay as root, where clients are in containers, too."""

import contextlib
import json
import os
import signal
import subprocess

import oci
from harness import (DEADLINE, PostgresServer, Server, cgroup, check, check_equal, network_of, spawn,
                     tail, unprivileged_user, wait, write_certificate)
from pgwire import PgError, query

CONTAINER_ID = "5e" * 32
RUN = "/run/db"  # in the container
SCRIPT = r"""echo 0 > "$1"; new="$2"; user="$3"; shift 3
exec unshare --net --mount --pid --fork --kill-child --mount-proc sh -ec '
  ip link set lo up; mkdir "$0"; mount --rbind / "$0"; mount -t tmpfs -o mode=1777 tmpfs "$0/run"
  mkdir -m 1777 "$0/run/db"; user="$1"; shift; exec chroot --userspec="$user" "$0" "$@"' \
  "$new" "$user" "$@"
"""


def contained(server, args, user):
    """The command line in a container of its own."""
    procs = server.context.stack.enter_context(
        cgroup(f"dbpstest{os.getpid()}.slice/docker-{CONTAINER_ID}.scope"))
    return ["sh", "-ec", SCRIPT, "sh", procs, os.path.join(server.directory, "root"), user, *args]


def find_child(server):
    """The first process of the container, as this host numbers it."""
    def look():
        check(server.process.poll() is None, f"the container ended:\n{tail(server.log)}")
        with contextlib.suppress(OSError, LookupError):
            with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children") as f:
                pid = int(f.read().split()[0])
            with open(f"/proc/{pid}/comm") as f:
                return pid if f.read().strip() in ("mariadbd", "postgres") else None
        return None

    return wait(look, f"a server in the container\n{tail(server.log)}")


class MariadbContainer(Server):
    def __init__(self, context):
        self.context = context
        super().__init__(context._subdirectory("server"), context.root_directory, own_network=True)
        context.parts.append(self)

    def command(self, args):
        args = [f"--socket={RUN}/m.sock" if arg.startswith("--socket=") else arg for arg in args]
        # A callback that was registered later runs earlier: it ends before its group is removed.
        command = contained(self, args, "0:0")
        self.context.stack.callback(self.stop, signal.SIGKILL)
        return command

    def find_pid(self):
        pid = find_child(self)
        self.socket = f"/proc/{pid}/root{RUN}/m.sock"
        return pid

    def connect(self, tcp=False, **kwargs):
        with network_of(self.pid):
            return super().connect(tcp, **kwargs)


class PostgresContainer(PostgresServer):
    def __init__(self, context):
        self.context = context
        super().__init__(context.run)
        context.parts.append(self)

    def spawn(self, args):
        args = [arg if not arg.startswith("unix_socket_directories=")
                else f"unix_socket_directories={RUN}" for arg in args]
        command = contained(self, args, ":".join(map(str, unprivileged_user())))
        self.context.stack.callback(self.stop)
        with open(self.log, "a") as log:
            return spawn(command, stdout=log, stderr=log, cwd=self.directory)

    def find_pid(self):
        pid = find_child(self)
        self.socket = f"/proc/{pid}/root{RUN}/.s.PGSQL.{self.port}"
        return pid

    def stop(self, _sig=None):
        if self.admin_connection:
            self.admin_connection.close()
        if self.process.poll() is None:
            os.kill(find_child(self), signal.SIGINT)
            self.process.wait(DEADLINE)

    def connect(self, tcp=False, **kwargs):
        with network_of(self.pid):
            return super().connect(tcp, **kwargs)


def is_listed(context, server, row, engine, container=CONTAINER_ID):
    context.note(str({name: row[name] for name in ("name", "addresses", "container", "link_text")}))
    check_equal((row["name"], row["container"]),
                (f"{engine}-{server.port}@{container[:12]}", container[:12]), "its name")
    check(f"127.0.0.1:{server.port}" in row["addresses"].split(), row["addresses"])
    check(any(address.startswith(RUN) for address in row["addresses"].split()), row["addresses"])


def test_mariadb(context):
    daemon = context.daemon()
    server = MariadbContainer(context)
    is_listed(context, server, daemon.wait_server(server), "mariadb")
    server.run("create user app", "grant all on *.* to app")
    for tcp in (True, False):
        client = context.keep(server.wire(tcp=tcp))
        client.login("app")
        client.send_command(3, b"select sleep(100)")
        row = daemon.wait_session(server, client.id, "the statement",
                                  lambda row: row["state"] == "ACTIVE")
        check_equal((row["client_pid"], row["user"]), (os.getpid(), "app"), str(row))
        daemon.wait_equal(server)
        answer = daemon.dbps("kill", "--server", server.name, "query", str(client.id))
        check(": confirmed: " in answer.stdout, answer.stdout)
        daemon.wait_idle(server, client.id)
        answer = daemon.dbps("kill", "--server", server.name, str(client.id))
        context.note(answer.stdout.strip())
        check(": confirmed: session closed" in answer.stdout, answer.stdout)
        daemon.wait_gone(server, client.id)


def test_client(context):
    """A client in the same container: its process as this host numbers it, and the container."""
    daemon = context.daemon()
    server = MariadbContainer(context)
    daemon.wait_server(server)
    context.spawn(["nsenter", "-t", str(server.pid), "--net", "--mount", "--pid", "--root", "mariadb",
                   "--no-defaults", "-S", f"{RUN}/m.sock", "-e", "select sleep(100)"],
                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    row = wait(lambda: next((row for row in daemon.sessions(server)
                             if row["info"] == "select sleep(100)"), None), "the client's session")
    check_equal(row["client_command"], "mariadb", str(row))
    check(row["client_exe"].endswith("/usr/bin/mariadb"), row["client_exe"])
    with open(f"/proc/{row['client_pid']}/comm") as f:
        check_equal(f.read().strip(), "mariadb", "the process")
    daemon.query(f"kill {row['id']}", server.name)


def test_postgres(context):
    server = PostgresContainer(context)
    older = context.keep(server.connect(tcp=True))
    daemon = context.daemon()
    is_listed(context, server, daemon.wait_server(server, link=False), "postgres")
    # The backend's number is the container's, also of a session older than dbpsd.
    row = daemon.wait_session(server, older.pid, "the older session", lambda row: row["user"])
    check(row["joined"] and row["pid"] != older.pid, str(row))
    for tcp in (True, False):
        client = context.keep(server.connect(tcp=tcp))
        client.send(query("select pg_sleep(100)"))
        row = daemon.wait_session(server, client.pid, "the statement",
                                  lambda row: row["state"] == "ACTIVE")
        check_equal((row["user"], row["client_pid"]), ("postgres", os.getpid()), str(row))
        activity = server.activity()[client.pid]
        check_equal((activity["query"], activity["state"]), (row["info"], "active"), "its own list")
        answer = daemon.dbps("kill", "--server", server.name, "query", str(client.pid))
        check(": confirmed: " in answer.stdout, answer.stdout)
        try:
            client.until_ready()
            check(False, "it was not interrupted")
        except PgError as error:
            check_equal(error.sqlstate, "57014", "what the client got")
        answer = daemon.dbps("kill", "--server", server.name, str(client.pid))
        context.note(answer.stdout.strip())
        check(": confirmed: session closed" in answer.stdout, answer.stdout)
        daemon.wait_gone(server, client.pid)


USERS = 0x3e000000  # the first id on this host of the containers' own users


class RuncMariadb(Server):
    """TLS can be had. Root is root of its own user namespace."""

    def __init__(self, context):
        self.container = oci.Container(context, users=USERS)
        context.stack.callback(self.stop, signal.SIGKILL)
        self.process = self.admin_connection = None
        super().__init__(context._subdirectory("server"), context.root_directory, own_network=True)
        context.parts.append(self)

    def command(self, args):
        key, cert = write_certificate(self.directory)
        users = os.path.join(self.directory, "users.sql")
        with open(users, "w") as f:
            for user in ("admin@localhost", "app@'%'"):
                f.write(f"create user {user};\ngrant all on *.* to {user};\n")
        self.shared = os.path.join(self.directory, "shared")
        os.mkdir(self.shared)
        self.container.own(self.directory)
        self.container.share(self.shared, RUN)
        self.socket = os.path.join(self.shared, "m.sock")
        return self.container.command([f"--socket={RUN}/m.sock" if arg.startswith("--socket=") else arg
                                       for arg in args] + [f"--ssl-key={key}", f"--ssl-cert={cert}",
                                                           f"--init-file={users}"])

    def find_pid(self):
        return wait_first(self, "mariadbd")

    def connect(self, tcp=False, user="admin", **kwargs):
        return super().connect(tcp, user, **kwargs)

    def client(self, tcp, n):
        """The command line of a stock client that sleeps n seconds in a statement, and the statement."""
        where = ["-h", "127.0.0.1", "-P", str(self.port), "--ssl"] if tcp else ["-S", f"{RUN}/m.sock", "--skip-ssl"]
        text = f"select sleep({n})"
        return ["mariadb", "--no-defaults", "-u", "app", *where, "-e", text], text


class RuncPostgres(PostgresServer):
    """TLS is on. Its user is unknown in the container's /etc/passwd."""

    def __init__(self, context):
        self.container = oci.Container(context)
        self.container.uid = self.container.gid = USERS
        context.stack.callback(self.stop)
        self.process = self.admin_connection = None
        super().__init__(context.run, tls=True)
        context.parts.append(self)

    def spawn(self, args):
        self.shared = os.path.join(self.directory, "shared")
        os.mkdir(self.shared)
        self.container.own(self.directory)
        self.container.share(self.shared, RUN)
        self.socket = os.path.join(self.shared, f".s.PGSQL.{self.port}")
        args = [arg if not arg.startswith("unix_socket_directories=") else f"unix_socket_directories={RUN}"
                for arg in args]
        with open(self.log, "a") as log:
            return spawn(self.container.command(args), stdout=log, stderr=log)

    def find_pid(self):
        return wait_first(self, "postgres")

    def connect(self, tcp=False, **kwargs):
        with network_of(self.pid):
            return super().connect(tcp, **kwargs)

    def client(self, tcp, n):
        where = "127.0.0.1" if tcp else RUN
        text = f"select pg_sleep({n})"
        return ["psql", "-X", "-U", "postgres", "-h", where, "-p", str(self.port), "-c", text], text


def wait_first(server, command):
    """The container's first process, once it is the server."""
    def look():
        check(server.process.poll() is None, f"the container ended:\n{tail(server.log)}")
        pid = server.container.pid()
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
            return pid if f.read().strip() == command else None
        return None

    return wait(look, f"{command} in the container\n{tail(server.log)}", every=0.02)


def clients(context, server):
    """Stock clients: (where, process that runs it, its container or None, over TCP, the statement)."""
    pod, apart = oci.Container(context, network=server.pid), oci.Container(context)
    apart.share(server.shared, RUN)
    for n, (where, container, tcp) in enumerate((
            ("in the same container", server.container, True), ("in one that has the same network", pod, True),
            ("in one that has the same directory", apart, False), ("on the host", None, False))):
        args, text = server.client(tcp, 1000 + n)
        if container is None:
            args = [arg.replace(RUN, server.shared) for arg in args]
        elif container is server.container:
            args = container.enter(args)
        else:
            args = container.command(args)
        process = context.spawn(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield where, process, container, tcp, text


def has_clients(context, daemon, server, command):
    """Each is known, and killed: of two its statement, of two the session."""
    for i, (where, process, container, tcp, text) in enumerate(list(clients(context, server))):
        row = wait(lambda text=text: next((row for row in daemon.sessions(server) if row["info"] == text), None),
                   f"{text}, {where}")
        context.note(f"{where}: " + str({name: row[name] for name in (
            "host", "tls", "client_pid", "client_uid", "client_command", "client_exe", "client_container")}))
        pid = process.pid if container is None else container.pid()
        if container is server.container:
            with open(f"/proc/{row['client_pid']}/cgroup") as f:
                check(container.id in f.read() and row["client_pid"] != pid, f"{where}: {row['client_pid']}")
        else:
            check_equal(row["client_pid"], pid, where)
        uid = container.uid + (container.users or 0) if container else os.getuid()
        seen = [row[f"client_{name}"] for name in ("command", "uid", "container", "unit")]
        check_equal(seen, [command, uid, container.id[:12] if container else None, None], where)
        check(row["client_exe"].endswith(f"/bin/{command}"), row["client_exe"])
        if container:
            check_equal(row["client_cgroup"], container.group, where)
        check_equal((row["tls"], row["host"].split(":")[0]), (tcp, "127.0.0.1" if tcp else "localhost"), where)
        words = ("kill", "--server", server.name, *(("query",) if i % 2 else ()), str(row["server_id"]))
        answer = daemon.dbps(*words).stdout
        check(": confirmed: " in answer, answer)
        daemon.wait_gone(server, row["server_id"])
        process.wait(DEADLINE)


def followed_in_clear(daemon, server):
    doctor = json.loads(daemon.dbps("doctor", "--json", check_exit=False).stdout)  # others may be in trouble
    row = next(row for row in doctor if (row["subject"], row["item"]) == (server.name, "TLS"))
    check_equal(row["status"], "ok", str(row))


def test_runc_mariadb(context):
    """Also through a control link, as the root of its user namespace."""
    oci.need_runc(context, users=USERS)
    daemon = context.daemon()
    server = RuncMariadb(context)
    row = daemon.wait_server(server)
    is_listed(context, server, row, "mariadb", server.container.id)
    check_equal(row["link_text"], f"root over {RUN}/m.sock", "the link")
    followed_in_clear(daemon, server)
    has_clients(context, daemon, server, "mariadb")
    check_equal(os.stat(f"/proc/{daemon.pid}").st_uid, 0, "dbpsd's own user")


def test_runc_postgres(context):
    oci.need_runc(context)
    server = RuncPostgres(context)
    daemon = context.daemon()
    is_listed(context, server, daemon.wait_server(server, link=False), "postgres", server.container.id)
    followed_in_clear(daemon, server)
    has_clients(context, daemon, server, "psql")
