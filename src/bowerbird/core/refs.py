"""Refs: how one thing is named everywhere: ``kind:namespace/name``, lower case."""

from __future__ import annotations

import re
from typing import NamedTuple

from bowerbird.core.errors import RefError

_PART = r"[a-z0-9_]{1,63}"
_REF = re.compile(rf"({_PART}):({_PART})/({_PART})")
_NAME = re.compile(rf"({_PART})/({_PART})")


class Ref(NamedTuple):
    """``table:shop/purchases``. Sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.namespace}/{self.name}"

    @staticmethod
    def parse(text: str) -> Ref:
        """Raises `RefError` on anything that is not a ref."""
        match = _REF.fullmatch(text)
        if match is None:
            raise RefError(
                f"{text!r} is not a ref",
                expected="kind:namespace/name of lower-case letters, digits and _ (63 a part)",
            )
        return Ref(*match.groups())

    @staticmethod
    def of(kind: str, name: str) -> Ref:
        """From a spec's kind and its ``namespace/name``."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise RefError(
                f"{name!r} is not a name",
                expected="namespace/name of lower-case letters, digits and _ (63 a part)",
            )
        return Ref(kind, *match.groups())


def kind_of(type_name: str) -> str:
    """``FeatureGroup`` -> ``feature_group``: the kind as refs write it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type_name).lower()
