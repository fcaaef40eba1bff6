#!/usr/bin/python3
"""Writes the first inputs of the fuzzers: seeds.py DIRECTORY, which gets a directory for each target.

The conversations are those of tests/unit/test_step_mysql.c, as moves (moves.h), PostgreSQL's are in seeds_pgsql.py; the statements are
those of test_session_mask.c and test_session_text.c. An input that found a bug becomes one of them.
"""
import struct
import sys
from pathlib import Path

import seeds_pgsql

READ, SENT, READ_BYTES, SENT_BYTES, READ_FULL, SENT_FULL, WAIT, EVENT = range(8)
JOIN, LONG = 8, 16

OK = b"\0\0\0\2\0\0\0"
OK_MORE = b"\0\0\0\x0a\0\0\0"
OK_IN_TRANS = b"\0\0\0\3\0\0\0"
OK_TRACKED = b"\0\0\0\2\x40\0\0\0\x0c\0\3\1a\0\1\5\4next"
OK_EOF = b"\xfe\0\0\2\0\0\0"
EOF = b"\xfe\0\0\2\0"
EOF_MORE = b"\xfe\0\0\x0a\0"
EOF_CURSOR = b"\xfe\0\0\x42\0"
ERROR = b"\xff\x28\x04#42000You have an error"
PROGRESS = b"\xff\xff\xff\1\1\2\0\0\0\5copying"
DEFINITION = b"\3def\0\0\0\1" + b"1\0\x0c\x3f\0\1\0\0\0\3\x81\0\0\0\0"
SWITCH = b"\xfemysql_native_password\0aaaaaaaaaaaaaaaaaaaa"

WITH_DB, COMPRESS, TRACK, DEPRECATE, LENENC, ATTRIBUTES = 1 << 3, 1 << 5, 1 << 23, 1 << 24, 1 << 21, 1 << 27
PLAIN = WITH_DB | 1 << 9 | 1 << 15 | 1 << 19 | 1 << 20


def move(kind, payload=b"", seq=0, join=False):
    op = kind | (JOIN if join else 0) | (LONG if len(payload) > 255 else 0)
    out = bytes([op])
    if kind in (READ, SENT, READ_FULL, SENT_FULL):
        out += bytes([seq & 255])
    return out + (struct.pack("<H", len(payload)) if op & LONG else bytes([len(payload)])) + payload


def login_packet(caps, user=b"alice", db=b"shop"):
    p = struct.pack("<IIB23x", caps, 1 << 24, 45) + user + b"\0"
    p += b"\x14" + b"\xee" * 20
    if caps & WITH_DB:
        p += db + b"\0"
    return p + b"mysql_native_password\0" + b"\x1e\x04_pid\x044711\x0cprogram_name\x06worker"


def login(caps=PLAIN, **names):
    return move(READ, login_packet(caps, **names), 1) + move(SENT, OK, 2)


def answer(*packets, seq=1, together=True):
    return b"".join(move(SENT, p, seq + i, join=together and i > 0) for i, p in enumerate(packets))


def query(text, *packets, **how):
    return move(READ, b"\3" + text) + answer(*packets, **how)


def rows(n, deprecated=False):
    middle = [] if deprecated else [EOF]
    return [b"\2", DEFINITION, DEFINITION, *middle, *[b"\x011\xfb"] * n, OK_EOF if deprecated else EOF]


def prepared(text, columns=1, params=1):
    packets = [b"\0\7\0\0\0" + struct.pack("<HH", columns, params) + b"\0\0\0"]
    packets += [DEFINITION, EOF] * bool(params) + [DEFINITION, EOF] * bool(columns)
    return move(READ, b"\x16" + text) + answer(*packets)


def packet(payload, seq=0):
    return struct.pack("<I", len(payload))[:3] + bytes([seq]) + payload


def packets(*payloads, seq=1):
    return b"".join(packet(p, seq + i) for i, p in enumerate(payloads))


def outer(inside, seq=0, plain=0):
    """A packet of the compressed protocol; `plain`: its bytes stand for so many, compressed."""
    return struct.pack("<I", len(inside))[:3] + bytes([seq]) + struct.pack("<I", plain)[:3] + inside


