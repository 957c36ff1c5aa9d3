"""Retrieval: what might be on the page, from whom, and on what evidence.

Each source proposes products with scores of its own and with evidence. `union` lets in the best of
each source up to its quota. A candidate remembers every source that knows it, also those whose
quota it missed, because the ranker and the reasons are better for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bowerbird.discovery.serving.history import DAY, History

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from bowerbird.discovery.neighbors import Found
    from bowerbird.discovery.serving.products import Popular


class Source(StrEnum):
    """Who proposes."""

    HABIT = "habit"
    NEIGHBORS = "neighbors"
    PROMOTED = "promoted"
    POPULAR = "popular"


# Evidence columns: name -> (the source that gives it, what stands for none, the Arrow type).
_EVIDENCE: dict[str, tuple[Source, float | str, str]] = {
    "bought": (Source.HABIT, 0, "int32"),  # on how many trips
    "last_at": (Source.HABIT, 0, "timestamp[us, tz=UTC]"),
    "every_days": (Source.HABIT, np.nan, "float32"),  # the median gap; null below two trips
    "neighbor_of": (Source.NEIGHBORS, 0, "int64"),  # the recent product that it is nearest to
    "neighbor_of_at": (Source.NEIGHBORS, 0, "timestamp[us, tz=UTC]"),
    "placement": (Source.PROMOTED, "", "string"),
}


class NeighborLookup(Protocol):
    """What retrieval needs of a neighbour store."""

    def get_many(self, keys: NDArray[np.int64]) -> list[Found | None]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """What one source proposes; each product once. Evidence: columns of the same length."""

    source: Source
    product_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    evidence: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.product_ids)

    def best(self, n: int) -> NDArray[np.int64]:
        """The n best products: by falling score, then by id."""
        order = np.lexsort((self.product_ids, -self.scores))
        return self.product_ids[order[:n]]


def from_habit(history: History, at: int, *, half_life_days: float = 90.0) -> Proposals:
    """What the household buys itself: trips with the product, halved every `half_life_days`."""
    ids, row = np.unique(history.product_ids, return_inverse=True)
    weight = np.exp2(-(at - history.at) / (half_life_days * DAY))
    order = np.argsort(row, kind="stable")  # by product; inside one still oldest first
    row, when = row[order], history.at[order]
    bought = np.bincount(row, minlength=len(ids))
    ends = np.cumsum(bought)
    return Proposals(
        Source.HABIT,
        ids,
        np.bincount(row, weights=weight[order], minlength=len(ids)).astype(np.float32),
        {
            "bought": bought.astype(np.int32),
            "last_at": when[ends - 1],
            "every_days": _median_gaps(row, when, bought),
        },
    )


def from_neighbors(history: History, lookup: NeighborLookup, *, recent: int = 30) -> Proposals:
    """Neighbours of the last products bought: similarities added up over those recent products.

    Evidence: the recent product that it is most similar to; of equals, the one bought last.
    """
    newest_first = history.product_ids[::-1]
    _, first = np.unique(newest_first, return_index=True)
    positions = np.sort(first)[:recent]
    anchors, when = newest_first[positions], history.at[::-1][positions]
    found = lookup.get_many(anchors) if len(anchors) else []
    near = [(n, one) for n, one in enumerate(found) if one is not None and len(one.ids)]
    if not near:
        return _none(Source.NEIGHBORS)
    anchor = np.concatenate([np.full(len(one.ids), n) for n, one in near])
    product = np.concatenate([one.ids for _, one in near])
    similar = np.concatenate([one.scores for _, one in near])
    ids, row = np.unique(product, return_inverse=True)
    total = np.bincount(row, weights=similar.astype(np.float64)).astype(np.float32)
    order = np.lexsort((anchor, -similar, row))
    nearest = anchor[order[np.searchsorted(row[order], np.arange(len(ids)))]]
    evidence = {"neighbor_of": anchors[nearest], "neighbor_of_at": when[nearest]}
    return Proposals(Source.NEIGHBORS, ids, total, evidence)


def from_popular(popular: Popular) -> Proposals:
    """What everybody wants now."""
    return Proposals(Source.POPULAR, popular.product_ids, popular.scores)


def from_promotions(
    promoted: tuple[NDArray[np.int64], NDArray[np.str_]], popular: Popular
) -> Proposals:
    """What the household's store promotes, the most wanted first."""
    ids, placement = promoted
    known = np.argsort(popular.product_ids, kind="stable")
    rows, there = _rows_of(popular.product_ids[known], ids)
    wanted = np.where(there, popular.scores[known][rows], 0.0) if len(known) else np.zeros(len(ids))
    return Proposals(Source.PROMOTED, ids, wanted.astype(np.float32), {"placement": placement})


