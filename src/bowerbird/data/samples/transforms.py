"""Transforms: declared once, run in training and at serving by this one code.

::

    declared = (FillNull(("price",), 0), Log1p(("price",)), Standardize(("price",)))
    known = fit(declared, batches)
    batch = apply(declared, batch, known)      # a training batch, or one request

Numeric steps on one column that follow one another run over one buffer, so a chain of five costs
one copy; a column of lists is transformed as its values. Between numeric steps, null and NaN are
one thing: missing; what comes out missing is null. `apply_reference` says the same a value at a
time; `tests/data/test_transforms.py` holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import SpecError, UserError
from bowerbird.core.functions import load
from bowerbird.core.specs import Operator
from bowerbird.data.samples.arrays import taken
from bowerbird.data.samples.sampling import mixed_bits
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

TYPES = ("boolean", "int8", "int32", "int64", "float16", "float32", "float64", "string")
"""What `Cast` casts to, by Arrow's names."""


class Log1p(Operator, frozen=True, tag=True, omit_defaults=True):
    """sign(x) · ln(1 + |x|), as float32."""

    columns: tuple[str, ...]


class Clip(Operator, frozen=True, tag=True, omit_defaults=True):
    """Not below `low`, not above `high`, as float32."""

    columns: tuple[str, ...]
    low: float | None = None
    high: float | None = None


class Standardize(Operator, frozen=True, tag=True, omit_defaults=True):
    """(x − mean) / deviation, as float32; without given constants, those of the training rows."""

    columns: tuple[str, ...]
    mean: float | None = None
    deviation: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether its constants come from rows."""
        return self.mean is None


class Bucketize(Operator, frozen=True, tag=True, omit_defaults=True):
    """How many of the edges are at or below x, as int32: 0 below all of them."""

    columns: tuple[str, ...]
    edges: tuple[float, ...]


class Hash(Operator, frozen=True, tag=True, omit_defaults=True):
    """A number in ``[1, size)`` of a whole number or a text, as int32; null is 0."""

    columns: tuple[str, ...]
    size: int
    seed: int = 0


class FillNull(Operator, frozen=True, tag=True, omit_defaults=True):
    """What is missing (null, or NaN of a float) is this value; the type stays."""

    columns: tuple[str, ...]
    value: bool | int | float | str


class Cast(Operator, frozen=True, tag=True, omit_defaults=True):
    """Another type, by Arrow's name (`TYPES`); what does not fit is refused."""

    columns: tuple[str, ...]
    to: str


class Custom(Operator, frozen=True, tag=True, omit_defaults=True):
    """A function of one's own over a batch of the columns that it reads.

    function: ``module:name``; it returns column -> array, just those of `makes`, a value a row, and
    each row's from that row alone: batches are cut differently in training and at serving.
    """

    function: str
    reads: tuple[str, ...]
    makes: tuple[str, ...]


Transform = Log1p | Clip | Standardize | Bucketize | Hash | FillNull | Cast | Custom
_NUMERIC = (Log1p, Clip, Standardize)


class Constants(msgspec.Struct, frozen=True):
    """What one `Standardize` uses of one column."""

    mean: float
    deviation: float


class Fitted(msgspec.Struct, frozen=True):
    """What was fitted on training rows: ``place.column`` -> constants. Plain data: it travels with
    a model. rows: that it was fitted on."""

    constants: dict[str, Constants] = {}
    rows: int = 0


NOTHING = Fitted()


class Step(msgspec.Struct, frozen=True):
    """One transform of one column, its place among those declared, and its constants if any."""

    place: int
    transform: Transform
    constants: Constants | None = None


def reads(one: Transform) -> tuple[str, ...]:
    return one.reads if isinstance(one, Custom) else one.columns


def makes(one: Transform) -> tuple[str, ...]:
    return one.makes if isinstance(one, Custom) else one.columns


