"""The first inputs of the PostgreSQL step: the conversations of tests/unit/test_step_pgsql.c, as moves (moves.h). An
input that found a bug becomes one of them."""
import struct

READ, SENT, READ_BYTES, SENT_BYTES, READ_FULL, SENT_FULL, WAIT, EVENT = range(8)
JOIN, LONG = 8, 16


def move(kind, mark, body=b"", join=False):
    size = struct.pack("<H", len(body)) if len(body) > 255 else bytes([len(body)])
    return bytes([kind | (JOIN if join else 0) | (LONG if len(body) > 255 else 0)]) + mark + size + body


def client(*messages):
    """What one call of the client sends: (type, body)."""
    return b"".join(move(READ, kind, body, i > 0) for i, (kind, body) in enumerate(messages))


def server(*messages, together=True):
    return b"".join(move(SENT, kind, body, together and i > 0) for i, (kind, body) in enumerate(messages))


def first(code, body=b""):
    return move(READ_BYTES, b"", struct.pack("!II", len(body) + 8, code) + body)


def byte(answer):
    return move(SENT_BYTES, b"", answer)


def wire(data):
    return move(READ_BYTES, b"", data)


def sent(data):
    return move(SENT_BYTES, b"", data)


def record(kind, n):
    """Of TLS."""
    return bytes([kind, 3, 3]) + struct.pack("!H", n) + b"r" * n


SSL, GSS, CANCEL, V3 = 80877103, 80877104, 80877102, 196608
NAMES = b"user\0alice\0database\0shop\0application_name\0psql\0client_encoding\0UTF8\0\0"
WELCOME = [(b"R", b"\0\0\0\0"), (b"S", b"application_name\0psql\0"), (b"S", b"server_version\00015.18 (Debian)\0"),
           (b"K", b"\0\0\x12\x34\1\2\3\4"), (b"Z", b"I")]
LOGIN = first(V3, NAMES) + server(*WELCOME)
ROW = (b"D", b"\0\1\0\0\0\1" + b"1")
ROWS = (b"T", b"\0\1g\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0")
DONE = (b"C", b"SELECT 1\0")
SYNC = (b"S", b"")


def error(code=b"22012"):
    return (b"E", b"SERROR\0VERROR\0C" + code + b"\0Mno\0\0")


def ready(status=b"I"):
    return (b"Z", status)


def query(text, *answers, status=b"I"):
    return client((b"Q", text + b"\0")) + server(*(answers or [DONE]), ready(status))


def parse(text, name=b""):
    return (b"P", name + b"\0" + text + b"\0\0\0")


def bind(name=b"", portal=b""):
    return (b"B", portal + b"\0" + name + b"\0\0\0\0\0\0\0")


def execute(portal=b""):
    return (b"E", portal + b"\0\0\0\0\0")


def group(text):
    return [parse(text), bind(), (b"D", b"P\0"), execute(), SYNC]


GROUP = [(b"1", b""), (b"2", b""), (b"n", b""), DONE, ready()]

