"""What the house knows of the lake before it imports any of it."""

from bowerbird.core.room import Room

ROOM = Room(
    name="lake",
    title="Iceberg tables that are laid out on purpose",
    specs={"Table": "bowerbird.lake.specs:Table"},
    wants={"Table": "bowerbird.lake.steps:wants"},
    steps={
        "table.load": "bowerbird.lake.steps:LOAD",
        "table.create": "bowerbird.lake.steps:CREATE",
        "table.merge": "bowerbird.lake.merge_steps:MERGE",
        "table.rollback": "bowerbird.lake.steps:ROLLBACK",
        "table.drop": "bowerbird.lake.steps:DROP",
    },
    targets={"table": "bowerbird.lake.steps:target"},
    views={"tables": "bowerbird.lake.views:tables", "table": "bowerbird.lake.views:table"},
    standing="first",
)
