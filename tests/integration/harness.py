"""What the integration tests stand on: throwaway MariaDB servers, dbpsd, dbps, and a context that ends and
removes everything that a test started. Processes are ended by id; nothing sleeps for luck, each wait
is for an event and has a deadline."""

import contextlib
import ctypes
import functools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pymysql

import pgwire
import wire
from deadline import seconds

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
WAIT_S = 20.0
DEADLINE = seconds(WAIT_S)
PREFIX = "dbps-test-"
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """A test that cannot run here; the text says why."""


class Failure(AssertionError):
    """A test that failed; the text says what was seen."""


def check(condition, message):
    if not condition:
        raise Failure(message)


def check_equal(seen, expected, what):
    if seen != expected:
        raise Failure(f"{what}:\n  seen     {seen!r}\n  expected {expected!r}")


def wait(predicate, what, timeout=WAIT_S, every=0.002):
    """The first true value of predicate(); fails when there is none in time."""
    end = time.monotonic() + seconds(timeout)
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {seconds(timeout):g} s for: {what}")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(args, **kwargs):
    """A process that does not outlive this one, however it ends."""
    extra = kwargs.pop("preexec_fn", None)

    def prepare():
        _die_with_parent()
        if extra:
            extra()

    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen(args, preexec_fn=prepare, **kwargs)


def end_process(process, sig=signal.SIGTERM, timeout=DEADLINE):
    """Ask a process to end, then make it."""
    if process.poll() is not None:
        return process.returncode
    process.send_signal(signal.SIGCONT)
    process.send_signal(sig)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def tail(path, lines=20):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])
    except OSError:
        return ""


def status_value(pid, name):
    """A number of /proc/PID/status, "VmRSS" in kB."""
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return None


def thread_states(pid):
    """The states of a process's threads, as letters of /proc/PID/stat."""
    states = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/stat") as f:
            states.add(f.read().rsplit(")", 1)[1].split()[0])
    return states


def thread_runs(pid, besides):
    """{thread: how often it has come onto a processor} of a process, without the thread `besides`; None when one does
    not wait. One that is equal to an earlier one says that none has run in between. The number is read before
    the state, so that a thread which has run up to that moment, and waits again, shows in the next number."""
    runs = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        if int(thread) == besides:
            continue
        try:
            with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
                runs[thread] = int(f.read().split()[2])
            with open(f"/proc/{pid}/task/{thread}/stat") as f:
                if f.read().rsplit(")", 1)[1].split()[0] != "S":
                    return None
        except (FileNotFoundError, ProcessLookupError):
            return None
    check(any(runs.values()), "this kernel does not count how often threads run (CONFIG_SCHED_INFO)")
    return runs


def stop_process(pid):
    """SIGSTOP, and wait until no thread of it runs any more."""
    os.kill(pid, signal.SIGSTOP)
    wait(lambda: thread_states(pid) == {"T"}, f"process {pid} to stop", every=0.0005)


def make_certificate(t):
    return write_certificate(t.directory)


def write_certificate(directory):
    need_program("openssl")
    key, cert = os.path.join(directory, "key.pem"), os.path.join(directory, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-keyout", key, "-out", cert], check=True,
                   capture_output=True)
    return key, cert


def ok_text(connection):
    """The text of the OK that a PyMySQL connection got last; its length stands before it there."""
    message = connection._result.message
    return message[1:].decode() if message else ""


def in_new_network(args):
    """A command line that runs `args` in a network namespace of its own, with a loopback in it."""
    need_program("unshare")
    return ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", *args]


@contextlib.contextmanager
def network_of(pid):
    """Sockets that this thread makes meanwhile are of the network namespace of that process."""
    with open(f"/proc/{pid}/ns/net") as its, open("/proc/thread-self/ns/net") as own:
        check(_libc.setns(its.fileno(), CLONE_NEWNET) == 0, f"the network of {pid} is out of reach")
        try:
            yield
        finally:
            _libc.setns(own.fileno(), CLONE_NEWNET)


@contextlib.contextmanager
def cgroup(path):
    """A control group below the root, made and removed."""
    root = next(line.split()[1] for line in open("/proc/self/mounts")
                if line.split()[2] == "cgroup2")
    made = []
    try:
        for part in path.split("/"):
            root = os.path.join(root, part)
            os.mkdir(root)
            made.append(root)
        yield os.path.join(root, "cgroup.procs")
    finally:
        for directory in reversed(made):
            wait(lambda directory=directory: _remove_group(directory), f"{directory} to be empty")


