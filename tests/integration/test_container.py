"""Servers as containers have them: a network, a pid namespace, a mount namespace and a root directory of their
own, and a control group that names the container. Found, named, listed, killed."""

import contextlib
import os
import signal
import subprocess

from harness import (DEADLINE, PostgresServer, Server, cgroup, check, check_equal, network_of, spawn,
                     tail, unprivileged_user, wait)
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


def is_listed(context, server, row, engine):
    context.note(str({name: row[name] for name in ("name", "addresses", "container", "link_text")}))
    check_equal((row["name"], row["container"]),
                (f"{engine}-{server.port}@{CONTAINER_ID[:12]}", CONTAINER_ID[:12]), "its name")
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
