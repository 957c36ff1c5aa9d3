"""Keyed change rows merged into a table: insert, update, delete; only touched files are
rewritten, or marked.

`changes` are checked, and the last of each key wins; `candidates` finds the files that may hold a
key, by partition and statistics; `merge` rewrites those that do; `steps` runs it as a plan.
"""