def check(transforms: Sequence[Transform], columns: Iterable[str]) -> None:
    """Raise `SpecError` for a column that is not there, and for values that cannot be."""
    known = list(columns)
    fitted: set[str] = set()
    for place, one in enumerate(transforms):
        where = f"transforms[{place}] {type(one).__name__}"
        for column in reads(one):
            if column not in known:
                raise SpecError(
                    f"there is no column {column!r}",
                    where=where,
                    expected=f"one of: {', '.join(known)}",
                )
        problem = _problem(one)
        if problem:
            raise SpecError(problem[0], where=where, expected=problem[1])
        if isinstance(one, Standardize) and one.fitted:
            again = fitted & set(one.columns)
            if again:
                raise SpecError(
                    f"{sorted(again)[0]!r} is fitted twice, and a set is read once to fit",
                    where=where,
                    expected="given constants for one of the two",
                )
            fitted |= set(one.columns)
        if isinstance(one, Custom):
            if fitted & set(one.reads):
                fitted |= set(one.makes)
            known += [column for column in one.makes if column not in known]


def _problem(one: Transform) -> tuple[str, str] | None:
    match one:
        case Clip(_, None, None):
            return "no bound", "low, high or both"
        case Clip(_, float() as low, float() as high) if low > high:
            return f"low {low} is above high {high}", "low at most high"
        case Standardize(_, mean, deviation) if (mean is None) != (deviation is None):
            return "one constant of two", "mean and deviation, or neither"
        case Standardize(_, _, float() as deviation) if deviation <= 0:
            return f"a deviation of {deviation}", "above 0"
        case Bucketize(_, edges) if not edges or list(edges) != sorted(set(edges)):
            return f"edges {edges}", "at least one, ascending"
        case Hash(_, size, _) if not 2 <= size < 2**31:
            return f"a vocabulary of {size}", "2 or more: 0 is for null"
        case Cast(_, kind) if kind not in TYPES:
            return f"{kind!r} is no type", f"one of: {', '.join(TYPES)}"
        case Custom(_, (), _) | Custom(_, _, ()):
            return "nothing read, or nothing made", "at least one column of each"
    return None


def apply(
    transforms: Sequence[Transform], batch: pa.RecordBatch, fitted: Fitted = NOTHING
) -> pa.RecordBatch:
    """The batch after all transforms: the same rows, in the same order.

    Raises `UserError` for a function that raises or gives another count of rows, for a value that
    does not fit, and for a `Standardize` that was not fitted.
    """
    empty = batch.select([])
    return apply_apart(transforms, empty, batch, np.empty(0, dtype=np.int64), fitted)[1]


