# SPDX-License-Identifier: MIT
"""Sizes as people write them: 128K, 4G; powers of 1024."""

UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse(text):
    unit = text[-1:].upper() if text[-1:].upper() in UNITS else ""
    number = text[:-1] if unit else text
    if not number.isdigit() or int(number) == 0:
        raise ValueError(f"not a size: {text!r} (a number, or one followed by K, M, G or T)")
    return int(number) << UNITS[unit]


def show(size):
    for unit in ("T", "G", "M", "K"):
        if size and size % (1 << UNITS[unit]) == 0:
            return f"{size >> UNITS[unit]}{unit}"
    return str(size)
