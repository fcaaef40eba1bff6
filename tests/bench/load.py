"""Load for the measurements: sysbench point selects over TCP, and held connections."""

import os
import re
import subprocess
import sys

import harness

THREADS = 4
TABLE_SIZE = 10000
SERVER_OPTIONS = ("--innodb-buffer-pool-size=256M", "--table-open-cache=1000",
                  "--thread-cache-size=64")


class Sysbench:
    """sysbench oltp_point_select against a server over TCP."""

    def __init__(self, server, prepared=True):
        self.command = [
            harness.need_program("sysbench"), "oltp_point_select", "--db-driver=mysql",
            "--mysql-host=127.0.0.1", f"--mysql-port={server.port}", "--mysql-user=bench",
            "--mysql-password=bench", "--mysql-db=bench", "--tables=1",
            f"--table-size={TABLE_SIZE}", f"--threads={THREADS}",
            f"--db-ps-mode={'auto' if prepared else 'disable'}"]

    @staticmethod
    def prepare(server):
        server.run("create database bench")
        server.add_user("bench", "bench")
        Sysbench(server)._call("prepare")

    def _call(self, *words):
        r = subprocess.run([*self.command, *words], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        harness.check(r.returncode == 0, f"sysbench: {r.stdout}{r.stderr}")
        return r.stdout

    def run(self, seconds):
        """(statements, statements a second)"""
        out = self._call(f"--time={seconds}", "run")
        total, rate = re.search(r"queries:\s+(\d+)\s+\(([\d.]+) per sec", out).groups()
        return int(total), float(rate)


def server_for_sysbench(context):
    server = context.server(*SERVER_OPTIONS)
    Sysbench.prepare(server)
    return server


HOLD = """
import os, sys, pymysql
n, busy, host, port, user, statement = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:7]
held = []
for i in range(n):
    c = pymysql.connect(host=host, port=int(port), user=user, password=user, db="bench",
                        autocommit=True)
    c.cursor().execute("select 1")
    if i < busy:
        c._execute_command(3, statement)
    held.append(c)
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


def hold_connections(context, server, n, busy=0, processes=1):
    """Hold `n` TCP connections; `busy` of them execute a statement that does not end."""
    holders = []
    for i in range(processes):
        share = n // processes + (i < n % processes)
        busy_share = busy // processes + (i < busy % processes)
        holders.append(context.spawn(
            [sys.executable, "-c", HOLD, str(share), str(busy_share), "127.0.0.1",
             str(server.port), "bench", "select sleep(86400) /* " + "x" * 80 + " */"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}))
    for holder in holders:
        harness.check(holder.stdout.readline() == "ready\n", "connections could not be held")
    return holders