def frame(inside, flags=2, extra=None, seq=0):
    """OceanBase's around packets."""
    if extra is not None:
        flags, inside = flags | 1, struct.pack("<I", len(extra)) + extra + inside
    head = struct.pack("<I", len(inside) + 28)[:3] + bytes([seq]) + b"\0\0\0\xab\x20\x14\0" + b"\1\0\0\0\2\0\0\0"
    return head + struct.pack("<IIHH", len(inside), flags, 0, 0) + inside + b"crc4"


def record(kind, n, version=3):
    """Of TLS."""
    return bytes([kind, 3, version]) + struct.pack(">H", n) + b"r" * n


def read_bytes(*parts):
    return b"".join(move(READ_BYTES, p) for p in parts)


def sent_bytes(*parts):
    return b"".join(move(SENT_BYTES, p) for p in parts)


EXECUTE = b"\x17\7\0\0\0\0\1\0\0\0"
USES = [b"use stock", b"USE `sto ck`", b"  /* x */ -- y\n # z\n UsE\tstock ; ", b"use stock/* why */",
        b"/*!50000 use stock */", b"/*M!100000 use stock*/", b"use `a``b ;c`", b"use```a`", b"use -- to\n stock"]

TALKS = {
    "login": login(),
    "login-db-none": login(PLAIN, db=b""),
    "login-long-user": login(PLAIN, user=b"u" * 150),
    "login-lenenc": login(PLAIN | LENENC),
    "login-compressed": login(PLAIN | COMPRESS) + move(READ_BYTES, b"\5\0\0\0\0\0\0abcde") + move(SENT_BYTES, b"x"),
    "login-refused": move(READ, login_packet(PLAIN), 1) + move(SENT, b"\xff\x15\x04#28000Access denied", 2),
    "login-rounds": move(READ, login_packet(PLAIN), 1) + move(SENT, SWITCH, 2) + move(READ, b"x" * 20, 3)
    + move(SENT, OK, 4),
    "tls": move(READ, struct.pack("<IIB23x", PLAIN | 1 << 11, 1 << 24, 45), 1) + move(READ_BYTES, b"\x16\3\1"),
    "multi": login() + query(b"select 1; do 1; select 2", b"\1", DEFINITION, EOF, b"\0011", EOF_MORE, OK_MORE, OK),
    "error": login() + query(b"alter table t", PROGRESS, ERROR, together=False),
    "infile": login() + query(b"load data local infile 'x' into table t", b"\xfbx") + move(READ, b"1\n2\n", 2)
    + move(READ, b"3\n", 3) + move(READ, b"", 4) + move(SENT, OK, 5),
    "use-several": login() + query(b"select ';use a', \"\\\";\"; /* ; */ use b;do 1;use `c`", b"\1", DEFINITION, EOF,
                                   EOF_MORE, OK_MORE, OK_MORE, OK),
    "tracking": login(PLAIN | TRACK) + query(b"use next", OK_TRACKED),
    "init-db": login() + move(READ, b"\2stock") + answer(OK) + query(b"drop database stock", b"\0\0\0\2\1\0\0"),
    "change-user": login() + move(READ, b"\x11bob\0\2zzstock\0\x21\0") + move(SENT, SWITCH, 1)
    + move(READ, b"xxxx", 2) + move(SENT, OK, 3),
    "prepare": login() + prepared(b"select ?") + move(READ, EXECUTE) + answer(*rows(1))
    + move(READ, b"\x17\xff\xff\xff\xff\0\1\0\0\0") + answer(OK) + move(READ, b"\x18\7\0\0\0\0\0long")
    + move(READ, b"\x19\7\0\0\0") + query(b"do 1", OK),
    "prepare-use": login() + prepared(b"use stock", 0, 0) + move(READ, EXECUTE) + answer(OK),
    "reset": login() + prepared(b"do 1", 0, 0) + move(READ, b"\x1f") + answer(OK) + move(READ, EXECUTE) + answer(ERROR),
    "cursor": login() + move(READ, b"\x17\7\0\0\0\1\1\0\0\0") + answer(b"\1", DEFINITION, EOF_CURSOR)
    + move(READ, b"\x1c\7\0\0\0\x0a\0\0\0") + answer(b"\0\0\1", b"\0\0\2", EOF),
    "one-packet": login() + move(READ, b"\x09") + answer(b"Uptime: 7  Threads: 1") + move(READ, b"\x1b\0\0")
    + answer(EOF) + move(READ, b"\x0e") + answer(OK) + move(READ, b"\4t\0") + answer(DEFINITION, DEFINITION, EOF),
    "binlog": login() + move(READ, b"\x12\4\0\0\0\0\0\1\0\0\0bin.1")
    + answer(b"\0event one", b"\0event two", EOF, together=False),
    "transaction": login() + query(b"begin", OK_IN_TRANS) + query(b"commit", OK),
    "pipelined": login() + move(READ, b"\3a") + move(READ, b"\3b", 0, join=True) + answer(OK) + answer(OK),
    "empty-packet": login() + query(b"do 1", OK) + move(READ) + answer(ERROR) + query(b"do 1", OK),
    "full-request": login() + query(b"do 1", OK) + move(READ_FULL, b"\3insert") + move(READ, b"yz", 1) + answer(OK),
    "full-row": login() + query(b"select 1", b"\1", DEFINITION, EOF) + move(SENT_FULL, b"\xfe", 4)
    + move(SENT, b"z", 5) + move(SENT, EOF, 6),
    "quit": login() + move(READ, b"\1") + move(EVENT),
    "waits": login() + query(b"do 1", OK) + bytes([WAIT]) + move(READ, b"\3select 1") + bytes([WAIT]),
    "no-columns": login() + query(b"select 1", b"\xfc\0\0", DEFINITION),
    "many-columns": login() + query(b"select 1", b"\xfc\3\0", DEFINITION, DEFINITION, DEFINITION, EOF, b"\1x", EOF),
    "garbage": login() + move(SENT_BYTES, b"\3\0\0\1xyz"),
    "attributes": login(PLAIN | ATTRIBUTES) + query(b"\0\1select 1", *rows(2)),
}
TALKS.update({f"rows-{n}": login() + query(b"select 1", *rows(n)) for n in (0, 1, 3, 40)})
TALKS.update({f"rows-ok-{n}": login(PLAIN | DEPRECATE) + query(b"select 1", *rows(n, True)) for n in (0, 1, 3, 40)})
TALKS.update({f"use-{i}": login() + query(text, OK) for i, text in enumerate(USES)})
CHANGE_USER = b"\x11bob\0\2zzstock\0\x21\0"
TALKS.update({f"change-user-cut-{n}": login() + query(b"select 'some text that stays behind'", OK)
              + move(READ, CHANGE_USER[:n]) + answer(OK) for n in (1, 3, 5, 6, 10)})
