"""What the house knows of the lake before it imports any of it."""

from bowerbird.core.room import Room

ROOM = Room(
    name="lake",
    title="Iceberg tables that are laid out on purpose",
    specs={"Table": "bowerbird.lake.specs:Table"},
    wants={"Table": "bowerbird.lake.steps:wants"},
    steps={
        "table.load": "bowerbird.lake.steps:LOAD",
        "table.overwrite": "bowerbird.lake.steps:OVERWRITE",
        "table.create": "bowerbird.lake.steps:CREATE",
        "table.merge": "bowerbird.lake.merges.steps:MERGE",
        "table.rollback": "bowerbird.lake.steps:ROLLBACK",
        "table.join": "bowerbird.lake.joins.steps:JOIN",
        "table.branch": "bowerbird.lake.steps:BRANCH",
        "table.tag": "bowerbird.lake.steps:TAG",
        "table.unname": "bowerbird.lake.steps:UNNAME",
        "table.publish": "bowerbird.lake.steps:PUBLISH",
        "table.compact": "bowerbird.lake.upkeep.compaction:COMPACT",
        "table.expire": "bowerbird.lake.upkeep.expiry:EXPIRE",
        "table.purge": "bowerbird.lake.upkeep.expiry:PURGE",
        "table.clean": "bowerbird.lake.upkeep.orphans:CLEAN",
        "table.drop": "bowerbird.lake.steps:DROP",
    },
    targets={"table": "bowerbird.lake.steps:target"},
    views={
        "tables": "bowerbird.lake.views:tables",
        "table": "bowerbird.lake.views:table",
        "health": "bowerbird.lake.upkeep.health:health",
        "statistics": "bowerbird.lake.upkeep.statistics:statistics",
    },
    standing="first",
)