def union(
    proposed: Sequence[Proposals],
    quotas: Mapping[Source, int],
    *,
    exclude: NDArray[np.int64] | None = None,
) -> pa.Table:
    """One row a candidate, by rising `product_id`.

    Columns: `product_id`; `sources`, a list of names; for each source `<source>_score`; and the
    evidence (`bought`, `last_at`, `every_days`, `neighbor_of`, `neighbor_of_at`, `placement`). They
    are null where the source does not know the product.
    """
    import pyarrow as pa

    excluded = np.empty(0, dtype=np.int64) if exclude is None else exclude
    proposed = [_usable(one, excluded) for one in proposed]
    let_in = [one.best(quotas.get(one.source, 0)) for one in proposed]
    ids = np.unique(np.concatenate(let_in)) if let_in else np.empty(0, dtype=np.int64)
    columns: dict[str, pa.Array] = {"product_id": pa.array(ids, pa.int64())}
    knows = np.zeros((len(Source), len(ids)), dtype=bool)
    by_source = {one.source: one for one in proposed}
    for number, source in enumerate(Source):
        one = by_source.get(source, _none(source))
        order = np.argsort(one.product_ids, kind="stable")
        rows, there = _rows_of(one.product_ids[order], ids)
        knows[number] = there
        columns[f"{source}_score"] = _column(one.scores[order], rows, there, np.nan, "float32")
        for name, (giver, nothing, type_) in _EVIDENCE.items():
            if giver is source:
                values = one.evidence.get(name, np.empty(0, dtype=np.int64))
                ordered = values[order] if len(values) else values
                columns[name] = _column(ordered, rows, there, nothing, type_)
    columns["sources"] = _source_names(knows)
    return pa.table(columns)


def _median_gaps(
    row: NDArray[np.int64], when: NDArray[np.int64], bought: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Days between a trip and the next with the same product, the middle one; NaN for one trip."""
    same = row[1:] == row[:-1]
    of, gap = row[1:][same], np.diff(when)[same] / DAY
    order = np.lexsort((gap, of))
    gap = gap[order]
    n = bought - 1
    start = np.cumsum(n) - n
    found = np.full(len(bought), np.nan, dtype=np.float32)
    many = np.flatnonzero(n > 0)
    low, high = start[many] + (n[many] - 1) // 2, start[many] + n[many] // 2
    found[many] = (gap[low] + gap[high]) / 2
    return found


def _rows_of(
    known: NDArray[np.int64], ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each id is in a sorted array, and whether it is."""
    if not len(known):
        return np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=bool)
    rows = np.searchsorted(known, ids).clip(max=len(known) - 1)
    return rows, known[rows] == ids


def _column(
    values: NDArray[np.generic],
    rows: NDArray[np.int64],
    there: NDArray[np.bool_],
    nothing: float | str,
    type_: str,
) -> pa.Array:
    import pyarrow as pa

    kinds = {
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "string": pa.string(),
        "timestamp[us, tz=UTC]": pa.timestamp("us", tz="UTC"),
    }
    if not len(values):
        return pa.nulls(len(rows), kinds[type_])
    filled = np.where(there, values[rows], np.asarray(nothing, dtype=values.dtype))
    empty = ~there | (np.isnan(filled) if filled.dtype.kind == "f" else False)
    if type_ == "string":
        return pa.array(filled.tolist(), kinds[type_], mask=empty)
    return pa.array(filled, mask=empty).cast(kinds[type_])


def _source_names(knows: NDArray[np.bool_]) -> pa.Array:
    import pyarrow as pa

    offsets = np.concatenate(([0], np.cumsum(knows.sum(axis=0)))).astype(np.int32)
    _, which = np.nonzero(knows.T)
    names = pa.array([str(source) for source in Source])
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(which)))


def _usable(one: Proposals, exclude: NDArray[np.int64]) -> Proposals:
    kept = ~np.isin(one.product_ids, exclude) & np.isfinite(one.scores)
    if kept.all():
        return one
    evidence = {name: values[kept] for name, values in one.evidence.items()}
    return Proposals(one.source, one.product_ids[kept], one.scores[kept], evidence)


def _none(source: Source) -> Proposals:
    return Proposals(source, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
