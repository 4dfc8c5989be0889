# SPDX-License-Identifier: MIT
"""The report: one HTML page that needs nothing else, its charts as PNG files, and the main table
as Markdown."""
import base64
import html
import os

from . import charts, device, markdown, results, targets, text
from .build import Failure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 75em;
       padding: 0 1em; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; }
th, td { padding: 2px 9px; text-align: right; border-bottom: 1px solid #e4e4e4;
         white-space: nowrap; }
th { background: #f3f3f3; } td.word, th.word { text-align: left; }
tr.native td { color: #777; } tr.first td { border-top: 2px solid #bbb; }
td.bad { color: #b00020; font-weight: bold; } td.good { color: #1b7f3b; }
div.wide { overflow-x: auto; } img { max-width: 100%; } pre { background: #f6f6f6; padding: 1em;
overflow-x: auto; } figcaption { color: #555; }
"""

NOTES = """
Contenders take turns within a round, on the same files. <i>x native</i> is the median of the
ratios round by round, above 1 better, with its interval (order statistics, 90% where there are
rounds enough). CPU is that of the whole machine, minus what is idle. <i>fresh</i>: caches were
just dropped, every page is new. <i>steady</i>: reader and daemon run in a memory cgroup that is
full of clean page cache, every page is recycled. <i>disk/byte</i>: bytes read from the disk for
each byte asked for. <i>cache peak</i> and <i>after</i>: growth of the page cache, of the file and
of what backs it, at most and one second after the last close.
"""


def _page(title, body):
    return (f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{title}</title>"
            f"<style>{STYLE}</style></head><body>{body}</body></html>\n")


def _table(columns, lines, words, marks=None):
    out = ["<div class=wide><table><tr>"]
    out += [f"<th{' class=word' if i in words else ''}>{html.escape(name)}</th>"
            for i, name in enumerate(columns)]
    out.append("</tr>")
    for number, line in enumerate(lines):
        out.append(f"<tr class='{marks[number] if marks else ''}'>")
        for i, cell in enumerate(line):
            kind = "word" if i in words else ""
            kind = {"met": "good", "NOT met": "bad"}.get(cell, kind)
            span = f" colspan={len(columns) - i}" if i == len(line) - 1 < len(columns) - 1 else ""
            out.append(f"<td class='{kind}'{span}>{html.escape(str(cell))}</td>")
        out.append("</tr>")
    out.append("</table></div>")
    return "".join(out)


def _suite_table(rows):
    columns, lines = text.grid(rows)
    named = columns.index("contender")
    marks, last = [], None
    for row in rows:
        case = (row["case"], row["condition"], row["device"])
        marks.append(("native " if row["contender"] == "native" else "") +
                     ("first" if case != last else ""))
        last = case
    return _table(columns, lines, range(named + 1), marks)


def _machine(runs):
    out = []
    for run in runs:
        machine = run["machine"]
        out.append(f"{run['date']}  {run['build']}\n  {run['command']}\n  {machine['cpus']} x "
                   f"{machine['cpu']}, {machine['memory'] >> 30} GiB, {machine['system']}, "
                   f"Linux {machine['kernel']}")
    return "<pre>" + html.escape("\n".join(out)) + "</pre>"


def _figure(path, caption):
    with open(path, "rb") as stream:
        data = base64.b64encode(stream.read()).decode()
    return (f"<figure><img alt='{html.escape(caption)}' src='data:image/png;base64,{data}'>"
            f"<figcaption>{html.escape(caption)} ({os.path.basename(path)})</figcaption></figure>")


def main_table(rows):
    """The main table, for a README: times native by case and contender."""
    rows = [row for row in rows if "failed" not in row and row["device"] == "disk"
            and row["against"].get("native")]
    names = [name for name in dict.fromkeys(row["contender"] for row in rows)
             if name not in ("native", "fio", "odirect")]
    lines = ["| | " + " | ".join(["native", *names]) + " |",
             "|---" * (len(names) + 2) + "|"]
    for key in dict.fromkeys((row["suite"], row["case"], row["condition"]) for row in rows):
        mine = {row["contender"]: row for row in rows
                if (row["suite"], row["case"], row["condition"]) == key}
        if "native" not in mine:
            continue
        native = mine["native"]
        cells = [text.amount(native["median"], native["unit"])]
        cells += [f"{mine[name]['against']['native']['ratio']:.2f}" if name in mine else ""
                  for name in names]
        lines.append(f"| {', '.join(filter(None, key[1:]))} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write(directory, suites, say):
    """suites: name to title.  Everything from directory/results.json."""
    known = results.load(directory)
    rows = known["rows"]
    if not rows:
        raise Failure(f"there are no results in {directory}")
    body = ["<h1>lanefs: measurements</h1>", f"<p>{NOTES}</p>"]
    devices = dict.fromkeys(row["device"] for row in rows if row["device"])
    body.append("<ul>" + "".join(f"<li><b>{name}</b>: {html.escape(device.KINDS[name])}</li>"
                                 for name in devices) + "</ul>")
    try:
        pictures = charts.draw(rows, directory, suites)
    except ImportError:
        say("no charts: apt-get install python3-matplotlib")
        pictures = []
    lines = targets.judged(rows)
    if lines:
        body.append("<h2>Targets</h2>" + _table(targets.COLUMNS, map(targets.cells, lines),
                                                range(5)))
    for suite in sorted(suites, key=lambda name: name != "protect"):
        mine = [row for row in rows if row["suite"] == suite]
        if mine:
            body.append(f"<h2>{html.escape(suites[suite])}</h2>")
            body += [_figure(path, caption) for name, path, caption in pictures if name == suite]
            body.append(_suite_table(mine))
    body.append("<h2>Machine and commands</h2>" + _machine(known["runs"]))
    with open(os.path.join(directory, "report.html"), "w") as stream:
        stream.write(_page("lanefs: measurements", "".join(body)))
    with open(os.path.join(directory, "table.md"), "w") as stream:
        stream.write(main_table(rows))
    loop = markdown.loop(rows)
    if loop:
        with open(os.path.join(directory, "loop.md"), "w") as stream:
            stream.write(loop)
    say(f"report: {os.path.join(directory, 'report.html')}")
