#!/usr/bin/python3
"""Somebody on this host: a process of any uid and groups that holds connections to servers and consoles, and
does with them what it is told by JSON lines on stdin. harness.Person is the other end."""

import json
import os
import socket
import struct
import sys

import pymysql

PROCESS_INFO = 0x0A
PROCESS_KILL = 0x0C

connections = {}


def answer_of(connection):
    result = connection._result
    if result.description:
        return {"columns": [d[0] for d in result.description], "rows": result.rows}
    return {"message": (result.message or b"")[1:].decode(errors="replace"),
            "affected": result.affected_rows}


def query(name, sql):
    connection = connections[name]
    connection.query(sql)
    return answer_of(connection)


def process_info(name):
    connection = connections[name]
    connection._execute_command(PROCESS_INFO, b"")
    connection._affected_rows = connection._read_query_result()
    return answer_of(connection)


def process_kill(name, number):
    connection = connections[name]
    connection._execute_command(PROCESS_KILL, struct.pack("<I", number))
    connection._read_query_result()
    return answer_of(connection)


def connect(name, from_port=0, **where):
    """Over TCP from a port of one's choice, which may be another's of a moment ago."""
    connection = pymysql.connect(defer_connect=True, autocommit=True, charset="utf8mb4", **where)
    sock = None
    if from_port:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", from_port))
        sock.connect((where["host"], where["port"]))
    connection.connect(sock)
    connections[name] = connection
    port = connection._sock.getsockname()[1] if "port" in where else 0
    return {"id": connection.thread_id(), "port": port, "pid": os.getpid()}


def begin(name, sql):
    """Send a statement, and do not wait for its answer."""
    connections[name]._execute_command(3, sql.encode())
    return {}


def end(name):
    """The answer of what was begun."""
    connections[name]._read_query_result()
    return answer_of(connections[name])


def reset(name):
    """RST instead of FIN."""
    connection = connections.pop(name)
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection._force_close()
    return {}


ACTIONS = {f.__name__: f for f in (query, process_info, process_kill, connect, begin, end, reset)}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = ACTIONS[request.pop("do")](**request)
        except pymysql.err.MySQLError as error:
            reply = {"error": [error.args[0], str(error.args[-1])]}
        except OSError as error:
            reply = {"error": [0, str(error)]}
        print(json.dumps(reply, default=str), flush=True)


main()
