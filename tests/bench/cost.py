"""Kernel time a statement: run_time_ns and run_cnt of the taps (as kernel.bpf_stats_enabled=1 counts
them) over sysbench's statements, net of empty programs on the same tracepoints in the same run, as
the measure itself costs two clock reads a run. The first program of several on a tracepoint fetches
for the others what all of them need, the clock's code for one: come_first(). In turn with them the
least that any tap has to do: finding the socket's storage at each event; and that with one read of
the bytes and one of the clock for each request and each answer. What a machine makes of those is the
floor there."""

import contextlib
import json
import os
import socket
import statistics
import subprocess
import threading
import time

import harness
import load
from figures import Figure

ROUNDS = 7
ROUND_S = 3
TAPS = {"recv": "dbps_recv", "send": "dbps_send"}
EMPTY = {"recv": "empty_recv", "send": "empty_send"}
LEAST = {"recv": "least_recv", "send": "least_send"}
EVENTS = ("server_recv", "server_recv_attempt", "server_send", "server_send_attempt",
          "other_recv", "other_send")


def programs(pid, names):
    """Ids of a process's BPF programs by tap, from the descriptors that it holds."""
    held = set()
    for entry in os.scandir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(FileNotFoundError), open(entry.path) as f:  # one that it closed meanwhile
            held.update(int(line.split()[1]) for line in f if line.startswith("prog_id:"))
    out = subprocess.run(["bpftool", "prog", "show", "-j"], capture_output=True, check=True).stdout
    by_name = {program.get("name"): program["id"] for program in json.loads(out)
               if program["id"] in held}
    missing = [name for name in names.values() if name not in by_name]
    harness.check(not missing, f"process {pid} holds no program {', '.join(missing)}")
    return {tap: by_name[name] for tap, name in names.items()}


def read_stats(ids):
    """{tap: (run_time_ns, run_cnt)}"""
    stats = {}
    for tap, number in ids.items():
        out = subprocess.run(["bpftool", "prog", "show", "-j", "id", str(number)],
                             capture_output=True, check=True).stdout
        program = json.loads(out)
        stats[tap] = (program.get("run_time_ns", 0), program.get("run_cnt", 0))
    return stats


