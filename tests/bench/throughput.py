"""Throughput with and without dbps: sysbench runs in pairs whose order alternates, and pairs without
dbps in both places, which show how far apart two equal runs are on this machine."""

import load
from figures import Figure

PAIRS = 8
RUN_S = 5


class Sides:
    """Runs of sysbench with dbpsd there or not; it is started and stopped between them."""

    def __init__(self, context, server):
        self.context = context
        self.server = server
        self.bench = load.Sysbench(server)
        self.daemon = None
        self.cpu_s = 0.0

    def run(self, with_dbps):
        if with_dbps and not self.daemon:
            self.daemon = self.context.daemon()
            self.daemon.wait_server(self.server)
            self.daemon.close_consoles()
        elif not with_dbps and self.daemon:
            self.daemon.stop()
            self.daemon = None
        before = self._cpu()
        _, rate = self.bench.run(RUN_S)
        self.cpu_s += self._cpu() - before
        return rate

    def _cpu(self):
        if not self.daemon:
            return 0.0
        with open(f"/proc/{self.daemon.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def measure(context):
    server = load.server_for_sysbench(context)
    sides = Sides(context, server)
    sides.bench.run(2)
    without, with_dbps, ratios, equal = [], [], [], []
    for pair in range(PAIRS):
        # A run before the pair in the state of its first: both are equally long after a switch.
        order = (False, True) if pair % 2 == 0 else (True, False)
        rates = {}
        for side in order:
            sides.run(side)
            rates[side] = sides.run(side)
        without.append(rates[False])
        with_dbps.append(rates[True])
        ratios.append(rates[True] / rates[False])
    sides.run(False)
    for _ in range(PAIRS):
        first, second = sides.run(False), sides.run(False)
        equal.append(second / first)
    return (f"Throughput with and without dbps (sysbench oltp_point_select, TCP, {load.THREADS} "
            f"threads, {RUN_S} s a run, {PAIRS} pairs in alternating order)", [
                Figure("without dbps", "statements/s", without),
                Figure("with dbps", "statements/s", with_dbps),
                Figure("with / without, of a pair", "ratio", ratios),
                Figure("without / without: the machine's noise", "ratio", equal),
                Figure("processor time of dbpsd in all runs", "s", [sides.cpu_s]),
            ])
