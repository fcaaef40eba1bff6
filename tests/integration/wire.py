"""A MySQL client that speaks the protocol by hand: for commands that drivers do not have, and for
bytes that no driver would send. Section numbers are those of the protocol notes in docs/."""

import hashlib
import socket
import ssl
import struct

from deadline import seconds

# Capabilities
LONG_PASSWORD = 1 << 0
FOUND_ROWS = 1 << 1
CONNECT_WITH_DB = 1 << 3
LOCAL_FILES = 1 << 7
PROTOCOL_41 = 1 << 9
SSL = 1 << 11
TRANSACTIONS = 1 << 13
SECURE_CONNECTION = 1 << 15
MULTI_STATEMENTS = 1 << 16
MULTI_RESULTS = 1 << 17
PS_MULTI_RESULTS = 1 << 18
PLUGIN_AUTH = 1 << 19
CONNECT_ATTRS = 1 << 20
SESSION_TRACK = 1 << 23
DEPRECATE_EOF = 1 << 24

DEFAULT_CAPS = (
    LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | MULTI_STATEMENTS
    | MULTI_RESULTS | PS_MULTI_RESULTS | PLUGIN_AUTH | LOCAL_FILES
)

# Extended capabilities of MariaDB, bits 32 and up; they are taken of a client without LONG_PASSWORD.
PROGRESS, BULK_OPERATIONS, EXTENDED_METADATA, CACHE_METADATA = 1 << 0, 1 << 2, 1 << 3, 1 << 4

# Commands
QUIT, INIT_DB, QUERY, FIELD_LIST = 0x01, 0x02, 0x03, 0x04
REFRESH, STATISTICS, PROCESS_INFO, PROCESS_KILL = 0x07, 0x09, 0x0A, 0x0C
DEBUG, PING, CHANGE_USER, BINLOG_DUMP = 0x0D, 0x0E, 0x11, 0x12
STMT_PREPARE, STMT_EXECUTE, STMT_SEND_LONG_DATA, STMT_CLOSE = 0x16, 0x17, 0x18, 0x19
STMT_RESET, SET_OPTION, STMT_FETCH, RESET_CONNECTION = 0x1A, 0x1B, 0x1C, 0x1F
STMT_BULK_EXECUTE = 0xFA

MORE_RESULTS = 0x0008
CURSOR_EXISTS = 0x0040
LAST_ROW_SENT = 0x0080
FULL_PACKET = 0xFFFFFF


