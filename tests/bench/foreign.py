"""A host with no database traffic: what a receive and a send of any other program cost, by what is there."""

import cost
from figures import Figure

ROUNDS = 9
SECONDS = 0.7


def servers(context):
    """{what there is besides dbpsd, and what was before: how it is made}"""
    return {"no server": lambda: None, "an idle MariaDB": context.server, "a PostgreSQL too": context.postgres}


def read(meter):
    """{tap: net ns a run}"""
    before = meter.read()
    cost.ping_pong(SECONDS)
    return cost.per_event(meter.net(before, meter.read()))


def measure(context):
    figures = []
    cost.come_first(context)
    empty = cost.helper(context, "time")
    for name, make in servers(context).items():
        make()
        daemon = context.daemon()
        meter = cost.Meter(daemon.pid, cost.TAPS, empty)
        read(meter)
        rounds = [read(meter) for _ in range(ROUNDS)]
        daemon.stop()
        for tap, word in (("recv", "receive"), ("send", "send")):
            figures.append(Figure(f"a {word}, {name}", "ns", [net[tap] for net in rounds], goal=30))
    return "What the taps cost any other program's sockets: messages over loopback TCP, nothing else", figures
