#!/usr/bin/python3
"""A simulated server, for those that cannot be had: scripted_server.py oceanbase|tidb PORT [OPTION=VALUE...]

It is no database. It speaks the MySQL protocol as protocol.md tells of an OceanBase observer and of TiDB: a
thread reads as many packets as there are, in one call, and another thread answers. It knows enough
statements for the tests: SELECT SLEEP(n), which a KILL QUERY interrupts (not with /* deaf */ in it), SELECT
"word", which goes on until it is killed, USE, SHOW PROCESSLIST and KILL; anything else is answered with a row.

  first=ID          the first connection id, the next ones follow
  reads=recv|recvmsg|readv, sends=send|sendmsg|writev    how bytes move; several buffers a call but for the first
  extra=1           answers in OceanBase frames have extra information in front
  pieces=N          such an answer is split into frames of N bytes
  user=NAME:WORD    a user with a password; any other logs in with anything
"""

import os
import queue
import re
import socket
import struct
import sys
import threading
import time

import ob20
import wire

CAPS = (wire.LONG_PASSWORD | wire.FOUND_ROWS | wire.CONNECT_WITH_DB | wire.PROTOCOL_41
        | wire.TRANSACTIONS | wire.SECURE_CONNECTION | wire.MULTI_STATEMENTS | wire.MULTI_RESULTS
        | wire.PLUGIN_AUTH | wire.CONNECT_ATTRS | wire.SESSION_TRACK)
VERSIONS = {"oceanbase": "5.7.25-OceanBase-v4.3.0.1", "tidb": "8.0.11-TiDB-v7.5.0"}
CHALLENGE = b"01234567" + b"890123456789"
OK = b"\0\0\0\2\0\0\0"
EOF = b"\xfe\0\0\2\0"
READ_BYTES = 32640

sessions = {}
lock = threading.Lock()


def lenenc(text):
    data = text if isinstance(text, bytes) else str(text).encode()
    n = len(data)
    return (bytes([n]) if n < 251 else b"\xfc" + struct.pack("<H", n)) + data


def error(code, state, text):
    return [b"\xff" + struct.pack("<H", code) + b"#" + state.encode() + text.encode()]


def rows(names, *values):
    """A text result."""
    out = [bytes([len(names)])]
    for name in names:
        out.append(lenenc("def") + lenenc("") * 3 + lenenc(name) * 2
                   + b"\x0c" + struct.pack("<HIBHBxx", 46, 1024, 253, 0, 0))
    out.append(EOF)
    out += [b"".join(b"\xfb" if v is None else lenenc(v) for v in row) for row in values]
    return out + [EOF]


