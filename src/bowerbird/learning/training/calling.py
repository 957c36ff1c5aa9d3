"""Steps of learning call the function that their spec names."""

from __future__ import annotations

from bowerbird.core.functions import load
from bowerbird.data.making import Job, Made
from bowerbird.learning.training.specs import Embeddings, Evaluation, Model


def embeddings(job: Job) -> Made:
    made: Made = load(job.spec(Embeddings).function)(job)
    return made


def model(job: Job) -> Made:
    made: Made = load(job.spec(Model).function)(job)
    return made


def evaluation(job: Job) -> Made:
    made: Made = load(job.spec(Evaluation).function)(job)
    return made