class ServerError(Exception):
    """An ERR packet: code and message."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Closed(Exception):
    """The server closed the connection."""


def lenenc(data, at):
    """A length-encoded integer at `at`: (value, offset behind it)."""
    first = data[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(data[at + 1 : at + 1 + size], "little"), at + 1 + size


def scramble(password, challenge):
    """mysql_native_password."""
    if not password:
        return b""
    one = hashlib.sha1(password.encode()).digest()
    two = hashlib.sha1(challenge + hashlib.sha1(one).digest()).digest()
    return bytes(a ^ b for a, b in zip(one, two))


def error_of(packet):
    code = struct.unpack_from("<H", packet, 1)[0]
    text = packet[3:]
    if text[:1] == b"#":
        text = text[6:]
    return ServerError(code, text.decode(errors="replace"))


class Wire:
    """One connection. Each method is one exchange, or a part of one where its name says so."""

    def __init__(self, address, caps=DEFAULT_CAPS, timeout=30, extended=0, source=None):
        """From the port `source`, if given; it can be used again as soon as this is closed."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if not isinstance(address, str) and ":" in address[0]:
            family = socket.AF_INET6
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(seconds(timeout))
        if source is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.bind(("127.0.0.1", source))
        self.sock.connect(address)
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wanted_caps = caps & ~LONG_PASSWORD if extended else caps
        self.extended = extended
        self.progress = 0
        self.caps = 0
        self.seq = 0
        self.buffer = b""
        self.id = None

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ------------------------------------------------------------------ packets

    def receive_bytes(self, n):
        while len(self.buffer) < n:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError as error:
                raise Closed from error
            if not more:
                raise Closed
            self.buffer += more
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def receive(self):
        """One packet; continuation packets are joined."""
        whole = b""
        while True:
            header = self.receive_bytes(4)
            length = int.from_bytes(header[:3], "little")
            self.seq = (header[3] + 1) & 0xFF
            whole += self.receive_bytes(length)
            if length < FULL_PACKET:
                return whole

    def packet(self, payload, seq=None):
        """The bytes of a message: its packets with their headers."""
        if seq is not None:
            self.seq = seq
        out = []
        while True:
            part, payload = payload[:FULL_PACKET], payload[FULL_PACKET:]
            out.append(len(part).to_bytes(3, "little") + bytes([self.seq]) + part)
            self.seq = (self.seq + 1) & 0xFF
            if len(part) < FULL_PACKET:
                return b"".join(out)

    def send_raw(self, data):
        self.sock.sendall(data)

    def send(self, payload, seq=None):
        self.send_raw(self.packet(payload, seq))

    def send_command(self, command, body=b""):
        self.send(bytes([command]) + body, seq=0)

    # ------------------------------------------------------------------ login

    def greeting(self):
        """Read the server's greeting: connection id, capabilities, challenge."""
        packet = self.receive()
        if packet[0] == 0xFF:
            raise error_of(packet)
        end = packet.index(b"\0", 1)
        self.version = packet[1:end].decode()
        at = end + 1
        self.id = struct.unpack_from("<I", packet, at)[0]
        self.challenge = packet[at + 4 : at + 12]
        self.server_caps = struct.unpack_from("<H", packet, at + 13)[0]
        self.server_caps |= struct.unpack_from("<H", packet, at + 18)[0] << 16
        self.challenge += packet[at + 31 : at + 43]
        return self

    def login_caps(self, db, attrs):
        caps = self.wanted_caps
        if db is not None:
            caps |= CONNECT_WITH_DB
        return caps | CONNECT_ATTRS if attrs else caps

    def start_tls(self, db=None, attrs=None, version=None):
        """Behind the greeting: ask for TLS, for a login with these, and go on encrypted. The server
        takes the capabilities of this packet, not those of the login. `version`: the latest."""
        self.wanted_caps |= SSL
        self.send(struct.pack("<IIB19xI", self.login_caps(db, attrs), 1 << 30, 45, self.extended))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if version:
            context.maximum_version = version
        self.sock = context.wrap_socket(self.sock)
        return self

    def login_packet(self, user, password="", db=None, attrs=None):
        caps = self.login_caps(db, attrs)
        self.caps = caps & (self.server_caps | LONG_PASSWORD)
        self.columns_cached = False
        answer = scramble(password, self.challenge)
        out = struct.pack("<IIB19xI", caps, 1 << 30, 45, self.extended)
        out += user.encode() + b"\0" + bytes([len(answer)]) + answer
        if db is not None:
            out += db.encode() + b"\0"
        if caps & PLUGIN_AUTH:
            out += b"mysql_native_password\0"
        if attrs:
            pairs = b""
            for pair in attrs.items():
                for word in pair:
                    pairs += bytes([len(word.encode())]) + word.encode()
            out += bytes([len(pairs)]) + pairs
        return out

    def finish_login(self, password=""):
        """Authentication rounds until OK."""
        while True:
            packet = self.receive()
            if packet[0] == 0xFF:
                raise error_of(packet)
            if packet[0] == 0x00:
                return self
            if packet[0] == 0xFE:
                plugin, data = packet[1:].split(b"\0", 1)
                if plugin != b"mysql_native_password":
                    raise NotImplementedError(plugin.decode())
                self.send(scramble(password, data[:20]))

    def login(self, user, password="", db=None, attrs=None):
        self.greeting()
        self.send(self.login_packet(user, password, db, attrs))
        return self.finish_login(password)

    # ------------------------------------------------------------------ answers

    def deprecates_eof(self):
        return bool(self.caps & DEPRECATE_EOF)

    def status_of(self, packet):
        """Server status of an OK or EOF."""
        if packet[0] == 0xFE and len(packet) == 5:
            return struct.unpack_from("<H", packet, 3)[0]
        _, at = lenenc(packet, 1)
        _, at = lenenc(packet, at)
        return struct.unpack_from("<H", packet, at)[0]

    def is_end(self, packet):
        if packet[0] != 0xFE:
            return False
        return len(packet) < (FULL_PACKET if self.deprecates_eof() else 9)

    def rows(self):
        """Rows up to their end: (rows, status)."""
        rows = []
        while True:
            packet = self.receive()
            if packet[0] == 0xFF:
                raise error_of(packet)
            if self.is_end(packet):
                return rows, self.status_of(packet)
            rows.append(packet)

    def receive_final(self):
        """A packet that is no report of progress."""
        while True:
            packet = self.receive()
            if packet[:3] != b"\xff\xff\xff":
                return packet
            self.progress += 1

    def result(self, infile=b""):
        """One result: (rows or None, status)."""
        packet = self.receive_final()
        if packet[0] == 0xFF:
            raise error_of(packet)
        if packet[0] == 0x00:
            return None, self.status_of(packet)
        if packet[0] == 0xFB:
            if infile:
                self.send(infile)
            self.send(b"")
            return self.result()
        n, at = lenenc(packet, 0)
        self.columns_cached = packet[at:] == b"\0"
        for _ in range(0 if self.columns_cached else n):
            self.receive()
        if not self.deprecates_eof():
            status = self.status_of(self.receive())
            if status & CURSOR_EXISTS:
                return [], status
        return self.rows()

    def results(self, infile=b""):
        """All results of a statement: a list of rows, None for an OK."""
        out = []
        while True:
            rows, status = self.result(infile)
            out.append(rows)
            if not status & MORE_RESULTS:
                return out

    def ending(self):
        """How the statement under way ends: 0, the code of its error, or "closed"."""
        try:
            self.results()
            return 0
        except ServerError as error:
            return error.code
        except (Closed, OSError):
            return "closed"

    # ------------------------------------------------------------------ commands

    def query(self, sql, infile=b""):
        self.send_command(QUERY, sql if isinstance(sql, bytes) else sql.encode())
        return self.results(infile)

    def command(self, command, body=b""):
        """A command that is answered with OK, EOF or ERR."""
        self.send_command(command, body)
        packet = self.receive()
        if packet[0] == 0xFF:
            raise error_of(packet)
        return packet

    def prepare_answer(self):
        packet = self.receive()
        if packet[0] == 0xFF:
            raise error_of(packet)
        statement, columns, params = struct.unpack_from("<IHH", packet, 1)
        for n in (params, columns):
            for _ in range(n):
                self.receive()
            if n and not self.deprecates_eof():
                self.receive()
        return statement

    def prepare(self, sql):
        self.send_command(STMT_PREPARE, sql.encode())
        return self.prepare_answer()

    def execute_body(self, statement, params=(), cursor=0):
        """Parameters are strings, numbers or None; LONG is sent with SEND_LONG_DATA."""
        body = struct.pack("<IBI", statement, cursor, 1)
        if params:
            nulls = bytearray((len(params) + 7) // 8)
            types = values = b""
            for i, value in enumerate(params):
                if value is None:
                    nulls[i // 8] |= 1 << i % 8
                    types += b"\x06\0"
                elif value is LONG:
                    types += b"\xfc\0"
                elif isinstance(value, int):
                    types += b"\x08\0"
                    values += struct.pack("<q", value)
                else:
                    types += b"\xfd\0"
                    values += bytes([0xFC]) + struct.pack("<H", len(value)) + value.encode()
            body += bytes(nulls) + b"\1" + types + values
        return body

    def execute(self, statement, params=(), cursor=0):
        self.send_command(STMT_EXECUTE, self.execute_body(statement, params, cursor))
        return self.results()

    def long_data(self, statement, param, data):
        self.send_command(STMT_SEND_LONG_DATA, struct.pack("<IH", statement, param) + data)

    def close_statement(self, statement):
        self.send_command(STMT_CLOSE, struct.pack("<I", statement))

    def change_user(self, user, password="", db=""):
        answer = scramble(password, self.challenge)
        body = user.encode() + b"\0" + bytes([len(answer)]) + answer + db.encode() + b"\0"
        body += struct.pack("<H", 45) + b"mysql_native_password\0"
        self.send_command(CHANGE_USER, body)
        return self.finish_login(password)


LONG = object()