TALKS.update({f"login-cut-{n}": move(READ, login_packet(PLAIN)[:n], 1) + move(SENT, OK, 2)
              for n in (3, 32, 35, 40, 61, 80, 90, 100, 105, 120)})
# Bugs that were.
TALKS["compressed-behind-ok"] = login(PLAIN | COMPRESS) + move(SENT_BYTES, b"\7\0\0\1garbage", join=True)
TALKS["prepare-nothing"] = login() + query(b"use a", OK) + move(READ, b"\x16") + answer(b"\0\7" + b"\0" * 10)
TALKS["use-short-ok"] = login() + query(b"use a", b"\0\2\0\0\0")
TALKS["query-nothing"] = login() + query(b"use a", OK) + query(b"", OK)
TALKS["close-short"] = (login() + prepared(b"do 1", 0, 0) + prepared(b"do 2", 0, 0) + move(READ, b"\x19\7")
                        + move(READ, b"\x19\7\0\0\0"))
TLS_REQUEST = struct.pack("<IIB23x", PLAIN | 1 << 11, 1 << 24, 45)
TLS_END = record(20, 1) + record(23, 53)
TALKS.update({
    "tls-hello-along": move(READ_BYTES, packet(TLS_REQUEST, 1) + record(22, 200, 1)) + sent_bytes(record(22, 90))
    + read_bytes(TLS_END + record(23, 90)) + sent_bytes(record(23, 40)) + read_bytes(record(23, 40)) + bytes([WAIT])
    + sent_bytes(record(23, 60)) + read_bytes(record(23, 33) + record(23, 33)) + sent_bytes(record(23, 70)) + bytes([WAIT]),
    "tls-tickets": move(READ, TLS_REQUEST, 1) + read_bytes(record(22, 200, 1)) + sent_bytes(record(22, 90)) + read_bytes(TLS_END)
    + sent_bytes(record(23, 230)) + read_bytes(record(23, 90)) + sent_bytes(record(23, 40)) + read_bytes(record(23, 40)),
    "tls-12": move(READ, TLS_REQUEST, 1) + read_bytes(record(22, 200, 1)) + sent_bytes(record(22, 90))
    + read_bytes(record(22, 66) + record(20, 1) + record(22, 40)) + sent_bytes(record(20, 1)) + read_bytes(record(23, 90))
    + sent_bytes(record(23, 40)) + read_bytes(record(23, 40)) + sent_bytes(record(23, 60)) + bytes([WAIT]),
    # Requests ahead of time, and their answers in one call.
    "ahead": login() + move(READ_BYTES, b"".join(packet(p) for p in (b"\3a", b"\x19\1\0\0\0", b"\3use b", b"\3c")))
    + move(READ_BYTES, packet(b"\3d")) + sent_bytes(packet(OK, 1) * 2 + packets(*rows(1)) + packet(OK, 1)[:6])
    + sent_bytes(packet(OK, 1)[6:]),
    "ahead-cut": login() + move(READ_BYTES, packet(b"\3a") + packet(b"\3select 'long'")[:9]) + sent_bytes(packet(OK, 1))
    + read_bytes(packet(b"\3select 'long'")[9:] + packet(b"\3c")) + sent_bytes(packets(*rows(1)) + packet(ERROR, 1)),
    "ahead-infile": login() + read_bytes(packet(b"\3load data local infile 'x' into table t") + packet(b"1\n", 2) + packet(b"", 3)
                                         + packet(b"\3do 1")) + sent_bytes(packet(b"\xfbx", 1)) + sent_bytes(packet(OK, 4) + packet(OK, 1)),
    "ahead-infile-together": login() + read_bytes(packet(b"\3load") + packet(b"1\n") + packet(b"", 1) + packet(b"\3do 1"))
    + sent_bytes(packet(b"\xfbx", 1) + packet(OK, 2) + packet(OK, 1)),
    "ahead-prepare": login() + read_bytes(packet(b"\x16use a") + packet(b"\x17\xff\xff\xff\xff\0\1\0\0\0") + packet(b"\1"))
    + sent_bytes(packet(b"\0\7" + b"\0" * 10, 1) + packet(OK, 1)),
    "ahead-change-user": login() + read_bytes(packet(b"\x11bob\0\2zzstock\0\x21\0") + packet(b"xxxx", 2) + packet(b"\3do 1"))
    + sent_bytes(packet(SWITCH, 1) + packet(OK, 3)) + sent_bytes(packet(OK, 1)),
    "ahead-many": login() + read_bytes(packet(b"\3do 1") * 40) + sent_bytes(packet(OK, 1) * 40),
    # Packets in packets.
    "frames": login() + read_bytes(frame(packet(b"\3use b"))) + sent_bytes(frame(packet(OK, 1), extra=b"extra"))
    + read_bytes(frame(packet(b"\3select 1"), extra=b"some more")) + sent_bytes(frame(packets(*rows(2))[:30], 0), frame(packets(*rows(2))[30:]))
    + read_bytes(frame(packet(b"\3do 1"))) + sent_bytes(frame(b"what is not understood")),
    "frames-together": login() + read_bytes(frame(packet(b"\3do 1")) + frame(packet(b"\3do 2")))
    + sent_bytes(frame(packet(OK, 1)) + frame(packet(OK, 1)) + frame(packet(OK, 2), 2)),
    "frames-split": login() + read_bytes(frame(packet(b"\3select 'a' from b")[:9], 0) + frame(packet(b"\3select 'a' from b")[9:]))
    + sent_bytes(frame(packet(b"\1", 1) + packet(DEFINITION, 2), 0) + frame(packet(EOF, 3) + packet(b"\0011", 4), 0) + frame(packet(ERROR, 5))),
    "frames-compressed": login() + read_bytes(frame(packet(b"\3do 1"))) + sent_bytes(frame(packet(OK, 1))) + read_bytes(outer(b"z" * 60, 0, 90))
    + sent_bytes(outer(b"z" * 60, 1, 90), frame(packet(OK, 1))) + read_bytes(frame(packet(b"\3do 2"))) + sent_bytes(frame(packet(OK, 1))),
    "frames-broken": login() + read_bytes(frame(packet(b"\3do 1"))) + sent_bytes(frame(packet(OK, 1))[:20] + b"\xff" * 20),
    "compressed": login(PLAIN | COMPRESS) + read_bytes(outer(packet(b"\3use b"))) + sent_bytes(outer(packet(OK, 1), 1))
    + read_bytes(outer(packet(b"\3select 1"))) + sent_bytes(outer(packets(*rows(3))[:70], 1) + outer(packets(*rows(3))[70:], 2)),
    "compressed-request": login(PLAIN | COMPRESS) + read_bytes(outer(b"z" * 60, 0, 200)) + sent_bytes(outer(packet(ERROR, 1), 1))
    + read_bytes(outer(b"z" * 60, 0, 200)) + sent_bytes(outer(packet(OK, 1), 1)) + bytes([WAIT]) + read_bytes(outer(packet(b"\3do 1")))
    + sent_bytes(outer(packet(OK, 1), 1)),
    "compressed-answer": login(PLAIN | COMPRESS) + read_bytes(outer(packet(b"\3select 1"))) + sent_bytes(outer(b"z" * 60, 1, 5000))
    + sent_bytes(outer(packet(EOF, 9), 2)) + bytes([WAIT]) + read_bytes(outer(packet(b"\3do 1"))) + sent_bytes(outer(packet(OK, 1), 1)),
    "compressed-row": login(PLAIN | COMPRESS) + read_bytes(outer(packet(b"\3select 1")))
    + sent_bytes(outer(packets(*rows(0)[:-1]) + b"\x58\2\0\5\xfc\x55\2row", 1) + outer(b"z" * 40, 2, 594) + outer(packet(EOF, 6), 3)),
    "compressed-infile": login(PLAIN | COMPRESS) + read_bytes(outer(packet(b"\3load data local infile 'x' into table t")))
    + sent_bytes(outer(packet(b"\xfbx", 1), 1)) + read_bytes(outer(b"z" * 60, 2, 400)) + bytes([WAIT]) + read_bytes(outer(packet(b"", 4), 3))
    + sent_bytes(outer(packet(OK, 5), 4)),
    "compressed-long": login(PLAIN | COMPRESS) + read_bytes(outer(packet(b"\3" + b"x" * 600)[:300]) + outer(b"z" * 20, 1, 305))
    + sent_bytes(outer(packet(OK, 2), 2)),
    "compressed-change-user": login(PLAIN | COMPRESS) + read_bytes(outer(packet(CHANGE_USER)))
    + sent_bytes(outer(packet(OK, 1) + packet(OK, 1), 1)) + read_bytes(outer(packet(b"\3do 1"))) + sent_bytes(outer(packet(OK, 1), 1)),
    "compressed-late-file": move(READ, login_packet(PLAIN | COMPRESS), 1) + sent_bytes(packet(OK, 2) + outer(packet(ERROR, 0), 0))
    + read_bytes(outer(b"z", 106, 45), outer(b"", 0)),
    "compressed-behind-login": move(READ, login_packet(PLAIN | COMPRESS), 1) + sent_bytes(packet(OK, 2) + outer(packet(ERROR, 0), 0)),
})
TALKS["long"] = login() + query(b"select '" + b"x" * 1500 + b"'", *rows(2))
TALKS["many"] = login() + query(b"do 1", OK) * 30