def _remove_group(directory):
    with contextlib.suppress(OSError):
        os.rmdir(directory)
    return not os.path.exists(directory)


class Server:
    """A throwaway MariaDB; in a network namespace of its own with `own_network`."""

    _template = None

    @classmethod
    def template(cls, directory):
        """A data directory made once and copied for each server."""
        if cls._template is None:
            path = os.path.join(directory, "template")
            log = path + ".log"
            with open(log, "w") as f:
                r = subprocess.run(
                    ["mariadb-install-db", "--no-defaults", f"--datadir={path}", "--user=root",
                     "--skip-test-db", "--force", "--innodb-log-file-size=4M"],
                    stdout=f, stderr=f, stdin=subprocess.DEVNULL)
            check(r.returncode == 0, f"mariadb-install-db failed:\n{tail(log)}")
            Server._template = path
        return cls._template

    def __init__(self, directory, root_directory, options=(), own_network=False, port=None,
                 env=None, prefix=()):
        """`prefix`: a command line that runs the rest of it, in the same process."""
        self.directory = directory
        self.prefix = list(prefix)
        self.env = {**os.environ, **(env or {})}
        self.own_network = own_network
        self.wanted_port = port
        self.data = os.path.join(directory, "data")
        subprocess.run(["cp", "-a", "--sparse=auto", self.template(root_directory), self.data],
                       check=True)
        self.socket = os.path.join(directory, "mysqld.sock")
        self.log = os.path.join(directory, "mariadbd.log")
        self.options = list(options)
        self.process = None
        self.admin_connection = None
        self.start()

    def start(self):
        self.port = self.wanted_port or free_port()
        args = ["mariadbd", "--no-defaults", "--user=root", f"--datadir={self.data}",
                f"--socket={self.socket}", f"--port={self.port}", "--bind-address=127.0.0.1",
                f"--pid-file={self.directory}/pid", "--skip-name-resolve", "--skip-log-bin",
                "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M",
                "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
                "--aria-pagecache-buffer-size=1M", "--key-buffer-size=1M",
                f"--tmpdir={self.directory}", *self.options]
        with open(self.log, "a") as log:
            self.process = spawn([*self.prefix, *self.command(args)], stdout=log, stderr=log,
                                 cwd=self.directory, env=self.env)
        self.pid = self.find_pid()
        self.name = f"mariadb-{self.port}"
        wait(self._is_up, f"{self.name} to answer\n{tail(self.log)}", timeout=60, every=0.02)

    def command(self, args):
        """How the server is started."""
        return in_new_network(args) if self.own_network else args

    def find_pid(self):
        """The server, of the process that was started."""
        return self.process.pid

    def _is_up(self):
        check(self.process.poll() is None, f"mariadbd ended:\n{tail(self.log)}")
        try:
            self.admin_connection = self.connect()
            return True
        except pymysql.err.MySQLError:
            return False

    def stop(self, sig=signal.SIGTERM):
        if self.admin_connection:
            with contextlib.suppress(Exception):
                self.admin_connection.close()
        if self.process:
            end_process(self.process, sig)

    def connect(self, tcp=False, user="root", password="", **kwargs):
        """A PyMySQL connection; over the Unix socket unless `tcp`."""
        where = {"host": "127.0.0.1", "port": self.port} if tcp else {"unix_socket": self.socket}
        kwargs.setdefault("autocommit", True)
        kwargs.setdefault("charset", "utf8mb4")
        return pymysql.connect(user=user, password=password, **where, **kwargs)

    def wire(self, tcp=True, **kwargs):
        """A connection by hand; `tcp` may be an address of the server."""
        address = ("127.0.0.1" if tcp is True else tcp, self.port) if tcp else self.socket
        if not self.own_network:
            return wire.Wire(address, **kwargs)
        with network_of(self.pid):
            return wire.Wire(address, **kwargs)

    def run(self, *statements):
        """Statements as root; the rows of the last one."""
        with self.admin_connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def add_user(self, name, password):
        self.run(f"create user '{name}'@'%' identified by '{password}'",
                 f"grant all on *.* to '{name}'@'%'")

    def processlist(self):
        """Its own list: {id: (user, host, db, command, info)}, without this connection."""
        own = self.admin_connection.thread_id()
        return {r[0]: (r[1], r[2], r[3], r[4], r[7])
                for r in self.run("show full processlist") if r[0] != own}


