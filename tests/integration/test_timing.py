"""A statement is listed as soon as the server has read it, and gone as soon as it has answered.

Clocks of both sides are CLOCK_MONOTONIC. A shared machine may take a processor away for milliseconds at any
point, so medians are asserted and the share within 1 ms is told."""

import statistics
import threading
import time

from pymysql.cursors import DictCursor

from deadline import seconds, times
from harness import check

MILLISECOND = 1_000_000
LIMIT = seconds(MILLISECOND)


def share_within(values, limit):
    return 100 * sum(value <= limit for value in values) / len(values)


def describe(t, what, values):
    values = sorted(values)
    t.note(f"{what}: median {statistics.median(values) / 1e3:.0f} us, "
           f"{share_within(values, MILLISECOND):.1f} % within 1 ms, "
           f"99 % within {values[len(values) * 99 // 100] / 1e3:.0f} us, n {len(values)}")
    check(statistics.median(values) <= LIMIT, f"{what}: median above {LIMIT / MILLISECOND:g} ms")


def test_begin_and_end_are_those_of_the_server(t):
    """start_ns and end_ns lie between the client's own marks around a statement."""
    server, daemon = t.shared_pair()
    for tcp in (True, False):
        server.run("create or replace user app@'%' identified by 'secret'")
        w = t.keep(server.wire(tcp=tcp)).login(*(("app", "secret") if tcp else ("root",)))
        daemon.wait_idle(server, w.id)
        begins, ends = [], []
        for _ in range(max(times(400), 100)):
            sent = time.monotonic_ns()
            w.query("select 1")
            answered = time.monotonic_ns()
            row = daemon.wait_idle(server, w.id)
            check(sent <= row["start_ns"] <= row["end_ns"], f"order of times: {sent} {row}")
            begins.append(row["start_ns"] - sent)
            ends.append(abs(row["end_ns"] - answered))
        name = "TCP" if tcp else "Unix socket"
        describe(t, f"{name}: begin after the client sent it", begins)
        describe(t, f"{name}: end against the client's having it", ends)


class Poller(threading.Thread):
    """Reads one session's row over and over, with the time before and after each read."""

    def __init__(self, daemon, server, number):
        super().__init__(daemon=True)
        self.connection = daemon.connect(db=server.name)
        self.number = number
        self.seen = []
        self.stopped = False

    def run(self):
        with self.connection.cursor(DictCursor) as cursor:
            while not self.stopped:
                before = time.monotonic_ns()
                cursor.execute("show full sessions")
                after = time.monotonic_ns()
                for row in cursor.fetchall():
                    if row["id"] == self.number:
                        self.seen.append((before, after, row))

    def stop(self):
        self.stopped = True
        self.join()
        self.connection.close()


def test_it_is_listed_from_its_begin_to_its_end(t):
    """Each list that is asked for after the begin has the statement, none that is asked for after its
    client has the answer."""
    server, daemon = t.shared_pair()
    w = t.keep(server.wire(tcp=False)).login("root")
    first = daemon.wait_idle(server, w.id)["sequence"] or 0
    poller = Poller(daemon, server, w.id)
    poller.start()
    answered = {}
    for n in range(100):
        w.query(f"do sleep({seconds(0.01)})")
        answered[first + n + 1] = time.monotonic_ns()
        time.sleep(0.003)
    poller.stop()
    spans = {row["sequence"]: (row["start_ns"], row["end_ns"])
             for _, _, row in poller.seen if row["command"] == "Sleep"}
    missing = listed = 0
    lags = dict.fromkeys(answered, 0)
    for before, after, row in poller.seen:
        runs, number = row["command"] == "Query", row["sequence"]
        if runs and number in answered:
            lags[number] = max(lags[number], before - answered[number])
        for begin, end in spans.values():
            if begin <= before and after <= end:
                listed += 1
                missing += not runs
    t.note(f"{len(poller.seen)} lists read, {listed} of them while a statement ran")
    check(not missing, f"{missing} lists without a statement that ran")
    check(listed > times(100), f"only {listed} lists while a statement ran")
    describe(t, "still listed after its client had the answer", list(lags.values()))
