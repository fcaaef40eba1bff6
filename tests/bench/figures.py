"""Figures: several readings of one quantity, told as least, median and greatest, next to its goal."""

import statistics


class Figure:
    """Readings of one quantity. `goal` is the most (or, with at_least, the least) median wanted."""

    def __init__(self, name, unit, readings, goal=None, at_least=False, note=""):
        self.name = name
        self.unit = unit
        self.readings = sorted(readings)
        self.goal = goal
        self.at_least = at_least
        self.note = note

    @property
    def median(self):
        return statistics.median(self.readings)

    def verdict(self):
        if self.goal is None:
            return ""
        met = self.median >= self.goal if self.at_least else self.median <= self.goal
        sign = ">=" if self.at_least else "<="
        return f"{sign} {number(self.goal)} {'met' if met else 'MISSED'}"


def number(value):
    """Four digits that count, without an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def table(title, figures):
    """Lines of a table of figures."""
    rows = [("", "unit", "min", "median", "max", "n", "goal", "")]
    for figure in figures:
        rows.append((figure.name, figure.unit, number(figure.readings[0]), number(figure.median),
                     number(figure.readings[-1]), str(len(figure.readings)), figure.verdict(),
                     figure.note))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [title]
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        cells += [row[i].rjust(widths[i]) for i in range(2, 6)]
        cells += [row[6].ljust(widths[6]), row[7]]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)
