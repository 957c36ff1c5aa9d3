"""What people declare to have looked up: whose latest values, by which key."""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.core.errors import SpecError
from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec
from bowerbird.data.making import makes_release, want


class Online(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The latest row of each key of a table, published as a release to look up.

    source: ref of the table, or of the group that keeps one. key: its columns that name a row.
    at: its column of time. columns: those that are published; empty: all others.
    """

    source: str
    key: tuple[str, ...]
    at: str = "at"
    columns: tuple[str, ...] = ()

    def refs(self) -> dict[str, str]:
        return {"source": self.source}

    def check(self) -> None:
        if not self.key:
            raise SpecError(
                "nothing names a row", where=f"{self.ref}: key", expected="at least one column"
            )
        twice = sorted({name for name in self.columns if name in (*self.key, self.at)})
        if twice:
            raise SpecError(
                f"{twice[0]!r} names a row or its time",
                where=f"{self.ref}: columns",
                expected="other columns; the key and the time are kept by themselves",
            )


def wants(spec: Online, _specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    return (want(spec, "features.publish", reads=(spec.source,)),)


PUBLISH = makes_release("bowerbird.data.features.online.publish:publish")
