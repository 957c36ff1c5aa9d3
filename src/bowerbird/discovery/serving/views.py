"""The feed's pages as HTML: what to show beside what, decided here; how it looks, in `templates/`.

Importing this module loads Jinja2. The pages need no script and nothing from elsewhere.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import msgspec

from bowerbird.discovery.serving.page import (
    FeedReader,
    Page,
    PageItem,
    Purchase,
    ReasonKind,
    Related,
)
from bowerbird.http.pages import environment

_SHELVES = {
    ReasonKind.HABIT: ("Time to restock", "What you buy again and again"),
    ReasonKind.GOES_WITH: ("Goes with what you buy", "New to you, near to what you know"),
    ReasonKind.BOUGHT_ONCE: ("Once more?", "You have bought it before"),
    ReasonKind.PROMOTED: ("In your store this week", "On display or in the mailer"),
    ReasonKind.POPULAR: ("Popular now", "What other households are buying"),
}
_LACKS = {
    "history": "We know no purchases of this household, so this is what is popular now.",
    "neighbors": "Similar products are not available at the moment.",
    "ranker": "The ranking model did not score everything; the rest is in a plainer order.",
}
_LABELS = {
    "habit": "From habit",
    "neighbors": "From similar items",
    "promoted": "From promotions",
    "popular": "From what is popular",
    "bought": "Trips with it",
    "every_days": "Days between",
}


class Shelf(msgspec.Struct, frozen=True):
    """Items of a page that are there for the same kind of reason, in the page's order."""

    kind: ReasonKind
    title: str
    subtitle: str
    items: tuple[PageItem, ...]


class Trip(msgspec.Struct, frozen=True):
    """What was bought on one day."""

    day: date
    purchases: tuple[Purchase, ...]


class Glance(msgspec.Struct, frozen=True):
    """A household at a glance: of its last purchases."""

    household: int
    trips: int
    last: datetime
    favourites: tuple[str, ...]


def shelves(page: Page) -> tuple[Shelf, ...]:
    """A page's items by the kind of their leading reason; the shelf of the best item is first."""
    by_kind: dict[ReasonKind, list[PageItem]] = {}
    for item in page.items:
        by_kind.setdefault(item.reason.kind, []).append(item)
    return tuple(Shelf(kind, *_SHELVES[kind], tuple(items)) for kind, items in by_kind.items())


def trips(purchases: Sequence[Purchase]) -> tuple[Trip, ...]:
    """Purchases, newest first, by the day."""
    by_day: dict[date, list[Purchase]] = {}
    for purchase in purchases:
        by_day.setdefault(purchase.at.date(), []).append(purchase)
    return tuple(Trip(day, tuple(bought)) for day, bought in by_day.items())


def home(feed: FeedReader, *, shown: int = 24) -> str:
    """The first page: a box to search, and households from all over the list."""
    every = feed.households()
    some = every[:: max(len(every) // shown, 1)][:shown]
    glances = [one for one in (_glance(feed, household) for household in some) if one]
    return _render("home.html", glances=glances, total=len(every))


def household(feed: FeedReader, number: int, k: int) -> str:
    """A household's page: what it bought lately, and its feed."""
    page = feed.page(number, k)
    return _render(
        "feed.html",
        page=page,
        shelves=shelves(page),
        trips=trips(feed.history(number, 60))[:6],
        lacks=[_LACKS.get(what, what) for what in page.degraded],
    )


def product(related: Related) -> str:
    """A product and its neighbours."""
    return _render("product.html", related=related)


def hue(department: str) -> int:
    """A colour of a department, in degrees: the same everywhere and on every day."""
    # 24 steps that are far enough apart to be told from each other.
    return zlib.crc32(department.encode()) % 24 * 15


def _glance(feed: FeedReader, number: int) -> Glance | None:
    bought = feed.history(number, 200)
    if not bought:
        return None
    liked = Counter(one.product.department for one in bought if one.product.department)
    favourites = sorted(liked, key=lambda name: (-liked[name], name))[:3]
    return Glance(number, len({one.at for one in bought}), bought[0].at, tuple(favourites))


def _day(at: date) -> str:
    return f"{at.day} {at:%b %Y}"


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " "))


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _render(name: str, **values: object) -> str:
    return _environment.get_template(name).render(**values)


_environment = environment(Path(__file__).parent / "templates")
_environment.filters.update(hue=hue, day=_day, label=_label, number=_number)
