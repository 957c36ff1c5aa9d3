"""The feed in the web application: opens what the live release pins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bowerbird.discovery.serving.publish import open_reader, published
from bowerbird.workspace.workspace import Workspace

if TYPE_CHECKING:
    from bowerbird.http.app import Mount


def routes(workspace: Workspace, say: Callable[[str], None]) -> Mount | None:
    """The first live feed; None where no run has made one."""
    from bowerbird.discovery.serving.app import mount

    feeds = [ref for ref in sorted(workspace.ledger.made()) if ref.startswith("feed:")]
    if not feeds:
        if any(ref.startswith("feed:") for ref in workspace.specs):
            say("no feed is there to serve yet; try: bowerbird apply, then this again")
        return None
    version, job, _ = published(workspace.home, feeds[0])
    say(f"opening {feeds[0]} @{version[-12:]}")
    return mount(open_reader(job))