def apply_apart(
    transforms: Sequence[Transform],
    user: pa.RecordBatch,
    rows: pa.RecordBatch,
    of: npt.NDArray[np.int64],
    fitted: Fitted = NOTHING,
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """`apply` to rows whose user side is held once a request: row i's is ``user[of[i]]``.

    A column is transformed where it lies, so a user's once a request. A function that reads columns
    of both sides gets, and makes, a value a row.
    """

    once = dict(zip(user.schema.names, user.columns, strict=True))
    each = dict(zip(rows.schema.names, rows.columns, strict=True))
    for run in _fused(transforms, fitted):
        if isinstance(run, dict):
            for column, steps in run.items():
                side = once if column in once else each
                side[column] = _chain(steps, column, side[column])
            continue
        place = transforms.index(run)
        if all(column in once for column in run.reads):
            once |= _custom(place, run, once, user.num_rows)
            continue
        wide = {c: taken(once[c], of) if c in once else each[c] for c in run.reads}
        made = _custom(place, run, wide, rows.num_rows)
        once = {column: array for column, array in once.items() if column not in made}
        each |= made
    return _batch(once), _batch(each)


def _batch(columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _fused(
    transforms: Sequence[Transform], fitted: Fitted
) -> Iterable[Custom | dict[str, list[Step]]]:
    """What is run one after another: functions, and between them each column's chain of steps."""
    chains: dict[str, list[Step]] = {}
    for place, one in enumerate(transforms):
        if isinstance(one, Custom):
            if chains:
                yield chains
            yield one
            chains = {}
            continue
        for column in one.columns:
            chains.setdefault(column, []).append(
                Step(place, one, _known(place, one, column, fitted))
            )
    if chains:
        yield chains


def _known(place: int, one: Transform, column: str, fitted: Fitted) -> Constants | None:
    if not isinstance(one, Standardize):
        return None
    if one.mean is not None and one.deviation is not None:
        return Constants(one.mean, one.deviation)
    return fitted.constants.get(f"{place}.{column}")


def _chain(steps: Sequence[Step], column: str, array: pa.Array) -> pa.Array:
    """All steps of one column."""
    import pyarrow as pa

    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        kind: Any = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
        # Not `values`: of a slice, that has all rows' values.
        inner = _chain(steps, column, array.flatten())
        offsets = array.offsets
        first = offsets[0]
        if first.as_py():
            import pyarrow.compute as pc

            offsets = pc.subtract(offsets, first)
        return kind.from_arrays(offsets, inner)
    for numeric, group in groupby(steps, key=lambda step: isinstance(step.transform, _NUMERIC)):
        if numeric:
            array = _numeric(list(group), column, array)
        else:
            for step in group:
                array = _single(step, column, array)
    return array


def _numeric(steps: Sequence[Step], column: str, array: pa.Array) -> pa.Array:
    """Steps over one buffer of float64; float32 comes out."""
    import pyarrow as pa

    values = _buffer(steps[0], column, array)
    for step in steps:
        match step.transform:
            case Log1p():
                signs = np.sign(values)
                np.abs(values, out=values)
                np.log1p(values, out=values)
                values *= signs
            case Clip(_, low, high):
                np.clip(values, low, high, out=values)
            case Standardize():
                if step.constants is None:
                    raise UserError(
                        f"the mean of {column!r} was not fitted",
                        where=f"transforms[{step.place}] Standardize",
                        expected="constants: plan = fitted(home, plan), or mean= and deviation=",
                    )
                values -= step.constants.mean
                values /= step.constants.deviation
            case _:
                raise AssertionError(step)
    return pa.array(values.astype(np.float32), mask=np.isnan(values))


def _buffer(step: Step, column: str, array: pa.Array) -> Floats:
    """A column as float64 that may be written to; missing is NaN."""
    import pyarrow as pa

    try:
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(
            f"{column!r} is {array.type}, not a number: {error}",
            where=f"transforms[{step.place}] {type(step.transform).__name__}",
            expected="a column of numbers, or a Hash of it",
        ) from None
    return np.array(values, dtype=np.float64)


def _single(step: Step, column: str, array: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    match step.transform:
        case Bucketize(_, edges):
            values = _buffer(step, column, array)
            places = np.searchsorted(np.array(edges), values, side="right").astype(np.int32)
            return pa.array(places, mask=np.isnan(values))
        case Hash(_, size, seed):
            return pa.array(_hashed(step, column, array, size, seed))
        case FillNull(_, value):
            if pa.types.is_floating(array.type):
                array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
            return _fitting(step, column, lambda: pc.fill_null(array, pa.scalar(value, array.type)))
        case Cast(_, kind):
            return _fitting(step, column, lambda: array.cast(_type(kind)))
    raise AssertionError(step)


def _type(kind: str) -> Any:
    import pyarrow as pa

    return {"boolean": pa.bool_()}.get(kind) or getattr(pa, kind)()


def _fitting(step: Step, column: str, made: Any) -> pa.Array:
    import pyarrow as pa

    try:
        return made()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise UserError(
            f"{column!r}: {error}",
            where=f"transforms[{step.place}] {type(step.transform).__name__}",
            expected="values that the type holds",
        ) from None


def _hashed(
    step: Step, column: str, array: pa.Array, size: int, seed: int
) -> npt.NDArray[np.int32]:
    import pyarrow as pa

    kind = array.type
    if not (
        pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ):
        raise UserError(
            f"{column!r} is {kind}",
            where=f"transforms[{step.place}] Hash",
            expected="whole numbers or texts",
            fix="Bucketize a float first, or Cast it",
        )
    coded = array.dictionary_encode()
    words = np.array([_word(value) for value in coded.dictionary.to_pylist()], dtype=np.uint64)
    places = _vocabulary(words, size, seed)
    codes = coded.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.int32] = np.append(places, np.int32(0))[codes]
    return found


def _word(value: int | str) -> int:
    """A value as 64 bits: a number as it is, a text by FNV-1a of its UTF-8."""
    if isinstance(value, int):
        return value % 2**64
    word = 0xCBF29CE484222325
    for byte in value.encode():
        word = (word ^ byte) * 0x100000001B3 % 2**64
    return word


def _vocabulary(words: npt.NDArray[np.uint64], size: int, seed: int) -> npt.NDArray[np.int32]:
    salted = words ^ mixed_bits(np.array([seed % 2**64], dtype=np.uint64))
    return (mixed_bits(salted) % np.uint64(size - 1)).astype(np.int32) + np.int32(1)


def _custom(
    place: int, one: Custom, columns: Mapping[str, pa.Array], rows: int
) -> dict[str, pa.Array]:
    import pyarrow as pa

    where = f"transforms[{place}] {one.function}"
    given = pa.RecordBatch.from_arrays([columns[name] for name in one.reads], list(one.reads))
    try:
        told = load(one.function)(given)
        made = {name: one_piece(_array(told[name])) for name in one.makes}
    except Exception as error:
        raise UserError(
            f"it raised {type(error).__name__}: {error}",
            where=where,
            expected=f"{', '.join(one.makes)}: column -> array",
        ) from error
    for name, array in made.items():
        if len(array) != rows:
            raise UserError(
                f"it gave {len(array):,} rows of {name!r} for {rows:,}",
                where=where,
                expected="a value for each row: rows are chosen by `sampling`, before transforms",
            )
    return made


def _array(values: Any) -> Any:
    import pyarrow as pa

    return values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)


class _Moments:
    """Mean and deviation of what comes in parts (Chan, Golub and LeVeque, 1979)."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: Floats) -> None:
        values = values[np.isfinite(values)]
        if not len(values):
            return
        mean = float(values.mean())
        squares = float(((values - mean) ** 2).sum())
        count = self.count + len(values)
        shift = mean - self.mean
        self.squares += squares + shift * shift * self.count * len(values) / count
        self.mean += shift * len(values) / count
        self.count = count

    def constants(self) -> Constants:
        deviation = math.sqrt(self.squares / self.count) if self.count else 0.0
        return Constants(self.mean, deviation or 1.0)


def to_fit(transforms: Sequence[Transform]) -> bool:
    """Whether rows have to be read before the transforms can be applied."""
    return any(isinstance(one, Standardize) and one.fitted for one in transforms)


def fit(transforms: Sequence[Transform], batches: Iterable[pa.RecordBatch]) -> Fitted:
    """The constants of each `Standardize` that has none, of training rows that are not transformed
    yet. A column without a value, or with one value only, has a deviation of 1."""
    found: dict[str, _Moments] = {}
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        for place, one in enumerate(transforms):
            if not isinstance(one, Standardize) or not one.fitted:
                continue
            before = apply(transforms[:place], batch, _identity(transforms[:place]))
            for column in one.columns:
                values = _leaves(before.column(column))
                step = Step(place, one)
                moments = found.setdefault(f"{place}.{column}", _Moments())
                moments.add(_buffer(step, column, values))
    return Fitted({name: moments.constants() for name, moments in found.items()}, rows)


def _leaves(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    nested = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    return array.flatten() if nested else array


def _identity(transforms: Sequence[Transform]) -> Fitted:
    """Constants that change nothing: `check` holds that no fitted column is fitted again."""
    return Fitted(
        {
            f"{place}.{column}": Constants(0.0, 1.0)
            for place, one in enumerate(transforms)
            if isinstance(one, Standardize) and one.fitted
            for column in one.columns
        }
    )


def apply_reference(
    transforms: Sequence[Transform], rows: Sequence[Mapping[str, Any]], fitted: Fitted = NOTHING
) -> list[dict[str, Any]]:
    """The same a value at a time, without functions: rows of numbers, texts, None."""
    found = []
    for row in rows:
        values = dict(row)
        for place, one in enumerate(transforms):
            for column in reads(one):
                step = Step(place, one, _known(place, one, column, fitted))
                values[column] = _value(step, values[column])
        found.append(values)
    return found


def _value(step: Step, value: Any) -> Any:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    match step.transform:
        case FillNull(_, filling):
            return filling if missing else value
        case Hash(_, size, seed):
            if missing:
                return 0
            word = np.array([_word(value)], dtype=np.uint64)
            return int(_vocabulary(word, size, seed)[0])
        case _ if missing:
            return None
        case Log1p():
            return math.copysign(math.log1p(abs(value)), value)
        case Clip(_, low, high):
            value = value if low is None else max(value, low)
            return value if high is None else min(value, high)
        case Standardize() if step.constants is not None:
            return (value - step.constants.mean) / step.constants.deviation
        case Bucketize(_, edges):
            return sum(edge <= value for edge in edges)
        case Cast(_, kind):
            return {"string": str, "boolean": bool}.get(kind, float if "float" in kind else int)(
                value
            )
    raise AssertionError(step)
