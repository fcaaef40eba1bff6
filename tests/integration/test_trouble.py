"""When the server is in trouble the list is there and right: that is when it is needed."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import signal
import socket
import struct
import threading
import time

import pymysql

from harness import Failure, check, check_equal, stop_process, wait

import wire
from deadline import seconds, times
from test_kill import kill
from test_start import bpf_file_system

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

REFUSED = 1040


def churn(server, n, threads=8):
    """Connect, say one thing, leave: n times, in every manner that a client has to leave."""
    failures = []

    def some(seed, n):
        chance = random.Random(seed)
        for i in range(n):
            try:
                with server.wire(tcp=i % 2 == 0) as w:
                    manner = chance.randrange(6)
                    if manner == 0:
                        w.greeting()
                        continue
                    w.login("app", "secret")
                    if manner > 1:
                        w.query("select 1")
                    if manner > 2:
                        w.prepare("select ?")
                    if manner > 3:
                        w.send_command(wire.QUIT)
            except (wire.Closed, OSError) as error:
                failures.append(error)

    workers = [threading.Thread(target=some, args=(seed, n // threads)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    check(not failures, f"{len(failures)} connections failed, the first with {failures[:1]}")


def wait_nobody(server, daemon):
    """Wait until nobody is logged in as app, here and at the server, and no login is under way."""
    clients = {"app", "unauthenticated user"}

    def nobody():
        return not any(row[0] in clients for row in
                       (*server.processlist().values(), *daemon.processlist(server).values()))

    wait(nobody, "all clients to be gone")


def test_every_connection_is_taken(t):
    server, daemon = t.pair("--max-connections=10")
    server.run("create user app@'%' identified by 'secret'")
    kept = []
    with contextlib.suppress(wire.ServerError):
        while len(kept) < 100:
            w = t.keep(server.wire(tcp=len(kept) % 2 == 0))
            w.login("app", "secret")
            kept.append(w)
    check(len(kept) < 10, f"{len(kept)} connections were let in")
    kept[0].send_command(wire.QUERY, b"select sleep(30)")
    daemon.wait_session(server, kept[0].id, "the statement", lambda r: r["info"])
    for tcp in (True, False):
        with server.wire(tcp=tcp) as refused:
            try:
                refused.greeting()
                refused.send(refused.login_packet("app", "secret"))
                refused.finish_login("secret")
                check(False, "one connection too many was let in")
            except wire.ServerError as error:
                check_equal(error.code, REFUSED, "error")
            check_equal(daemon.processlist(server).keys(),
                        server.processlist().keys() | {server.admin_connection.thread_id()}, "ids")
    ours = daemon.processlist(server)
    del ours[server.admin_connection.thread_id()]
    check_equal(ours, server.processlist(), "the list")
    check(len(ours) >= len(kept), "the list is long enough")
    daemon.dbps("ps", "--server", server.name)


def test_the_server_is_stopped(t):
    server, daemon = t.pair()
    server.run("create user app@'%' identified by 'secret'")
    busy = t.keep(server.wire(tcp=False)).login("root", db="mysql")
    idle = t.keep(server.wire()).login("app", "secret")
    busy.send_command(wire.QUERY, b"select sleep(30)")
    daemon.wait_session(server, busy.id, "the statement", lambda r: r["info"])
    before = daemon.processlist(server)
    stop_process(server.pid)
    try:
        idle.send_command(wire.QUERY, b"select 'not read'")
        began = time.monotonic()
        after = daemon.processlist(server)
        out = daemon.dbps("ps", "--server", server.name, "--json").stdout
        check(time.monotonic() - began < seconds(5), "the list took long")
        check_equal(after, before, "the list of the stopped server")
        check("select sleep(30)" in out, "dbps ps has the statement")
        check_equal(after[idle.id][3:], ("Sleep", None), "what was not read has not begun")
        check(daemon.servers(), "SHOW SERVERS")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    idle.results()
    daemon.wait_idle(server, idle.id)


def test_the_server_is_killed_and_comes_back(t):
    server, daemon = t.pair()
    w = t.keep(server.wire(tcp=False)).login("root")
    daemon.wait_idle(server, w.id)
    server.stop(signal.SIGKILL)
    wait(lambda: not any(r["pid"] == server.pid for r in daemon.servers()), "the server to be gone")
    check(all(r["pid"] != server.pid for r in daemon.sessions()), "its sessions are gone")
    server.start()
    daemon.wait_server(server)
    w = t.keep(server.wire(tcp=False)).login("root")
    check_equal(daemon.wait_idle(server, w.id)["user"], "root", "a session of the new server")


def test_ten_thousand_connections_leave_nothing(t):
    server, daemon = t.pair("--max-connections=100")
    server.run("create user app@'%' identified by 'secret'")
    churn(server, times(2000))
    wait_nobody(server, daemon)
    files, memory, losses = daemon.open_files(), daemon.resident_kb(), daemon.losses()
    began = time.monotonic()
    churn(server, times(10000))
    took = time.monotonic() - began
    wait_nobody(server, daemon)
    grown = daemon.resident_kb() - memory
    t.note(f"{times(10000)} connections in {took:.1f} s; dbpsd: {daemon.resident_kb()} kB, grown by "
           f"{grown} kB, {daemon.open_files()} files")
    check(grown <= 512, f"dbpsd has grown by {grown} kB")
    # Servers of others on this host have links too, and come and go.
    check(daemon.open_files() <= files + 20, f"{daemon.open_files()} files, {files} before")
    check_equal(daemon.losses()["sessions_without_storage"], losses["sessions_without_storage"],
                "sessions without storage")


def bad_bytes(chance):
    """Something that no client sends, with a name for messages."""
    kind = chance.randrange(8)
    junk = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 400)))
    if kind == 0:
        return junk
    if kind == 1:
        return b"\xff\xff\xff" + junk
    if kind == 2:
        return b"\x00\x00\x00\x01" * chance.randrange(1, 20)
    if kind == 3:
        return (len(junk) + 50).to_bytes(3, "little") + b"\x01" + junk
    if kind == 4:
        return len(junk).to_bytes(3, "little") + bytes([chance.randrange(256)]) + junk
    if kind == 5:
        return b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    if kind == 6:
        return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + junk
    return b"\x20\x00\x00\x01" + b"\xff" * 32 + junk


def throw(connect, chance, good_login=None):
    """One connection that gets bad bytes: before, in the middle of, or after a login."""
    with contextlib.suppress(OSError, wire.Closed, wire.ServerError, IndexError, ValueError,
                             NotImplementedError):
        with connect() as w:
            w.sock.settimeout(seconds(2))
            stage = chance.randrange(4)
            if stage >= 1:
                w.greeting()
            if stage == 2:
                packet = w.packet(w.login_packet(*good_login))
                w.send_raw(packet[:chance.randrange(len(packet))])
                return
            if stage == 3:
                w.send(w.login_packet(*good_login))
                w.finish_login(good_login[1])
            w.send_raw(bad_bytes(chance))
            if chance.randrange(2):
                w.sock.shutdown(1)
                while w.sock.recv(65536):
                    pass


def test_bad_bytes_to_a_server(t):
    server, daemon = t.pair("--max-connections=100", "--connect-timeout=2")
    server.run("create user app@'%' identified by 'secret'")
    good = t.keep(server.wire()).login("app", "secret", "information_schema")
    daemon.wait_idle(server, good.id)
    seed = random.randrange(1 << 30)
    t.note(f"seed {seed}")
    chance = random.Random(seed)
    for i in range(times(400)):
        throw(lambda: server.wire(tcp=i % 2 == 0), chance, ("app", "secret"))
    check_equal(daemon.process.poll(), None, "dbpsd lives")
    good.query("select 1")
    row = daemon.wait_idle(server, good.id)
    check_equal((row["user"], row["db"], row["framing"]), ("app", "information_schema", "exact"),
                "a good session next to it")
    daemon.wait_equal(server)


def answer_badly(greeting):
    """Greets like a server and then says nonsense, to clients of its own."""
    chance = random.Random(4711)
    body = (b"\x0a" + greeting.encode() + b"\0" + (77).to_bytes(4, "little") + b"abcdefgh\0"
            + b"\xfe\xf7\x2d\x02\x00\xff\x81\x15" + b"\0" * 10 + b"abcdefghijkl\0"
            + b"mysql_native_password\0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for _ in range(times(200)):
            client = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
            with client, peer, contextlib.suppress(OSError):
                peer.sendall(len(body).to_bytes(3, "little") + b"\0" + body)
                client.sendall(b"\x25\0\0\1" + b"\x05\xa2\x3e\0" + b"\0\0\0\1\x2d" + b"\0" * 23
                               + b"app\0\0")
                peer.recv(4)
                peer.recv(65536)
                if chance.randrange(3):
                    peer.sendall(b"\7\0\0\2\0\0\0\2\0\0\0")
                    client.sendall(b"\x09\0\0\0\3select 1")
                    peer.recv(4)
                    peer.recv(65536)
                for _ in range(chance.randrange(1, 5)):
                    peer.sendall(bad_bytes(chance))


def test_bad_answers_of_a_server(t):
    """A process that greets like a server and then says nonsense: counted, and no wrong row."""
    server, daemon = t.pair()
    with server.wire(tcp=False) as w:
        greeting = w.greeting().version
    losses = daemon.losses()
    # Not this process: other tests' sessions are its, and those of a server are spared.
    process = multiprocessing.get_context("fork").Process(target=answer_badly, args=(greeting,))
    process.start()
    process.join()
    check_equal(process.exitcode, 0, "the bad server")
    check_equal(daemon.process.poll(), None, "dbpsd lives")
    check(daemon.losses()["packets_bad"] > losses["packets_bad"], "bad packets are counted")
    wait(lambda: all(r["pid"] != process.pid for r in daemon.sessions()), "its sessions to be gone")
    daemon.wait_equal(server)


class Record:
    """The kernel's record of a session, held as a tap holds it that lost its processor while it wrote."""

    OBJ_GET, GET_INFO, LOOKUP, UPDATE = 7, 15, 1, 2
    SYS_BPF, SYS_PIDFD_GETFD = {"x86_64": (321, 438), "aarch64": (280, 438)}[os.uname().machine]

    def __init__(self, pins, pid, local_port):
        path = ctypes.create_string_buffer(os.path.join(pins, "map_dbps_sessions").encode())
        self.map = self._bpf(self.OBJ_GET, struct.pack("QII", ctypes.addressof(path), 0, 0))
        info = ctypes.create_string_buffer(80)
        self._bpf(self.GET_INFO, struct.pack("IIQ", self.map, len(info), ctypes.addressof(info)))
        self.value = ctypes.create_string_buffer(struct.unpack_from("IIII", info.raw)[3])
        self.socket = self._copy(pid, local_port)

    def _copy(self, pid, port):
        """The server's own socket whose peer has this port."""
        process = os.pidfd_open(pid)
        for fd in map(int, os.listdir(f"/proc/{pid}/fd")):
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:"):
                copy = socket.socket(fileno=_libc.syscall(self.SYS_PIDFD_GETFD, process, fd, 0))
                with contextlib.suppress(OSError):
                    if copy.family == socket.AF_INET and copy.getpeername()[1] == port:
                        os.close(process)
                        return copy
                copy.close()
        raise Failure("the server has no such socket")

    def _bpf(self, command, attributes):
        buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 32))
        r = _libc.syscall(self.SYS_BPF, command, buffer, len(buffer))
        if r < 0:
            raise OSError(ctypes.get_errno(), f"bpf {command}")
        return r

    def turn(self):
        """Taken when it is free, free when it is taken."""
        key = ctypes.c_int(self.socket.fileno())
        attributes = struct.pack("IIQQQ", self.map, 0, ctypes.addressof(key), ctypes.addressof(self.value), 0)
        self._bpf(self.LOOKUP, attributes)
        gen, = struct.unpack_from("I", self.value.raw)
        struct.pack_into("I", self.value, 0, gen + 1)
        self._bpf(self.UPDATE, attributes)

    def close(self):
        self.socket.close()
        os.close(self.map)


