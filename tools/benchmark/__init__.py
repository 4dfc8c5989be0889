# SPDX-License-Identifier: MIT
"""tools/bench: one file for each idea; cli.py is where it begins."""
