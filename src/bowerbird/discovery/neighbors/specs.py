"""What people declare of neighbours: whose, how many, and how much of the exact answer."""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec
from bowerbird.data.making import makes_release, want


class Neighbors(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The nearest items of every item, published as a store to look up.

    vectors: ref of embeddings. k: neighbours an item. target_recall: of the exact ones, that the
    lower bound of the measured recall must reach. queries: sampled to tune and to check on.
    """

    vectors: str
    k: int = 50
    target_recall: float = 0.95
    queries: int = 500
    seed: int = 0
    threads: int = 2

    def refs(self) -> dict[str, str]:
        return {"vectors": self.vectors}


def wants(spec: Neighbors, _specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    return (want(spec, "neighbors.publish", reads=(spec.vectors,)),)


PUBLISH = makes_release("bowerbird.discovery.neighbors.publish:publish", cpus=2.0)
