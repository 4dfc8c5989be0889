# SPDX-License-Identifier: MIT
"""The charts of the report, as PNG files.  matplotlib draws them."""
import os

from . import sizes

COLOURS = {"native": "#444444", "auto": "#1b7f3b", "direct": "#1f62b4", "stream": "#d97706",
           "cached": "#9a6fc0", "passthrough_hp": "#b03a48", "passthrough_ll": "#7a4a20",
           "bindfs": "#2a9d9d", "mergerfs": "#c2408f"}
MIB = 1 << 20


def _plot():
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.grid": True,
                            "axes.spines.right": False, "grid.alpha": 0.3,
                            "figure.dpi": 110, "savefig.bbox": "tight"})
    return pyplot


def _plain(axis):
    """1000 instead of a power of ten."""
    from matplotlib.ticker import FuncFormatter
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _colour(name, index=0):
    rest = ["#888800", "#008888", "#880088", "#555599"]
    return COLOURS.get(name.split("+")[0].split(":")[0], rest[index % len(rest)])


def _style(name):
    return {"linestyle": "--"} if "+" in name or ":" in name else {}


def _contenders(rows):
    names = []
    for row in rows:
        if row["contender"] not in names:
            names.append(row["contender"])
    return names


def throughput(rows, device, path):
    """Throughput by block size, a panel for each condition."""
    plot = _plot()
    rows = [row for row in rows if row["suite"] == "read" and row["device"] == device
            and row["case"].startswith("read ") and "," not in row["case"]
            and "failed" not in row and row["contender"] != "fio"]
    conditions = [name for name in ("fresh", "steady")
                  if any(row["condition"] == name for row in rows)]
    if not conditions:
        return None
    figure, panels = plot.subplots(1, len(conditions), sharey=True, squeeze=False,
                                   figsize=(5.2 * len(conditions), 4))
    for panel, condition in zip(panels[0], conditions):
        here = [row for row in rows if row["condition"] == condition]
        blocks = sorted({sizes.parse(row["case"].split()[1]) for row in here})
        for index, name in enumerate(_contenders(here)):
            mine = {sizes.parse(row["case"].split()[1]): row for row in here
                    if row["contender"] == name}
            at = [i for i, block in enumerate(blocks) if block in mine]
            chosen = [mine[blocks[i]] for i in at]
            middle = [row["median"] / 1e9 for row in chosen]
            low = [row["median"] / 1e9 - min(row["values"]) / 1e9 for row in chosen]
            high = [max(row["values"]) / 1e9 - row["median"] / 1e9 for row in chosen]
            panel.errorbar(at, middle, yerr=[low, high], marker="o", capsize=3, label=name,
                           color=_colour(name, index), **_style(name))
        panel.set_xticks(range(len(blocks)), [sizes.show(block) for block in blocks])
        panel.set_title(f"{condition} memory")
        panel.set_xlabel("bytes of one read()")
        panel.set_ylim(bottom=0)
    panels[0][0].set_ylabel("GB/s (median; bars: all rounds)")
    panels[0][-1].legend(fontsize=9)
    figure.suptitle("Cold sequential reading")
    figure.savefig(path)
    plot.close(figure)
    return path


def protection(rows, device, path, case="2 streams, read 128K"):
    """How long small reads of a hot set take, alone and next to streams."""
    plot = _plot()
    rows = [row for row in rows if row["suite"] == "protect" and row["device"] == device
            and "latency" in row]
    beside = [row for row in rows if row["case"] == case]
    if not beside:
        return None
    figure, panel = plot.subplots(figsize=(8, 4.4))
    for index, row in enumerate(beside):
        name = row["contender"]
        _distribution(panel, row, _colour(name, index), name, **_style(name))
    alone = [row for row in rows if row["case"] == "alone" and row["contender"] == "native"]
    if alone:
        _distribution(panel, alone[0], "#999999", "native, no streams", linestyle=":")
    panel.set_yscale("log")
    _plain(panel.yaxis)
    panel.set_xlabel("percent of reads that take no longer")
    panel.set_ylabel("microseconds (log)")
    panel.set_title("64 KiB reads of a hot set next to two endless streams,\n"
                    "in a memory cgroup twice the hot set")
    panel.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)
    plot.close(figure)
    return path


