"""How dbpsd starts and ends: what it refuses and in which words, what it finds there already, and that
nothing is left of it."""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import struct
import subprocess

from deadline import seconds
from harness import BUILD, DEADLINE, Skip, check, check_equal, make_certificate, need_program, \
    unprivileged_user, wait

import wire

DBPSD = os.path.join(BUILD, "dbpsd")


def refused(t, what, args=(), **kwargs):
    """dbpsd ends by itself, not with 0, and says why in one sentence. Returns the sentence."""
    directory = t.directory
    os.chmod(directory, 0o777)
    os.chmod(os.path.dirname(directory), 0o755)
    r = subprocess.run([*kwargs.pop("prefix", ()), DBPSD, "--pin", "none", "--socket",
                        os.path.join(directory, "refused.sock"), *args],
                       capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL,
                       **kwargs)
    check(r.returncode > 0, f"{what}: exit {r.returncode}\n{r.stderr}")
    lines = r.stderr.strip().split("\n")
    check(len(lines) == 1 and len(lines[0]) > 20, f"{what}: not one sentence:\n{r.stderr}")
    check(not os.path.exists(os.path.join(directory, "refused.sock")), f"{what}: a socket is left")
    t.note(f"{what}: {lines[0]}")
    return lines[0]


def test_without_rights(t):
    uid, gid = unprivileged_user()
    copy = os.path.join(t.directory, "dbpsd")
    shutil.copy(DBPSD, copy)
    os.chmod(t.directory, 0o777)
    os.chmod(os.path.dirname(t.directory), 0o755)
    r = subprocess.run([copy, "--pin", "none", "--socket", os.path.join(t.directory, "s.sock")],
                       capture_output=True, text=True, timeout=DEADLINE, user=uid, group=gid,
                       extra_groups=[])
    lines = r.stderr.strip().split("\n")
    check(r.returncode > 0, f"exit {r.returncode}")
    check(len(lines) == 1 and ("root" in lines[0] or "CAP_" in lines[0]),
          f"not a sentence that says what is needed:\n{r.stderr}")
    t.note(f"as nobody: {lines[0]}")


def test_without_capabilities(t):
    """root whose capabilities were taken away, as in a container."""
    need_program("setpriv")
    line = refused(t, "without capabilities",
                   prefix=("setpriv", "--bounding-set=-all", "--inh-caps=-all"))
    check("root" in line or "CAP_" in line, f"what is needed: {line}")


def test_without_btf(t):
    """The file of the kernel's types is hidden by an empty directory over it."""
    need_program("unshare")
    hide = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"]
    r = subprocess.run([*hide, "true"], capture_output=True, text=True)
    if r.returncode:
        raise Skip(f"no mount namespace of its own: {r.stderr.strip()}")
    line = refused(t, "without BTF", prefix=hide)
    check("BTF" in line, f"BTF is not named: {line}")


