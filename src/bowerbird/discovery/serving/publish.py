"""A feed's release: the versions that belong together, and a few pages to look at.

The server opens the same job from the release's pins, so what it serves is what was published:
weights, neighbours and tables of one release, whatever is made live later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from bowerbird.core.errors import RefError
from bowerbird.core.functions import load
from bowerbird.core.steps import Home
from bowerbird.data.making import Job, Made
from bowerbird.discovery.serving.page import FeedReader, Page, PageItem, Purchase
from bowerbird.discovery.serving.specs import Feed
from bowerbird.workspace.releases import open_log


class Shown(msgspec.Struct, frozen=True):
    """One household's page next to its history, as published."""

    page: Page
    history: tuple[Purchase, ...]
    next_trip: tuple[Purchase, ...] | None = None


def publish(job: Job) -> Made:
    """Write the job itself (its pins) and the pages of some households."""
    spec = job.spec(Feed)
    opened = open_reader(job)
    shown = [
        Shown(
            page=opened.page(household, spec.page),
            history=tuple(opened.history(household, 60)),
            next_trip=tuple(opened.next_trip(household)),
        )
        for household in opened.examples(spec.show)
    ]
    folder = Path(job.folder)
    (folder / "job.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(job, home=_NO)))
    (folder / "pages.json").write_bytes(msgspec.json.encode(shown))
    return Made(note={"households": len(opened.households())}, results={"rows": len(shown)})


_NO = Home("", "", "", "", "")
"""A release says nothing of where it lives: whoever opens it knows."""


class ShowingReader(FeedReader, Protocol):
    """A reader that also knows which households are worth showing, and what they bought next."""

    def examples(self, count: int) -> list[int]: ...

    def next_trip(self, household: int) -> list[Purchase]: ...


def open_reader(job: Job) -> ShowingReader:
    """The reader that the spec's function makes."""
    opened: ShowingReader = load(job.spec(Feed).function)(job)
    return opened


def published(home: Home, ref: str) -> tuple[str, Job, list[Shown]]:
    """The live release of a feed: its version, its job, its pages."""
    release = open_log(home, ref).pinned()
    job = msgspec.json.decode(release.files.path("job.json").read_bytes(), type=Job)
    pages = msgspec.json.decode(release.files.path("pages.json").read_bytes(), type=list[Shown])
    return release.version, msgspec.structs.replace(job, home=home), pages


def item_of(home: Home, ref: str, household: int, product: int) -> PageItem:
    """An item of a household's page, from the pages kept with the release or made now.

    Raises `RefError` if the product is not on the page.
    """
    _, job, pages = published(home, ref)
    page = next((one.page for one in pages if one.page.household == household), None)
    if page is None:
        page = open_reader(job).page(household, job.spec(Feed).page)
    for item in page.items:
        if item.product.product_id == product:
            return item
    on = ", ".join(str(item.product.product_id) for item in page.items[:8])
    raise RefError(
        f"product {product} is not on the page of household {household}",
        expected=f"one of: {on}…",
        fix=f"bowerbird why {ref}#{household}/{page.items[0].product.product_id}"
        if page.items
        else "bowerbird why " + ref,
    )
