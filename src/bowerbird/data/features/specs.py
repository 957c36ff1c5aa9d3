"""What people declare of features: columns over the events of a key, as of any moment."""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.core.errors import SpecError
from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec
from bowerbird.data.features.columns import Column, duration
from bowerbird.data.making import want


class FeatureGroup(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Columns over the events that share a key, each strictly before the moment it is asked for.

    source: ref of the table of events. at: its column of time.
    key: columns of the source, or of `lookup`.
    lookup: ref of a table of attributes of `lookup_by`, a column of both: a key may name them.
    columns: name -> `Count`, `Sum`, `Mean`, `Last`, `Since`, `Decayed`…
    every: how far apart the moments are for which values are kept in a table; empty keeps none:
      the group is computed where it is asked for, in training and in the feed by one function.
    """

    source: str
    key: tuple[str, ...]
    columns: dict[str, Column]
    at: str = "at"
    lookup: str = ""
    lookup_by: str = ""
    every: str = ""

    def refs(self) -> dict[str, str]:
        return {"source": self.source} | ({"lookup": self.lookup} if self.lookup else {})

    def check(self) -> None:
        if not self.key or not self.columns:
            raise SpecError(
                "a feature group without a key or without columns",
                where=f"{self.ref}: key, columns",
                expected="at least one of each",
            )
        if self.every:
            try:
                duration(self.every)
            except ValueError as error:
                raise SpecError(str(error), where=f"{self.ref}: every") from None


def wants(spec: FeatureGroup, _specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    """A group that is kept wants its table; another is computed where it is asked for."""
    if not spec.every:
        return ()
    return (want(spec, "features.fill", reads=spec.refs().values()),)
