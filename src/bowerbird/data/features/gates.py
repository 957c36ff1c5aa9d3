"""Gates: what a staged table must show before it is promoted. Declared, and judged as pure values.

gates = (*DEFAULT, Coverage("spend_30d", at_least=0.6), Range("age", 0, 130))
findings = judge(gates, staged, live, Facts(rows_expected=1000, rows_found=1000))
passed(findings)

A gate that names no column (``*``) is judged on each that `judge` is given: give it the columns of
features, not the keys and the moment, which drift by nature. What cannot be judged is not passed,
but where there is nothing to judge: no table is live yet, or a column is new in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from bowerbird.core import functions
from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.specs import Operator
from bowerbird.data.features.comparison import Difference, compare
from bowerbird.data.features.statistics import Detail, Lists, Names, Numbers, Statistics, Vectors

EVERY = "*"


class Finding(msgspec.Struct, frozen=True):
    """What a gate found. figure, limit: of the same unit; None where there is none.

    column: empty for a gate of the whole table. text: a sentence. examples: rows to look at.
    """

    gate: str
    column: str
    passed: bool
    text: str
    figure: float | None = None
    limit: float | None = None
    examples: tuple[str, ...] = ()


class Facts(msgspec.Struct, frozen=True):
    """What statistics of columns do not say of a staged table.

    rows_expected: those of the rows that it is to be joined to; None: any number will do.
    duplicates: keys that are there more than once; leaks: values known only after their moment;
    None: nobody has looked. examples: "duplicates", "leaks" or a column -> rows, as text.
    """

    rows_found: int = 0
    rows_expected: int | None = None
    duplicates: int | None = None
    leaks: int | None = None
    examples: dict[str, tuple[str, ...]] = {}


class Coverage(Operator, frozen=True, tag=True, omit_defaults=True):
    """At least this share of rows has a value that is not the default (0, "", empty, zeros)."""

    column: str = EVERY
    at_least: float = 0.001


class Nulls(Operator, frozen=True, tag=True, omit_defaults=True):
    """At most this share of rows is null or NaN."""

    column: str = EVERY
    at_most: float = 0.0


class Finite(Operator, frozen=True, tag=True, omit_defaults=True):
    """No number is infinite; every part of an embedding is a number, and all have one dimension."""

    column: str = EVERY


class Range(Operator, frozen=True, tag=True, omit_defaults=True):
    """Every number is in [low, high]; of embeddings the norms, of sequences the lengths."""

    column: str
    low: float | None = None
    high: float | None = None


class Distinct(Operator, frozen=True, tag=True, omit_defaults=True):
    """At least so many distinct values: 2 refuses a constant."""

    column: str = EVERY
    at_least: int = 2


class Drift(Operator, frozen=True, tag=True, omit_defaults=True):
    """Values have not moved further from the live ones.

    psi: of the population stability index, and only where it is more than chance makes of so few
      rows. ks: of the Kolmogorov-Smirnov distance, of numbers; None: not looked at.
    """

    column: str = EVERY
    psi: float = 0.25
    ks: float | None = None


class NoDuplicates(Operator, frozen=True, tag=True, omit_defaults=True):
    """No key is there more than once."""


class NoLeakage(Operator, frozen=True, tag=True, omit_defaults=True):
    """No value was known only after the moment that it is for."""


class RowCount(Operator, frozen=True, tag=True, omit_defaults=True):
    """As many rows as those that it is to be joined to. within: a share that may be off."""

    within: float = 0.0


class Custom(Operator, frozen=True, tag=True, omit_defaults=True):
    """A function of yours, ``module:name``: (staged, live, facts) -> findings, as `judge` has them.

    It may return one `Finding`, several, or a text that says what is wrong (empty: nothing).
    """

    function: str


Gate = (
    Coverage
    | Nulls
    | Finite
    | Range
    | Distinct
    | Drift
    | NoDuplicates
    | NoLeakage
    | RowCount
    | Custom
)

DEFAULT: tuple[Gate, ...] = (
    RowCount(),
    NoDuplicates(),
    NoLeakage(),
    Coverage(at_least=0.001),
    Finite(),
    Drift(psi=0.25),
)
"""What nobody would promote without: the rows are all there, once, and do not know the future; no
column is empty or broken, or quite another than the one that is live."""


def check(gates: Iterable[Gate], columns: Iterable[str] | None = None, where: str = "") -> None:
    """Raise `SpecError` for a gate that contradicts itself, or names a column that is not there."""
    known = None if columns is None else list(columns)
    for gate in gates:
        at = f"{where}: {type(gate).__name__}" if where else type(gate).__name__
        column = getattr(gate, "column", EVERY)
        if known is not None and column not in (EVERY, *known):
            raise SpecError(
                f"there is no column {column!r}",
                where=at,
                expected=f"one of: {', '.join(known)}",
            )
        match gate:
            case Coverage(_, share) | Nulls(_, share) | RowCount(share) if not 0 <= share <= 1:
                raise SpecError(f"{share} is no share", where=at, expected="between 0 and 1")
            case Range(_, None, None):
                raise SpecError("a range without an end", where=at, expected="low, high or both")
            case Range(_, low, high) if low is not None and high is not None and low > high:
                raise SpecError(f"low {low:g} is above high {high:g}", where=at)
            case Custom(function) if ":" not in function:
                raise SpecError(f"{function!r} names no function", where=at, expected="module:name")
            case _:
                pass


def calls_of(gates: Iterable[Gate]) -> tuple[str, ...]:
    """The functions whose code is part of what the gates mean."""
    return tuple(gate.function for gate in gates if isinstance(gate, Custom))


def halves(gates: Iterable[Gate]) -> tuple[list[Gate], list[Gate]]:
    """Gates of the whole table, and those of columns, which can be judged on what is live, too."""
    every = list(gates)
    of_columns = [gate for gate in every if hasattr(gate, "column")]
    return [gate for gate in every if gate not in of_columns], of_columns


def judge(
    gates: Iterable[Gate],
    staged: Mapping[str, Statistics],
    live: Mapping[str, Statistics] | None,
    facts: Facts,
) -> tuple[Finding, ...]:
    """What each gate finds, in their order; a gate of every column finds one thing a column.

    live: statistics of the table that this one would replace; None: there is none.
    Raises `FunctionError` or `UserError` for a `Custom` function that cannot be called.
    """
    asked = list(gates)
    drift = live is not None and any(isinstance(gate, Drift) for gate in asked)
    moved = {one.column: one for one in compare(live or {}, staged)} if drift else {}
    found: list[Finding] = []
    for gate in asked:
        match gate:
            case RowCount():
                found.append(_rows(gate, facts))
            case NoDuplicates():
                found.append(_none(gate, "duplicates", facts.duplicates, facts, "key", "twice"))
            case NoLeakage():
                found.append(_none(gate, "leaks", facts.leaks, facts, "value", "from the future"))
            case Custom():
                found += _custom(gate, staged, live, facts)
            case Drift():
                for name in _columns(gate.column, staged):
                    found += _drift(gate, name, staged.get(name), moved.get(name), live is None)
            case _:
                for name in _columns(gate.column, staged):
                    found.append(_column(gate, name, staged.get(name), facts))
    return tuple(found)


def passed(findings: Iterable[Finding]) -> bool:
    """Whether nothing stands in the way."""
    return all(one.passed for one in findings)


def failures(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What stands in the way, for a message or a page."""
    return tuple(one for one in findings if not one.passed)


