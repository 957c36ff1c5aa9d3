"""What a feed hands out: frozen values, the same for JSON and for the page that a person sees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from bowerbird.core.errors import UserError

MAX_K = 100


class ReasonKind(StrEnum):
    """Why an item is on a page, strongest first: the order decides which reason leads."""

    HABIT = "habit"
    GOES_WITH = "goes_with"
    BOUGHT_ONCE = "bought_once"
    PROMOTED = "promoted"
    POPULAR = "popular"


class Reason(msgspec.Struct, frozen=True):
    """A reason in words for the person who reads the page."""

    kind: ReasonKind
    text: str


class Product(msgspec.Struct, frozen=True):
    """What a person needs to know a product by. `detail`: brand, size, what tells it apart."""

    product_id: int
    name: str
    department: str = ""
    detail: str = ""


class SourceScore(msgspec.Struct, frozen=True):
    """A source that proposed an item, and the source's own score of it."""

    source: str
    score: float


class PageItem(msgspec.Struct, frozen=True):
    """One item. `score` is the ranker's; None when the page had to do without it."""

    position: int
    product: Product
    score: float | None
    reasons: tuple[Reason, ...]
    sources: tuple[SourceScore, ...]
    features: dict[str, float | int | str]

    @property
    def reason(self) -> Reason:
        return self.reasons[0]


class Page(msgspec.Struct, frozen=True):
    """A ranked page. `degraded` names what it had to do without: history, neighbors, ranker.

    candidates: how many were ranked for it; unscored: of those, how many had no usable score.
    """

    household: int
    at: datetime
    items: tuple[PageItem, ...]
    candidates: int
    unscored: int = 0
    degraded: tuple[str, ...] = ()
    release: str = ""


class RelatedItem(msgspec.Struct, frozen=True):
    """A neighbour of a product."""

    position: int
    product: Product
    score: float


class Related(msgspec.Struct, frozen=True):
    """The neighbours of one product, best first."""

    product: Product
    items: tuple[RelatedItem, ...]
    degraded: tuple[str, ...] = ()
    release: str = ""


class Purchase(msgspec.Struct, frozen=True):
    """Something that a household bought."""

    product: Product
    at: datetime


class FeedReader(Protocol):
    """What the feed server reads from. Called from several threads at once."""

    def page(self, household: int, k: int) -> Page:
        """Never fails for a household that is not known: the page says that it has no history."""
        ...

    def related(self, product: int, k: int) -> Related | None:
        """None for a product that is not known."""
        ...

    def households(self) -> Sequence[int]: ...

    def history(self, household: int, n: int) -> Sequence[Purchase]:
        """The last n purchases, newest first; none for a household that is not known."""
        ...


def checked_k(k: int) -> int:
    """`k`, if a page may have so many items."""
    if not 1 <= k <= MAX_K:
        raise UserError(
            f"{k} items were asked for", where="k", expected=f"a whole number from 1 to {MAX_K}"
        )
    return k
