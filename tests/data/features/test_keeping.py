"""A kept group costs a day a day, and is what the whole computation gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bowerbird.core.plans import Plan
from bowerbird.data.features import kept, tiles
from bowerbird.data.features.columns import DAY
from bowerbird.data.features.events import events_of, values
from bowerbird.data.features.keeping import span_of, tile_cell
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.features.tiles import Grain, spans
from bowerbird.lake import Lake, parts, read
from bowerbird.workspace.workspace import Workspace
from tests.data.features.shop import (
    SOURCES,
    SPECS,
    apply,
    empty,
    events,
    open_shop,
    put,
    stocked,
    times,
)

GROUP, TILES = "feature_group:shop/spend", "tiles:shop/spend"
KEPT = SPECS[: SPECS.index("staged = ")].replace(
    '"sum_7d": Sum("amount", over="7d")}',
    '"sum_7d": Sum("amount", over="7d"), "sum_90d": Sum("amount", over="90d")}, every="1d"',
)
ROLLED = KEPT.replace(
    '"n_3d": Count(over="3d")', '"n_3d": Count(over="3d"), "n_90d": Count(over="90d")'
)
"""With a count of the longest window: a moment is made from the moment before."""
DAYS = range(20, 90)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many moments were rolled on, and how many folded (the engine runs in this process)."""
    counted: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        function = getattr(tiles, name)

        def count(*given: Any) -> Any:
            counted[name] += 1
            return function(*given)

        return count

    for name in ("roll", "fold"):
        monkeypatch.setattr(tiles, name, counting(name))
    return counted


def cells(plan: Plan, ref: str) -> list[str]:
    steps = [step for step in plan.steps if step.target == ref]
    return sorted(cell for step in steps for cell in step.cells)


def right(shop: Workspace, known_at: str = "") -> bool:
    """Every kept value is the one that all events give."""
    lake, group = Lake(shop.home), shop.specs[GROUP].spec
    assert isinstance(group, FeatureGroup)
    kept = read(lake, GROUP)
    ready = events_of(read(lake, SOURCES[0]), group.key, "at", group.columns, known_at)
    expected = values(group.columns, ready, kept)
    return all(kept[name].to_pylist() == expected[name].to_pylist() for name in group.names)


