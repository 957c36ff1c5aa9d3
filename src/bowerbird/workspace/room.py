"""What the workspace itself offers: releases as a target."""

from bowerbird.core.room import Room

ROOM = Room(
    name="workspace",
    title="Settings, ledger, releases, executor",
    targets={"release": "bowerbird.workspace.releases:open_target"},
    steps={
        "release.rollback": "bowerbird.workspace.steps:ROLLBACK",
        "release.drop": "bowerbird.workspace.steps:DROP",
    },
    standing="first",
)
