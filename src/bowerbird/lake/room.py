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
        "table.rollback": "bowerbird.lake.steps:ROLLBACK",
        "table.join": "bowerbird.lake.join_steps:JOIN",
        "table.drop": "bowerbird.lake.steps:DROP",
    },
    targets={"table": "bowerbird.lake.steps:target"},
    views={"tables": "bowerbird.lake.views:tables", "table": "bowerbird.lake.views:table"},
    standing="first",
)