# Text size, then how the session begins; the seed's low bits are the style of the cuts.
SETUPS = {"": b"\0\2\1", "-all-caps": b"\5\0\1", "-vector": b"\x22\1\1", "-plain": b"\x10\2\3", "-oceanbase": b"\x18\0\2"}


def mysql_step():
    for name, talk in TALKS.items():
        for suffix, setup in SETUPS.items():
            yield name + suffix, setup + talk
    for name in ("rows-3", "rows-ok-3", "prepare", "use-0"):
        yield name + "-joined", b"\x08\3\1" + TALKS[name][len(login()):]


def wire():
    logins = {"login": login_packet(PLAIN), "lenenc": login_packet(PLAIN | LENENC), "short": b"\x01\x82\0\0",
              "sha2": login_packet(PLAIN).replace(b"mysql_native_password", b"caching_sha2_password")}
    commands = [b"\3show processlist", b"\3kill query 7", b"\x11bob\0\2zzshop\0\x21\0mysql_native_password\0",
                b"\2mariadb-3306", b"\x0e", b"\x0c\7\0\0\0", b"", b"\3select '" + b"x" * 5000 + b"'", b"\1"]
    for name, data in logins.items():
        yield name, b"\4" + packet(data, 1) + b"".join(packet(c) for c in commands)
    yield "order", b"\0" + packet(logins["login"], 1) + packet(b"\3select 1", 3)
    yield "large", b"\7" + packet(logins["login"], 1) + b"\xff\xff\xff\0" + b"x" * 100