POSTGRES_PROGRAMS = "/usr/lib/postgresql/15/bin"


class PostgresServer:
    """A throwaway PostgreSQL, of an unprivileged user, in a directory that is his."""

    _template = None

    @classmethod
    def template(cls, run):
        """A data directory made once and copied for each server."""
        if cls._template is None:
            path = os.path.join(run.postgres_directory(), "template")
            log = path + ".log"
            with open(log, "w") as f:
                r = subprocess.run(
                    [f"{POSTGRES_PROGRAMS}/initdb", "--no-sync", "--auth=trust",
                     "--username=postgres", "--encoding=UTF8", "--locale=C", f"--pgdata={path}"],
                    stdout=f, stderr=f, stdin=subprocess.DEVNULL, cwd=run.postgres_directory(),
                    preexec_fn=become_unprivileged)
            check(r.returncode == 0, f"initdb failed:\n{tail(log)}")
            PostgresServer._template = path
        return cls._template

    def __init__(self, run, options=(), port=None, tls=False, hide=None, env=None):
        """`hide`: a function that a copy of the program, which is run then, exports by another name."""
        self.env = {**os.environ, **(env or {})}
        if not os.path.exists(f"{POSTGRES_PROGRAMS}/postgres"):
            raise Skip("postgresql-15 is not installed")
        template = self.template(run)
        self.directory = tempfile.mkdtemp(prefix="server", dir=run.postgres_directory())
        os.chown(self.directory, *unprivileged_user())
        self.data = os.path.join(self.directory, "data")
        subprocess.run(["cp", "-a", template, self.data], check=True)
        self.log = os.path.join(self.directory, "postgres.log")
        self.program_file = f"{POSTGRES_PROGRAMS}/postgres"
        self.options = list(options)
        if hide:
            self.program_file = os.path.join(self.directory, "postgres")
            with open(f"{POSTGRES_PROGRAMS}/postgres", "rb") as f:
                code = f.read()
            with open(self.program_file, "wb") as f:
                f.write(code.replace(b"\0" + hide + b"\0", b"\0" + b"x" * len(hide) + b"\0"))
            os.chmod(self.program_file, 0o755)
        if tls:
            key, cert = write_certificate(self.directory)
            os.chown(key, *unprivileged_user())
            self.options += ["-c", "ssl=on", "-c", f"ssl_key_file={key}", "-c",
                             f"ssl_cert_file={cert}"]
        self.process = self.admin_connection = None
        self.wanted_port = port
        self.start()

    def start(self):
        self.port = self.wanted_port or free_port()
        self.socket = os.path.join(self.directory, f".s.PGSQL.{self.port}")
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off",
                    "unix_socket_directories": self.directory, "shared_buffers": "16MB",
                    "max_connections": 120, "ssl": "off"}
        args = [self.program_file, "-D", self.data]
        for name, value in settings.items():
            args += ["-c", f"{name}={value}"]
        self.process = self.spawn([*args, *self.options])
        self.pid = self.find_pid()
        self.name = f"postgres-{self.port}"
        wait(self._is_up, f"{self.name} to answer\n{tail(self.log)}", timeout=60, every=0.02)

    def spawn(self, args):
        with open(self.log, "a") as log:
            return spawn(args, stdout=log, stderr=log, cwd=self.directory, env=self.env,
                         preexec_fn=become_unprivileged)

    def find_pid(self):
        """The server, of the process that was started."""
        return self.process.pid

    def _is_up(self):
        check(self.process.poll() is None, f"postgres ended:\n{tail(self.log)}")
        try:
            self.admin_connection = self.connect(program="harness")
            return True
        except (OSError, EOFError, pgwire.PgError):
            return False

    def stop(self, sig=signal.SIGINT):
        """A fast shutdown; SIGKILL would leave the backends and shared memory behind."""
        if self.admin_connection:
            self.admin_connection.close()
        if self.process:
            end_process(self.process, signal.SIGINT if sig == signal.SIGKILL else sig)
        shutil.rmtree(self.directory, ignore_errors=True)

    def connect(self, tcp=False, **kwargs):
        """A connection by hand; over the Unix socket unless `tcp`."""
        return pgwire.PgWire(("127.0.0.1", self.port) if tcp else self.socket, **kwargs)

    def query(self, sql):
        return self.admin_connection.query(sql)

    def program(self, name, *args):
        """Command line of one of PostgreSQL's client programs, over TCP."""
        return [f"{POSTGRES_PROGRAMS}/{name}", "-h", "127.0.0.1", "-p", str(self.port),
                "-U", "postgres", *args]

    def activity(self):
        """Its own list: {pid: row of pg_stat_activity}, without the harness's connection."""
        names = ("pid", "usename", "datname", "application_name", "client_addr", "client_port",
                 "state", "query", "state_change")
        rows = self.query(f"select {', '.join(names)} from pg_stat_activity"
                          " where backend_type = 'client backend'")
        rows = [dict(zip(names, row)) for row in rows]
        return {int(row["pid"]): row for row in rows
                if int(row["pid"]) != self.admin_connection.pid}


