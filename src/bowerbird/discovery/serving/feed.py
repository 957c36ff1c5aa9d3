"""The feed: the pipeline from a household to a page, over data that is pinned.

A `PinnedFeed` reads one release of everything; when a newer one is published, another is made and
takes its place. It keeps no state between requests and may be called from many threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bowerbird.discovery.serving.diversity import reserve, spread
from bowerbird.discovery.serving.history import (
    NO_HISTORY,
    Histories,
    History,
    microseconds,
    moment,
)
from bowerbird.discovery.serving.page import (
    Page,
    PageItem,
    Purchase,
    Related,
    RelatedItem,
    SourceScore,
    checked_k,
)
from bowerbird.discovery.serving.products import Popular, Products, Promotions
from bowerbird.discovery.serving.reasons import reasons
from bowerbird.discovery.serving.retrieval import (
    NeighborLookup,
    Proposals,
    Source,
    from_habit,
    from_neighbors,
    from_popular,
    from_promotions,
    union,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_logger = logging.getLogger("bowerbird.serving")

# Given the candidates (`union`'s columns, `household_id` and `at`), one score a row, higher better.
Ranker = Callable[["pa.Table"], "NDArray[np.floating[Any]]"]


_QUOTAS = {
    Source.HABIT: 150,
    Source.NEIGHBORS: 150,
    Source.PROMOTED: 50,
    Source.POPULAR: 100,
}


class FeedSettings(msgspec.Struct, frozen=True):
    """How a page is made.

    places: what each further item of a department costs (`spread`).
    new_every: at least one in so many was never bought by the household (`reserve`); 0 for none.
    """

    quotas: dict[Source, int] = msgspec.field(default_factory=lambda: dict(_QUOTAS))
    recent: int = 30
    half_life_days: float = 90.0
    places: float = 3.0
    new_every: int = 4
    features: tuple[str, ...] = ("bought", "every_days")


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rows of a candidate table, best first; those without a usable score are not among them."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float64] | None
    unscored: int


@dataclass(frozen=True, eq=False)
class PinnedFeed:
    """A `FeedReader` over data in memory and one neighbour store.

    ranker: None ranks by agreement of the sources, and that is no failure.
    prepare: adds columns to the candidates before they are ranked; `features` may show them.
    exclude: products that are never shown.
    """

    products: Products
    histories: Histories
    neighbors: NeighborLookup | None
    popular: Popular
    now: Callable[[], datetime]
    promotions: Promotions = field(default_factory=lambda: Promotions({}))
    ranker: Ranker | None = None
    prepare: Callable[[pa.Table], pa.Table] | None = None
    settings: FeedSettings = field(default_factory=FeedSettings)
    exclude: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    release: str = ""

    def page(self, household: int, k: int) -> Page:
        """The page of a household now. It is never an error but for a k that no page can have."""
        checked_k(k)
        at = self.now()
        degraded: list[str] = []
        history = (self.histories.get(household) or NO_HISTORY).before(microseconds(at))
        if not len(history):
            degraded.append("history")
        proposed = self._proposals(history, microseconds(at), degraded)
        candidates = union(proposed, self.settings.quotas, exclude=self.exclude)
        candidates, ranking = self._ranked(candidates, household, at, degraded)
        return Page(
            household=household,
            at=at,
            items=self._items(candidates, ranking, self._shown(candidates, ranking, k), at),
            candidates=candidates.num_rows,
            unscored=ranking.unscored,
            degraded=tuple(degraded),
            release=self.release,
        )

    def related(self, product: int, k: int) -> Related | None:
        """The neighbours of a product; None for one that nobody knows."""
        checked_k(k)
        try:
            found = self.neighbors.get_many(np.array([product]))[0] if self.neighbors else None
            degraded = () if found is not None else ("neighbors",)
        except Exception:
            _logger.exception("neighbours of %s could not be read", product)
            found, degraded = None, ("neighbors",)
        if found is None and product not in self.products:
            return None
        pairs = (
            []
            if found is None
            else list(zip(found.ids.tolist(), found.scores.tolist(), strict=True))
        )
        kept = [pair for pair in pairs if pair[0] not in set(self.exclude.tolist())][:k]
        items = tuple(
            RelatedItem(position, self.products[id_], score)
            for position, (id_, score) in enumerate(kept, 1)
        )
        return Related(self.products[product], items, degraded, self.release)

    def households(self) -> Sequence[int]:
        """Every household with a history, by number."""
        return [int(one) for one in self.histories.households]

    def history(self, household: int, n: int) -> Sequence[Purchase]:
        """The last n things bought before now, newest first."""
        known = self.histories.get(household) or NO_HISTORY
        known = known.before(microseconds(self.now()))
        newest = zip(known.product_ids[::-1][:n], known.at[::-1][:n], strict=True)
        return tuple(Purchase(self.products[int(id_)], moment(at)) for id_, at in newest)

    def _proposals(self, history: History, at: int, degraded: list[str]) -> list[Proposals]:
        found = [from_habit(history, at, half_life_days=self.settings.half_life_days)]
        try:
            if self.neighbors is None:
                degraded.append("neighbors")
            else:
                found.append(from_neighbors(history, self.neighbors, recent=self.settings.recent))
        except Exception:
            _logger.exception("neighbours could not be read")
            degraded.append("neighbors")
        promoted = None if history.store is None else self.promotions.by_store.get(history.store)
        if promoted is not None:
            found.append(from_promotions(promoted, self.popular))
        return [*found, from_popular(self.popular)]

    def _ranked(
        self, candidates: pa.Table, household: int, at: datetime, degraded: list[str]
    ) -> tuple[pa.Table, Ranking]:
        import pyarrow as pa

        n = candidates.num_rows
        asked = candidates.append_column("household_id", pa.array([household] * n, pa.int64()))
        when = pa.array([at] * n, pa.timestamp("us", tz="UTC"))
        asked = asked.append_column("at", when)
        if self.ranker is None:
            return asked, Ranking(agreed(asked), None, 0)
        try:
            ready = self.prepare(asked) if self.prepare else asked
            ranking = by_score(ready, self.ranker(ready))
        except Exception:
            _logger.exception("the ranker failed for household %s", household)
            degraded.append("ranker")
            return asked, Ranking(agreed(asked), None, n)
        if ranking.unscored:
            degraded.append("ranker")
        if n and ranking.unscored == n:
            return ready, Ranking(agreed(ready), None, n)
        return ready, ranking

    def _shown(self, candidates: pa.Table, ranking: Ranking, k: int) -> NDArray[np.int64]:
        """Which of the ranked make the page: spread over departments, with places for the new."""
        rows = candidates.select(["product_id", "bought"]).take(ranking.rows)
        departments = [self.products[id_].department for id_ in rows["product_id"].to_pylist()]
        order = spread(
            np.asarray(departments, dtype=np.str_), len(departments), self.settings.places
        )
        if not self.settings.new_every:
            return order[:k]
        new = np.asarray(rows["bought"].is_null())[order]
        return order[reserve(new.tolist(), k, self.settings.new_every)]

    def _items(
        self,
        candidates: pa.Table,
        ranking: Ranking,
        shown: NDArray[np.int64],
        at: datetime,
    ) -> tuple[PageItem, ...]:
        rows = candidates.take(ranking.rows[shown]).to_pylist()
        scores = [None] * len(shown) if ranking.scores is None else ranking.scores[shown].tolist()
        return tuple(
            PageItem(
                position=position,
                product=self.products[row["product_id"]],
                score=score,
                reasons=reasons(row, lambda id_: self.products[id_].name, at),
                sources=tuple(
                    SourceScore(name, float(row[f"{name}_score"])) for name in row["sources"]
                ),
                features={
                    name: row[name] for name in self.settings.features if row.get(name) is not None
                },
            )
            for position, (row, score) in enumerate(zip(rows, scores, strict=True), 1)
        )


def by_score(candidates: pa.Table, scores: NDArray[np.floating[Any]]) -> Ranking:
    """By falling score, then by rising id; scores that are no number drop out and are counted."""
    found = np.asarray(scores, dtype=np.float64)
    if found.shape != (candidates.num_rows,):
        raise ValueError(f"scores of shape {found.shape} for {candidates.num_rows} candidates")
    usable = np.flatnonzero(np.isfinite(found))
    ids = _ids(candidates, usable)
    rows = usable[np.lexsort((np.asarray(ids, dtype=np.int64), -found[usable]))]
    return Ranking(rows, found[rows], int(len(found) - len(usable)))


def agreed(candidates: pa.Table) -> NDArray[np.int64]:
    """Rows by agreement of the sources: each gives 1 / (60 + its rank of the item).

    Reciprocal rank fusion (Cormack, Clarke and Büttcher 2009), which needs no common scale. Ties go
    to the lower id.
    """
    ids = np.asarray(candidates["product_id"].to_numpy(), dtype=np.int64)
    total = np.zeros(len(ids))
    for source in Source:
        scores = candidates[f"{source}_score"].to_numpy()
        order = np.lexsort((ids, -scores))  # NaN, which stands for null, sorts last
        given = 1.0 / (60 + np.arange(1, len(ids) + 1))
        total[order] += np.where(np.isnan(scores[order]), 0.0, given)
    return np.lexsort((ids, -total))


def _ids(candidates: pa.Table, rows: NDArray[np.int64]) -> list[int]:
    found: list[int] = candidates["product_id"].take(rows).to_pylist()
    return found