def _distribution(panel, row, colour, label, **style):
    latency = row["latency"]
    points = sorted((float(name[1:]), value) for name, value in latency.items()
                    if name[0] == "p" and float(name[1:]) <= 99)
    panel.plot([x for x, _ in points], [y for _, y in points], label=label, color=colour,
               **style)


def footprint(rows, device, path, case="read 128K"):
    """Page cache while a large file is read, and a second after."""
    plot = _plot()
    rows = [row for row in rows if row["suite"] == "read" and row["case"] == case
            and row["device"] == device and row.get("series")]
    if not rows:
        return None
    figure, panel = plot.subplots(figsize=(8, 4))
    for index, row in enumerate(rows):
        name = row["contender"]
        panel.plot([x for x, _ in row["series"]], [y / MIB for _, y in row["series"]],
                   label=name, color=_colour(name, index), **_style(name))
    panel.set_yscale("symlog", linthresh=1)
    _plain(panel.yaxis)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("seconds")
    panel.set_ylabel("MiB of page cache (log)")
    panel.set_title(f"Page cache while a cold file is read, and a second after ({case})")
    panel.legend(fontsize=9)
    figure.savefig(path)
    plot.close(figure)
    return path


def bars(rows, device, suite, path, title):
    """Times native of every contender in every case of a suite."""
    plot = _plot()
    rows = [row for row in rows if row["suite"] == suite and row["device"] == device
            and "failed" not in row and row["against"].get("native")]
    if not rows:
        return None
    cases = []
    for row in rows:
        name = f"{row['case']}\n{row['condition']}".strip()
        if name not in cases:
            cases.append(name)
    names = [name for name in _contenders(rows) if name != "native"]
    if not names:
        return None
    figure, panel = plot.subplots(figsize=(max(7, 1.5 * len(cases)), 4))
    for index, name in enumerate(names):
        mine = {f"{row['case']}\n{row['condition']}".strip(): row["against"]["native"]
                for row in rows if row["contender"] == name}
        at = [i for i, case in enumerate(cases) if case in mine]
        width = 0.8 / len(names)
        panel.bar([i - 0.4 + width * (index + 0.5) for i in at],
                  [mine[cases[i]]["ratio"] for i in at], width, label=name,
                  color=_colour(name, index), hatch="//" if "+" in name or ":" in name else None)
    panel.axhline(1, color="#444444", linewidth=1)
    panel.set_xticks(range(len(cases)), cases, fontsize=8, rotation=30, ha="right")
    panel.set_ylabel("times native")
    panel.set_title(title)
    panel.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path)
    plot.close(figure)
    return path


def draw(rows, directory, titles):
    """[(suite, file, what it shows)] of all charts there are figures for."""
    found = []
    for device in dict.fromkeys(row["device"] for row in rows if row["device"]):
        mark = "" if device == "disk" else f"-{device}"
        where = "" if device == "disk" else f" (on {device})"

        def one(suite, name, function, caption, *args):
            path = os.path.join(directory, f"{name}{mark}.png")
            if function(rows, device, *args, path) if args else function(rows, device, path):
                found.append((suite, path, caption + where))

        one("protect", "protection", protection, "Latency of small reads next to streams")
        one("read", "throughput", throughput, "Throughput by the size of a read")
        one("read", "footprint", footprint, "Page cache over time")
        for suite, title in titles.items():
            if suite not in ("read", "protect", "instructions", "memory"):
                path = os.path.join(directory, f"{suite}{mark}.png")
                if bars(rows, device, suite, path, title):
                    found.append((suite, path, "Times native" + where))
    return found
