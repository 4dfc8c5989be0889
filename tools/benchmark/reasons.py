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
    (r"^(read|many) .* \| direct \| x (native|CPU)",
     "every READ is a round trip to the daemon and a copy more; where the device costs nothing "
     "that shows, and auto opens such readers in stream"),
    (r"^read \| .* \| direct \| x fio", "fio has no reader to copy to"),
    (r"^many \| .* one file .* \| passthrough_hp$",
     "it leaves all of the file in memory, where each reader finds what others have read"),
    (r"^serve \| nginx, 320 MB, .* \| passthrough_hp$",
     "it leaves all of the file in memory for the next client"),
    (r"^small \| open\+read\+close .* \| time x",
     "an OPEN that is waited for and a RELEASE: two messages, of 15 us each on this machine"),
    (r"^small \| readdir .*, hot .* \| passthrough_hp$",
     "the kernel keeps its listings, but without attributes: ls -l and rsync then ask for each file"),
    (r"^small \| readdir .*, cold .* \| mergerfs$",
     "it lists names without attributes, which ls -l and rsync then ask for one by one"),
    (r"^database .* \| auto:passthrough=off ", "every read and write is a round trip to the daemon"),
    (r"^write \| .* \| dirty, peak",
     "what is written before the writer is known for one, in its first 10 ms"),
)


def find(*words):
    """The reason; empty: none is known."""
    name = " | ".join(words)
    for pattern, text in REASONS:
        if re.search(pattern, name):
            return text
    return ""
