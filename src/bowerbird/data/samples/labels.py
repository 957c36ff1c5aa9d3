"""Labels: reward functions over raw actions, computed when a set is read.

A label is declared, not stored: another reward is another line of the spec, and no table is written
anew. A label that cannot be told (null, NaN) is refused, with the rows counted: trained on as 0 it
would be a claim that nobody made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bowerbird.core.errors import UserError
from bowerbird.core.functions import load
from bowerbird.core.specs import Operator
from bowerbird.data.samples.arrays import one_batch
from bowerbird.lake.arrays import one_piece

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

Floats = npt.NDArray[np.float32]


class Reward(Operator, frozen=True, tag=True, omit_defaults=True):
    """What each action is worth: ``Reward({"click": 1, "save": 5})``.

    column: holds the action's name; an action that is not listed is worth 0. Without it, the names
    are columns of counts or truth values, and a row is worth the sum of what it holds.
    """

    rewards: dict[str, float]
    column: str = ""


class Judged(Operator, frozen=True, tag=True, omit_defaults=True):
    """What a function says. function: ``module:name``, of a batch of `columns`; a number a row."""

    function: str
    columns: tuple[str, ...]


Label = Reward | Judged


def columns_of(label: Label) -> tuple[str, ...]:
    """The raw columns that a label reads."""
    if isinstance(label, Judged):
        return label.columns
    return (label.column,) if label.column else tuple(label.rewards)


def labelled(labels: Mapping[str, Label], rows: pa.Table) -> dict[str, Floats]:
    """Each label of each row, float32 (n,).

    Raises `UserError` that names the label for a function that raises or gives another count of
    rows, and for a label that is null or NaN.
    """
    found = {}
    for name, label in labels.items():
        values = _values(name, label, rows)
        unknown = int(np.isnan(values).sum())
        if unknown:
            first = int(np.flatnonzero(np.isnan(values))[0])
            raise UserError(
                f"{unknown:,} of {len(values):,} rows have no label; the first is row {first} of "
                "its bucket",
                where=f"labels.{name}",
                expected="a number for each row",
                fix=f"fill {', '.join(map(repr, columns_of(label)))} where it is null, or leave "
                "those rows out of the table",
            )
        found[name] = values
    return found


def _values(name: str, label: Label, rows: pa.Table) -> Floats:
    if isinstance(label, Judged):
        return _judged(name, label, rows)
    if label.column:
        return _of_action(label, rows)
    whole = np.zeros(rows.num_rows)
    for column, worth in label.rewards.items():
        whole += worth * _numbers(rows.column(column))
    return whole.astype(np.float32)


def _of_action(label: Reward, rows: pa.Table) -> Floats:
    coded = one_piece(rows.column(label.column)).dictionary_encode()
    worth = [label.rewards.get(str(value), 0.0) for value in coded.dictionary.to_pylist()]
    codes = coded.indices.fill_null(len(worth)).to_numpy(zero_copy_only=False)
    found: Floats = np.array([*worth, np.nan], dtype=np.float32)[codes]
    return found


def _judged(name: str, label: Judged, rows: pa.Table) -> Floats:
    function = load(label.function)
    try:
        told = function(one_batch(rows.select(list(label.columns))))
        values = np.asarray(told, dtype=np.float64).astype(np.float32)
    except Exception as error:
        raise UserError(
            f"{label.function} raised {type(error).__name__}: {error}",
            where=f"labels.{name}",
            expected="a number for each row of a batch",
        ) from error
    if values.shape != (rows.num_rows,):
        raise UserError(
            f"{label.function} gave {values.shape} labels for {rows.num_rows} rows",
            where=f"labels.{name}",
            expected="one number for each row",
        )
    return values


def _numbers(column: Any) -> npt.NDArray[np.float64]:
    import pyarrow as pa

    numbers: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return numbers
