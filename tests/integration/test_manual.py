"""The manual pages name what there is, and nothing else: the rows of SHOW STATUS, SHOW LOSSES and SHOW DOCTOR."""

import os
import re

from harness import check_equal

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")


def section(page, name):
    """The lines of a section, as they are written."""
    with open(os.path.join(DOCS, page), encoding="ascii") as f:
        text = f.read()
    return re.search(rf'\n\.SH "?{name}"?\n(.*?)(?=\n\.SH )', text, re.DOTALL)[1].split("\n")


def bold(lines):
    """What stands in bold in them, apart from references to other pages."""
    words = [re.match(r'\.BR? (?:"([^"]*)"|(.*?))(?: [.,])?$', line) for line in lines
             if not re.search(r"\(\d\)", line)]
    return {word[1] or word[2] for word in words if word}


def test_status(t):
    daemon = t.daemon()
    names = {row[0] for row in daemon.query("show status")}
    check_equal(sorted(bold(section("dbpsd.8", "STATUS"))), sorted(names), "SHOW STATUS")
    losses = {f"Dbps_loss_{row[0]}" for row in daemon.query("show losses")}
    check_equal(sorted(name for name in names if name.startswith("Dbps_loss_")), sorted(losses), "SHOW LOSSES")


def test_doctor(t):
    _, daemon = t.pair()
    items = {row[1] for row in daemon.query("show doctor") if row[0] != "losses"}
    seen = bold(section("dbpsd.8", "DOCTOR")) - {"dbps doctor", "losses"}
    check_equal(sorted(seen), sorted(items), "SHOW DOCTOR")
