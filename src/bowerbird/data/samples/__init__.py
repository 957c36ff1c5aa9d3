"""Training sets, joined and labelled when they are read.

Who comes in: an engineer who declares a `TrainingSet` (`specs`): rows, features, labels, a sample,
sequences, transforms, splits. What leaves: batches in Arrow or torch, the same ones in this
process, in others and on Ray, from any position on; a kept table, where many runs read one set::

    plan = fitted(home, plan_set(Lake(home), clicks, {str(spend.ref): spend}))
    print(explain(plan))
    for batch in batches(home, plan, batch_size=4096, memory=1 << 30, split="train"):
        train(batch)
    loader = DataLoader(to_torch(home, plan), batch_size=None, num_workers=2)

`planning` pins versions; `rows` reads those of a bucket, `sides` say what stands beside each, and
`bucket` puts both in their order, of which runs are taken; `order` says which runs make a batch;
`batches` reads them, `tasks` by an engine. `plain` says it all in loops. `requests`, `negatives`,
`leakage` are for functions of `Examples`.
"""

from bowerbird.data.samples.batches import Ahead, Batches, batches, fitted
from bowerbird.data.samples.checks import check
from bowerbird.data.samples.drift import drift
from bowerbird.data.samples.kept import keep, kept_plan
from bowerbird.data.samples.order import Position
from bowerbird.data.samples.planning import SetPlan, plan_set
from bowerbird.data.samples.request_batch import RequestBatch
from bowerbird.data.samples.roofline import measure
from bowerbird.data.samples.views import explain

__all__ = [
    "Ahead",
    "Batches",
    "Position",
    "RequestBatch",
    "SetPlan",
    "batches",
    "check",
    "drift",
    "explain",
    "fitted",
    "keep",
    "kept_plan",
    "measure",
    "plan_set",
]
