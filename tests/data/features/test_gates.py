"""Gates: each passes what it should, and what fails is said with figure, limit and rows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bowerbird.core.errors import FunctionError, SpecError, UserError
from bowerbird.data.features.gates import (
    DEFAULT,
    Coverage,
    Custom,
    Distinct,
    Drift,
    Facts,
    Finding,
    Finite,
    Gate,
    NoDuplicates,
    NoLeakage,
    Nulls,
    Range,
    RowCount,
    calls_of,
    check,
    failures,
    judge,
    passed,
)
from bowerbird.data.features.kinds import Kind
from bowerbird.data.features.offenders import duplicates, offenders
from bowerbird.data.features.statistics import Statistics, summarise_exactly
from bowerbird.data.features.verdicts import as_results, of_results

GOOD = Facts(rows_found=4, rows_expected=4, duplicates=0, leaks=0)
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3, 4]),
        "spend": pa.array([1.0, 0.0, None, 250.0]),
        "brand": pa.array(["a", "b", "", None]),
        "vector": pa.array([[1.0, 2.0], [0.0, 0.0], None, [math.inf, 1.0]]),
        "last": pa.array([[1], [], None, [1, 2, 3]]),
    }
)
KINDS = {"vector": Kind.EMBEDDING}
STAGED = summarise_exactly(ROWS, KINDS)


def one(gate: Gate, facts: Facts = GOOD, live: Mapping[str, Statistics] | None = None) -> Finding:
    (found,) = judge([gate], STAGED, live, facts)
    return found


@pytest.mark.parametrize(
    ("gate", "ok", "figure"),
    [
        (Coverage("spend", at_least=0.5), True, 0.5),
        (Coverage("spend", at_least=0.51), False, 0.5),
        (Coverage("brand", at_least=0.5), True, 0.5),
        (Coverage("vector", at_least=0.6), False, 0.5),
        (Coverage("last", at_least=0.5), True, 0.5),
        (Nulls("spend", at_most=0.25), True, 0.25),
        (Nulls("brand"), False, 0.25),
        (Finite("spend"), True, 0.0),
        (Finite("vector"), False, 1.0),
        (Range("spend", 0, 300), True, 250.0),
        (Range("spend", 0.5, 300), False, 0.0),
        (Range("spend", high=100), False, 250.0),
        (Range("last", high=2), False, 3.0),
        (Range("vector", high=2), False, math.sqrt(5)),
        (Distinct("brand", at_least=3), True, 3.0),
        (Distinct("spend", at_least=4), False, 3.0),
        (RowCount(), True, 4.0),
        (NoDuplicates(), True, 0.0),
        (NoLeakage(), True, 0.0),
    ],
)
def test_a_gate_passes_by_its_figure(gate: Gate, ok: bool, figure: float) -> None:
    found = one(gate)
    assert found.passed is ok
    assert found.figure == pytest.approx(figure)
    assert found.gate == type(gate).__name__


def test_a_gate_of_every_column_finds_one_thing_a_column() -> None:
    found = judge([Nulls(at_most=0.25)], STAGED, None, GOOD)
    assert [finding.column for finding in found] == list(STAGED)
    assert passed(found)


def test_a_column_that_is_not_there_is_not_passed() -> None:
    for gate in (Coverage("speend"), Range("speend", 0, 1), Drift("speend")):
        assert not one(gate).passed
    with pytest.raises(SpecError, match="no column 'speend'"):
        check([Coverage("speend")], list(STAGED))


def test_rows_that_are_missing_are_not_passed_but_within_what_was_allowed() -> None:
    short = Facts(rows_found=98, rows_expected=100)
    assert not one(RowCount(), short).passed
    assert one(RowCount(within=0.02), short).passed
    assert one(RowCount(), Facts(rows_found=98)).passed


def test_what_nobody_has_looked_for_is_not_passed() -> None:
    for gate in (NoDuplicates(), NoLeakage()):
        assert not one(gate, Facts(rows_found=4)).passed


def test_duplicates_and_leaks_show_rows() -> None:
    facts = Facts(4, 4, 2, 1, {"duplicates": ("id=1", "id=2"), "leaks": ("id=3",)})
    assert one(NoDuplicates(), facts).examples == ("id=1", "id=2")
    assert one(NoDuplicates(), facts).text == "2 keys twice"
    assert one(NoLeakage(), facts).text == "1 value from the future"


def test_a_failure_shows_rows_of_its_column() -> None:
    gates = [Range("spend", 0, 100), Nulls("brand"), Coverage("last", at_least=1), Finite()]
    gates += [Coverage("vector", at_least=1), Range("last", high=2), Nulls("id")]
    found = offenders(gates, judge(gates, STAGED, None, GOOD), ROWS, ["id"], _kinds())
    assert found == {
        "spend": ("id=4",),
        "brand": ("id=4",),
        "last": ("id=2", "id=3"),
        "vector": ("id=4",),
    }
    facts = msgspec.structs.replace(GOOD, examples=found)
    assert one(Range("spend", 0, 100), facts).examples == ("id=4",)
    assert one(Range("spend", 0, 300), facts).examples == ()


def test_a_map_is_judged_by_its_keys_and_its_rows_are_shown() -> None:
    maps = pa.array([[("a", 1)], [], [("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int64()))
    rows = pa.table({"id": [1, 2, 3], "m": maps})
    staged = summarise_exactly(rows)
    gates = [Range("m", high=1), Coverage("m", at_least=0.9)]
    found = judge(gates, staged, None, GOOD)
    assert [finding.passed for finding in found] == [False, False]
    kinds = {name: one.kind for name, one in staged.items()}
    assert offenders(gates[:1], found, rows, ["id"], kinds) == {"m": ("id=3",)}
    assert offenders(gates[1:], found, rows, ["id"], kinds) == {"m": ("id=2",)}


def _kinds() -> dict[str, Kind]:
    return {name: found.kind for name, found in STAGED.items()}


def test_keys_that_are_there_twice_are_named() -> None:
    rows = pa.table({"id": [1, 1, 2, 3, 3, 3], "at": [1, 1, 1, 1, 1, 2]})
    assert duplicates(rows, ["id", "at"]) == (2, ("id=1, at=1", "id=3, at=1"))
    assert duplicates(rows.slice(0, 1), ["id", "at"]) == (0, ())


# -- drift --------------------------------------------------------------------------------------


def summaries(values: object) -> dict[str, Statistics]:
    return summarise_exactly(pa.table({"x": pa.array(values)}))


def test_drift_is_judged_against_what_is_live() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    same, other = summaries(values), summaries(values + 3)
    assert passed(judge([Drift()], same, same, GOOD))
    (found,) = failures(judge([Drift()], other, same, GOOD))
    assert found.figure is not None
    assert found.figure > 0.25
    both = judge([Drift(ks=0.1)], other, same, GOOD)
    assert [finding.passed for finding in both] == [False, False]


def test_what_chance_makes_of_few_rows_is_no_drift() -> None:
    generator = np.random.default_rng(3)
    refused = 0
    for _ in range(100):
        live, staged = (summaries(generator.normal(size=25)) for _ in range(2))
        refused += not passed(judge([Drift()], staged, live, GOOD))
    assert refused <= 5


def test_a_first_promotion_and_a_new_column_have_nothing_to_drift_from() -> None:
    assert passed(judge([Drift()], STAGED, None, GOOD))
    assert passed(judge([Drift()], STAGED, {}, GOOD))


def test_a_column_that_changes_its_kind_is_not_passed() -> None:
    (found,) = judge([Drift("x")], summaries([1.0]), summaries(["a"]), GOOD)
    assert not found.passed
    assert found.text == "was category, is real"


def test_a_new_category_is_named() -> None:
    live, staged = summaries(["a"] * 900 + ["b"] * 100), summaries(["a"] * 500 + ["c"] * 500)
    (found,) = judge([Drift()], staged, live, GOOD)
    assert "new: c" in found.text
    assert "gone: b" in found.text


# -- yours --------------------------------------------------------------------------------------


def few(staged: Mapping[str, Statistics], _live: object, facts: Facts) -> str:
    return "" if facts.rows_found >= 10 else f"only {facts.rows_found} rows"


def each(staged: Mapping[str, Statistics], _live: object, _facts: Facts) -> list[Finding]:
    return [Finding("mine", name, True, "well") for name in staged]


def by_numpy(*_: object) -> Finding:
    few, limit = np.float64(0.4), np.float64(0.3)
    return Finding("mine", "x", few > limit, "few", few, limit)


def wrong(*_: object) -> int:
    return 7


def test_a_function_of_yours_is_asked() -> None:
    assert calls_of([*DEFAULT, Custom(f"{__name__}:few")]) == (f"{__name__}:few",)
    assert one(Custom(f"{__name__}:few")).text == "only 4 rows"
    assert one(Custom(f"{__name__}:few"), Facts(rows_found=10)).passed
    assert len(judge([Custom(f"{__name__}:each")], STAGED, None, GOOD)) == len(STAGED)


def test_what_a_function_finds_by_numpy_is_kept_as_any_other() -> None:
    found = one(Custom(f"{__name__}:by_numpy"))
    kept = msgspec.json.decode(msgspec.json.encode(as_results([found])))
    assert of_results(kept) == (Finding("mine", "x", True, "few", 0.4, 0.3),)


def test_a_function_that_says_nothing_of_use_is_named() -> None:
    with pytest.raises(UserError, match="returned int"):
        one(Custom(f"{__name__}:wrong"))
    with pytest.raises(FunctionError):
        one(Custom(f"{__name__}:absent"))


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Coverage("x", at_least=60), "60 is no share"),
        (Nulls("x", at_most=-1), "no share"),
        (RowCount(within=2), "no share"),
        (Range("x"), "without an end"),
        (Range("x", 3, 1), "low 3 is above high 1"),
        (Custom("nothing"), "names no function"),
    ],
)
def test_a_gate_that_contradicts_itself_is_refused(gate: Gate, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        check([gate])


def test_the_default_gates_pass_a_sound_table_and_refuse_a_hollow_one() -> None:
    rows = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "brand": ["a", "b", "a", "b"]})
    sound = summarise_exactly(rows)
    assert passed(judge(DEFAULT, sound, None, GOOD))
    assert passed(judge(DEFAULT, sound, sound, GOOD))
    hollow = summarise_exactly(pa.table({"x": pa.array([None] * 4, pa.float64())}))
    assert [found.gate for found in failures(judge(DEFAULT, hollow, None, GOOD))] == ["Coverage"]


def test_a_table_without_rows_is_not_passed_where_rows_are_expected() -> None:
    none = summarise_exactly(pa.table({"x": pa.array([], pa.float64())}))
    facts = Facts(rows_found=0, rows_expected=4, duplicates=0, leaks=0)
    gates = [found.gate for found in failures(judge(DEFAULT, none, None, facts))]
    assert gates == ["RowCount", "Coverage"]


@given(st.lists(st.sampled_from([*DEFAULT, Range("x", 0, 1), Custom("a:b"), Nulls()])))
def test_gates_are_the_same_from_yaml(gates: list[Gate]) -> None:
    assert msgspec.convert(msgspec.to_builtins(gates), list[Gate]) == gates
