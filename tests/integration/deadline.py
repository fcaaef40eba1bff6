"""How long the tests wait, and how often they try. An emulated processor is many times slower, as the runner says in
DBPS_TEST_SLOWNESS: all deadlines are so many times longer there, and what is tried many times is tried less often."""

import os

SLOWNESS = float(os.environ.get("DBPS_TEST_SLOWNESS", "1"))


def seconds(n):
    """A time of an ordinary machine, as it is here."""
    return n * SLOWNESS


def milliseconds(n):
    """The same as a whole number, for settings."""
    return round(n * SLOWNESS)


def times(n):
    """How often something is tried that an ordinary machine tries n times."""
    return max(round(n / SLOWNESS), 1)
