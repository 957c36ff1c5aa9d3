"""The list of rooms: what stands in the house, and what is planned for it.

A room of somebody else's joins by the entry point ``bowerbird.rooms``, whose value is its `Room`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from bowerbird.core.functions import load
from bowerbird.core.registry import Registry

STANDING = (
    "bowerbird.workspace.room:ROOM",
    "bowerbird.http.room:ROOM",
    "bowerbird.lake.room:ROOM",
    "bowerbird.data.room:FEATURES",
    "bowerbird.data.room:SAMPLES",
    "bowerbird.learning.room:TRAINING",
    "bowerbird.discovery.room:NEIGHBORS",
    "bowerbird.discovery.room:SERVING",
)

PLANNED = {
    "data/capture": "change data capture from databases",
    "learning/inference": "batch inference",
    "discovery/relevance": "search relevance",
    "measurement/experiments": "metrics of experiments at scale",
    "measurement/surveys": "surveys with weights",
    "operations/jobs": "submission of Spark and Ray jobs",
    "operations/capacity": "who gets what of a cluster",
    "operations/fleet": "nodes and clusters",
    "workshop/catalog": "who owns what",
    "workshop/docs": "documentation as code",
    "workshop/builds": "why a build broke",
    "workshop/codemod": "Flow to TypeScript",
}


@cache
def registry() -> Registry:
    """Every room, ours first, then those that are installed beside us."""
    ours = [load(name) for name in STANDING]
    theirs = [point.load() for point in entry_points(group="bowerbird.rooms")]
    return Registry([*ours, *theirs])
