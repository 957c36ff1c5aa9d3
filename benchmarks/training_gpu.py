"""Wide rows into a ranker on a GPU: how near it comes to its roofline, by who feeds it.

    python -m benchmarks.training_gpu [--size 4] [--workers 14] [--model attending]

The rows of `benchmarks.training_input`, in 64 buckets. The ranker reads both sequences of 512 by
two layers of self-attention in bf16 (attending), or pools them (pooling: little more than its
input). Its roofline is its rate on one frozen batch that lies on the GPU. Each contender feeds it
from pinned memory and runs in a process of its own; the clock starts after some batches, when
workers have started and kernels are chosen. Without a GPU it runs on the CPU, and says so.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import training_input as rows
from benchmarks.lake_join import home
from benchmarks.training_input import BATCH, COLUMNS, LENGTH, NUMBERS, SEQUENCES, STACKED, Tensors
from bowerbird.data.samples.batches import Ahead, batches
from bowerbird.data.samples.torch_batches import tensors, to_torch
from bowerbird.engines import EngineKind, open_engine

BUCKETS, WARM, WIDTH = 64, 30, 128


# -- who feeds it ------------------------------------------------------------------------------


def a_thread_ahead(folder: str, _workers: int) -> Iterator[Tensors]:
    stream = Ahead(batches(home(folder), rows.plan(folder), batch_size=BATCH))
    yield from (tensors(batch.select(COLUMNS), "set", STACKED) for batch in stream)


def loader_workers(folder: str, workers: int) -> Iterator[Tensors]:
    made = to_torch(home(folder), rows.plan(folder), batch_size=BATCH, stacked=STACKED)
    yield from _loaded(made, workers)


def engine_tasks(folder: str, workers: int) -> Iterator[Tensors]:
    with contextlib.closing(open_engine(EngineKind.PROCESSES, workers=workers)) as engine:
        plan = rows.plan(folder)
        made = to_torch(home(folder), plan, batch_size=BATCH, stacked=STACKED, engine=engine)
        yield from _loaded(made, 0)


def wide_rows(folder: str, workers: int) -> Iterator[Tensors]:
    made = rows.dataset(rows.wide_files(folder), single=True)
    yield from _loaded(made, workers, batch_size=BATCH, collate_fn=rows.collated)


def wide_batches(folder: str, workers: int) -> Iterator[Tensors]:
    yield from _loaded(rows.dataset(rows.wide_files(folder), single=False), workers)


def _loaded(made: Any, workers: int, **how: Any) -> Iterator[Tensors]:
    import torch
    from torch.utils.data import DataLoader

    how = {"batch_size": None, "num_workers": workers} | how
    yield from DataLoader(made, pin_memory=torch.cuda.is_available(), **how)


SOURCES: dict[str, Callable[[str, int], Iterator[Tensors]]] = {
    "ours, a thread ahead": a_thread_ahead,
    "ours, workers of a loader": loader_workers,
    "ours, tasks of an engine": engine_tasks,
    "stored wide rows, workers": wide_rows,
    "stored wide batches, workers": wide_batches,
}
ROOF = "a frozen batch"


# -- what is fed -------------------------------------------------------------------------------


def ranker(kind: str) -> Any:
    import torch
    from torch import nn

    class Ranker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = nn.Embedding(5000, WIDTH)
            self.amount = nn.Linear(1, WIDTH)
            layer = nn.TransformerEncoderLayer(
                WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True
            )
            self.read = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.deep = nn.Sequential(
                nn.Linear(WIDTH + len(NUMBERS), 512), nn.ReLU(), nn.Linear(512, 1)
            )

        def forward(self, past: Any, amount: Any, numbers: Any) -> Any:
            seen = self.items(past) + self.amount(amount[..., None])
            seen = self.read(seen) if kind == "attending" else seen
            return self.deep(torch.cat([seen.mean(1), numbers], 1))[:, 0]

    torch.manual_seed(0)
    return Ranker()


def moved(batch: Tensors, device: str) -> Tensors:
    """The batch on its device; copies from pinned memory do not wait."""
    return {name: one.to(device, non_blocking=True) for name, one in batch.items()}


def trainer(kind: str, device: str) -> Callable[[Tensors], None]:
    import torch
    from torch import nn

    network = ranker(kind).to(device)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def step(batch: Tensors) -> None:
        ends = batch[f"{SEQUENCES[0]}__offsets"]
        # Shorter histories are filled up on the left, where the values of the row before lie.
        places = (ends[1:, None] - LENGTH + torch.arange(LENGTH, device=device)).clamp(min=0)
        there = places >= ends[:-1, None]
        past = torch.where(there, batch[SEQUENCES[0]].long()[places], 0)
        amount = torch.where(there, batch[SEQUENCES[1]][places], 0.0)
        with torch.autocast(device, torch.bfloat16):
            found = network(past, amount, batch["numbers"])
            loss = nn.functional.binary_cross_entropy_with_logits(found.float(), batch["y"])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def contend(name: str, folder: str, kind: str, workers: int) -> dict[str, float]:
    """Rows a second of a contender, once it is warm. kind: "reading": nothing is trained."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(2)
    step = trainer(kind, device) if kind != "reading" else lambda _: None
    if name == ROOF:
        first = moved(next(a_thread_ahead(folder, workers)), device)
        stream: Iterator[Tensors] = itertools.repeat(first, 10 * WARM)
    else:
        found = SOURCES[name](folder, workers)
        stream = (moved(batch, device) for batch in found) if kind != "reading" else found
    for batch in itertools.islice(stream, WARM):
        step(batch)
    done, start = 0, _now(device)
    for batch in stream:
        step(batch)
        done += len(batch["y"])
    return {"rows": done, "seconds": _now(device) - start}


def _now(device: str) -> float:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def apart(name: str, folder: str, kind: str, workers: int) -> float | str:
    """Rows a second, in a process of its own; or what it said last, where it failed."""
    command = [sys.executable, "-m", "benchmarks.training_gpu", "--folder", folder]
    command += ["--contender", name, "--model", kind, "--workers", str(workers)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return (ran.stderr.strip() or str(ran.returncode)).splitlines()[-1][:160]
    told = json.loads(ran.stdout.splitlines()[-1])
    return float(told["rows"] / told["seconds"])


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=max(2, (os.cpu_count() or 2) - 2))
    parser.add_argument("--model", nargs="+", default=["reading", "attending", "pooling"])
    parser.add_argument("--contender")
    parser.add_argument("--folder")
    asked = parser.parse_args()
    if asked.contender:
        print(json.dumps(contend(asked.contender, asked.folder, asked.model[0], asked.workers)))
        return
    there = torch.cuda.is_available()
    print(torch.cuda.get_device_name() if there else "no GPU: all of it on the CPU", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows.prepare(folder, asked.size, BUCKETS)
        for kind in asked.model:
            roof = None if kind == "reading" else apart(ROOF, folder, kind, asked.workers)
            print(
                f"--- {kind}, {asked.workers} workers" + (f", roofline {roof:,.0f}" if roof else "")
            )
            for name in SOURCES:
                found = apart(name, folder, kind, asked.workers)
                if isinstance(found, str):
                    print(f"{name:32}failed: {found}", flush=True)
                    continue
                share = f"{found / roof:8.0%} of the roofline" if isinstance(roof, float) else ""
                print(f"{name:32}{found:12,.0f} rows/s{share}", flush=True)


if __name__ == "__main__":
    main()
