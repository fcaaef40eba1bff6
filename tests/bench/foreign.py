"""A host with no database traffic: what a receive and a send of any other program cost, by what is there. Between
two messages of a host that does nothing else the processors halt, and find little of what a program needs in their
caches when they wake; so the same once more with processors that something else keeps awake, at the least
priority."""

import contextlib
import os

import cost
import harness
from figures import Figure

ROUNDS = 9
SECONDS = 0.7


def servers(context):
    """{what there is besides dbpsd, and what was before: how it is made}"""
    return {"no server": lambda: None, "an idle MariaDB": context.server, "a PostgreSQL too": context.postgres}


@contextlib.contextmanager
def awake(context):
    """No processor halts."""
    busy = [context.spawn(["nice", "-n", "19", "sh", "-c", "while :; do :; done"])
            for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in busy:
            harness.end_process(process)


def read(meter):
    """{tap: net ns a run}"""
    before = meter.read()
    cost.ping_pong(SECONDS)
    return cost.per_event(meter.net(before, meter.read()))


def figures_of(meter, name, **goal):
    read(meter)
    rounds = [read(meter) for _ in range(ROUNDS)]
    return [Figure(f"a {word}, {name}", "ns", [net[tap] for net in rounds], **goal)
            for tap, word in (("recv", "receive"), ("send", "send"))]


def measure(context):
    figures = []
    cost.come_first(context)
    empty = cost.helper(context, "time")
    another = cost.helper(context, "time")  # where dbpsd's come: how far the measure itself is off there
    figures += figures_of(cost.Meter(another.pid, cost.EMPTY, empty), "one more empty program")
    another.terminate()
    another.wait()
    for name, make in servers(context).items():
        make()
        daemon = context.daemon()
        meter = cost.Meter(daemon.pid, cost.TAPS, empty)
        figures += figures_of(meter, name, goal=30)
        with awake(context):
            figures += figures_of(meter, f"{name}, processors awake", goal=30)
        daemon.stop()
    return "What the taps cost any other program's sockets: messages over loopback TCP, nothing else", figures
