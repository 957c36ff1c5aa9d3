"""What people declare of training sets: rows that a function makes, and what is put beside rows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.making import want

Setting = bool | int | float | str


class Examples(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Rows to train on that a function makes from tables and feature groups, kept as a table.

    For what no event says: lists of candidates with drawn negatives, pairs, moments between events.
    A `TrainingSet` takes them as its rows, or a model reads them as they are.

    tables: name -> ref of a table that the function reads. features: refs of feature groups.
    function: ``module:name``; it is given a `Job` and returns (`Table` layout, Arrow rows).
    settings: what the function wants to be told; part of what the rows mean.
    """

    tables: dict[str, str]
    function: str
    features: tuple[str, ...] = ()
    settings: dict[str, Setting] = msgspec.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "tables", by_ref(self.tables))
        super().__post_init__()

    def refs(self) -> dict[str, str]:
        tables = {f"tables.{name}": ref for name, ref in self.tables.items()}
        return tables | {f"features[{n}]": ref for n, ref in enumerate(self.features)}

    def check(self) -> None:
        if not self.tables:
            raise SpecError(
                "examples of no table", where=f"{self.ref}: tables", expected="at least one"
            )


def by_ref(named: Mapping[str, object]) -> dict[str, object]:
    """A mapping's specs as their refs: the base does it for a field that is one, or a tuple."""
    return {n: str(one.ref) if isinstance(one, Spec) else one for n, one in named.items()}


def examples_wants(spec: Examples, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """The table of rows, made anew when a table, a group or the function changes."""
    uses = [of_kind(specs, ref, FeatureGroup) for ref in spec.features]
    reads = tuple(spec.tables.values())
    return (want(spec, "samples.build", reads=reads, uses=uses, calls=(spec.function,)),)
