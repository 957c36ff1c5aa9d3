"""A process whose torch worker is killed under a loader; it tells how the loader ended.

In a process of its own: torch raises from its signal handler, wherever the process is by then.

python -m tests.data.killed_loader FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from bowerbird.data.samples.planning import plan_set
from bowerbird.data.samples.specs import TrainingSet
from bowerbird.data.samples.torch_batches import to_torch
from bowerbird.lake import Lake
from tests.data.world import home_in


def main() -> None:
    from torch.utils.data import DataLoader

    home = home_in(sys.argv[1])
    columns = ("request_id", "item_id", "price")
    spec = TrainingSet(
        "shop/s", rows="table:shop/impressions", entity="user_id", columns=columns, order="lying"
    )
    loader = DataLoader(
        to_torch(home, plan_set(Lake(home), spec), batch_size=1),
        batch_size=None,
        num_workers=1,
        multiprocessing_context="spawn",
        prefetch_factor=2,
    )
    found: Any = iter(loader)
    next(found)
    (worker,) = found._workers
    os.kill(worker.pid, signal.SIGKILL)
    try:
        print(len(list(found)))
    except (RuntimeError, ConnectionError) as error:  # torch notices one or the other first
        print(f"ended: {error}")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
