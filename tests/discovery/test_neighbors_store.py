"""Claims about the store: what was written is read, or a named error is."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bowerbird.core.errors import CorruptError, NewerWorkspaceError, UserError
from bowerbird.discovery.neighbors import (
    Neighbors,
    Vectors,
    check,
    exact,
    open_store,
    shard_of,
    write_manifest,
    write_shard,
    write_store,
)

int64s = st.integers(-(2**63), 2**63 - 1)


def answers(n: int, k: int, seed: int = 0) -> Neighbors:
    numbers = np.random.default_rng(seed)
    ids = numbers.integers(0, 2**62, (n, k))
    scores = -np.sort(-numbers.random((n, k), dtype=np.float32), axis=1)
    short = numbers.integers(0, k + 1, n)
    gone = np.arange(k) >= short[:, None]
    return Neighbors(np.where(gone, -1, ids), np.where(gone, -np.inf, scores).astype(np.float32))


@given(st.lists(int64s, unique=True, max_size=60), st.integers(1, 5), st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_every_key_gives_back_what_was_written_under_it(
    tmp_path_factory: pytest.TempPathFactory, names: list[int], shards: int, k: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    keys, found = np.array(names, dtype=np.int64), answers(len(names), k)
    belongs = shard_of(keys, shards)
    written = [
        write_shard(folder, s, shards, keys[belongs == s], _rows(found, belongs == s))
        for s in range(shards)
    ]
    write_manifest(folder, written[::-1], k=k)
    with open_store(folder) as store:
        assert len(store) == len(names)
        for row, got in enumerate(store.get_many(keys)):
            assert got is not None
            alone = store.get(names[row])
            assert alone is not None
            assert (alone.ids.tolist(), alone.scores.tolist()) == (
                got.ids.tolist(),
                got.scores.tolist(),
            )
            there = found.ids[row] != -1
            assert np.array_equal(got.ids, found.ids[row][there])
            assert np.array_equal(got.scores, found.scores[row][there])


def test_an_unknown_key_is_none_and_the_others_keep_their_places(tmp_path: Path) -> None:
    write_store(tmp_path, np.array([1, 3]), answers(2, 4))
    store = open_store(tmp_path)
    assert store.get(2) is None
    got = store.get_many([3, 2, 1, 3])
    assert [one is None for one in got] == [False, True, False, False]


def test_the_same_neighbours_make_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    keys, found = np.arange(2000), answers(2000, 12)
    other = np.random.default_rng(1).permutation(2000)
    one = write_store(tmp_path / "a", keys, found)
    two = write_store(tmp_path / "b", keys[other], _rows(found, other))
    assert one == two
    for shard in one.shards:
        first, second = ((tmp_path / f / shard.file).read_bytes() for f in "ab")
        assert first == second


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_damaged_file_is_a_named_error_and_never_a_wrong_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("store")
    manifest = write_store(folder, np.arange(300), answers(300, 8))
    name = data.draw(st.sampled_from([manifest.shards[0].file, "manifest.json"]))
    path, whole = folder / name, (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
    try:
        store = open_store(folder)
    except (CorruptError, NewerWorkspaceError) as error:
        named = str(error)
    else:  # what changed is the manifest's white space, or a number that only informs
        named = str(path) if name == "manifest.json" and store.get(7) is not None else "nothing"
    assert str(folder) in named


@pytest.mark.parametrize("gone", ["manifest.json", "neighbors-00000-of-00001.lmdb"])
def test_a_store_with_a_file_missing_does_not_open(tmp_path: Path, gone: str) -> None:
    write_store(tmp_path, np.arange(3), answers(3, 2))
    (tmp_path / gone).unlink()
    with pytest.raises(CorruptError, match=gone):
        open_store(tmp_path)


def test_a_store_is_not_one_before_its_manifest_is_written(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, 1, np.arange(3), answers(3, 2))
    with pytest.raises(CorruptError, match="did not end"):
        open_store(tmp_path)


def test_a_reader_stays_with_its_store_when_another_is_published_and_its_own_deleted(
    tmp_path: Path,
) -> None:
    keys = np.arange(500)
    write_store(tmp_path / "r1", keys, answers(500, 6, seed=1))
    reader = open_store(tmp_path / "r1")
    before = [found.ids.tolist() for found in reader.get_many(keys) if found]
    shutil.rmtree(tmp_path / "r1")
    write_store(tmp_path / "r1", keys, answers(500, 6, seed=2))
    newer = open_store(tmp_path / "r1")
    assert [found.ids.tolist() for found in reader.get_many(keys) if found] == before
    assert [found.ids.tolist() for found in newer.get_many(keys) if found] != before


def test_two_readers_of_one_store_do_not_disturb_each_other(tmp_path: Path) -> None:
    write_store(tmp_path, np.arange(5), answers(5, 3))
    first, second = open_store(tmp_path), open_store(tmp_path)
    first.close()
    assert second.get(4) is not None
    with pytest.raises(UserError, match="closed"):
        first.get(4)


def test_a_shard_refuses_keys_of_another_and_keys_that_come_twice(tmp_path: Path) -> None:
    wrong = np.flatnonzero(shard_of(np.arange(50), 2) == 1)[:1]
    with pytest.raises(UserError, match="does not belong to shard 0 of 2"):
        write_shard(tmp_path, 0, 2, wrong, answers(1, 2))
    with pytest.raises(UserError, match="twice"):
        write_store(tmp_path, np.array([4, 4]), answers(2, 2))


def test_shards_get_about_the_same_number_of_keys() -> None:
    counts = np.bincount(shard_of(np.arange(0, 80_000, 8), 8), minlength=8)
    assert counts.min() > 1100
    assert counts.max() < 1400


def test_the_check_of_a_store_with_exact_answers_finds_them_all(tmp_path: Path) -> None:
    items = _items()
    write_store(tmp_path, items.ids, exact(items, items, 5, exclude=items.ids))
    with open_store(tmp_path) as store:
        report = check(store, items, items, 5, own_ids_excluded=True, queries_sampled=100, seed=1)
    assert (report.sampled, report.missing, report.recall) == (100, 0, 1.0)
    assert 0.95 < report.low < 1.0


def test_the_interval_of_the_check_holds_the_recall_that_was_planted(tmp_path: Path) -> None:
    items = _items()
    found = exact(items, items, 5, exclude=items.ids)
    worse = np.random.default_rng(2).random(found.ids.shape) < 0.2
    found.ids[worse] = 999_999  # an item that is gone
    write_store(tmp_path, items.ids, found)
    store = open_store(tmp_path)
    held = 0
    for seed in range(40):
        report = check(store, items, items, 5, own_ids_excluded=True, queries_sampled=60, seed=seed)
        held += report.low <= 1 - worse.mean() <= report.high
    assert held >= 35


def test_keys_that_a_store_lacks_count_as_not_found(tmp_path: Path) -> None:
    items = _items()
    half = items.take(np.arange(0, len(items), 2))
    write_store(tmp_path, half.ids, exact(items, half, 5))
    report = check(open_store(tmp_path), items, items, 5, queries_sampled=10_000, seed=1)
    assert report.missing == len(items) // 2
    assert report.recall == 0.5


def _items() -> Vectors:
    values = np.random.default_rng(0).standard_normal((400, 8))
    return Vectors.of(np.arange(400) * 5, values)


def _rows(found: Neighbors, rows: np.ndarray) -> Neighbors:
    return Neighbors(found.ids[rows], found.scores[rows])
