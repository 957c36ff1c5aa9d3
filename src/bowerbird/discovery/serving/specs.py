"""What people declare of a feed: what it reads, how a page is made, and for when."""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.making import makes_release, want


class Feed(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A feed: candidates from several sources, ranked, spread, each with its reasons.

    model: ref of the ranker. neighbors: ref of the store. evaluation: ref; a feed is published
    only once its model was judged. function: ``module:name`` of what opens the feed's reader from
    pinned inputs, for this release and for the server alike. page: items a page.
    show: households whose pages are kept with the release.
    """

    model: str
    neighbors: str
    evaluation: str
    function: str
    page: int = 20
    show: int = 3
    seed: int = 0

    def refs(self) -> dict[str, str]:
        return {"model": self.model, "neighbors": self.neighbors, "evaluation": self.evaluation}


def wants(spec: Feed, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    from bowerbird.learning.training.specs import Model, model_wants

    model = of_kind(specs, spec.model, Model)
    (through,) = model_wants(model, specs)
    tables = [ref for ref in through.reads if ref.startswith("table:")]
    uses = [model, *(specs[ref] for ref in through.others)]
    reads = (spec.model, spec.neighbors, spec.evaluation, *tables)
    return (want(spec, "feed.publish", reads=reads, uses=uses, calls=(spec.function,)),)


PUBLISH = makes_release("bowerbird.discovery.serving.publish:publish", cpus=2.0)
