# SPDX-License-Identifier: MIT
"""Why something is not what it should be: of targets that were not met and of peers that are ahead.

The first pattern that is found in "suite | case | condition | contender | what" gives the reason.
What says "what" is that of the target, or the name of the peer.
"""
import re

REASONS = (
    (r"^read \| mmap .* \| page cache, peak",
     "pages that are mapped are not dropped before they are unmapped"),
    (r"^protect .* \| (passthrough_hp|mergerfs)\+direct$",
     "it keeps nothing of the streams either; compare how fast they are: streams MB/s"),
)


def find(*words):
    """The reason; empty: none is known."""
    name = " | ".join(words)
    for pattern, text in REASONS:
        if re.search(pattern, name):
            return text
    return ""
