"""Which files are worth rewriting: pure decisions over what statistics say."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bowerbird.lake.upkeep.layout import Group, Limits, Lying, depth, groups, stacks

TARGET = 1000
BY = ("at",)


def lying(path: str, low: int | None, high: int | None, size: int = 900, **more: object) -> Lying:
    told = {"path": path, "rows": size, "bytes": size, "low": low, "high": high, "run": path}
    return Lying(**{**told, **more})  # type: ignore[arg-type]


def paths(found: list[Group]) -> list[list[str]]:
    return [sorted(file.path for file in group.files) for group in found]


def test_files_that_lie_well_stay() -> None:
    assert groups([lying("a", 0, 5), lying("b", 6, 9)], BY, TARGET) == []


def test_many_small_files_are_joined_and_a_few_are_not() -> None:
    small = [lying(str(n), n, n, 10) for n in range(4)]
    (group,) = groups(small, BY, TARGET)
    assert group.reasons == ("4 small files",)
    assert groups(small[:3], BY, TARGET) == []


def test_a_large_file_between_small_ones_is_left() -> None:
    left = [lying(f"l{n}", n, n, 10) for n in range(4)]
    right = [lying(f"r{n}", 20 + n, 20 + n, 10) for n in range(4)]
    found = groups([*right, lying("large", 10, 19), *left], BY, TARGET)
    assert paths(found) == [["l0", "l1", "l2", "l3"], ["r0", "r1", "r2", "r3"]]


def test_files_that_lie_deep_are_rewritten() -> None:
    deep = [lying(str(n), 0, 9) for n in range(5)]
    (group,) = groups([*deep, lying("apart", 10, 11)], BY, TARGET)
    assert group.reasons == ("5 files deep",)
    assert "apart" not in paths([group])[0]


def test_files_of_one_run_are_not_deep_even_if_a_key_is_in_all_of_them() -> None:
    hot = [lying(str(n), 7, 7, run="one") for n in range(50)]
    assert depth(hot) == 1
    assert groups(hot, BY, TARGET) == []


def test_deleted_rows_are_always_worth_it() -> None:
    (group,) = groups([lying("a", 0, 5, deletes=1), lying("b", 6, 9)], BY, TARGET)
    assert paths([group]) == [["a"]]


def test_unsorted_rows_count_by_their_share_of_the_partition() -> None:
    loose = lying("loose", 0, 1, ordered=False)
    assert [g.reasons for g in groups([loose, lying("b", 6, 9)], BY, TARGET)] == [("50% unsorted",)]
    few = [lying(str(n), 10 * n + 5, 10 * n + 9) for n in range(30)]
    assert groups([loose, *few], BY, TARGET) == []


def test_without_an_order_only_small_files_are_touched() -> None:
    files = [lying(str(n), None, None, 10) for n in range(4)]
    assert paths(groups([*files, lying("large", None, None)], (), TARGET)) == [["0", "1", "2", "3"]]


ranges = st.lists(
    st.tuples(
        st.integers(0, 40), st.integers(0, 12), st.integers(1, 1500), st.booleans(), st.booleans()
    ),
    max_size=25,
)


@st.composite
def partitions(draw: st.DrawFn) -> list[Lying]:
    return [
        lying(str(n), low, low + wide, size, ordered=ordered, deletes=int(deleted))
        for n, (low, wide, size, ordered, deleted) in enumerate(draw(ranges))
    ]


def written(group: Group, name: str) -> list[Lying]:
    """What a writer makes of a group: one run of files of about the target size."""
    total = sum(file.bytes for file in group.files)
    low, high = min(f.low for f in group.files), max(f.high for f in group.files)
    sizes = [TARGET] * (total // TARGET) + ([total % TARGET] if total % TARGET else [])
    return [lying(f"{name}-{n}", low, high, size, run=name) for n, size in enumerate(sizes)]


@given(partitions())
def test_what_was_rewritten_is_not_worth_rewriting_again(files: list[Lying]) -> None:
    found = groups(files, BY, TARGET)
    taken = {file.path for group in found for file in group.files}
    after = [file for file in files if file.path not in taken]
    for number, group in enumerate(found):
        after += written(group, f"new{number}")
    assert groups(after, BY, TARGET, Limits()) == []


@given(partitions())
def test_no_file_that_stays_lies_among_those_that_are_rewritten(files: list[Lying]) -> None:
    found = groups(files, BY, TARGET)
    taken = {file.path for group in found for file in group.files}
    for group in found:
        low, high = min(f.low for f in group.files), max(f.high for f in group.files)
        stay = [file for file in files if file.path not in taken]
        assert all(file.high < low or file.low > high for file in stay)


@given(partitions())
def test_depth_is_the_most_files_that_hold_one_key(files: list[Lying]) -> None:
    keys = {file.low for file in files}
    plain = max((sum(f.low <= key <= f.high for f in files) for key in keys), default=0)
    assert depth(files) == plain


@given(partitions())
def test_stacks_are_apart_and_hold_every_file(files: list[Lying]) -> None:
    found = stacks(files)
    assert sorted(f.path for stack in found for f in stack) == sorted(f.path for f in files)
    for one, other in pairwise(found):
        assert max(file.high for file in one) < min(file.low for file in other)
