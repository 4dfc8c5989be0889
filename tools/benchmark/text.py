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
    return f"{value:.3g} {unit}"


def number(value, form="{:.0f}"):
    return "" if value is None else form.format(value)


def mebibytes(value):
    return "" if value is None else f"{value / (1 << 20):.1f} MiB"


def cells(row):
    first = [row["case"], row.get("condition", ""), row.get("device", ""), row["contender"]]
    if "failed" in row:
        return first + [row["failed"]]
    speed, cpu = row.get("speed"), row.get("cpu_ratio")
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


def table(rows):
    body = [cells(row) for row in rows]
    if not body:
        return ""
    full = [row for row in body if len(row) == len(COLUMNS)]
    shown = [i for i in range(len(COLUMNS)) if any(row[i] for row in full) or i < 4]
    wide = {i: max([len(COLUMNS[i])] + [len(row[i]) for row in full + body if i < len(row)
                                        and (i < 4 or len(row) == len(COLUMNS))])
            for i in shown}
    lines = ["  ".join(COLUMNS[i].ljust(wide[i]) if i < 4 else COLUMNS[i].rjust(wide[i])
                       for i in shown)]
    for row in body:
        line = [row[i].ljust(wide[i]) for i in range(4)]
        if len(row) < len(COLUMNS):
            line.append("left out: " + row[4])
        else:
            line += [row[i].rjust(wide[i]) for i in shown if i >= 4]
        lines.append("  ".join(line).rstrip())
    return "\n".join(lines)