def refuse_bpf(error, command=None):
    """Make bpf(2), or one command of it, fail with this error for the calling process: a seccomp filter."""
    nr = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine)
    if nr is None:
        raise Skip("the number of bpf(2) is not known here")
    code = struct.pack("HBBI", 0x20, 0, 0, 0)  # load the number of the call
    code += struct.pack("HBBI", 0x15, 0, 1 if command is None else 3, nr)  # is it bpf?
    if command is not None:
        code += struct.pack("HBBI", 0x20, 0, 0, 16)  # load the first argument
        code += struct.pack("HBBI", 0x15, 0, 1, command)
    code += struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | error)  # fail
    code += struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # allow
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)

    def install():
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        if libc.prctl(22, 2, program, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            os._exit(99)
        install.keep = buffer

    return install


def test_a_kernel_that_refuses(t):
    for error, name in ((1, "EPERM"), (38, "ENOSYS"), (22, "EINVAL")):
        refused(t, f"bpf() fails with {name}", preexec_fn=refuse_bpf(error))


def test_what_is_refused_is_named(t):
    """A kernel that has all, and refuses one thing: somebody has to be able to report it."""
    link_create = 28
    line = refused(t, "no program can be attached", preexec_fn=refuse_bpf(22, link_create))
    check(f"Linux {os.uname().release} " in line and "'dbps_snapshot'" in line and
          "Invalid argument" in line and "please report" in line, f"not what and where: {line}")
    load = 5
    line = refused(t, "no program can be loaded", preexec_fn=refuse_bpf(22, load))
    check("lacks" in line and "Invalid argument" in line and "newer" not in line, f"not what is missing: {line}")


def test_a_bad_command_line(t):
    for args in (("--nosuch",), ("word",), ("--set", "nosuch.key=1"), ("--set", "session.text_bytes=x"),
                 ("--config", "/nosuch/file")):
        r = subprocess.run([DBPSD, *args], capture_output=True, text=True, timeout=DEADLINE)
        check(r.returncode > 0 and r.stderr.strip(), f"{args}: exit {r.returncode}: {r.stderr}")


def programs():
    """BPF programs of ours that are loaded: their ids."""
    r = subprocess.run([shutil.which("bpftool", path="/usr/sbin:/usr/bin"), "prog", "list"],
                       capture_output=True, text=True)
    return {line.split(":")[0] for line in r.stdout.split("\n") if " name dbps_" in line}


def test_nothing_is_left_of_it(t):
    """Ended by SIGTERM, SIGINT and SIGKILL: no program, no socket, no pin, exit 0 when asked."""
    if not shutil.which("bpftool", path="/usr/sbin:/usr/bin"):
        raise Skip("bpftool is not installed")
    for sig, code in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        before = programs()
        daemon = t.daemon()
        ours = programs() - before
        check(ours, "no program was loaded")
        check_equal(daemon.stop(sig), code, f"exit after signal {sig}")
        wait(lambda: not programs() & ours, "the programs to be unloaded")
        check_equal(os.path.exists(daemon.socket), sig == signal.SIGKILL, "socket")
    daemon.start()  # over the socket that the killed one left
    daemon.stop()


# Of all programs, and of the largest. What the verifier does is most of what a start takes, and these
# do not vary as its time does. With fexit three taps are followed, with tracepoints two, and two more behind them
# where they can be preempted: Linux 7, whose verifier takes more ways (122,727 for the largest; 6.18 109,941).
VERIFIED_MOST = {"fexit": (300000, 80000), "tracepoint": (292000, 112000), "preemptible": (520000, 125000)}
TAPS = {"dbps_recv_unix": "fexit", "dbps_recv": "tracepoint", "dbps_recv_first": "preemptible"}


def test_little_is_verified(t):
    daemon = t.daemon("--verbose")
    with open(daemon.log) as log:
        text = log.read()
    programs = {name: int(n) for name, n in re.findall(r"BPF program (\w+): verified (\d+) ", text)}
    check(all(programs.values()) and "dbps_snapshot" in programs, f"not told of all: {programs}")
    tap, = (TAPS[name] for name in programs if name in TAPS)
    most_of_all, most = VERIFIED_MOST[tap]
    t.note(f"{sum(programs.values())} instructions of {len(programs)} programs")
    check(sum(programs.values()) <= most_of_all, f"more than {most_of_all}: {programs}")
    check(max(programs.values()) <= most, f"one has more than {most}: {programs}")


def test_less_room_in_a_socket_than_is_set(t):
    """No session could be followed: as much text is kept as there is room for. Linux 7.2 has less room, elsewhere
    a network namespace of dbpsd's own is given less."""
    need_program("unshare")
    setting = "/proc/sys/net/core/optmem_max"
    if subprocess.run(["unshare", "--net", "test", "-w", setting]).returncode:
        raise Skip("net.core.optmem_max is not of a namespace here")

    def narrow():
        if ctypes.CDLL(None).unshare(0x40000000):  # CLONE_NEWNET
            os._exit(99)
        with open(setting, "w") as f:
            f.write("6000")

    daemon = t.daemon("--set", "session.text_bytes=16384", preexec_fn=narrow)
    kept = daemon.query("select @@dbps_text_bytes")[0][0]
    with open(daemon.log) as log:
        text = log.read()
    t.note(text.strip())
    check(f"session.text_bytes is 16384, but sockets have room for {kept} bytes" in text, text)
    check(2000 < kept < 6000, f"{kept} bytes")
    statement = "select info from processlist where server = 'dbps' and length(info) > 1000 -- " + "x" * 9000
    rows = daemon.query(statement, "dbps")
    check_equal([row[0] for row in rows], [statement[:kept]], "as much as there is room for")


def bpf_file_system(t):
    """A directory of a BPF file system of the test's own."""
    path = os.path.join(t.directory, "bpf")
    os.mkdir(path)
    r = subprocess.run(["mount", "-t", "bpf", "none", path], capture_output=True, text=True)
    if r.returncode:
        raise Skip(f"no BPF file system: {r.stderr.strip()}")
    t.stack.callback(subprocess.run, ["umount", "--lazy", path], check=False)
    return os.path.join(path, "dbps")


def test_pins_keep_the_sessions_over_a_crash(t):
    pins = bpf_file_system(t)
    daemon = t.daemon(pin=pins)
    server = t.server()
    daemon.wait_server(server)
    w = t.keep(server.wire(tcp=False)).login("root", db="mysql")
    statement = w.prepare("select sleep(?)")
    row = daemon.wait_idle(server, w.id)
    daemon.stop(signal.SIGKILL)
    check(os.listdir(pins), "something is pinned")
    w.send_command(wire.STMT_EXECUTE, w.execute_body(statement, ("30",)))
    daemon.start()
    daemon.wait_server(server)
    seen = daemon.wait_session(server, w.id, "the statement begun without dbpsd", lambda r: r["info"])
    check_equal((seen["user"], seen["db"], seen["info"], seen["framing"], seen["joined"]),
                ("root", "mysql", "select sleep(?)", "exact", 0), "the session")
    check_equal(seen["sequence"], row["sequence"] + 1, "sequence")
    daemon.stop()
    check_equal(os.listdir(pins) if os.path.exists(pins) else [], [], "pins after an orderly end")


def test_an_encrypted_session_over_a_crash(t):
    """What was read without dbpsd's probes is not known: it is not shown as running, and the next statement is."""
    key, cert = make_certificate(t)
    daemon = t.daemon(pin=bpf_file_system(t))
    server = t.server(f"--ssl-key={key}", f"--ssl-cert={cert}")
    daemon.wait_server(server)
    server.add_user("app", "secret")
    w = t.keep(server.wire()).greeting().start_tls()
    w.send(w.login_packet("app", "secret"))
    w.finish_login("secret")
    text = f"select sleep({seconds(0.5)})"
    w.send_command(wire.QUERY, text.encode())
    daemon.wait_session(server, w.id, "the statement", lambda r: r["info"] == text)
    daemon.stop(signal.SIGKILL)
    w.results()
    daemon.start()
    daemon.wait_server(server)
    row = daemon.session(server, w.id)
    check_equal((row["user"], row["info"], row["tls"]), ("app", None, 1), "after the crash")
    w.send_command(wire.QUERY, b"select sleep(60)")
    row = daemon.wait_session(server, w.id, "the next statement", lambda r: r["info"])
    check_equal((row["info"], row["command"]), ("select sleep(60)", "Query"), "the next statement")
    daemon.stop()


# ---------------------------------------------------------------- what was there before


def test_sessions_that_are_older_than_dbps(t):
    server = t.server("--connect-timeout=120")
    server.run("create user app@'%' identified by 'secret'", "grant all on *.* to app@'%'",
               "create database alpha")
    idle = t.keep(server.wire()).login("app", "secret", "alpha")
    local = t.keep(server.wire(tcp=False, caps=wire.DEFAULT_CAPS | wire.DEPRECATE_EOF)).login("root")
    busy = t.keep(server.wire(tcp=False)).login("root", db="mysql")
    prepared = busy.prepare("select sleep(?)")
    busy.send_command(wire.QUERY, b"select sleep(60), 'before'")
    wait(lambda: server.processlist()[busy.id][4], "the statement")
    daemon = t.daemon()
    daemon.wait_server(server)
    daemon.wait_equal(server)
    row = daemon.session(server, busy.id)
    check_equal((row["joined"], row["info"]), (1, "select sleep(60), 'before'"), "the busy session")
    server.run(f"kill query {busy.id}")
    with contextlib.suppress(wire.ServerError):
        busy.results()
    row = daemon.wait_idle(server, busy.id)
    for w, caps in ((idle, "tcp"), (local, "deprecate-eof")):
        for text in ("select 1", "do 1", "select 1; select 2"):
            before = daemon.session(server, w.id)["sequence"] or 0
            w.query(text)
            row = daemon.wait_session(server, w.id, f"{caps}: the end of {text}", lambda r: (
                r["command"] == "Sleep" and r["sequence"] == before + 1))
        check_equal((row["framing"], row["joined"]), ("exact", 1), caps)
    busy.send_command(wire.STMT_EXECUTE, busy.execute_body(prepared, ("30",)))
    row = daemon.wait_session(server, busy.id, "Execute", lambda r: r["command"] == "Execute")
    check(row["info"] is None and row["why_no_info"], f"text of an older Prepare: {row}")
    server.run(f"kill query {busy.id}")
    with contextlib.suppress(wire.ServerError):
        busy.results()
    daemon.wait_idle(server, busy.id)
    idle.query("use mysql")
    daemon.wait_equal(server, "USE of an older session")
    local.change_user("app", "secret", "alpha")
    daemon.wait_equal(server, "Change user of an older session")


def test_a_login_that_is_older_than_dbps(t):
    server = t.server("--connect-timeout=120")
    server.run("create user app@'%' identified by 'secret'")
    greeted = [t.keep(server.wire(tcp=tcp)).greeting() for tcp in (True, False)]
    daemon = t.daemon()
    daemon.wait_server(server)
    for w, user, password in zip(greeted, ("app", "root"), ("secret", "")):
        w.send(w.login_packet(user, password, "information_schema"))
        w.finish_login(password)
        w.query("do 1")
    daemon.wait_equal(server)


def test_two_servers_are_told_apart(t):
    daemon = t.daemon()
    servers = [t.server(), t.server()]
    for server in servers:
        daemon.wait_server(server)
    sessions = [t.keep(server.wire(tcp=False)).login("root") for server in servers]
    for server, w in zip(servers, sessions):
        w.send_command(wire.QUERY, f"select sleep(30), '{server.name}'".encode())
        row = daemon.wait_session(server, w.id, "the statement", lambda r: r["info"])
        check_equal(row["id"], w.id, "the plain id on its own console")
    rows = [row for row in daemon.sessions() if row["server"] in [s.name for s in servers]]
    check_equal(len({row["id"] for row in rows}), len(rows), "ids are unique over the servers")
    for server, w in zip(servers, sessions):
        mine = [r for r in rows if r["server"] == server.name and r["server_id"] == w.id]
        check_equal(len(mine), 1, f"rows of {server.name}")
        check_equal(mine[0]["id"] & 0xFFFFFFFF, w.id, "the server's id in it")
        check_equal(mine[0]["info"], f"select sleep(30), '{server.name}'", "info")
        out = daemon.ps("--server", server.name)
        check_equal({row["server"] for row in out}, {server.name}, "dbps ps --server")


def test_two_daemons_side_by_side(t):
    first, second = t.daemon(), t.daemon()
    server = t.server()
    for daemon in (first, second):
        daemon.wait_server(server)
    for tcp in (False, True):
        server.run("create or replace user app@'%' identified by 'secret'")
        w = t.keep(server.wire(tcp=tcp)).login(*(("app", "secret") if tcp else ("root",)))
        w.send_command(wire.QUERY, b"select sleep(30)")
        for daemon in (first, second):
            row = daemon.wait_session(server, w.id, "the statement", lambda r: r["info"], timeout=5)
            check_equal((row["info"], row["joined"]), ("select sleep(30)", 0), "row")


def test_a_server_in_a_network_namespace(t):
    """Its addresses are those of its own network; it is found and listed like any other."""
    daemon = t.daemon()
    outside = t.server()
    inside = t.server(own_network=True, port=outside.port)
    daemon.wait_server(outside)
    w = t.keep(inside.wire(tcp=False)).login("root")
    w.send_command(wire.QUERY, b"select sleep(30), 'inside'")
    row = wait(lambda: next((r for r in daemon.sessions() if r["info"] == "select sleep(30), 'inside'"),
                            None), "its statement")
    check_equal(row["pid"], inside.pid, "pid")
    names = [r["name"] for r in daemon.servers()]
    check_equal(len(names), len(set(names)), f"names: {names}")