class Daemon:
    """A dbpsd of its own: own socket and audit file, nothing pinned unless `pin` says where."""

    def __init__(self, directory, options=(), pin="none", env=None, program="dbpsd", **kwargs):
        self.directory = directory
        self.socket = os.path.join(directory, "dbps.sock")
        self.log = os.path.join(directory, "dbpsd.log")
        self.kills_file = os.path.join(directory, "kills.jsonl")
        config = os.path.join(directory, "dbps.conf")
        open(config, "a").close()
        self.args = [os.path.join(BUILD, program), "--config", config, "--socket", self.socket,
                     "--pin", pin, "--set", f"audit.file={self.kills_file}", *options]
        self.kwargs = kwargs
        self.env = {**os.environ, **(env or {})}
        self._console = {}
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            self.process = spawn(self.args, stdout=log, stderr=log, env=self.env, **self.kwargs)
        self.pid = self.process.pid
        wait(self._is_up, f"dbpsd to answer\n{tail(self.log)}")

    def _is_up(self):
        check(self.process.poll() is None,
              f"dbpsd ended with {self.process.returncode}:\n{tail(self.log)}")
        try:
            self.connect().close()
            return True
        except (OSError, pymysql.err.MySQLError):
            return False

    def close_consoles(self):
        for connection in self._console.values():
            with contextlib.suppress(Exception):
                connection.close()
        self._console = {}

    def stop(self, sig=signal.SIGTERM):
        self.close_consoles()
        return end_process(self.process, sig)

    def connect(self, **kwargs):
        """A PyMySQL connection to the console."""
        kwargs.setdefault("charset", "utf8mb4")
        return pymysql.connect(unix_socket=self.socket, user="root", **kwargs)

    def query(self, statement, server=None):
        """Rows of a statement on a kept console connection, with `server` as its database."""
        if server not in self._console:
            self._console[server] = self.connect(db=server) if server else self.connect()
        with self._console[server].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def answer(self, statement, server=None):
        """Of a KILL and the like: the text of its OK, and its warnings."""
        with self.connect(db=server.name if server else None) as connection, \
                connection.cursor() as cursor:
            cursor.execute(statement)
            text = ok_text(connection)
            cursor.execute("show warnings")
            return text, cursor.fetchall()

    def answer_text(self, statement, server=None):
        """The text of its OK, or else of its warnings."""
        text, warnings = self.answer(statement, server)
        return text or str(warnings)

    def running(self, server, client, text):
        """A client (wire.py) asks for a statement: its row once that executes."""
        client.send_command(wire.QUERY, text.encode())
        return self.wait_session(server, client.id, text, lambda row: row["info"])

    def processlist(self, server):
        """{id: (user, host, db, command, info)} of one server."""
        return {r[0]: (r[1], r[2], r[3], r[4], r[7])
                for r in self.query("show full processlist", server.name)}

    def sessions(self, server=None):
        """All columns of all sessions: a list of dicts by column name."""
        name = server.name if server else None
        self.query("select 1", name)
        with self._console[name].cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("show full sessions")
            return [{k.lower(): v for k, v in row.items()} for row in cursor.fetchall()]

    def session(self, server, number):
        """The session with this connection id of the server, or None."""
        for row in self.sessions(server):
            if row["server_id"] == number:
                return row
        return None

    def wait_session(self, server, number, what, predicate, timeout=WAIT_S):
        """The session's row once predicate(row) is true of it."""
        seen = []

        def look():
            row = self.session(server, number)
            seen[:] = [row]
            return row if row and predicate(row) else None

        try:
            return wait(look, what, timeout, every=0.0005)
        except Failure as failure:
            raise Failure(f"{failure}\n  the row is {seen[0]}") from None

    def wait_idle(self, server, number):
        return self.wait_session(server, number, f"session {number} to be idle",
                                 lambda row: row["command"] == "Sleep")

    def wait_gone(self, server, number):
        wait(lambda: self.session(server, number) is None, f"session {number} to be gone")

    def wait_equal(self, server, what="the list to be the server's own", timeout=WAIT_S):
        """Wait until this list and the server's own are equal, but for the harness's connection."""
        own = server.admin_connection.thread_id()
        seen = []

        def equal():
            ours = self.processlist(server)
            ours.pop(own, None)
            seen[:] = [server.processlist(), ours]
            return seen[0] == seen[1]

        try:
            wait(equal, what, timeout)
        except Failure as failure:
            rows = [f"Id {n}: server {seen[0].get(n)}, dbps {seen[1].get(n)}"
                    for n in sorted(seen[0].keys() | seen[1].keys())
                    if seen[0].get(n) != seen[1].get(n)]
            raise Failure("\n  ".join([str(failure), *rows])) from None

    def losses(self):
        return {name: int(value) for name, value, *_ in self.query("show losses")}

    def signal_word(self):
        """How an answer names a signal on this kernel: sent in one step with the look, or after it."""
        return "(signal)" if kernel_features()["bpf_send_signal_task"][0] == "ok" else "(signal, checked before)"

    def dbps(self, *args, check_exit=True, timeout=DEADLINE, **kwargs):
        """Run dbps. Returns the finished process."""
        r = subprocess.run([os.path.join(BUILD, "dbps"), "--socket", self.socket, *args],
                           capture_output=True, text=True, timeout=timeout,
                           stdin=subprocess.DEVNULL, **kwargs)
        if check_exit:
            check(r.returncode == 0, f"dbps {' '.join(args)}: exit {r.returncode}\n{r.stderr}")
        return r

    def ps(self, *args):
        return json.loads(self.dbps("ps", "--json", *args).stdout)

    def wait_server(self, server, link=True):
        """Wait until the server is listed, with its control link up."""

        def listed():
            for row in self.servers():
                if row["pid"] == server.pid:
                    return row if not link or row["link"] == "up" else None
            return None

        row = wait(listed, f"{server.name} in SHOW SERVERS\n{tail(self.log)}")
        server.name = row["name"]
        return row

    def servers(self):
        self.query("select 1")
        with self._console[None].cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("show servers")
            return [{k.lower(): v for k, v in row.items()} for row in cursor.fetchall()]

    def resident_kb(self):
        return status_value(self.pid, "VmRSS")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Person:
    """A process of some uid and groups with connections of its own; see person.py."""

    def __init__(self, uid, gid, groups=()):
        self.uid = uid
        # setgid() and setuid() would clear the signal that spawn() sets, so they come first.
        self.process = spawn(["/usr/bin/python3", os.path.join(os.path.dirname(__file__),
                                                               "person.py")],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             user=uid, group=gid, extra_groups=list(groups))

    def do(self, action, **request):
        """What the person is answered: a dict; "error" is (code, text)."""
        self.process.stdin.write(json.dumps({"do": action, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        check(line, f"the process of uid {self.uid} ended")
        return json.loads(line)

    def connect(self, name, **where):
        reply = self.do("connect", name=name, **where)
        check("error" not in reply, f"uid {self.uid} cannot connect to {where}: {reply}")
        return reply

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        end_process(self.process, signal.SIGKILL)


class Run:
    """What outlives a test: pairs of server and daemon that several tests use, one after the other. A
    test leaves them as it found them; when one fails they are not used again."""

    def __init__(self, directory):
        self.directory = directory
        self.contexts = {}
        self._postgres_directory = None

    def postgres_directory(self):
        """Where PostgreSQL's user may write: the directory of the run is root's alone."""
        if not self._postgres_directory:
            self._postgres_directory = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-pg-")
            os.chown(self._postgres_directory, *unprivileged_user())
        return self._postgres_directory

    def remove(self):
        self.close()
        if self._postgres_directory:
            remove_tree(self._postgres_directory)

    def shared(self, server_options, daemon_options):
        key = (server_options, daemon_options)
        if key not in self.contexts:
            context = Context(self, f"shared{len(os.listdir(self.directory))}")
            self.contexts[key] = context
            context.pair_made = context.pair(*server_options, daemon_options=daemon_options)
        return self.contexts[key]

    def close(self):
        contexts, self.contexts = self.contexts, {}
        for context in contexts.values():
            context.close()


class Context:
    """What one test has: everything made through it is ended and removed with it."""

    def __init__(self, run, name):
        self.run = run
        self.root_directory = run.directory
        self.directory = os.path.join(run.directory, name)
        os.mkdir(self.directory)
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.parts = []
        self.notes = []
        self.pair_made = None

    def close(self):
        self.stack.close()

    def _subdirectory(self, name):
        path = os.path.join(self.directory, f"{name}{len(self.parts)}")
        os.mkdir(path)
        return path

    def note(self, text):
        """A line that the runner prints with the test's name."""
        self.notes.append(text)

    def logs(self):
        return "".join(f"--- {part.log}\n{tail(part.log)}" for part in self.parts)

    def server(self, *options, **kwargs):
        server = Server(self._subdirectory("server"), self.root_directory, options, **kwargs)
        self.parts.append(server)
        self.stack.callback(server.stop, signal.SIGKILL)
        return server

    def postgres(self, *options, **kwargs):
        server = PostgresServer(self.run, options, **kwargs)
        self.parts.append(server)
        self.stack.callback(server.stop)
        return server

    def daemon(self, *options, **kwargs):
        daemon = Daemon(self._subdirectory("dbpsd"), options, **kwargs)
        self.parts.append(daemon)
        self.stack.callback(daemon.stop)
        return daemon

    def pair(self, *server_options, daemon_options=()):
        """A server and a dbpsd that knows it, its control link open."""
        daemon = self.daemon(*daemon_options)
        server = self.server(*server_options)
        daemon.wait_server(server)
        return server, daemon

    def person(self, uid, gid=None, groups=()):
        person = Person(uid, uid if gid is None else gid, groups)
        self.stack.callback(person.stop)
        return person

    def shared_pair(self, *server_options, daemon_options=()):
        """As pair(), but used by several tests: see Run."""
        context = self.run.shared(server_options, daemon_options)
        self.parts += [part for part in context.parts if part not in self.parts]
        return context.pair_made

    def keep(self, closable):
        """Close something at the end of the test."""
        self.stack.callback(_close_quietly, closable)
        return closable

    def spawn(self, args, **kwargs):
        process = spawn(args, **kwargs)
        self.stack.callback(end_process, process, signal.SIGKILL)
        return process


def _close_quietly(closable):
    with contextlib.suppress(Exception):
        closable.close()


def unprivileged_user():
    """Somebody without rights on this host: (uid, gid)."""
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def become_unprivileged():
    """For a process to be: PostgreSQL refuses to run as root."""
    uid, gid = unprivileged_user()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    _die_with_parent()


def remove_tree(path):
    """A directory and all in it; a mount in it, of a run that was killed, is taken off first."""
    with open("/proc/self/mounts") as f:
        for line in f:
            if line.split()[1].startswith(path + "/"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False)
    shutil.rmtree(path, ignore_errors=True)


def make_root_directory():
    """The directory of this run; those that a killed run left behind are removed."""
    base = tempfile.gettempdir()
    for name in os.listdir(base):
        if name.startswith(PREFIX):
            owner = name[len(PREFIX):].split("-")[0]
            if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                remove_tree(os.path.join(base, name))
    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


@functools.cache
def kernel_features():
    """{name: (status, detail)} of what kernels have or not, as doctor judges it without dbpsd."""
    r = subprocess.run([os.path.join(BUILD, "dbps"), "--socket", "/nonexistent", "doctor", "--json"],
                       capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return {row["item"]: (row["status"], row["detail"]) for row in json.loads(r.stdout) if row["subject"] == "kernel"}


def need_feature(name):
    """Skip a test that no kernel without this passes."""
    status, detail = kernel_features()[name]
    if status != "ok":
        raise Skip(f"needs {name}: {detail}")


def need_program(name):
    path = shutil.which(name)
    if not path:
        raise Skip(f"{name} is not installed")
    return path


if __name__ == "__main__":
    sys.exit("run tests/integration/run.py")
