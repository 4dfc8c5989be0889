# SPDX-License-Identifier: MIT
"""The report: one HTML page that needs nothing else, its charts as PNG files, and what a README
shows as Markdown."""
import base64
import html
import os

from . import charts, device, markdown, results, targets, text, versus

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
td.bad, td.good { text-align: left; }
td.why { text-align: left; white-space: normal; min-width: 20em; }
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


KINDS = {"met": "good", "NOT met": "bad", "ahead": "good", "behind": "bad"}


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
            kind = "why" if columns[i] == "why" else kind
            kind = KINDS.get(cell, kind)
            span = f" colspan={len(columns) - i}" if i == len(line) - 1 < len(columns) - 1 else ""
            out.append(f"<td class='{kind}'{span}>{html.escape(str(cell))}</td>")
        out.append("</tr>")
    out.append("</table></div>")
    return "".join(out)


def _suite_table(rows):
    columns, lines = text.grid(rows)
    # Where nothing could be measured there are only reasons, beside the columns.
    columns = columns + [""] * (max(map(len, lines)) - len(columns))
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


def _targets(rows):
    lines = targets.judged(rows)
    if not lines:
        return []
    known = [line for line in lines if line[4] is not None]
    met = sum(line[4] for line in known)
    return ["<h2>Targets</h2>", f"<p>{met} of {len(known)} that were measured are met.</p>",
            _table(targets.COLUMNS, map(targets.cells, lines), (*range(5), 9))]


def _behind(found):
    if not found:
        return []
    return ["<p>Where it is behind:</p>",
            _table(versus.COLUMNS, map(versus.cells, found), (*range(5), 7, 8))]


def _peers(rows):
    found = versus.meetings(rows)
    if not found:
        return []
    columns, lines = versus.summary(found)
    return ["<h2>lanefs against its peers</h2>",
            "<p>In each suite: the cases in which lanefs (auto, where it took part) is ahead of a "
            "peer, level with it (the interval holds 1), behind it, or unsure (fewer than "
            "three rounds), and the ratios, above 1 better for lanefs. Below, case by case.</p>",
            _table(columns, lines, range(len(columns))),
            *_behind([one for one in found if one.verdict == "behind"]),
            "<details><summary>case by case</summary>",
            _table(versus.COLUMNS, map(versus.cells, found), (*range(5), 7, 8)), "</details>"]


def write(directory, suites, say):
    """suites: name to title.  Everything from directory/results.json."""
    rows = results.rows(directory)
    known = results.load(directory)
    body = ["<h1>lanefs: measurements</h1>",
            f"<p>{html.escape(markdown.machine(rows, known['runs']))}</p>", f"<p>{NOTES}</p>"]
    devices = dict.fromkeys(row["device"] for row in rows if row["device"])
    body.append("<ul>" + "".join(f"<li><b>{name}</b>: {html.escape(device.KINDS[name])}</li>"
                                 for name in devices) + "</ul>")
    try:
        pictures = charts.draw(rows, directory, suites)
    except ImportError:
        say("no charts: apt-get install python3-matplotlib")
        pictures = []
    body += [_figure(path, caption) for name, path, caption in pictures if name == "protect"]
    body += _peers(rows) + _targets(rows)
    for suite in sorted(suites, key=lambda name: name != "protect"):
        mine = [row for row in rows if row["suite"] == suite]
        if mine:
            body.append(f"<h2>{html.escape(suites[suite])}</h2>")
            body += [_figure(path, caption) for name, path, caption in pictures
                     if name == suite != "protect"]
            body.append(_suite_table(mine))
    body.append("<h2>Machine and commands</h2>" + _machine(known["runs"]))
    with open(os.path.join(directory, "report.html"), "w") as stream:
        stream.write(_page("lanefs: measurements", "".join(body)))
    with open(os.path.join(directory, "readme.md"), "w") as stream:
        stream.write(markdown.readme(known))
    say(f"report: {os.path.join(directory, 'report.html')}")