STATEMENTS = [
    b"create user u@'%' identified by \"se'cret\", v identified by 's2' require ssl",
    b"alter user u identified via ed25519 using password('a') or p using 'b'",
    b"alter user u identified with 'plugin' by 'a' replace 'b' retain x",
    b"create user u identified with sha as 0xAB12 comment 'x'",
    b"set password for 'u'@'h' = 'x' replace 'y'; set password for u@h = PASSWORD('x')",
    b"select password(concat('a', upper('b'))), 'c'",
    b"change master to master_user='u', master_password='x', master_port=1",
    b"create server s foreign data wrapper mysql options (user 'u', password 'x', host 'h')",
    b"CREATE USER u IdEnTiFiEd/* by 'no' */\n\tBy -- 'x\n  'y'",
    b"/*!50000 create user u identified by 'x' */ # why\n",
    b"set password=_utf8'a''b\\'c' 'y'",
    b"execute immediate 'set password = \"abc\"'",
    b"  select 1; call p(); begin not atomic select 2; end; select `a;b`, 'c;d' ; ;; ",
    b"set statement max_statement_time=1 for create or replace procedure p() begin select 1; end",
    b"show full processlist like 'web\\_%' limit 7;",
    b"kill hard query 4294967297; select @@version, `User` from sessions where Time > 5 order by Id",
    "select 'grüße', '€', '\U0001f600'".encode(),
]


