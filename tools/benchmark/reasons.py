# SPDX-License-Identifier: MIT
"""Why something is not what it should be: of targets that were not met and of peers that are ahead.

The first pattern that is found in "suite | case | condition | contender | what" gives the reason.
What says "what" is that of the target, or the name of the peer.
"""
import re

REASONS = (
    (r"^protect .* \| (passthrough_hp|mergerfs)\+direct$",
     "it keeps nothing of the streams either; compare how fast they are: streams MB/s"),
    (r"^(read|many) .* \| direct \| x (native|CPU)",
     "every READ is a round trip to the daemon and a copy more; where the device costs nothing "
     "that shows, and auto opens such readers in stream"),
    (r"^read \| .* \| direct \| x fio", "fio has no reader to copy to"),
    (r"^read \| mmap .* \| (page cache, peak|.*daemon CPU)",
     "pages are taken out of mappings before they can be dropped, which takes longer"),
    (r"^read \| .* \| stream \| daemon CPU",
     "by perf: two fifths free the pages, a quarter is cachestat(2), the rest waking up, 150 times a GiB"),
    (r"^random \| .* \| direct \| x native O_DIRECT",
     "each READ waits for the device and a round trip, one at a time"),
    (r"^random \| .* \| passthrough_hp$", "the kernel reads for it, without a round trip"),
    (r"^many \| 100 paced .* \| page cache, peak",
     "what the kernel reads ahead for each of 100 readers is not dropped before it was read"),
    (r"^many \| .* \| slowest reader",
     "of 1000 readers each reads six pieces: when it began counts; natively it is no better, see slowest/mean"),
    (r"^(sync|small) \| (rsync, nothing to do|stat, cold|open.*, cold)",
     "cold names: of each file the identity is asked for, too (time of birth, handle), and of one with "
     "several links at each use whether the name is still its own"),
    (r"^memory \| ",
     "the file handle of each is kept, by which it is found again without a descriptor or its name"),
    (r"^many \| .* one file .* \| passthrough_hp$",
     "it leaves all of the file in memory, where each reader finds what others have read"),
    (r"^serve \| nginx, 320 MB, .* \| passthrough_hp$",
     "it leaves all of the file in memory for the next client"),
    (r"^small \| open\+read\+close .* \| time x",
     "an OPEN that is waited for and a RELEASE: two messages, of 15 us each on this machine"),
    (r"^small \| readdir .*, cold ",
     "the kernel keeps the listing while it reads it, by which the next one is faster than natively"),
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
