"""Kinds of specs that no room has: small ones, for the tests of the core."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from bowerbird.core.errors import SpecError
from bowerbird.core.specs import Operator, Spec


class Sum(Operator, frozen=True, forbid_unknown_fields=True):
    column: str
    over: str = "7d"


class Last(Operator, frozen=True, forbid_unknown_fields=True):
    column: str
    n: int = 1


class LastAgain(Last, frozen=True, tag="Last"):
    """`Last`, after its result changed for the same fields."""

    revision: ClassVar[int] = 2


class Group(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Columns over a source, by entity."""

    entity: str
    source: str = ""
    columns: tuple[Sum | Last, ...] = ()
    weights: dict[str, float] = {}  # noqa: RUF012 - msgspec copies it
    limit: int | None = None

    def refs(self) -> dict[str, str]:
        return {"source": self.source} if self.source else {}

    def check(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise SpecError(
                f"a limit of {self.limit}", where=f"{self.ref}: limit", expected="0 or more"
            )


class WiderGroup(Group, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """`Group`, as a later version has it: with one more field that has a default."""

    shuffled: bool = False


class Decayed(Operator, frozen=True, forbid_unknown_fields=True):
    """An operator with a number that need not be whole."""

    half_life: float


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rate: float = 0.5
    steps: tuple[float, ...] = ()


class Numbers(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Every way in which a spec may hold a number."""

    share: float = 0.25
    maybe: float | None = None
    either: int | float = 0
    pair: tuple[float, int] = (0.0, 0)
    by_name: dict[str, tuple[float, ...]] = {}  # noqa: RUF012 - msgspec copies it
    columns: tuple[Decayed | Last, ...] = ()
    inner: Inner = Inner()


KINDS: dict[str, type[Spec]] = {"Group": Group}
