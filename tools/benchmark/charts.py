# SPDX-License-Identifier: MIT
"""The charts of the report, as PNG files.  matplotlib draws them."""
import os
import textwrap

from . import sizes
from .contenders import LANES

COLOURS = {"native": "#444444", "auto": "#1b7f3b", "direct": "#1f62b4", "stream": "#d97706",
           "cached": "#9a6fc0", "passthrough_hp": "#b03a48", "passthrough_ll": "#7a4a20",
           "bindfs": "#2a9d9d", "mergerfs": "#c2408f", "odirect": "#888888",
           "fio": "#aaaaaa"}
REST = ("#888800", "#008888", "#880088", "#555599")
MIB = 1 << 20
WINDOW = 32  # MiB, what stream-window is unless told otherwise


def _plot():
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    pyplot.rcParams.update({"font.size": 11, "axes.spines.top": False, "axes.grid": True,
                            "axes.spines.right": False, "grid.alpha": 0.3,
                            "axes.axisbelow": True, "figure.dpi": 110, "savefig.bbox": "tight"})
    return pyplot


def _plain(axis):
    """1,000 and 0.5 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter
    axis.set_major_formatter(FuncFormatter(
        lambda value, _: f"{value:,.0f}" if value >= 1 or value <= 0 else f"{value:g}"))


def _label(name):
    return f"lanefs, {name}" if name.split(":")[0] in LANES else name


def _style(name, index=0):
    colour = COLOURS.get(name.split("+")[0].split(":")[0], REST[index % len(REST)])
    plain = "+" not in name and ":" not in name
    return {"color": colour, "linestyle": "-" if plain else "--", "label": _label(name)}


def _legend(panel):
    panel.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def _contenders(rows):
    return list(dict.fromkeys(row["contender"] for row in rows))


def _save(plot, figure, path):
    figure.savefig(path)
    plot.close(figure)
    return path


def _known(rows, suite, device):
    return [row for row in rows if row["suite"] == suite and row["device"] == device
            and "failed" not in row]


def _error(row):
    """How far the lowest and the highest round are from the median, GB/s."""
    return ((row["median"] - min(row["values"])) / 1e9, (max(row["values"]) - row["median"]) / 1e9)


def throughput(rows, device, path):
    """By the size of a read, in each condition, and of everyone at one size."""
    rows = [row for row in _known(rows, "read", device)
            if row["case"].startswith("read ") and "," not in row["case"]]
    conditions = [name for name in ("fresh", "steady")
                  if any(row["condition"] == name for row in rows)]
    everyone = [row for row in rows if row["case"] == "read 128K"
                and row["condition"] == "fresh"]
    if not conditions:
        return None
    plot = _plot()
    last = len(everyone) > 4
    figure, panels = plot.subplots(1, len(conditions) + last, squeeze=False,
                                   figsize=(4.6 * (len(conditions) + last), 4))
    top = 1.05 * max(max(row["values"]) / 1e9 for row in rows)
    for panel, condition in zip(panels[0], conditions):
        _by_size(panel, [row for row in rows if row["condition"] == condition])
        panel.set_title(f"{condition} memory", fontsize=11)
        panel.set_ylim(0, top)
    panels[0][0].set_ylabel("GB/s (median; bars: all rounds)")
    panels[0][0].legend(fontsize=9, loc="upper left")
    if last:
        _everyone(panels[0][-1], everyone)
    figure.suptitle("Reading a cold file from beginning to end")
    figure.tight_layout()
    return _save(plot, figure, path)


def _by_size(panel, rows):
    blocks = sorted({sizes.parse(row["case"].split()[1]) for row in rows})
    drawn = 0
    for index, name in enumerate(_contenders(rows)):
        mine = {sizes.parse(row["case"].split()[1]): row for row in rows
                if row["contender"] == name}
        # One point is no line; it is in the panel of everyone.
        if len(mine) < min(3, len(blocks)):
            continue
        at = [i for i, block in enumerate(blocks) if block in mine]
        chosen = [mine[blocks[i]] for i in at]
        error = list(zip(*(_error(row) for row in chosen)))
        panel.errorbar([i + 0.06 * (drawn - 1) for i in at],
                       [row["median"] / 1e9 for row in chosen], yerr=error, marker="o",
                       markersize=5, capsize=3, elinewidth=1, **_style(name, index))
        drawn += 1
    panel.set_xticks(range(len(blocks)), [sizes.show(block) for block in blocks])
    panel.set_xlabel("bytes of one read()")


def _everyone(panel, rows):
    rows = list(reversed(rows))
    panel.barh(range(len(rows)), [row["median"] / 1e9 for row in rows],
               xerr=list(zip(*map(_error, rows))), capsize=2, error_kw={"elinewidth": 1},
               color=[_style(row["contender"])["color"] for row in rows],
               hatch=["//" if "+" in row["contender"] or ":" in row["contender"] else ""
                      for row in rows], edgecolor="white")
    panel.set_yticks(range(len(rows)), [_label(row["contender"]) for row in rows], fontsize=9)
    panel.set_xlabel("GB/s")
    panel.set_title("everyone at 128K, fresh memory", fontsize=11)


def protection(rows, device, path, case="2 streams, read 128K"):
    """How long small reads of a hot set take, alone and next to streams."""
    rows = [row for row in _known(rows, "protect", device) if "latency" in row]
    beside = [row for row in rows if row["case"] == case]
    if not beside:
        return None
    plot = _plot()
    figure, panel = plot.subplots(figsize=(8, 4.4))
    for index, row in enumerate(beside):
        _distribution(panel, row, **_style(row["contender"], index))
    alone = [row for row in rows if row["case"] == "alone" and row["contender"] == "native"]
    if alone:
        _distribution(panel, alone[0], color="black", linestyle=":", label="native, no streams")
    panel.set_yscale("log")
    _plain(panel.yaxis)
    panel.set_xlim(0, 100)
    panel.set_xlabel("percent of reads that take no longer")
    panel.set_ylabel("microseconds (log)")
    panel.set_title("64 KiB reads of a hot set next to two endless streams,\n"
                    "in a memory cgroup twice the hot set")
    _legend(panel)
    return _save(plot, figure, path)


def _distribution(panel, row, **style):
    points = sorted((float(name[1:]), value) for name, value in row["latency"].items()
                    if name[0] == "p" and float(name[1:]) <= 99)
    panel.plot([x for x, _ in points], [y for _, y in points], **style)


# suite, case, what it shows
FOOTPRINTS = (("read", "read 128K", "while a cold file is read (128K)"),
              ("read", "sendfile", "while it is sent (sendfile)"),
              ("write", "write 1M", "while one is written (1M)"))


def footprint(rows, device, path):
    """Page cache over time, and a second after."""
    found = []
    for suite, case, words in FOOTPRINTS:
        mine = [row for row in _known(rows, suite, device)
                if row["case"] == case and row.get("series")
                and "+" not in row["contender"] and ":" not in row["contender"]]
        if mine:
            found.append((words, mine))
    if not found:
        return None
    plot = _plot()
    figure, panels = plot.subplots(1, len(found), sharey=True, squeeze=False,
                                   figsize=(4.6 * len(found), 4))
    for panel, (words, mine) in zip(panels[0], found):
        _over_time(panel, mine)
        panel.set_title(words, fontsize=11)
    panels[0][0].set_ylabel("MiB of page cache (log)")
    figure.suptitle("Growth of the page cache, and a second after the last close")
    _one_legend(figure, panels[0])
    figure.tight_layout()
    return _save(plot, figure, path)


def _over_time(panel, rows):
    own = [row["series"][-1][0] for row in rows
           if row["contender"] in LANES or row["contender"] == "native"]
    for index, row in enumerate(rows):
        panel.plot([x for x, _ in row["series"]], [y / MIB for _, y in row["series"]],
                   **_style(row["contender"], index))
    panel.axhline(WINDOW, color="#999999", linestyle=":", linewidth=1, label="stream-window")
    panel.set_yscale("symlog", linthresh=1)
    _plain(panel.yaxis)
    panel.set_ylim(bottom=0)
    # Of one that takes much longer, what matters shows too.
    panel.set_xlim(0, 1.3 * max(own, default=panel.get_xlim()[1]))
    panel.set_xlabel("seconds")


def _one_legend(figure, panels):
    handles = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), fontsize=9, loc="center left",
                  bbox_to_anchor=(1, 0.5), frameon=False)


def bars(rows, device, suite, path, title):
    """Times native of every contender in every case of a suite, a panel for each condition."""
    rows = [row for row in _known(rows, suite, device) if row["against"].get("native")]
    if not rows:
        return None
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    names = _contenders(rows)
    widest = max(len({row["case"] for row in rows if row["condition"] == one})
                 for one in conditions)
    plot = _plot()
    figure, panels = plot.subplots(len(conditions), 1, squeeze=False,
                                   figsize=(min(13, max(6.5, 1.6 * widest)),
                                            3.6 * len(conditions)))
    for panel, condition in zip(panels[:, 0], conditions):
        _bars_of(panel, [row for row in rows if row["condition"] == condition], names)
        if condition:
            panel.set_title(f"{condition} memory" if condition != "cold" else "cold",
                            fontsize=11)
    figure.suptitle(f"{title}: times native, above 1 is better")
    _one_legend(figure, panels[:, 0])
    figure.tight_layout()
    return _save(plot, figure, path)


def _bars_of(panel, rows, names):
    cases = list(dict.fromkeys(row["case"] for row in rows))
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        mine = {row["case"]: row["against"]["native"] for row in rows if row["contender"] == name}
        at = [i for i, case in enumerate(cases) if case in mine]
        ratios = [mine[cases[i]]["ratio"] for i in at]
        error = [(one["ratio"] - one["low"], one["high"] - one["ratio"])
                 for one in (mine[cases[i]] for i in at)]
        style = _style(name, index)
        panel.bar([i - 0.4 + width * (index + 0.5) for i in at], [one - 1 for one in ratios],
                  width, bottom=1, yerr=list(zip(*error)) or None,
                  error_kw={"elinewidth": 1, "ecolor": "#888888"}, label=style["label"],
                  color=style["color"], edgecolor="white",
                  hatch="//" if style["linestyle"] == "--" else None)
    panel.set_yscale("log")
    panel.axhline(1, color="#444444", linewidth=1)
    _ratio_ticks(panel)
    panel.set_xticks(range(len(cases)), [textwrap.fill(case, 17) for case in cases], fontsize=8)
    panel.grid(axis="x", visible=False)


def _ratio_ticks(panel):
    from matplotlib.ticker import NullFormatter
    low, high = panel.get_ylim()
    ticks = [base * 10.0 ** power for power in range(-3, 4) for base in (1, 2, 5)]
    # At least a little of both sides.
    low, high = min(low, 0.8), max(high, 1.25)
    panel.set_ylim(low, high)
    panel.set_yticks([tick for tick in ticks if low <= tick <= high])
    _plain(panel.yaxis)
    panel.yaxis.set_minor_formatter(NullFormatter())


def draw(rows, directory, titles):
    """[(suite, file, what it shows)] of all charts there are figures for."""
    found = []
    for device in dict.fromkeys(row["device"] for row in rows if row["device"]):
        mark = "" if device == "disk" else f"-{device}"
        where = "" if device == "disk" else f" (on {device})"

        def one(suite, name, function, caption):
            path = os.path.join(directory, f"{name}{mark}.png")
            if function(rows, device, path):
                found.append((suite, path, caption + where))

        one("protect", "protection", protection, "Latency of small reads next to streams")
        one("read", "throughput", throughput, "Throughput by the size of a read")
        one("read", "footprint", footprint, "Page cache over time")
        for suite, title in titles.items():
            if suite not in ("read", "protect", "pressure", "instructions", "memory"):
                path = os.path.join(directory, f"{suite}{mark}.png")
                if bars(rows, device, suite, path, title):
                    found.append((suite, path, "Times native" + where))
    return found