def helper(context, *args):
    process = context.spawn([os.path.join(harness.BUILD, "tests/bench/empty"), *args],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    harness.check(process.stdout.readline() == "ready\n", "empty programs could not be loaded")
    return process


def come_first(context):
    """Programs that are empty, on the tracepoints before those that are measured from here on."""
    return helper(context, "time")


class Meter:
    """Net cost of a process's taps between two moments."""

    def __init__(self, pid, names, empty):
        self.taps = programs(pid, names)
        self.empty = programs(empty.pid, EMPTY)

    def read(self):
        return read_stats(self.taps), read_stats(self.empty)

    def net(self, before, after):
        """{tap: (net ns of all runs, runs, ns of an empty run)}"""
        result = {}
        for tap in TAPS:
            (t0, n0), (t1, n1) = before[0][tap], after[0][tap]
            (e0, m0), (e1, m1) = before[1][tap], after[1][tap]
            harness.check(n1 > n0 and m1 > m0, f"the kernel counted no runs of {TAPS[tap]}")
            empty_ns = (e1 - e0) / (m1 - m0)
            result[tap] = (t1 - t0 - (n1 - n0) * empty_ns, n1 - n0, empty_ns)
        return result


def events_per_statement(context, server, bench):
    """Socket events of each kind that one statement makes, counted in a run of its own."""
    counter = helper(context, "count", str(server.pid))

    def read():
        counter.stdin.write("\n")
        counter.stdin.flush()
        return [int(word) for word in counter.stdout.readline().split()]

    before = read()
    statements, _ = bench.run(2)
    after = read()
    harness.end_process(counter)
    return {name: (b - a) / statements for name, a, b in zip(EVENTS, before, after)}


def ping_pong(seconds):
    """Messages over a TCP connection that is no database's, of a greeting's size."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()

    def echo():
        while data := server.recv(64):
            server.sendall(data)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.sendall(b"ping" * 16)
        client.recv(64)
    client.close()
    thread.join()
    server.close()


def per_event(net):
    return {tap: ns / runs for tap, (ns, runs, _) in net.items()}


def read_round(meter, bench, seconds=ROUND_S):
    """(ns a statement, {tap: net}) of one run of sysbench."""
    before = meter.read()
    statements, _ = bench.run(seconds)
    net = meter.net(before, meter.read())
    return sum(ns for ns, _, _ in net.values()) / statements, net


def measure_least(context, server, bench, mode):
    """ns a statement of the least tap, in a run of its own."""
    process = helper(context, mode, str(server.pid))
    ns, _ = read_round(Meter(process.pid, LEAST, process), bench, ROUND_S - 1)
    harness.end_process(process)
    return ns


def server_event_cost(net, events, misses, tap):
    """Cost of an event of the server's own sockets: what is left when the misses are taken out."""
    ns, runs, _ = net[tap]
    own = events[f"server_{tap}"] + events[f"server_{tap}_attempt"]
    foreign = events[f"other_{tap}"]
    share = own / (own + foreign)
    return (ns / runs - (1 - share) * misses[tap]) / share


class Readings:
    """What the rounds have read, all kinds in turn, as the machine's speed changes by the minute."""

    def __init__(self, context, benches, link=True):
        come_first(context)
        self.benches = benches
        self.link = link
        self.statements = {name: [] for name in benches}
        self.least = {"find": [], "look": []}
        self.misses = {tap: [] for tap in TAPS}

    def round_of_taps(self, context, server):
        daemon = context.daemon()
        daemon.wait_server(server, link=self.link)
        empty = helper(context, "time")
        meter = Meter(daemon.pid, TAPS, empty)
        before = meter.read()
        ping_pong(0.5)
        for tap, ns in per_event(meter.net(before, meter.read())).items():
            self.misses[tap].append(ns)
        for name, bench in self.benches.items():
            self.statements[name].append(read_round(meter, bench))
        harness.end_process(empty)
        daemon.stop()

    def round(self, context, server):
        for mode, readings in self.least.items():
            readings.append(measure_least(context, server, next(iter(self.benches.values())), mode))
        self.round_of_taps(context, server)


def figures_of(readings, events, client):
    """The first of the statements is what the floor was measured with."""
    misses = {tap: statistics.median(ns) for tap, ns in readings.misses.items()}
    first = next(iter(readings.statements.values()))
    nets = [net for _, net in first]
    figures = [
        *[Figure(f"all taps, a statement ({name})", "ns", [ns for ns, _ in rounds], goal=350)
          for name, rounds in readings.statements.items()],
        Figure("the floor: finding the socket's storage, no more", "ns", readings.least["find"],
               note="at each of the events"),
        Figure("the floor: that, one read of the bytes and one of the clock", "ns",
               readings.least["look"], note="for the request and the answer"),
        Figure("all taps / the latter", "",
               [ns / least for (ns, _), least in zip(first, readings.least["look"])],
               note="of the same round"),
    ]
    for tap in TAPS:
        own = events[f"server_{tap}"]
        attempts = events[f"server_{tap}_attempt"]
        figures += [
            Figure(f"{tap} event of the server", "ns",
                   [server_event_cost(net, events, misses, tap) for net in nets],
                   note=f"{own:.2f} a statement, and {attempts:.2f} that moved nothing"),
            Figure(f"{tap} event of any other socket", "ns", readings.misses[tap],
                   note=f"{events[f'other_{tap}']:.2f} a statement: {client} itself"),
            Figure(f"empty program, {tap}", "ns", [net[tap][2] for net in nets],
                   note="taken off each run above"),
        ]
    return figures


def measure(context):
    server = load.server_for_sysbench(context)
    prepared = load.Sysbench(server)
    readings = Readings(context, {"prepared, sysbench's default": prepared, "text": load.Sysbench(server, prepared=False)})
    events = events_per_statement(context, server, prepared)
    for _ in range(ROUNDS):
        readings.round(context, server)
    return (f"Kernel time of the taps, net of an empty program (sysbench oltp_point_select, TCP, "
            f"{load.THREADS} threads, {ROUND_S} s a round)", figures_of(readings, events, "sysbench"))
