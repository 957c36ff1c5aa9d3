"""What people declare of a training set: whose requests, what was relevant, what else was there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.features.specs import FeatureGroup
from bowerbird.data.making import want


class TrainingSet(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Lists to train on, everything as of each request.

    A request is a trip, or four weeks of a household. Positives are candidates that were bought;
    negatives are drawn from the others, for a trip some from what was displayed or mailed in that
    store and week.

    purchases, products, placements: refs of tables. features: refs of feature groups.
    function: ``module:name`` of what builds it. judged_on: the four weeks that a model trained on
      it is judged on; everything in the set lies before them.
    size: candidates a list. positives: at most, a trip; period_positives: four weeks.
    shown_share: share of a trip's list that is drawn from what was displayed or mailed, not bought.
    """

    purchases: str
    products: str
    placements: str
    features: tuple[str, ...]
    function: str
    judged_on: Literal["validation", "test"] = "test"
    size: int = 80
    positives: int = 25
    period_positives: int = 40
    shown_share: float = 0.25
    history: int = 4193
    seed: int = 0

    def refs(self) -> dict[str, str]:
        tables = {
            "purchases": self.purchases,
            "products": self.products,
            "placements": self.placements,
        }
        return tables | {f"features[{n}]": ref for n, ref in enumerate(self.features)}


def wants(spec: TrainingSet, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    reads = (spec.purchases, spec.products, spec.placements)
    uses = [of_kind(specs, ref, FeatureGroup) for ref in spec.features]
    return (want(spec, "samples.build", reads=reads, uses=uses, calls=(spec.function,)),)
