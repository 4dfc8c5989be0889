# SPDX-License-Identifier: MIT
"""lanefs against each of its peers, wherever both took part."""
from dataclasses import dataclass

from . import check, peers, reasons

# Who speaks for lanefs: what one gets without asking, else the faster of the lanes.
FIRST, LANES = "auto", ("direct", "stream", "cached")


@dataclass
class Meeting:
    suite: str
    case: str
    condition: str
    device: str
    lane: str
    peer: str
    found: dict  # the ratio, above 1: lanefs is ahead; None: the peer was left out
    why: str

    @property
    def verdict(self):
        if not self.found:
            return "left out"
        if self.found.get("confidence", 1) < check.SURE:
            return "unsure"
        if self.found["low"] > 1:
            return "ahead"
        return "behind" if self.found["high"] < 1 else "level"


def is_peer(name):
    return name.removesuffix("+direct") in peers.NAMES


def _key(row):
    return row["suite"], row["case"], row["condition"], row["device"]


def _speaker(rows, peer):
    """The row of lanefs to compare with that peer."""
    known = {row["contender"]: row for row in rows if "failed" not in row}
    if FIRST in known:
        return known[FIRST]
    lanes = [known[lane] for lane in LANES if lane in known and known[lane]["against"].get(peer)]
    return max(lanes, key=lambda row: row["against"][peer]["ratio"], default=None)


def meetings(rows):
    """A Meeting for each case and peer, in the order of the rows."""
    found = []
    for key in dict.fromkeys(map(_key, rows)):
        mine = [row for row in rows if _key(row) == key]
        for row in mine:
            peer = row["contender"]
            speaker = _speaker(mine, peer) if is_peer(peer) else None
            if not speaker:
                continue
            ratio = None if "failed" in row else speaker["against"].get(peer)
            one = Meeting(*key, speaker["contender"], peer, ratio, row.get("failed", ""))
            if one.verdict == "behind":
                one.why = reasons.find(key[0], key[1], key[2], one.lane, peer)
            if ratio or "failed" in row:
                found.append(one)
    return found


COLUMNS = ("suite", "case", "condition", "lanefs", "peer", "lanefs / peer", "interval", "", "why")


def cells(one):
    ratio = one.found
    return (one.suite, one.case, one.condition, one.lane, one.peer,
            f"{ratio['ratio']:.2f}" if ratio else "",
            f"{ratio['low']:.2f}-{ratio['high']:.2f}" if ratio else "", one.verdict, one.why)


def summary(found):
    """(columns, lines): for each suite and peer, where lanefs is ahead, level and behind, and the
    least ratio."""
    names = [peer + mode for peer in peers.NAMES for mode in ("", "+direct")
             if any(one.peer == peer + mode for one in found)]
    lines = []
    for suite in dict.fromkeys(one.suite for one in found):
        line = [suite]
        for name in names:
            mine = [one for one in found if (one.suite, one.peer) == (suite, name)]
            met = [one for one in mine if one.found]
            line.append(tally(met) if met else "left out" if mine else "")
        lines.append(line)
    return ["suite", *names], lines


def tally(met):
    """As in "ahead 3, level 1; 0.98 to 4.10"."""
    counts = [f"{word} {sum(one.verdict == word for one in met)}"
              for word in ("ahead", "level", "behind", "unsure")
              if any(one.verdict == word for one in met)]
    ratios = [one.found["ratio"] for one in met]
    span = f"{min(ratios):.2f}" if len(ratios) == 1 else f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"{', '.join(counts)}; {span}"
