"""What the data wing offers."""

from bowerbird.core.room import Room

FEATURES = Room(
    name="data/features",
    title="Columns over events, as of any moment",
    specs={
        "FeatureGroup": "bowerbird.data.features.specs:FeatureGroup",
        "Backfill": "bowerbird.data.features.specs:Backfill",
    },
    wants={"FeatureGroup": "bowerbird.data.features.specs:wants"},
    cells={"Backfill": "bowerbird.data.features.backfill:cells"},
    steps={
        "features.fill": "bowerbird.data.features.fill:FILL",
        "features.stage": "bowerbird.data.features.backfill:STAGE",
    },
    standing="first",
)

SAMPLES = Room(
    name="data/samples",
    title="Training sets, everything as of each request",
    specs={"TrainingSet": "bowerbird.data.samples.specs:TrainingSet"},
    wants={"TrainingSet": "bowerbird.data.samples.specs:wants"},
    steps={"samples.build": "bowerbird.data.samples.build:BUILD"},
    standing="first",
)
