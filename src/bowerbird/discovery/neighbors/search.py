"""Search: the exact answer, plainly, and the same answer or nearly, fast.

One rule orders every answer: **higher score, then lower id**. For the rule to mean anything, float
noise must not make scores differ that are equal, so a score is computed in float64 and rounded to
2^-24 of the largest that its query could reach; noise is some 2^-47 of it. The reference (`exact`)
and the indexes of `build` share that rounding. An index only proposes candidates: they are scored
again here, so a pair has the same score whatever found it, also from compressed codes.

`Flat` gives exactly what `exact` gives: FAISS proposes a few more than k by float32 scores, and
where the last proposal is not worse than the k-th by more than float32 can err, the query is
answered by `exact` (`test_a_flat_index_gives_the_reference_answer`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors.vectors import NOBODY, Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Metric(StrEnum):
    """How near two vectors are. A score is always higher for nearer."""

    COSINE = "cosine"  # a zero vector scores 0 with everything
    INNER = "inner"
    L2 = "l2"  # the score is minus the squared distance


class Codes(StrEnum):
    """How an index keeps its vectors: as they are, or one byte a number."""

    FLAT = "flat"
    SQ8 = "sq8"


class Flat(msgspec.Struct, frozen=True, tag="flat"):
    """Every item is compared. Exact."""

    def __str__(self) -> str:
        return "Flat"


class IVF(msgspec.Struct, frozen=True, tag="ivf"):
    """Items in `lists` cells by k-means; the `probes` nearest cells are compared."""

    lists: int
    probes: int
    codes: Codes = Codes.FLAT

    def __str__(self) -> str:
        codes = "Flat" if self.codes is Codes.FLAT else "SQ8"
        return f"IVF{self.lists},{codes} probes={self.probes}"


class HNSW(msgspec.Struct, frozen=True, tag="hnsw"):
    """A graph with `links` edges a node; search keeps the best `breadth` open."""

    links: int = 16
    breadth: int = 64
    build_breadth: int = 80

    def __str__(self) -> str:
        return f"HNSW{self.links} breadth={self.breadth}"


IndexParams = Flat | IVF | HNSW


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """k ids and scores a query, best first; id -1 with score -inf where there is none."""

    ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def exact(
    items: Vectors,
    queries: Vectors,
    k: int,
    *,
    metric: Metric = Metric.COSINE,
    exclude: NDArray[np.int64] | None = None,
    block: int = 512,
) -> Neighbors:
    """The reference: every query against every item.

    exclude: an id a query that must not be among its neighbours (its own, say).
    """
    _check(items, queries, k, exclude)
    points, asked = Points.of(items, metric), ready(queries.values, metric)
    found = _nothing(len(queries), k)
    for start in range(0, len(queries), block):
        rows = slice(start, min(start + block, len(queries)))
        scores = points.score_all(asked[rows])
        if exclude is not None:
            _exclude(scores, items.ids, exclude[rows])
        for row, of_query in enumerate(scores, start):
            best = _best(of_query, k)
            found.ids[row, : len(best)] = items.ids[best]
            found.scores[row, : len(best)] = of_query[best]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """What `build` made: ready to be searched, any number of times."""

    params: IndexParams
    metric: Metric
    items: Vectors
    bytes: int  # of what a search scans; the vectors for the second scoring may stay on disk
    points: Points
    scan: Any  # the faiss index

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        params: IndexParams | None = None,
        exclude: NDArray[np.int64] | None = None,
        threads: int = 1,
        block: int = 4096,
    ) -> Neighbors:
        """Like `exact`, as far as this index finds it.

        params: other probes or breadth than the index was built with; the rest must be the same.
        """
        _check(self.items, queries, k, exclude)
        found = _nothing(len(queries), k)
        if not len(self.items) or not len(queries):
            return found
        settings = _search_settings(self.params, params or self.params)
        asked = ready(queries.values, self.metric)
        depth = min(len(self.items), k + max(8, k // 2) + (exclude is not None))
        worst = np.empty(len(queries), dtype=np.float32)
        with _threads(threads):
            for start in range(0, len(queries), block):
                rows = slice(start, min(start + block, len(queries)))
                near, proposed = self.scan.search(asked[rows], depth, params=settings)
                worst[rows] = -near[:, -1] if self.metric is Metric.L2 else near[:, -1]
                own = None if exclude is None else exclude[rows]
                self._keep_best(asked[rows], proposed, own, found, rows)
        if isinstance(self.params, Flat) and depth < len(self.items):
            self._settle(queries, asked, worst, exclude, found)
        return found

    def _keep_best(
        self,
        asked: NDArray[np.float32],
        proposed: NDArray[np.int64],
        exclude: NDArray[np.int64] | None,
        found: Neighbors,
        rows: slice,
    ) -> None:
        proposed = np.sort(proposed, axis=1)  # rows rise with ids: a stable sort then settles ties
        scores = self.points.score_pairs(asked, proposed)
        ids = self.items.ids[proposed]
        scores[proposed < 0] = -np.inf
        if exclude is not None:
            scores[ids == exclude[:, None]] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, : found.ids.shape[1]]
        kept = np.take_along_axis(scores, best, axis=1)
        ids = np.take_along_axis(ids, best, axis=1)
        found.ids[rows, : best.shape[1]] = np.where(np.isneginf(kept), NOBODY, ids)
        found.scores[rows, : best.shape[1]] = kept

    def _settle(
        self,
        queries: Vectors,
        asked: NDArray[np.float32],
        worst: NDArray[np.float32],
        exclude: NDArray[np.int64] | None,
        found: Neighbors,
    ) -> None:
        """Answer by `exact` where float32 could not tell the k-th item from those left out.

        The error of a float32 sum of d products is at most about d 2^-24 of the sum of their sizes
        (Higham, Accuracy and Stability, 3.1); we allow four times that.
        """
        slack = (asked.shape[1] + 8) * 2.0**-22 * self.points.reach(asked)
        sure = found.scores[:, -1] > worst + slack
        rows = np.flatnonzero(~sure)
        if len(rows):
            own = None if exclude is None else exclude[rows]
            again = exact(
                self.items, queries.take(rows), found.ids.shape[1], metric=self.metric, exclude=own
            )
            found.ids[rows], found.scores[rows] = again.ids, again.scores


def build(
    items: Vectors,
    params: IndexParams,
    *,
    metric: Metric = Metric.COSINE,
    seed: int,
    threads: int = 1,
) -> Index:
    """Build an index. The same items, params, seed and threads give the same neighbours.

    A graph is always built by one thread: FAISS inserts in the order in which its threads come.
    """
    points = Points.of(items, metric)
    scan = _empty_scan(params, items.width, metric, seed)
    if isinstance(params, IVF) and params.lists > len(items):
        raise UserError(
            f"{params.lists} lists for {len(items)} items", expected="fewer lists than items"
        )
    with _threads(1 if isinstance(params, HNSW) else threads):
        if len(items):
            scan.train(points.values)
            scan.add(points.values)
    size = _scan_bytes(params, len(items), items.width)
    return Index(params, metric, items, size, points, scan)


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Items made ready for a metric, and the one way in which a score is computed."""

    values: NDArray[np.float32]
    metric: Metric
    longest: float

    @classmethod
    def of(cls, items: Vectors, metric: Metric) -> Points:
        values = ready(items.values, metric)
        return cls(values, metric, float(_norms(values).max(initial=0.0)))

    def reach(self, asked: NDArray[np.float32]) -> NDArray[np.float64]:
        """The largest score, in size, that each query could have."""
        norms = _norms(asked)
        if self.metric is Metric.L2:
            return (norms + self.longest) ** 2
        return norms * self.longest

    def score_all(self, asked: NDArray[np.float32]) -> NDArray[np.float32]:
        q, x = asked.astype(np.float64), self.values.astype(np.float64)
        raw = q @ x.T
        if self.metric is Metric.L2:
            raw = 2 * raw - (q * q).sum(axis=1)[:, None] - (x * x).sum(axis=1)[None, :]
        return self._rounded(raw, asked)

    def score_pairs(
        self, asked: NDArray[np.float32], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The scores of each query with its own few rows."""
        shape = (*rows.shape, self.values.shape[1])
        x = np.take(self.values, rows.ravel(), axis=0).reshape(shape).astype(np.float64)
        q = asked.astype(np.float64)
        if self.metric is Metric.L2:
            away = x - q[:, None, :]
            return self._rounded(-np.einsum("qcd,qcd->qc", away, away), asked)
        return self._rounded(np.einsum("qd,qcd->qc", q, x), asked)

    def _rounded(self, raw: NDArray[np.float64], asked: NDArray[np.float32]) -> NDArray[np.float32]:
        reach = self.reach(asked)
        unit = np.exp2(np.ceil(np.log2(np.where(reach > 0, reach, 1.0))) - 24)[:, None]
        # Adding 0.0 turns -0.0 into 0.0: the two are equal but do not look it.
        rounded: NDArray[np.float64] = np.rint(raw / unit) * unit
        return (rounded + 0.0).astype(np.float32)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the k best, best first; of equals the lower position; never one of -inf."""
    if k < len(scores):
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        rows = np.flatnonzero(scores >= edge)
    else:
        rows = np.arange(len(scores))
    rows = rows[~np.isneginf(scores[rows])]
    return rows[np.argsort(-scores[rows], kind="stable")][:k]


def _exclude(
    scores: NDArray[np.float32], ids: NDArray[np.int64], exclude: NDArray[np.int64]
) -> None:
    at = np.searchsorted(ids, exclude).clip(max=max(len(ids) - 1, 0))
    rows = np.flatnonzero(ids[at] == exclude) if len(ids) else np.empty(0, dtype=np.int64)
    scores[rows, at[rows]] = -np.inf


def _norms(values: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    return np.sqrt(squares)


def ready(values: NDArray[np.float32], metric: Metric) -> NDArray[np.float32]:
    """Unit length for the cosine, in float32, so that every search sees the same numbers."""
    if metric is not Metric.COSINE:
        return values
    norms = _norms(values)
    unit = values / np.where(norms > 0, norms, 1.0)[:, None]
    return np.ascontiguousarray(unit, dtype=np.float32)


def _nothing(queries: int, k: int) -> Neighbors:
    return Neighbors(
        np.full((queries, k), NOBODY, dtype=np.int64),
        np.full((queries, k), -np.inf, dtype=np.float32),
    )


def _check(items: Vectors, queries: Vectors, k: int, exclude: NDArray[np.int64] | None) -> None:
    if k < 1:
        raise UserError(f"k is {k}", expected="at least 1 neighbour")
    if items.width != queries.width:
        raise UserError(
            f"queries have {queries.width} numbers, items {items.width}",
            expected="vectors of one model",
        )
    if exclude is not None and len(exclude) != len(queries):
        raise UserError(
            f"{len(exclude)} ids to exclude for {len(queries)} queries", expected="one a query"
        )


def _empty_scan(params: IndexParams, width: int, metric: Metric, seed: int) -> Any:
    faiss = _faiss()
    kind = faiss.METRIC_L2 if metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
    if isinstance(params, Flat):
        return faiss.IndexFlat(width, kind)
    if isinstance(params, HNSW):
        graph = faiss.IndexHNSWFlat(width, params.links, kind)
        graph.hnsw.efConstruction = params.build_breadth
        graph.hnsw.rng = faiss.RandomGenerator(seed)
        return graph
    cells = faiss.IndexFlat(width, kind)
    if params.codes is Codes.SQ8:
        byte = faiss.ScalarQuantizer.QT_8bit
        inverted = faiss.IndexIVFScalarQuantizer(cells, width, params.lists, byte, kind)
    else:
        inverted = faiss.IndexIVFFlat(cells, width, params.lists, kind)
    inverted.cp.seed = seed
    inverted.cp.min_points_per_centroid = 1  # else FAISS warns on stderr
    inverted.referenced_objects = [cells]  # FAISS keeps a bare pointer
    return inverted


def _search_settings(built: IndexParams, asked: IndexParams) -> Any:
    faiss = _faiss()
    if isinstance(asked, IVF) and isinstance(built, IVF):
        if (asked.lists, asked.codes) == (built.lists, built.codes):
            return faiss.SearchParametersIVF(nprobe=asked.probes)
    elif isinstance(asked, HNSW) and isinstance(built, HNSW):
        if (asked.links, asked.build_breadth) == (built.links, built.build_breadth):
            return faiss.SearchParametersHNSW(efSearch=asked.breadth)
    elif isinstance(asked, Flat) and isinstance(built, Flat):
        return None
    raise UserError(
        f"an index built as {built} cannot be searched as {asked}",
        expected="other probes or another breadth at most",
    )


def _scan_bytes(params: IndexParams, n: int, width: int) -> int:
    if isinstance(params, Flat):
        return n * width * 4
    if isinstance(params, HNSW):  # 2 links a node on the lowest level, few above
        return n * (width * 4 + params.links * 2 * 4)
    number = 1 if params.codes is Codes.SQ8 else 4
    return n * (width * number + 8) + params.lists * width * 4


def _faiss() -> Any:
    import faiss

    return faiss


@contextmanager
def _threads(n: int) -> Iterator[None]:
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(n)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
