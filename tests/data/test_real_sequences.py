"""Real logs through a training set: sequences, features, batches, masks are those of plain loops.

Wikipedia's lines are in order of time, and a line is a second; a place in LastFM's lists is one.
Pinterest's pins have no time: all of a user are one request.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from bowerbird.core.steps import Home
from bowerbird.data.features.columns import Count, Distinct, Last, Occasions
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.samples.batches import batches
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import in_batch_mask_reference
from bowerbird.data.samples.specs import SequenceOf, TrainingSet
from bowerbird.lake import Lake, Table, bucket
from tests.data.real import real
from tests.data.world import commit, home_in

pytestmark = pytest.mark.slow

LINES, SECOND = 12_000, 1_000_000

EVENTS = Table(
    "real/events",
    schema={"user": "long", "at": "timestamptz", "item": "long"},
    partition=(bucket("user", 8),),
    sort=("user", "at"),
)


class Event(NamedTuple):
    user: int
    item: int
    at: int


def wikipedia() -> list[Event]:
    lines = real("wikipedia/wikipedia.txt").read_text().splitlines()
    pairs = (map(int, line.split()) for line in lines)
    return [Event(user, item, at) for at, (user, item) in enumerate(pairs)]


def first_lines() -> list[Event]:
    return wikipedia()[:LINES]


def longest_user() -> list[Event]:
    events = wikipedia()
    ((longest, count),) = Counter(one.user for one in events).most_common(1)
    assert count == 1603
    return [one for one in events if one.user == longest]


def lists(name: str, users: int) -> list[Event]:
    """A user a line, and its items; the place of an item is its time."""
    lines = real(name).read_text().splitlines()[:users]
    rows = [list(map(int, line.split())) for line in lines]
    return [Event(user, item, at) for user, *items in rows for at, item in enumerate(items)]


def home_of(folder: Path, events: list[Event]) -> Home:
    home = home_in(str(folder))
    seconds = np.array([one.at for one in events]) * SECOND
    rows = {
        "user": [one.user for one in events],
        "at": pa.array(seconds).cast(pa.timestamp("us", "UTC")),
        "item": [one.item for one in events],
    }
    commit(Lake(home), EVENTS, pa.table(rows))
    return home


def plan_of(home: Home, last: int = 50, **changes: Any) -> SetPlan:
    fields = {"sequences": {"past": SequenceOf(EVENTS, ("item",), last=last)}, **changes}
    return plan_set(Lake(home), TrainingSet("real/next", rows=EVENTS, entity="user", **fields))


def columns(found: Iterator[pa.RecordBatch], *names: str) -> list[tuple[Any, ...]]:
    """Rows of (user, second, the columns), by user and time."""
    rows = pa.Table.from_batches(list(found))
    at = (rows["at"].cast(pa.int64()).to_numpy() // SECOND).tolist()
    told = (rows[name].to_pylist() for name in names)
    return sorted(zip(rows["user"].to_pylist(), at, *told, strict=True))


@pytest.fixture(scope="module")
def edits(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_of(tmp_path_factory.mktemp("edits"), first_lines())


# -- what lies beside a row --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wikipedia", "lastfm"])
def test_the_sequence_of_every_event_is_the_one_of_a_loop(name: str, tmp_path: Path) -> None:
    events = first_lines() if name == "wikipedia" else lists("lastfm/LastFM.txt", 400)
    past: dict[int, list[int]] = defaultdict(list)
    expected = []
    for one in sorted(events, key=lambda one: one.at):
        expected.append((one.user, one.at, past[one.user][-50:]))
        past[one.user].append(one.item)
    home = home_of(tmp_path, events)
    found = columns(batches(home, plan_of(home)), "past__item")
    assert found == sorted(expected)


@pytest.mark.parametrize("last", [1, 200, 1601, 1602, 5000])
def test_the_longest_user_is_cut_where_the_set_says(last: int, tmp_path: Path) -> None:
    events = longest_user()
    home = home_of(tmp_path, events)
    items = [one.item for one in events]
    found = columns(batches(home, plan_of(home, last)), "past__item")
    assert [past for *_, past in found] == [
        items[max(0, place - last) : place] for place in range(len(items))
    ]


def test_whole_features_of_every_edit_are_those_of_a_loop(edits: Home) -> None:
    lately = Count("1000s")
    told = {
        "of_user": {"n": Count(), "lately": lately, "pages": Distinct("item"), "last": Last("item")}
        | {"moments": Occasions("500s")},
        "of_item": {"n": Count(), "lately": lately},
        "of_pair": {"n": Count()},
    }
    keys = {"of_user": ("user",), "of_item": ("item",), "of_pair": ("user", "item")}
    groups = [
        FeatureGroup(f"real/{name}", source=EVENTS, key=keys[name], columns=made)
        for name, made in told.items()
    ]
    spec = TrainingSet("real/known", rows=EVENTS, entity="user", features=tuple(groups))
    plan = plan_set(Lake(edits), spec, {str(one.ref): one for one in groups})
    names = [f"{name}__{column}" for name, made in told.items() for column in made]
    found = columns(batches(edits, plan), *names)

    seen: dict[Any, list[Event]] = defaultdict(list)
    expected = []
    for one in first_lines():
        mine, others, both = (seen[key] for key in (one.user, f"{one.item}", one[:2]))
        user = (
            len(mine),
            sum(one.at - event.at <= 1000 for event in mine),
            len({event.item for event in mine}),
            mine[-1].item if mine else None,
            sum(one.at - event.at <= 500 for event in mine),
        )
        item = (len(others), sum(one.at - event.at <= 1000 for event in others))
        expected.append((one.user, one.at, *user, *item, len(both)))
        for events in (mine, others, both):
            events.append(one)
    assert found == sorted(expected)


# -- the same batches --------------------------------------------------------------------------


def test_a_reader_that_goes_on_anywhere_reads_what_is_left(edits: Home) -> None:
    plan = plan_of(edits)
    stream = batches(edits, plan, batch_size=1500)
    positions, whole = [stream.position], []
    for batch in stream:
        whole.append(batch)
        positions.append(stream.position)
    assert len(whole) == 8
    for place, position in enumerate(positions):
        left = list(batches(edits, plan, batch_size=1500, position=position))
        assert len(left) == len(whole) - place
        assert all(one.equals(two) for one, two in zip(left, whole[place:], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_batches_are_the_same_for_any_number_of_workers(edits: Home, workers: int) -> None:
    from torch.utils.data import DataLoader

    from bowerbird.data.samples.torch_batches import tensors, to_torch

    plan = plan_of(edits)
    expected = [tensors(one, "set") for one in batches(edits, plan, batch_size=1500)]
    read = to_torch(edits, plan, batch_size=1500)
    found = list(DataLoader(read, batch_size=None, num_workers=workers))
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        assert one.keys() == two.keys()
        assert all(one[name].equal(two[name]) for name in one)


# -- pins, without a time ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Home:
    at_once = [one._replace(at=0) for one in lists("pinterest/train.txt", 600)]
    return home_of(tmp_path_factory.mktemp("pins"), at_once)


@pytest.mark.parametrize("order", ["requests", "shuffled", "lying"])
def test_pins_by_request_are_the_flat_ones(pins: Home, order: str) -> None:
    plan = plan_of(pins, sequences={}, order=order)
    flat = list(batches(pins, plan, batch_size=1000))
    late = list(batches(pins, plan, batch_size=1000).by_request())
    assert all(one.equals(two.expand()) for one, two in zip(flat, late, strict=True))
    for batch in late:
        assert batch.requests == len(set(batch.user["user"].to_pylist()))
    rows = [(user, item) for user, _, item in columns(iter(flat), "item")]
    assert rows == sorted(one[:2] for one in lists("pinterest/train.txt", 600))


def test_the_mask_of_real_pins_is_the_one_of_pairs(pins: Home) -> None:
    plan = plan_of(pins, sequences={}, order="requests")
    batch = next(batches(pins, plan, batch_size=300).by_request())
    flat = batch.expand()
    users, items = flat["user"].to_pylist(), flat["item"].to_pylist()
    mask = batch.in_batch_mask("user", "item")
    assert np.array_equal(mask, in_batch_mask_reference(users, items))
    assert (~mask).sum() > len(users) * 10  # users have more than ten pins each
