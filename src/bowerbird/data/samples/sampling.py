"""Which rows are trained on, and what each then weighs.

Every choice follows from the seed, the entity's hash and the row's time (of rows that share both,
from which comes first): it is the same wherever it is made, for a split as for the whole, and for
tables of other buckets. `sampled` is the fast version, `sampled_reference` says
the same a row at a time; `tests/data/test_sampling.py` holds the two together.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import SpecError
from bowerbird.core.specs import Operator
from bowerbird.data.features.columns import duration
from bowerbird.lake.joins import sample as hashed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Between(Operator, frozen=True, tag=True, omit_defaults=True):
    """Rows whose time lies in ``[start, end)``: days ("2017-05-01", UTC) or times with a zone."""

    start: str = ""
    end: str = ""

    @property
    def window(self) -> tuple[int | None, int | None]:
        """In microseconds; None: open."""
        return moment(self.start), moment(self.end)


class Share(Operator, frozen=True, tag=True, omit_defaults=True):
    """The rows of a share of all entities, by the bucket hash: whole buckets first, so that a tenth
    reads a tenth of the files. A larger share holds all of a smaller one."""

    share: float


class WithoutSpam(Operator, frozen=True, tag=True, omit_defaults=True):
    """Without what an entity did in a period (from 1970 on, UTC) with more than `most` rows."""

    most: int
    per: str = "1d"


class Downsample(Operator, frozen=True, tag=True, omit_defaults=True):
    """Of the rows whose `column` (a label, or a raw column) equals a value, a share is kept; each
    of those weighs ``1 / rate``, so that sums over the set stay what they were."""

    column: str
    equals: float
    rate: float


Sampling = Between | Share | WithoutSpam | Downsample


class Sampled(msgspec.Struct, frozen=True):
    """kept: ascending places of the rows that stay. weight: of each. dropped: operator -> rows."""

    kept: Ints
    weight: Floats
    dropped: dict[str, int]


def check(sampling: Sequence[Sampling]) -> None:
    """Raise `SpecError` for an operator that keeps nothing, or says what cannot be."""
    for n, one in enumerate(sampling):
        where = f"sampling[{n}]"
        match one:
            case Share(share) if not 0 < share <= 1:
                raise SpecError(f"a share of {share}", where=where, expected="above 0, at most 1")
            case Downsample(_, _, rate) if not 0 < rate <= 1:
                raise SpecError(f"a rate of {rate}", where=where, expected="above 0, at most 1")
            case WithoutSpam(most, per):
                if most < 1:
                    raise SpecError(f"at most {most} rows", where=where, expected="1 or more")
                _checked(lambda per=per: duration(per), where)
            case Between():
                start, end = _checked(lambda one=one: one.window, where)
                if start is not None and end is not None and start >= end:
                    raise SpecError("a window that ends before it starts", where=where)
            case _:
                pass


def sampled(
    sampling: Sequence[Sampling],
    *,
    at: Ints,
    entity: Ints,
    hashes: npt.NDArray[np.uint32],
    values: Mapping[str, Floats],
    seed: int,
) -> Sampled:
    """Which of a bucket's rows stay. All arrays are (n,), a row each, as they lie in the bucket.

    at: microseconds. entity: a number for each entity. hashes: of the entity, as its bucket is.
    values: what `Downsample` looks at.
    """
    stays = np.ones(len(at), dtype=bool)
    weight = np.ones(len(at))
    dropped = {}
    draws = any(isinstance(one, Downsample) for one in sampling)
    mark = marks(hashes, at, entity) if draws else np.empty(0, dtype=np.uint64)
    for n, one in enumerate(sampling):
        match one:
            case Downsample(column, equals, rate):
                of_class = values[column] == equals
                now = ~of_class | (draw(mark, seed, n) < rate)
                weight[of_class] /= rate
            case Share(share):
                now = hashed.Share(share).takes(hashes)
            case WithoutSpam(most, per):
                now = ~_crowded(entity, at // duration(per), most)
            case Between():
                now = _within(at, one)
        dropped[name_of(n, one)] = int((stays & ~now).sum())
        stays &= now
    kept = np.flatnonzero(stays)
    return Sampled(kept, weight[kept], dropped)


def sampled_reference(
    sampling: Sequence[Sampling],
    *,
    at: Ints,
    entity: Ints,
    hashes: npt.NDArray[np.uint32],
    values: Mapping[str, Floats],
    seed: int,
) -> Sampled:
    """The same, a row at a time."""
    kept, weights = [], []
    mark = marks(hashes, at, entity)
    dropped = {name_of(n, one): 0 for n, one in enumerate(sampling)}
    crowds = {
        n: Counter((int(e), int(t) // duration(one.per)) for e, t in zip(entity, at, strict=True))
        for n, one in enumerate(sampling)
        if isinstance(one, WithoutSpam)
    }
    for row in range(len(at)):
        weight = 1.0
        for n, one in enumerate(sampling):
            stays = True
            if isinstance(one, Between):
                start, end = one.window
                stays = (start is None or at[row] >= start) and (end is None or at[row] < end)
            elif isinstance(one, Share):
                stays = bool(hashed.Share(one.share).takes(hashes[row : row + 1])[0])
            elif isinstance(one, WithoutSpam):
                crowd = crowds[n][int(entity[row]), int(at[row]) // duration(one.per)]
                stays = crowd <= one.most
            elif values[one.column][row] == one.equals:
                weight /= one.rate
                stays = bool(draw(mark[row : row + 1], seed, n)[0] < one.rate)
            if not stays:
                dropped[name_of(n, one)] += 1
                break
        else:
            kept.append(row)
            weights.append(weight)
    return Sampled(np.array(kept, dtype=np.int64), np.array(weights), dropped)


def name_of(n: int, one: Sampling) -> str:
    return f"sampling[{n}] {type(one).__name__}"


def share_of(sampling: Sequence[Sampling]) -> hashed.Share | None:
    """The least share of entities that is asked for: what whole buckets are left out by."""
    shares = [one.share for one in sampling if isinstance(one, Share)]
    return hashed.Share(min(shares)) if shares else None


def marks(hashes: npt.NDArray[np.uint32], at: Ints, entity: Ints) -> Words:
    """64 bits a row: of its entity, its time, and how many rows of both lie before it."""
    if not len(at):
        return np.empty(0, dtype=np.uint64)
    order = np.lexsort((at, entity))
    new = _changes(entity[order]) | _changes(at[order])
    first = np.flatnonzero(new)
    before = np.empty(len(at), dtype=np.int64)
    before[order] = np.arange(len(at)) - first[np.cumsum(new) - 1]
    found = mixed_bits(hashes.astype(np.uint64) ^ mixed_bits(at.astype(np.uint64)))
    return mixed_bits(found ^ before.astype(np.uint64))


def draw(mark: Words, seed: int, operator: int) -> Floats:
    """A number in [0, 1) for each row, another for each operator and seed."""
    salt = mixed_bits(np.array([(seed * 1_000_003 + operator) % 2**64], dtype=np.uint64))
    drawn: Floats = (mixed_bits(mark ^ salt) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return drawn


def _changes(values: Ints) -> Mask:
    """Whether each value is another than the one before it; the first is."""
    changed = np.ones(len(values), dtype=bool)
    changed[1:] = values[1:] != values[:-1]
    return changed


def mixed_bits(words: Words) -> Words:
    """splitmix64's finaliser (Steele, Lea and Flood, 2014): every bit depends on every other."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = words ^ (words >> np.uint64(31))
    return mixed


def _crowded(entity: Ints, period: Ints, most: int) -> Mask:
    """Whether an entity's period, of each row, holds more than `most` rows."""
    if not len(entity):
        return np.zeros(0, dtype=bool)
    order = np.lexsort((period, entity))
    new = _changes(entity[order]) | _changes(period[order])
    group = np.cumsum(new) - 1
    crowded = np.empty(len(entity), dtype=bool)
    crowded[order] = (np.bincount(group) > most)[group]
    return crowded


def _within(at: Ints, one: Between) -> Mask:
    start, end = one.window
    inside = np.ones(len(at), dtype=bool)
    if start is not None:
        inside &= at >= start
    if end is not None:
        inside &= at < end
    return inside


def moment(text: str) -> int | None:
    """Microseconds of a day (UTC) or of a time with a zone; None for an empty text."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        if len(text) != len("2017-05-01"):
            raise ValueError(f"{text!r} has no zone; write 2017-05-01T08:00Z, or a day")
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _checked(told: Any, where: str) -> Any:
    try:
        return told()
    except ValueError as error:
        raise SpecError(str(error), where=where) from None