def _columns(column: str, staged: Mapping[str, Statistics]) -> Sequence[str]:
    return list(staged) if column == EVERY else [column]


def _rows(gate: RowCount, facts: Facts) -> Finding:
    wanted, rows = facts.rows_expected, facts.rows_found
    if wanted is None:
        return Finding("RowCount", "", True, f"{rows:,} rows; no number is expected", float(rows))
    room = gate.within * wanted
    text = f"{rows:,} rows, {wanted:,} expected"
    if gate.within:
        text += f" within {gate.within:.2%}"
    return Finding("RowCount", "", abs(rows - wanted) <= room, text, float(rows), float(wanted), ())


def _none(
    gate: Gate, fact: str, number: int | None, facts: Facts, thing: str, what: str
) -> Finding:
    name = type(gate).__name__
    if number is None:
        return Finding(name, "", False, f"nobody has looked for {fact}")
    plural = "" if number == 1 else "s"
    text = f"{number:,} {thing}{plural} {what}" if number else f"no {thing} {what}"
    return Finding(name, "", not number, text, float(number), 0.0, facts.examples.get(fact, ()))


def _column(
    gate: Coverage | Nulls | Finite | Range | Distinct,
    name: str,
    one: Statistics | None,
    facts: Facts,
) -> Finding:
    kind = type(gate).__name__
    if one is None:
        return Finding(kind, name, False, "the staged table has no such column")
    examples = facts.examples.get(name, ())
    match gate:
        case Coverage(_, limit):
            share = one.coverage
            ok, text = share >= limit, f"{_share(share)} of rows covered, at least {_share(limit)}"
            figure, bound = share, limit
        case Nulls(_, limit):
            share = one.nulls_share
            ok, text = share <= limit, f"{_share(share)} of rows null, at most {_share(limit)}"
            figure, bound = share, limit
        case Finite():
            bad = _broken(one.detail)
            ok, figure, bound = not bad, float(bad), 0.0
            text = f"{bad:,} values are no finite number" if bad else "every number is finite"
        case Distinct(_, least):
            figure, bound = _distinct(one.detail), float(least)
            ok, text = figure >= least, f"{figure:,.0f} distinct values, at least {least:,}"
        case Range():
            return _range(gate, name, one, examples)
    if math.isnan(figure):
        return Finding(kind, name, False, "there are no rows", None, bound)
    return Finding(kind, name, ok, text, figure, bound, () if ok else examples)


