"""Bowerbird: an open discovery engine and the platform that runs it.

From a row that changes in a database to a ranked feed: specs say what should exist, a plan says
which steps make it so, a run carries the plan out, and what comes of it lives in tables and
releases. ``docs/concepts.md`` explains the seven nouns; ``bowerbird.rooms`` lists the rooms.
"""

__version__ = "0.1.0"
