"""What people declare of learning: item embeddings, a ranker, and what it is judged against."""

from __future__ import annotations

from collections.abc import Mapping

from bowerbird.core.plans import Want
from bowerbird.core.specs import Spec, of_kind
from bowerbird.data.making import makes_release, want
from bowerbird.data.samples.specs import Examples, TrainingSet, groups_of, reads_of
from bowerbird.learning.models.config import History
from bowerbird.learning.training.config import Fit


class Embeddings(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A vector an item, from who buys it and what it is; fitted before the test weeks only.

    function: ``module:name`` of what fits it. widths: of the parts (buyers, type, category).
    """

    purchases: str
    products: str
    function: str
    widths: tuple[int, ...] = (24, 24, 16)
    weights: tuple[float, ...] = (0.3, 0.5, 0.2)
    seed: int = 0

    def refs(self) -> dict[str, str]:
        return {"purchases": self.purchases, "products": self.products}


class Model(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A ranker, and how it is trained.

    training: the `TrainingSet` that the published weights are fitted on. validation: the set a
    window earlier: a fit on it, judged on the validation weeks by epoch, shows whether to trust the
    rest.
    history: how a household's earlier actions are selected and encoded; None leaves them out.
    cross_layers, cross_rank, deep, dropout: the crossing network and what follows it.
    fit: the training loop, with seed and threads.
    """

    training: str
    validation: str
    function: str
    history: History | None = None
    cross_layers: int = 2
    cross_rank: int = 32
    deep: tuple[int, ...] = (128, 64)
    dropout: float = 0.1
    fit: Fit = Fit()

    def refs(self) -> dict[str, str]:
        return {"training": self.training, "validation": self.validation}


class Evaluation(Spec, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A model beside the baselines, on the weeks that nothing was fitted or chosen on.

    function: ``module:name`` of what judges. draws: of the bootstrap, by household.
    """

    model: str
    function: str
    draws: int = 1000
    seed: int = 0

    def refs(self) -> dict[str, str]:
        return {"model": self.model}


def embeddings_wants(spec: Embeddings, _specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    reads = (spec.purchases, spec.products)
    return (want(spec, "embeddings.fit", reads=reads, calls=(spec.function,)),)


def model_wants(spec: Model, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    reads, uses = _through(spec, specs)
    return (want(spec, "model.fit", reads=reads, uses=uses, calls=(spec.function,)),)


def evaluation_wants(spec: Evaluation, specs: Mapping[str, Spec]) -> tuple[Want, ...]:
    model = of_kind(specs, spec.model, Model)
    reads, uses = _through(model, specs)
    kept = [ref for ref in reads if ref.startswith("table:")]
    reads = (spec.model, *kept)
    return (want(spec, "model.judge", reads=reads, uses=(model, *uses), calls=(spec.function,)),)


def _through(model: Model, specs: Mapping[str, Spec]) -> tuple[tuple[str, ...], tuple[Spec, ...]]:
    """What a model reads: its sets' rows, and all that those were made of; and the specs that say
    how."""
    reads: list[str] = []
    uses: dict[str, Spec] = {}
    for ref in (model.training, model.validation):
        one = of_kind(specs, ref, TrainingSet)
        uses[ref] = one
        reads += [ref] if one.kept else reads_of(one, specs)
        uses |= groups_of(one, specs)
        made = specs.get(one.rows)
        if isinstance(made, Examples):
            uses[one.rows] = made
            uses |= {group: specs[group] for group in made.features}
            reads += made.tables.values()
    return tuple(dict.fromkeys(reads)), tuple(uses.values())


FIT_EMBEDDINGS = makes_release("bowerbird.learning.training.calling:embeddings")
FIT = makes_release("bowerbird.learning.training.calling:model", cpus=2.0)
JUDGE = makes_release("bowerbird.learning.training.calling:evaluation", cpus=2.0)