class Session:
    def __init__(self, server, sock, peer, number):
        self.server = server
        self.sock = sock
        self.peer = "%s:%d" % peer if peer else "localhost"
        self.id = number
        self.user, self.db, self.text = "", None, None
        self.killed = self.ending = False
        self.wake = threading.Condition()
        self.requests = queue.Queue()
        self.framed = None  # whether its packets are in frames: the first request tells
        self.buffer = self.packets = b""

    # ------------------------------------------------------------------ bytes

    def read(self):
        how = self.server.get("reads", "recv")
        if how == "recv":
            return self.sock.recv(READ_BYTES)
        buffers = [bytearray(3), bytearray(5), bytearray(0), bytearray(READ_BYTES)]
        if how == "recvmsg":
            n = self.sock.recvmsg_into(buffers)[0]
        else:
            n = os.readv(self.sock.fileno(), buffers)
        return b"".join(buffers)[:n]

    def write(self, data):
        how = self.server.get("sends", "send")
        while data:
            pieces = [data[:1], data[1:6], data[6:30], data[30:]]
            if how == "send":
                n = self.sock.send(data)
            elif how == "sendmsg":
                n = self.sock.sendmsg(pieces)
            else:
                n = os.writev(self.sock.fileno(), pieces)
            data = data[n:]

    def answer(self, payloads, seq=1):
        data = b""
        for payload in payloads:
            data += len(payload).to_bytes(3, "little") + bytes([seq & 255]) + payload
            seq += 1
        if self.framed:
            size = int(self.server.get("pieces", 0)) or len(data)
            parts = [data[i:i + size] for i in range(0, len(data), size)]
            extra = b"some information" if self.server.get("extra") else None
            for i, part in enumerate(parts):
                last = ob20.LAST if i + 1 == len(parts) else 0
                self.write(ob20.frame(part, i, self.id, 1, last, extra if i == 0 else None))
        else:
            self.write(data)

    def take_packets(self, data):
        """Whole packets of what was read so far."""
        self.buffer += data
        if self.framed is None and self.user:
            if len(self.buffer) < 5:
                return
            self.framed = not self.buffer[4]  # of a packet it is the command
        if self.framed:
            while taken := ob20.take(self.buffer):
                self.packets += taken[0]
                self.buffer = self.buffer[taken[2]:]
        else:
            self.packets, self.buffer = self.packets + self.buffer, b""
        while len(self.packets) >= 4:
            n = int.from_bytes(self.packets[:3], "little")
            if len(self.packets) < 4 + n:
                return
            yield self.packets[4:4 + n]
            self.packets = self.packets[4 + n:]

    # ------------------------------------------------------------------ threads

    def greet(self):
        version = VERSIONS[self.server["engine"]].encode()
        packet = b"\x0a" + version + b"\0" + struct.pack("<I", self.id & 0xFFFFFFFF) + CHALLENGE[:8]
        packet += b"\0" + struct.pack("<HBHHB", CAPS & 0xFFFF, 46, 2, CAPS >> 16, 21)
        self.answer([packet + b"\0" * 10 + CHALLENGE[8:] + b"\0mysql_native_password\0"], 0)

    def login(self, packet):
        caps = struct.unpack_from("<I", packet)[0]
        end = packet.index(b"\0", 32)
        user, n = packet[32:end].decode(), packet[end + 1]
        proof, rest = packet[end + 2:end + 2 + n], packet[end + 2 + n:]
        name, _, password = self.server.get("user", "").partition(":")
        if user == name and proof != wire.scramble(password, CHALLENGE):
            self.answer(error(1045, "42000", f"Access denied for user '{user}'"), 2)
            return False
        self.user = user
        if caps & wire.CONNECT_WITH_DB:
            self.db = rest.split(b"\0", 1)[0].decode() or None
        self.answer([OK], 2)
        return True

    def run_reader(self):
        try:
            self.greet()
            while data := self.read():
                for packet in self.take_packets(data):
                    if self.user:
                        self.requests.put(packet)
                    elif not self.login(packet):
                        raise OSError("refused")
        except OSError:
            pass
        with self.wake:
            self.ending = True
            self.wake.notify_all()
        self.requests.put(None)

    def run_worker(self):
        try:
            while (packet := self.requests.get()) and packet[0] != wire.QUIT:
                self.execute(packet)
        except OSError:
            pass
        with lock:
            sessions.pop(self.id, None)
        self.sock.shutdown(socket.SHUT_RDWR) if not self.ending else None
        self.sock.close()

    # ------------------------------------------------------------------ statements

    def execute(self, packet):
        command, body = packet[0], packet[1:].decode(errors="replace")
        if command == wire.INIT_DB:
            self.db = body
        if command != wire.QUERY:
            self.answer([OK])
            return
        with self.wake:
            self.text = body
        answer = self.statement(body)
        with self.wake:
            self.text = None
            self.killed = False  # not when it begins: a kill may come between the read and that
            self.wake.notify_all()
        self.answer(answer)

    def statement(self, text):
        low = text.lower()
        if m := re.match(r"select sleep\(([\d.]+)\)", low):
            return self.wait(float(m[1]), "deaf" in low)
        if low.startswith('select "'):
            return self.wait(60, False)
        if m := re.match(r"use (\w+)", low):
            self.db = m[1]
            return [OK]
        if m := re.match(r"kill (query |connection )?(\d+)", low):
            return self.kill(int(m[2]), m[1] == "query ")
        if low.startswith("show processlist") or "information_schema.processlist" in low:
            return self.processlist()
        if low.startswith("select current_user"):
            return rows(("current_user()",), ("root@%",))
        if low.startswith("set "):
            return [OK]
        if m := re.match(r"select repeat\('(\w)', (\d+)\)", low):
            return rows(("repeat",), (m[1] * int(m[2]),))
        return rows(("1",), ("1",))

    def wait(self, seconds, deaf):
        end = time.monotonic() + seconds
        with self.wake:
            while (left := end - time.monotonic()) > 0 and (deaf or not self.killed and not self.ending):
                self.wake.wait(left)
        if self.killed or self.ending:
            return error(1317, "70100", "Query execution was interrupted")
        return rows(("sleep",), ("0",))

    def processlist(self):
        names = ("Id", "User", "Host", "db", "Command", "Time", "Info", "Length", "Thread")
        with lock:
            listed = sorted(sessions.items())
        return rows(names, *((n, s.user.split("@")[0], s.peer, s.db, "Query" if s.text else "Sleep",
                              0, s.text, len(s.text or ""), 0) for n, s in listed))

    def tenant(self):
        return self.user.split("#")[0].partition("@")[2] or "sys"

    def may_kill(self, victim):
        return self.tenant() == "sys" or self.user == victim.user

    def kill(self, number, query):
        """protocol.md 2.3, the direct path."""
        with lock:
            victim = sessions.get(number)
        if not victim:
            return error(1094, "HY000", f"Unknown thread id: {number}")
        if not self.may_kill(victim):
            return error(1095, "HY000", f"You are not owner of thread {number}")
        with victim.wake:
            victim.killed = True
            victim.wake.notify_all()
            while not query and victim.text and victim is not self:
                victim.wake.wait(1)
        if not query:
            victim.sock.shutdown(socket.SHUT_RD)
        return [OK]


def main():
    server = dict(option.split("=", 1) for option in sys.argv[3:])
    server["engine"] = sys.argv[1]
    number = int(server.get("first", 1))
    with socket.create_server(("127.0.0.1", int(sys.argv[2]))) as listener:
        print("ready", flush=True)
        while True:
            sock, peer = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(server, sock, peer, number)
            with lock:
                sessions[number] = session
            number += 2 if server["engine"] == "tidb" else 1
            threading.Thread(target=session.run_reader, daemon=True).start()
            threading.Thread(target=session.run_worker, daemon=True).start()


if __name__ == "__main__":
    main()