def _range(gate: Range, name: str, one: Statistics, examples: tuple[str, ...]) -> Finding:
    numbers = _numbers(one.detail)
    if numbers is None:
        text = f"a column of kind {one.kind} has no least and greatest value"
        return Finding("Range", name, False, text)
    if numbers.low is None or numbers.high is None:
        return Finding("Range", name, True, "no value is outside: there is none")
    wanted = f"[{_end(gate.low, '-inf')}, {_end(gate.high, 'inf')}]"
    text = f"values from {numbers.low:g} to {numbers.high:g}, expected in {wanted}"
    if gate.low is not None and numbers.low < gate.low:
        return Finding("Range", name, False, text, numbers.low, gate.low, examples)
    if gate.high is not None and numbers.high > gate.high:
        return Finding("Range", name, False, text, numbers.high, gate.high, examples)
    return Finding("Range", name, True, text, numbers.high, gate.high)


def _drift(
    gate: Drift, name: str, staged: Statistics | None, moved: Difference | None, first: bool
) -> Iterator[Finding]:
    if staged is None:
        yield Finding("Drift", name, False, "the staged table has no such column")
        return
    if first or moved is None or moved.before is None:
        yield Finding("Drift", name, True, "nothing is live to compare with")
        return
    found = moved.drift
    if found.psi is None:
        # A kind that changed is not passed; a table without rows is the business of other gates.
        same = moved.note == "no rows to compare"
        yield Finding("Drift", name, same, moved.note or "nothing to compare")
        return
    chance = found.noise if found.noise is not None else math.inf
    far = found.psi > gate.psi
    text = f"PSI {found.psi:.3f}, at most {gate.psi:g}"
    if far and found.psi <= chance:
        text += f"; so few rows differ by chance up to {chance:.2f}"
    if moved.new:
        text += f"; new: {', '.join(moved.new)}"
    if moved.gone:
        text += f"; gone: {', '.join(moved.gone)}"
    yield Finding("Drift", name, not far or found.psi <= chance, text, found.psi, gate.psi)
    if gate.ks is not None and found.ks is not None:
        text = f"KS distance {found.ks:.3f}, at most {gate.ks:g}"
        yield Finding("Drift", name, found.ks <= gate.ks, text, found.ks, gate.ks)


def _custom(
    gate: Custom,
    staged: Mapping[str, Statistics],
    live: Mapping[str, Statistics] | None,
    facts: Facts,
) -> tuple[Finding, ...]:
    name = f"Custom {gate.function}"
    said = functions.load(gate.function)(staged, live, facts)
    match said:
        case Finding():
            return (_plain(said),)
        case str() | None:
            return (Finding(name, "", not said, said or "found nothing wrong"),)
        case tuple() | list() if all(isinstance(one, Finding) for one in said):
            return tuple(_plain(one) for one in said)
    raise UserError(
        f"returned {type(said).__name__}",
        where=name,
        expected="a Finding, several, or a text: empty where nothing is wrong",
    )


def _plain(found: Finding) -> Finding:
    """With Python's own numbers: who computes with numpy gives numpy's, and these are kept."""
    figures = {
        name: None if value is None else float(value)
        for name, value in (("figure", found.figure), ("limit", found.limit))
    }
    return msgspec.structs.replace(found, passed=bool(found.passed), **figures)


def _broken(detail: Detail) -> int:
    match detail:
        case Numbers(infinite=infinite):
            return infinite
        case Vectors(broken=broken, dimensions=dimensions):
            # Two dimensions in one column: those that the fewer have are no embeddings of it.
            return broken + sum(dimensions.values()) - max(dimensions.values(), default=0)
        case Lists(elements=Numbers(infinite=infinite)):
            return infinite
    return 0


def _distinct(detail: Detail) -> float:
    from bowerbird.data.features import spreads

    if isinstance(detail, Names):
        return spreads.distinct(detail.spread)
    numbers = _numbers(detail)
    return spreads.distinct(numbers.spread) if numbers else math.nan


def _numbers(detail: Detail) -> Numbers | None:
    match detail:
        case Numbers():
            return detail
        case Vectors(norms=numbers) | Lists(lengths=numbers):
            return numbers
    return None


def _share(value: float) -> str:
    return f"{value:.2%}" if abs(value) >= 0.0001 or not value else f"{value:.2g}"


def _end(value: float | None, open_: str) -> str:
    return open_ if value is None else f"{value:g}"
