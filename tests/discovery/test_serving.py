"""Claims about the pipeline: who may be on the page, in which order, and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import UserError
from bowerbird.discovery.neighbors import Neighbors, open_store, write_store
from bowerbird.discovery.serving import (
    FeedSettings,
    Histories,
    PinnedFeed,
    Popular,
    Products,
    Promotions,
    Proposals,
    ReasonKind,
    Source,
    from_habit,
    from_neighbors,
    reasons,
    reserve,
    spread,
    spread_plainly,
    union,
)
from bowerbird.discovery.serving.history import microseconds

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
DEPARTMENTS = {1: "Dairy", 2: "Dairy", 3: "Fruit", 4: "Bread", 5: "Fruit", 6: "Dairy", 7: "Meat"}


def bought(*rows: tuple[int, int, float], store: int = 9) -> pa.Table:
    """(household, product, days ago)."""
    return pa.table(
        {
            "household_id": [row[0] for row in rows],
            "product_id": [row[1] for row in rows],
            "at": pa.array(
                [NOW - timedelta(days=row[2]) for row in rows], pa.timestamp("us", "UTC")
            ),
            "store_id": [store] * len(rows),
        }
    )


@pytest.fixture
def make_feed(tmp_path: Path) -> Callable[..., PinnedFeed]:
    keys = np.array([1, 3])
    near = Neighbors(
        np.array([[2, 5, -1], [5, 4, 7]]),
        np.array([[0.9, 0.5, -np.inf], [0.8, 0.7, 0.1]], dtype=np.float32),
    )
    write_store(tmp_path, keys, near)

    def make(**changes: Any) -> PinnedFeed:
        names = {"product_id": list(DEPARTMENTS), "department": list(DEPARTMENTS.values())}
        names["name"] = [f"Thing {number}" for number in DEPARTMENTS]
        popular = pa.table({"product_id": [6, 4, 1], "score": [3.0, 2.0, 1.0]})
        promoted = {"store_id": [9, 9], "product_id": [7, 7], "placement": ["mailer", "display"]}
        rows = [(50, 1, 24), (50, 1, 12), (50, 1, 1), (50, 3, 2), (50, 3, -1), (51, 4, 30)]
        given = {
            "products": Products.from_table(pa.table(names)),
            "histories": Histories.from_table(bought(*rows)),
            "neighbors": open_store(tmp_path),
            "popular": Popular.from_table(popular),
            "promotions": Promotions.from_table(pa.table(promoted)),
            "now": lambda: NOW,
        }
        return PinnedFeed(**{**given, **changes})

    return make


def ids(page: Any) -> list[int]:
    return [item.product.product_id for item in page.items]


def by_id(candidates: pa.Table) -> np.ndarray:
    return candidates["product_id"].to_numpy().astype(float)


def test_a_page_holds_what_every_source_proposes_and_says_who_did(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    page = make_feed().page(50, 20)
    assert sorted(ids(page)) == [1, 2, 3, 4, 5, 6, 7]
    sources = {item.product.product_id: [s.source for s in item.sources] for item in page.items}
    assert sources[1] == ["habit", "popular"]
    assert sources[4] == ["neighbors", "popular"]
    assert sources[7] == ["neighbors", "promoted"]
    assert page.degraded == ()
    assert [item.position for item in page.items] == [1, 2, 3, 4, 5, 6, 7]


def test_each_reason_names_the_evidence_that_it_rests_on(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    told = {item.product.product_id: item for item in make_feed().page(50, 20).items}
    assert told[1].reason.text == "You buy this about every 12 days; last yesterday"
    assert told[3].reason.text == "You bought this on 18 March"
    assert told[5].reason.text == "Goes with Thing 3, which you bought on 18 March"
    assert [r.text for r in told[7].reasons][1] == "On display in your store this week"
    assert told[6].reason.text == "Popular now"


def test_what_happens_at_or_after_now_is_not_known(make_feed: Callable[..., PinnedFeed]) -> None:
    feed = make_feed()
    assert [p.product.product_id for p in feed.history(50, 9)] == [1, 3, 1, 1]
    earlier = make_feed(now=lambda: NOW - timedelta(days=12))
    assert [p.product.product_id for p in earlier.history(50, 9)] == [1]


def test_an_unknown_household_gets_what_is_popular_and_the_page_says_so(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    page = make_feed().page(404, 3)
    assert page.degraded == ("history",)
    assert ids(page) == [6, 4, 1]
    assert {item.reason.kind for item in page.items} == {ReasonKind.POPULAR}


def test_a_score_that_is_no_number_drops_its_item_and_is_counted(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    def ranker(candidates: pa.Table) -> np.ndarray:
        scores = by_id(candidates)
        return np.where(scores == 7, np.nan, np.where(scores == 6, np.inf, scores))

    settings = FeedSettings(places=0, new_every=0)
    page = make_feed(ranker=ranker, settings=settings).page(50, 20)
    assert ids(page) == [5, 4, 3, 2, 1]
    assert (page.unscored, page.degraded) == (2, ("ranker",))


def _raises(candidates: pa.Table) -> np.ndarray:
    raise RuntimeError("no weights")


@pytest.mark.parametrize(
    "ranker",
    [_raises, lambda c: np.full(c.num_rows, np.nan), lambda c: np.ones(2)],
    ids=["raises", "all NaN", "wrong length"],
)
def test_a_broken_ranker_leaves_a_page_in_the_order_of_the_sources(
    make_feed: Callable[..., PinnedFeed], ranker: Callable[[pa.Table], np.ndarray]
) -> None:
    page, plain = make_feed(ranker=ranker).page(50, 20), make_feed().page(50, 20)
    assert ids(page) == ids(plain)
    assert page.degraded == ("ranker",)
    assert page.unscored == page.candidates == 7
    assert all(item.score is None for item in page.items)


def test_a_missing_neighbour_store_is_said_and_survived(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    store = make_feed().neighbors
    store.close()  # type: ignore[union-attr]
    for neighbors in (None, store):
        feed = make_feed(neighbors=neighbors)
        assert feed.page(50, 9).degraded == ("neighbors",)
        related = feed.related(1, 5)
        assert related is not None
        assert (related.items, related.degraded) == ((), ("neighbors",))


@pytest.mark.parametrize("k", [0, -1, 101, 10**12])
def test_an_absurd_number_of_items_is_a_clear_error(
    make_feed: Callable[..., PinnedFeed], k: int
) -> None:
    with pytest.raises(UserError, match="a whole number from 1 to 100"):
        make_feed().page(50, k)


def test_excluded_products_are_nowhere(make_feed: Callable[..., PinnedFeed]) -> None:
    feed = make_feed(exclude=np.array([1, 5]))
    assert not {1, 5} & set(ids(feed.page(50, 20)))
    related = feed.related(3, 5)
    assert related is not None
    assert [item.product.product_id for item in related.items] == [4, 7]


def test_the_same_request_gives_the_same_page(make_feed: Callable[..., PinnedFeed]) -> None:
    assert make_feed(ranker=by_id).page(50, 5) == make_feed(ranker=by_id).page(50, 5)


def test_a_feed_with_nothing_in_it_is_an_empty_page(make_feed: Callable[..., PinnedFeed]) -> None:
    nothing = Popular.from_table(
        pa.table({"product_id": pa.array([], pa.int64()), "score": [1.0][:0]})
    )
    page = make_feed(popular=nothing, ranker=by_id).page(404, 5)
    assert (page.items, page.candidates, page.degraded) == ((), 0, ("history",))


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 40)), min_size=1, max_size=60))
def test_habits_are_counted_by_trips_and_their_gaps_are_medians(
    rows: list[tuple[int, int]],
) -> None:
    table = bought(*[(1, product, 1 + days) for product, days in rows])
    history = Histories.from_table(table).get(1)
    assert history is not None
    found = from_habit(history, microseconds(NOW))
    for row, product in enumerate(found.product_ids.tolist()):
        days = sorted({1 + d for p, d in rows if p == product}, reverse=True)
        gaps = -np.diff(days)
        assert found.evidence["bought"][row] == len(days)
        expected = np.median(gaps) if len(gaps) else np.nan
        assert found.evidence["every_days"][row] == pytest.approx(expected, nan_ok=True)
        assert found.scores[row] == pytest.approx(sum(0.5 ** (d / 90) for d in days), rel=1e-4)


def test_neighbours_add_up_over_recent_products_and_name_the_nearest(
    make_feed: Callable[..., PinnedFeed],
) -> None:
    feed = make_feed()
    history = feed.histories.get(50)
    assert history is not None
    assert feed.neighbors is not None
    found = from_neighbors(history.before(microseconds(NOW)), feed.neighbors)
    row = found.product_ids.tolist().index(5)
    assert found.scores[row] == pytest.approx(0.5 + 0.8)
    assert found.evidence["neighbor_of"][row] == 3


@st.composite
def proposals(draw: st.DrawFn) -> list[Proposals]:
    found = []
    for source in Source:
        products = draw(st.lists(st.integers(0, 30), unique=True, max_size=20))
        scores = draw(
            st.lists(
                st.sampled_from([0.0, 0.5, 1.0, float("nan")]),
                min_size=len(products),
                max_size=len(products),
            )
        )
        numbers = np.array(products, dtype=np.int64)
        found.append(Proposals(source, numbers, np.array(scores, dtype=np.float32)))
    return found


@given(proposals(), st.integers(0, 6), st.lists(st.integers(0, 30), max_size=5))
def test_a_union_is_the_best_of_each_source_and_remembers_all_that_know_an_item(
    proposed: list[Proposals], quota: int, exclude: list[int]
) -> None:
    table = union(proposed, dict.fromkeys(Source, quota), exclude=np.array(exclude, dtype=np.int64))
    usable = {
        one.source: {
            product: score
            for product, score in zip(one.product_ids.tolist(), one.scores.tolist(), strict=True)
            if score == score and product not in exclude
        }
        for one in proposed
    }
    expected: set[int] = set()
    for scores in usable.values():
        expected |= set(sorted(scores, key=lambda product: (-scores[product], product))[:quota])
    assert table["product_id"].to_pylist() == sorted(expected)
    for row in table.to_pylist():
        knows = [source for source in Source if row["product_id"] in usable[source]]
        assert row["sources"] == [str(source) for source in knows]
        for source in Source:
            assert row[f"{source}_score"] == usable[source].get(row["product_id"])


@given(
    st.lists(st.sampled_from("abcd"), max_size=40),
    st.integers(0, 45),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 7.5]),
)
def test_spreading_by_one_sort_is_the_greedy_choice(
    groups: list[str], k: int, places: float
) -> None:
    plain = spread_plainly(groups, k, places)
    assert spread(np.array(groups, dtype=np.str_), k, places).tolist() == plain


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 45), st.integers(1, 6))
def test_reserving_keeps_both_orders_and_lets_none_wait_while_a_marked_one_is_left(
    marked: list[bool], k: int, every: int
) -> None:
    shown = reserve(marked, k, every)
    assert len(shown) == min(k, len(marked)) == len(set(shown))
    for kind in (True, False):
        assert [r for r in shown if marked[r] is kind] == sorted(
            r for r in shown if marked[r] is kind
        )
    for start in range(len(shown) - every + 1):
        window = shown[start : start + every]
        left = sum(marked) - sum(marked[r] for r in shown[: start + every])
        assert any(marked[r] for r in window) or left == 0
    if every > len(marked):
        assert shown == list(range(len(shown)))


@pytest.mark.parametrize(
    ("every", "days", "text"),
    [
        (1.0, 0, "You buy this about every day; last today"),
        (11.6, 11, "You buy this about every 12 days; last 11 days ago"),
        (35.0, 40, "You buy this about every 5 weeks; last 40 days ago"),
        (12.0, 100, "You used to buy this about every 12 days; last 3 months ago"),
        (2.0, 20, "You buy this about every 2 days; last 20 days ago"),
        (92.0, 100, "You buy this about every 3 months; last 3 months ago"),
    ],
)
def test_intervals_are_told_as_people_tell_them(every: float, days: int, text: str) -> None:
    row = {"product_id": 1, "bought": 4, "last_at": NOW - timedelta(days=days), "every_days": every}
    assert reasons(row, str, NOW)[0].text == text


def test_a_date_of_another_year_says_the_year() -> None:
    row = {"product_id": 1, "bought": 1, "last_at": datetime(2025, 12, 3, tzinfo=UTC)}
    assert reasons(row, str, NOW)[0].text == "You bought this on 3 December 2025"


def test_the_usual_store_is_that_of_most_trips() -> None:
    one, other = bought((1, 1, 9), (1, 2, 9), (1, 3, 9), store=4), bought((1, 1, 5), (1, 1, 3))
    history = Histories.from_table(pa.concat_tables([one, other])).get(1)
    assert history is not None
    assert history.store == 9
