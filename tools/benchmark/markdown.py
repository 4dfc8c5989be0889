# SPDX-License-Identifier: MIT
"""Results as Markdown, for a README."""

def table(columns, lines):
    """The first column is words, the others are figures."""
    return "\n".join(["| " + " | ".join(columns) + " |",
                      "|---" + "|---:" * (len(columns) - 1) + "|",
                      *("| " + " | ".join(line) + " |" for line in lines)]) + "\n"


def _median_of(row, name, form="{:,.0f}"):
    value = row["extra"].get(name)
    return "" if value is None else form.format(value)


LOOP_COLUMNS = ("320 MB to one client", "system calls", "server switches", "all switches",
                "server CPU", "all CPU", "MB/s", "left in the page cache")


def loop(rows):
    """What one thread spends on a file that it sends to one client."""
    lines = []
    for row in rows:
        if row["suite"] != "loop" or row["device"] != "disk" or "failed" in row:
            continue
        after = row.get("after")
        lines.append([f"{row['case']}, {row['contender']}",
                      _median_of(row, "server syscalls"), _median_of(row, "server switches"),
                      _median_of(row, "all switches"),
                      _median_of(row, "server CPU ms", "{:,.0f} ms"),
                      _median_of(row, "all CPU ms", "{:,.0f} ms"),
                      f"{row['median'] / 1e6:,.0f}",
                      "" if after is None else f"{after / (1 << 20):,.0f} MiB"])
    return table(LOOP_COLUMNS, lines) if lines else ""
