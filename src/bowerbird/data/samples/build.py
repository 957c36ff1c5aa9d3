"""The table of examples: what the function that the spec names returns."""

from __future__ import annotations

from typing import Any

from bowerbird.core.functions import load
from bowerbird.data.making import Job, makes_table
from bowerbird.data.samples.specs import Examples
from bowerbird.lake import Table

BUILD = makes_table("bowerbird.data.samples.build:build", cpus=2.0)


def build(job: Job) -> tuple[Table, Any]:
    made: tuple[Table, Any] = load(job.spec(Examples).function)(job)
    return made
