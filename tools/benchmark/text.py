# SPDX-License-Identifier: MIT
"""Rows as a table for a terminal."""

COLUMNS = ("case", "condition", "device", "contender", "median", "spread", "x native",
           "interval", "CPU ms/GiB", "x CPU", "daemon", "switches/GiB", "disk/byte",
           "cache peak", "after")


def rate(value):
    return f"{value / 1e9:.2f} GB/s" if value >= 1e8 else f"{value / 1e6:.2f} MB/s"


def amount(value, unit):
    if value is None:
        return ""
    if unit == "B/s":
        return rate(value)
    if unit == "us":
        return f"{value:.1f} us"
    if unit == "/s":
        return f"{value:,.0f} /s"
    if unit == "s":
        return f"{value:.2f} s"
    return f"{value:,.0f} {unit}"


def number(value, form="{:.0f}"):
    return "" if value is None else form.format(value)


def mebibytes(value):
    return "" if value is None else f"{value / (1 << 20):.1f} MiB"


def cells(row):
    first = [row["case"], row.get("condition", ""), row.get("device", ""), row["contender"]]
    if "failed" in row:
        return first + [row["failed"]]
    speed, cpu = row["against"].get("native"), row["cpu_against"].get("native")
    return first + [
        amount(row["median"], row["unit"]),
        f"{row['spread'] * 100:.0f}%",
        number(speed and speed["ratio"], "{:.2f}"),
        f"{speed['low']:.2f}-{speed['high']:.2f}" if speed else "",
        number(row.get("cpu")),
        number(cpu and cpu["ratio"], "{:.2f}"),
        number(row.get("daemon")),
        number(row.get("switches"), "{:,.0f}"),
        number(row.get("disk"), "{:.2f}"),
        mebibytes(row.get("peak")),
        mebibytes(row.get("after")),
    ]


def extra_columns(rows):
    columns = []
    for row in rows:
        columns += [name for name in row.get("extra", {}) if name not in columns]
    return columns


def extra(value):
    if isinstance(value, str):
        return value
    return "" if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def grid(rows):
    """(columns, lines of cells) without the columns that are empty; a line of a row that was
    left out has five cells, the last one says why."""
    more = extra_columns(rows)
    names = [*COLUMNS, *more]
    lines = []
    for row in rows:
        line = cells(row)
        if "failed" not in row:
            line += [extra(row["extra"].get(name)) for name in more]
        lines.append(line)
    full = [line for line in lines if len(line) == len(names)]
    shown = [i for i in range(len(names)) if i in (0, 3) or any(line[i] for line in full)]
    return ([names[i] for i in shown],
            [[line[i] for i in shown] if len(line) == len(names)
             else [line[i] for i in shown if i < 4] + ["left out: " + line[4]]
             for line in lines])


def columns(names, lines, left=4, words=()):
    """Lines of cells under their names; the first ones and those of words aligned to the left.  A
    line shorter than the others ends in words."""
    wide = [len(name) for name in names]
    for line in lines:
        if len(line) == len(names):
            wide = [max(width, len(cell)) for width, cell in zip(wide, line)]

    def show(line):
        padded = [cell.ljust(width) if i < left or i in words else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(line, wide))]
        if len(line) != len(names):
            padded[len(line) - 1:] = [line[-1]]
        return "  ".join(padded).rstrip()

    return "\n".join(show(line) for line in [names, *lines])


def table(rows):
    if not rows:
        return ""
    names, lines = grid(rows)
    return columns(names, lines, names.index("contender") + 1)
