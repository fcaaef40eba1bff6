"""PostgreSQL's protocol by hand: messages as they are, so that a test decides what goes into which
call, and sees each message of the server."""

import socket
import ssl as tls
import struct

from deadline import seconds

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102


class PgError(Exception):
    """An ErrorResponse: its fields by letter."""

    def __init__(self, fields):
        super().__init__(f"{fields.get('C')}: {fields.get('M')}")
        self.fields = fields
        self.sqlstate = fields.get("C")


def message(kind, body=b""):
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def text(*words):
    return b"".join(word.encode() + b"\0" for word in words)


def startup(code, body=b""):
    return struct.pack("!II", len(body) + 8, code) + body


def query(sql):
    return message("Q", text(sql))


def parse(sql, name="", types=()):
    return message("P", text(name, sql) + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(name="", portal="", values=()):
    body = text(portal, name) + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!I", len(value)) + value.encode()
    return message("B", body + struct.pack("!H", 0))


def execute(portal="", rows=0):
    return message("E", text(portal) + struct.pack("!I", rows))


def sync():
    return message("S")


def group(sql, name=""):
    """Parse, Bind, Describe, Execute and Sync, as a driver sends them."""
    return parse(sql, name) + bind(name) + message("D", b"P\0") + execute() + sync()


class PgWire:
    """A connection. `address`: (host, port), or the path of a Unix socket."""

    def __init__(self, address, user="postgres", database="postgres", program="pgwire", ssl=None,
                 login=True, **parameters):
        is_unix = isinstance(address, str)
        self.socket = socket.socket(socket.AF_UNIX if is_unix else socket.AF_INET)
        self.socket.settimeout(seconds(30))
        self.socket.connect(address)
        self.port = None if is_unix else self.socket.getsockname()[1]
        self.buffer = b""
        self.pid = self.key = None
        self.status = None
        if ssl is not None:
            self.send(startup(ssl))
            self.ssl_answer = self.socket.recv(1)
            if self.ssl_answer == b"S":
                context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = tls.CERT_NONE
                self.socket = context.wrap_socket(self.socket)
        if login:
            names = {"user": user, "database": database, "application_name": program, **parameters}
            pairs = [word for pair in names.items() for word in pair if pair[1] is not None]
            self.send(startup(196608, text(*pairs) + b"\0"))
            self.until_ready()

    def close(self):
        self.socket.close()

    def send(self, *messages):
        """All of it in one call."""
        self.socket.sendall(b"".join(messages))

    def read(self):
        """(type, body) of the next message."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + self._length():
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the server closed the connection")
            self.buffer += data
        end = 1 + self._length()
        kind, body = self.buffer[:1].decode(), self.buffer[5:end]
        self.buffer = self.buffer[end:]
        if kind == "K":
            self.pid, self.key = struct.unpack("!II", body[:8])
        if kind == "Z":
            self.status = body.decode()
        return kind, body

    def _length(self):
        return struct.unpack("!I", self.buffer[1:5])[0]

    def until_ready(self):
        """Messages up to ReadyForQuery; an error is raised when that has come."""
        messages, error = [], None
        while True:
            try:
                kind, body = self.read()
            except EOFError:
                if error:
                    raise error from None
                raise
            messages.append((kind, body))
            if kind == "E":
                fields = {f[:1].decode(): f[1:].decode() for f in body.split(b"\0") if f}
                error = PgError(fields)
            if kind == "Z":
                if error:
                    raise error
                return messages

    def run(self, *messages):
        self.send(*messages)
        return self.until_ready()

    def query(self, sql):
        """Rows of texts, None for NULL."""
        return [_row(body) for kind, body in self.run(query(sql)) if kind == "D"]


def _row(body):
    n, at, row = struct.unpack("!H", body[:2])[0], 2, []
    for _ in range(n):
        length = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        row.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return tuple(row)