def moments(shop: Workspace) -> list[int]:
    at = read(Lake(shop.home), GROUP)["at"].cast(pa.int64()).to_numpy()
    return [int(one) for one in np.unique(at) // DAY]


@pytest.mark.slow
@pytest.mark.parametrize("specs", [KEPT, ROLLED], ids=["folded", "rolled"])
def test_tiles_and_moments_are_made_cell_by_cell_and_a_new_day_is_one_of_each(
    tmp_path: Path, specs: str, made: Counter[str]
) -> None:
    shop = stocked(tmp_path, DAYS, specs)
    apply(shop)
    assert (made["roll"] > 50) == (specs is ROLLED)
    assert moments(shop) == list(range(21, 91))
    assert right(shop)
    assert shop.plan().empty
    put(shop, SOURCES[0], events([90]))
    plan = shop.plan()
    # The last day of March is over, and so is March.
    assert cells(plan, TILES) == ["grain=day/start_hour=1970-04-01-00"]
    shop.apply(plan)
    assert cells(shop.plan(), GROUP) == ["at_day=1970-04-02"]
    made.clear()
    apply(shop)
    assert dict(made) == ({"roll": 1} if specs is ROLLED else {"fold": 1})
    assert right(shop)


@pytest.mark.slow
@pytest.mark.parametrize("specs", [KEPT, ROLLED], ids=["folded", "rolled"])
def test_late_events_restate_the_tiles_of_their_day_and_the_moments_that_reach_it(
    tmp_path: Path, specs: str
) -> None:
    shop = stocked(tmp_path, DAYS, specs.replace('"90d"', '"9d"'))
    apply(shop)
    put(shop, SOURCES[0], events([40], each=30, seed=5))
    plan = shop.plan()
    assert cells(plan, TILES) == ["grain=day/start_hour=1970-02-10-00"]
    shop.apply(plan)
    assert cells(shop.plan(), GROUP) == [
        f"at_day={np.datetime64(number, 'D')}" for number in range(41, 50)
    ]
    apply(shop)
    assert right(shop)


@pytest.mark.slow
@pytest.mark.parametrize("specs", [KEPT, ROLLED], ids=["folded", "rolled"])
def test_a_window_that_is_declared_anew_reads_no_event(
    tmp_path: Path, specs: str, made: Counter[str]
) -> None:
    apply(stocked(tmp_path, DAYS, specs))
    shop = open_shop(tmp_path, specs.replace('over="7d"', 'over="14d"'))
    made.clear()
    plan = shop.plan()
    assert cells(plan, TILES) == []
    assert len(cells(plan, GROUP)) == len(DAYS)
    apply(shop)
    assert made["fold"] > 0  # the first moment has none before it that is what it would be now
    assert right(shop)


@pytest.mark.slow
def test_moments_between_days_are_made_of_months_weeks_days_and_hours(tmp_path: Path) -> None:
    specs = KEPT.replace('every="1d"', 'every="9h"').replace('over="3d"', 'over="18h"')
    shop = stocked(tmp_path, range(30, 60), specs)
    apply(shop)
    made = [cell.partition("/")[0] for cell in parts.sizes(Lake(shop.home), TILES)]
    assert {"grain=month", "grain=week", "grain=day", "grain=hour"} == set(made)
    assert right(shop)
    put(shop, SOURCES[0], events([40], each=30, seed=5))
    apply(shop)
    assert right(shop)
    # A grain that the windows are not worth any more stays as it was, and is not looked at.
    shop = open_shop(tmp_path, specs.replace('"90d"', '"31d"'))
    put(shop, SOURCES[0], events([41], each=30, seed=6))
    apply(shop)
    assert right(shop)


BY = KEPT.replace('"sum_90d"', '"by": By(Sum("amount", over="7d"), "amount"), "sum_90d"').replace(
    "import Count", "import By, Count"
)


@pytest.mark.slow
def test_a_column_by_a_second_key_costs_a_day_a_day(tmp_path: Path) -> None:
    shop = stocked(tmp_path, range(28, 45), BY)
    apply(shop)
    assert right(shop)
    assert shop.plan().empty
    put(shop, SOURCES[0], events([45]))
    # The 15th was a Sunday: the week is over.
    assert cells(shop.plan(), TILES) == [
        "grain=day/start_hour=1970-02-15-00",
        "grain=week/start_hour=1970-02-09-00",
    ]
    apply(shop)
    assert right(shop)


def in_buckets(specs: str) -> str:
    return specs.replace(
        '(day("at"),),\n    sort=("user"', '(day("at"), bucket("user", 8)),\n    sort=("user"'
    )


@pytest.mark.slow
@pytest.mark.parametrize("specs", [in_buckets(KEPT), in_buckets(ROLLED)], ids=["folded", "rolled"])
def test_tiles_and_values_lie_in_the_buckets_of_their_source(
    tmp_path: Path, specs: str, monkeypatch: pytest.MonkeyPatch, made: Counter[str]
) -> None:
    monkeypatch.setattr(kept, "MANY", 8)
    shop = stocked(tmp_path, range(46, 62), specs)
    apply(shop)
    assert (made["roll"] > 9) == ("n_90d" in specs)
    for ref in (TILES, GROUP):
        there = parts.sizes(Lake(shop.home), ref)
        # Five users are in some of the buckets, and none of them in others.
        assert 1 < len({part.rpartition("user_bucket=")[2] for part in there}) < 6
    assert right(shop)
    put(shop, SOURCES[0], pa.concat_tables([events([62]), events([50], each=30, seed=5)]))
    made.clear()
    apply(shop)
    assert right(shop)
    assert shop.plan().empty
    # Other buckets, and tiles and values are made anew in them.
    shop = open_shop(tmp_path, specs.replace('bucket("user", 8)', 'bucket("user", 4)'))
    apply(shop)
    put(shop, SOURCES[0], events([63, 64]))
    apply(shop)
    assert right(shop)
    assert shop.plan().empty


@pytest.mark.slow
@pytest.mark.parametrize("specs", [KEPT, ROLLED], ids=["folded", "rolled"])
def test_events_that_are_gone_are_counted_nowhere(tmp_path: Path, specs: str) -> None:
    shop = stocked(tmp_path, range(40, 50), specs)
    apply(shop)
    for day in (44, 49):
        empty(shop, SOURCES[0], f"at_day={np.datetime64(day, 'D')}")
    apply(shop)
    assert right(shop)
    put(shop, SOURCES[0], events([50]))
    assert cells(shop.plan(), TILES) == ["grain=day/start_hour=1970-02-20-00"]
    for day in (50, 40, 41, 42, 43, 45, 46, 47, 48):
        empty(shop, SOURCES[0], f"at_day={np.datetime64(day, 'D')}")
    apply(shop)
    assert read(Lake(shop.home), GROUP).num_rows == 0
    put(shop, SOURCES[0], events([43, 51]))
    apply(shop)
    assert right(shop)
    assert shop.plan().empty


def test_a_group_over_rows_that_do_not_lie_by_time_is_computed_whole(tmp_path: Path) -> None:
    by_user = KEPT.replace('partition=(day("at"),),\n    sort=("user"', 'sort=("user"')
    shop = stocked(tmp_path, range(20, 30), by_user)
    plan = shop.plan()
    assert [step.kind for step in plan.steps] == ["features.fill"]
    apply(shop)
    assert right(shop)


@pytest.mark.parametrize("grain", list(Grain))
def test_a_cell_names_its_tile(grain: Grain) -> None:
    for span in spans(grain, 300 * DAY, 400 * DAY):
        assert span_of(tile_cell(span)) == span


LATE = KEPT.replace('"amount": "long"}', '"amount": "long", "read_at": "timestamptz"}').replace(
    'key=("user",),', 'key=("user",), known_at="read_at",'
)


def known_late(days: Iterable[int], by: int, seed: int = 0) -> pa.Table:
    """Events of which every third was known `by` days after it happened."""
    found = events(days, seed=seed)
    at = found["at"].cast(pa.int64()).to_numpy()
    late = np.where(np.arange(len(at)) % 3 == 0, by * DAY, 0)
    return found.append_column("read_at", times(at + late))


@pytest.mark.slow
def test_an_event_that_was_known_late_restates_what_begins_there(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, LATE)
    apply(shop)
    put(shop, SOURCES[0], known_late(range(40, 60), by=2))
    apply(shop)
    assert right(shop, known_at="read_at")
    assert shop.plan().empty
    put(shop, SOURCES[0], known_late([60], by=2))
    # Nothing of older days was written anew, and no tile of an older day is.
    days = [f"grain=day/start_hour=1970-03-0{day}-00" for day in (2, 3, 4)]
    assert days[0] in cells(shop.plan(), TILES)
    assert set(cells(shop.plan(), TILES)) <= set(days)
    apply(shop)
    assert right(shop, known_at="read_at")
    put(shop, SOURCES[0], known_late([45], by=9, seed=3))
    touched = [f"grain=day/start_hour={np.datetime64(day, 'D')}-00" for day in range(45, 55)]
    made = {cell for cell in cells(shop.plan(), TILES) if "=day" in cell}
    assert touched[0] in made
    assert made <= set(touched)
    apply(shop)
    assert right(shop, known_at="read_at")
    assert shop.plan().empty
