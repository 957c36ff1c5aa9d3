"""What the learning wing offers."""

from bowerbird.core.room import Room

_SPECS = "bowerbird.learning.training.specs"

TRAINING = Room(
    name="learning/training",
    title="Embeddings, rankers, and what they are judged against",
    specs={
        "Embeddings": f"{_SPECS}:Embeddings",
        "Model": f"{_SPECS}:Model",
        "Evaluation": f"{_SPECS}:Evaluation",
    },
    wants={
        "Embeddings": f"{_SPECS}:embeddings_wants",
        "Model": f"{_SPECS}:model_wants",
        "Evaluation": f"{_SPECS}:evaluation_wants",
    },
    steps={
        "embeddings.fit": f"{_SPECS}:FIT_EMBEDDINGS",
        "model.fit": f"{_SPECS}:FIT",
        "model.judge": f"{_SPECS}:JUDGE",
    },
    standing="first",
)