def test_a_writer_without_its_processor(t):
    """A tap whose processor was taken from it in the middle of a record is waited for: the session is listed, and
    is killed. One that never comes back hides it, which is counted; a KILL then says that it could not look."""
    pins = bpf_file_system(t)
    daemon = t.daemon(pin=pins)
    server = t.server()
    daemon.wait_server(server)
    server.add_user("app", "secret")
    w = t.keep(server.wire()).login("app", "secret")
    number = daemon.wait_idle(server, w.id)["id"]
    record = t.keep(Record(pins, server.pid, w.sock.getsockname()[1]))
    for look in (lambda: daemon.session(server, w.id), lambda: kill(daemon, server, f"kill query {number}")):
        record.turn()
        back = threading.Timer(0.03, record.turn)
        back.start()
        check(look(), "nothing")
        back.join()
    check_equal(daemon.losses()["rows_torn"], 0, "rows left out")
    record.turn()
    check_equal(daemon.session(server, w.id), None, "the list")
    check(daemon.losses()["rows_torn"] > 0, f"{daemon.losses()}")
    try:
        told = kill(daemon, server, f"kill {number}")
    except pymysql.err.MySQLError as error:
        told = error.args[1]
    check("cannot read the sessions" in str(told), told)
    record.turn()
    check(kill(daemon, server, f"kill {number}")[0].startswith("confirmed"), "KILL")
