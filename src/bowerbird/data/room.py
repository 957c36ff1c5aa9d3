"""What the data wing offers."""

from bowerbird.core.room import Room

FEATURES = Room(
    name="data/features",
    title="Columns over events, as of any moment",
    specs={"FeatureGroup": "bowerbird.data.features.specs:FeatureGroup"},
    wants={"FeatureGroup": "bowerbird.data.features.specs:wants"},
    steps={"features.fill": "bowerbird.data.features.fill:FILL"},
    standing="first",
)

SAMPLES = Room(
    name="data/samples",
    title="Training sets, joined and labelled when they are read",
    specs={
        "Examples": "bowerbird.data.samples.specs:Examples",
        "TrainingSet": "bowerbird.data.samples.specs:TrainingSet",
    },
    wants={
        "Examples": "bowerbird.data.samples.specs:examples_wants",
        "TrainingSet": "bowerbird.data.samples.specs:wants",
    },
    steps={
        "samples.build": "bowerbird.data.samples.build:BUILD",
        "samples.keep": "bowerbird.data.samples.kept:KEEP",
    },
    standing="first",
)