def text():
    for i, statement in enumerate(STATEMENTS):
        yield f"statement-{i}", bytes([i * 4 & 255]) + statement
        yield f"cut-{i}", bytes([i * 4 + 2 & 255]) + statement[:-4]
    yield "all", b"\0" + b";".join(STATEMENTS)


CONSOLE = [
    b"show full processlist", b"show sessions", b"show orphans", b"show servers", b"show losses", b"show features",
    b"show warnings limit 3", b"show grants", b"show kills", b"show variables like 'v%'", b"show status where a = 'b'",
    b"use `mariadb-3306`", b"set names utf8mb4, @@session.autocommit = 1", b"select database()",
    b"select @@version_comment limit 1", b"kill query 41", b"kill soft connection 4294967337 /* why */",
    b"kill query where user = 'app' and time > 5 dry run", b"kill 41 after transaction timeout 5", b"kill hard query id 7",
    b"demote 41", b"restore '41'", b"reserve 1 for `mariadb-3306` dry run", b"show databases", b"help",
    b"select user, count(*), max(time) from processlist group by 1 having count(*) > 0 order by 2 desc limit 5",
    b"select id, info from information_schema.processlist where info regexp 'sle+p' or user like 'a\\_%'",
    b"with recursive c(n) as (select 1 union all select n + 1 from c) select max(n) from c",
    b"select concat(user, 'it''s', \"\\\"\"), if(time > 3, 'x', null), now() from sessions s join sessions t using (id)",
]


def console():
    for i, statement in enumerate(CONSOLE):
        yield f"statement-{i}", bytes([i % 8]) + statement
    for caller in range(8):
        yield f"all-{caller}", bytes([caller]) + b"\x1e".join(CONSOLE[caller * 3:caller * 3 + 8])


def config():
    sample = (Path(__file__).parent / "../../packaging/dbps.conf").read_bytes()
    yield "sample", sample
    yield "all", b"\n".join(line.removeprefix(b"#") for line in sample.split(b"\n") if b" = " in line or b"[" in line)
    yield "twice", b"[session]\ntext_bytes = 1024\ntext_bytes=2048\n"
    yield "unknown", b"[daemon]\nnothing: 1\n"
    yield "long", b"[access]\nprocess = " + b"x" * 300


TARGETS = {"step_mysql": mysql_step, "step_pgsql": seeds_pgsql.step, "wire": wire, "text": text, "console": console, "config": config}
DICTIONARIES = {"step_mysql": "mysql.dict", "step_pgsql": "pgsql.dict", "wire": "mysql.dict", "text": "sql.dict",
                "console": "sql.dict", "config": "config.dict"}


def write(target, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in TARGETS[target]():
        (directory / name).write_bytes(data)


if __name__ == "__main__":
    for one in TARGETS:
        write(one, Path(sys.argv[1], one))