TALKS = {
    "login": LOGIN,
    "login-cut": first(V3, NAMES[:-9]) + server(*WELCOME),
    "login-user": first(V3, b"user\0bob\0\0") + server(*WELCOME),
    "login-long": first(V3, b"user\0" + b"u" * 150 + b"\0database\0" + b"d" * 200 + b"\0\0") + server(*WELCOME),
    "login-many": first(V3, b"a\0b\0" * 20 + NAMES) + server(*WELCOME),
    "login-refused": first(V3, NAMES) + server(error(b"28P01")),
    "login-password": first(V3, NAMES) + server((b"R", b"\0\0\0\12SCRAM-SHA-256\0\0"))
    + client((b"p", b"SCRAM-SHA-256\0\0\0\0\4n,,n")) + server((b"R", b"\0\0\0\13r=x")) + client((b"p", b"c=biws,r=x"))
    + server((b"R", b"\0\0\0\14v=y"), *WELCOME),
    "refused-encryption": first(GSS) + byte(b"N") + first(SSL) + byte(b"N") + LOGIN + query(b"select 1"),
    "encryption": first(SSL) + byte(b"S") + move(READ_BYTES, b"", b"\x16\3\1") + move(SENT_BYTES, b"", b"\x16\3\3"),
    "encryption-error": first(SSL) + server(error(b"08P01")),
    "encryption-cancel": first(SSL) + byte(b"N") + first(CANCEL, b"\0\0\0\1\0\0\0\2"),
    "simple": LOGIN + query(b"begin", (b"C", b"BEGIN\0"), status=b"T") + query(b"select g", ROWS, ROW, ROW, DONE, status=b"T")
    + query(b"select 1/0", error(), status=b"E") + query(b"rollback", (b"C", b"ROLLBACK\0")) + query(b";", (b"I", b"")),
    "several": LOGIN + query(b"select 1; select 2", ROWS, ROW, DONE, ROWS, ROW, DONE),
    "long": LOGIN + query(b"select '" + b"x" * 1500 + b"'", ROWS, ROW, DONE),
    "filled": LOGIN + move(READ_FULL, b"Q", b"select") + move(SENT_FULL, b"D", b"\0\1") + server(DONE, ready())
    + query(b"select 2"),
    "notices": LOGIN + query(b"do", (b"N", b"SNOTICE\0\0"), (b"A", b"\0\0\0\1ch\0\0"), DONE),
    "terminate": LOGIN + query(b"select 1") + client((b"X", b"")) + bytes([EVENT]),
    "function": LOGIN + client((b"F", b"\0\0\0\1\0\0\0\0\0\0")) + server((b"V", b"\xff" * 4), ready()),
    "unnamed": LOGIN + client(*group(b"select $1")) + server(*GROUP) + client(*group(b"select $2")) + server(*GROUP),
    "named": LOGIN + client(parse(b"select 'a'", b"a"), SYNC) + server((b"1", b""), ready())
    + client(bind(b"a"), execute(), SYNC) + server((b"2", b""), DONE, ready())
    + client(bind(b"a", b"cur"), execute(b"cur"), SYNC) + server((b"2", b""), (b"s", b""), ready(b"T"))
    + client(execute(b"cur"), SYNC) + server(DONE, ready()) + client((b"C", b"Sa\0"), SYNC) + server((b"3", b""), ready()),
    "discard": LOGIN + client(parse(b"select 'a'", b"a"), SYNC) + server((b"1", b""), ready())
    + query(b"discard all", (b"C", b"DISCARD ALL\0")) + query(b"deallocate a", (b"C", b"DEALLOCATE\0"))
    + client(bind(b"a"), SYNC) + server(error(b"26000"), ready()),
    "skips": LOGIN + client(parse(b"x", b"a")) + server(error(b"42601")) + client(bind(b"a"), execute(), SYNC)
    + server(ready()) + query(b"select 1"),
    "pipeline": LOGIN + client(*group(b"select 1"), (b"Q", b"select 2\0"), (b"Q", b"select 3\0"), *group(b"select 4"))
    + server(*GROUP) + server(DONE, ready()) + server(DONE, ready()) + server((b"1", b""), error()) + server(ready()),
    "flush": LOGIN + client(parse(b"select 1"), (b"H", b"")) + server((b"1", b"")) + client(bind(), execute(), SYNC)
    + server((b"2", b""), DONE, ready()),
    "copy-in": LOGIN + client((b"Q", b"copy t from stdin\0")) + server((b"G", b"\0\0\1\0\0"))
    + client((b"d", b"1\n"), (b"d", b"2\n"), (b"H", b""), SYNC, (b"c", b"")) + server(DONE, ready()) + query(b"select 1"),
    "copy-in-error": LOGIN + client((b"Q", b"copy t from stdin\0")) + server((b"G", b"\0\0\1\0\0")) + client((b"d", b"x\n"))
    + server(error(b"22P02"), ready()) + client((b"d", b"2\n"), (b"c", b"")) + query(b"select 1"),
    "copy-in-fail": LOGIN + client((b"Q", b"copy t from stdin\0")) + server((b"G", b"\0\0\1\0\0")) + client((b"f", b"why\0"))
    + server(error(b"57014"), ready()),
    "copy-in-extended": LOGIN + client(*group(b"copy t from stdin")) + server((b"1", b""), (b"2", b""), (b"n", b""))
    + server((b"G", b"\0\0\1\0\0")) + client((b"d", b"1\n"), (b"c", b""), SYNC) + server(DONE, ready()),
    "copy-out": LOGIN + query(b"copy t to stdout", (b"H", b"\0\0\1\0\0"), (b"d", b"Z\0\0\0\5I\n"), (b"d", b"2\n"), (b"c", b"")),
    "copy-both": LOGIN + client((b"Q", b"START_REPLICATION 0/0\0")) + server((b"W", b"\0\0\0"), (b"d", b"w" * 25))
    + client((b"d", b"r" * 34), (b"c", b"")) + server((b"c", b""), DONE, ready()),
    "program": LOGIN + query(b"set application_name='batch'", (b"C", b"SET\0"), (b"S", b"application_name\0batch\0")),
    "program-long": LOGIN + query(b"set", (b"S", b"application_name\0" + b"p" * 63 + b"\0"), (b"C", b"SET\0")),
    "short-length": LOGIN + move(READ_BYTES, b"", b"Q\0\0\0\3"),
    "long-length": LOGIN + move(SENT_BYTES, b"", b"D\x7f\xff\xff\xff"),
    "reads-on": LOGIN + client((b"Q", b"select 1\0"), (b"Q", b"select 2\0")) + bytes([WAIT]),
    "pipeline-together": LOGIN + client((b"Q", b"select 1\0"), (b"Q", b"select 2\0"), *group(b"select 3"), (b"F", b"\0\0\0\1"))
    + server(DONE, ready(), DONE, ready(b"T"), *GROUP, (b"V", b"\xff" * 4), ready(b"E")),
    "pipeline-copy": LOGIN + client((b"Q", b"copy t from stdin\0"), (b"d", b"1\n"), (b"c", b""), (b"Q", b"copy t to stdout\0"))
    + server((b"G", b"\0\0\1\0\0"), DONE, ready(), (b"H", b"\0\0\1\0\0"), (b"d", b"1\n"), (b"c", b""), DONE, ready()),
    "pipeline-terminate": LOGIN + client((b"Q", b"select 1\0"), parse(b"select 2"), bind(), execute(), (b"X", b""))
    + server(DONE, ready()) + server((b"1", b""), (b"2", b"")),
    "group-terminate": LOGIN + client(parse(b"select 1"), (b"X", b"")) + bytes([EVENT]),
    "tls": first(SSL) + byte(b"S") + wire(record(22, 200)) + sent(record(22, 90)) + wire(record(20, 1) + record(23, 53) + record(23, 60))
    + sent(record(23, 300)) + wire(record(23, 40)) + bytes([WAIT]) + sent(record(23, 60)) + wire(record(23, 33) + record(23, 20))
    + sent(record(23, 70)) + bytes([WAIT]),
    "tls-12": first(SSL) + byte(b"S") + wire(record(22, 200)) + sent(record(22, 90)) + wire(record(22, 66) + record(20, 1) + record(22, 40))
    + sent(record(20, 1) + record(22, 40)) + wire(record(23, 60)) + sent(record(23, 90)) + wire(record(23, 40)) + sent(record(23, 9)),
    "tls-along": move(READ_BYTES, b"", struct.pack("!II", 8, SSL) + record(22, 200)) + byte(b"S") + sent(record(22, 90)),
    "rest-of-answer": move(SENT_BYTES, b"", b"rest of a row") + server(DONE, ready(b"T")) + query(b"select 2"),
}
# Text size, then how the session begins; the seed's low bits are the style of the cuts.
SETUPS = {"": b"\0\2\1", "-short": b"\1\1\1", "-vector": b"\x22\1\1", "-large": b"\3\3\1", "-ahead": b"\x10\2\1"}


def step():
    for name, talk in TALKS.items():
        for suffix, setup in SETUPS.items():
            yield name + suffix, setup + talk
    for name in ("simple", "named", "pipeline", "copy-in"):
        for suffix, start in {"-framed": 4, "-joined": 8, "-unknown": 12}.items():
            yield name + suffix, bytes([start, 3, 1]) + TALKS[name][len(LOGIN):]
