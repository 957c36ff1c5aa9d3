"""What the data wing offers."""

from bowerbird.core.room import Room

FEATURES = Room(
    name="data/features",
    title="Features declared once; staged, gated, promoted",
    specs={
        "FeatureGroup": "bowerbird.data.features.specs:FeatureGroup",
        "Backfill": "bowerbird.data.features.specs:Backfill",
        "Promotion": "bowerbird.data.features.specs:Promotion",
        "Online": "bowerbird.data.features.online.specs:Online",
    },
    wants={
        "FeatureGroup": "bowerbird.data.features.keeping:wants",
        "Online": "bowerbird.data.features.online.specs:wants",
    },
    cells={
        "FeatureGroup": "bowerbird.data.features.keeping:cells",
        "Backfill": "bowerbird.data.features.backfill:cells",
        "Promotion": "bowerbird.data.features.check:cells",
    },
    steps={
        "features.fill": "bowerbird.data.features.fill:FILL",
        "features.tile": "bowerbird.data.features.kept:TILE",
        "features.keep": "bowerbird.data.features.kept:KEEP",
        "features.stage": "bowerbird.data.features.backfill:STAGE",
        "features.promote": "bowerbird.data.features.promote:PROMOTE",
        "features.check": "bowerbird.data.features.check:CHECK",
        "features.publish": "bowerbird.data.features.online.specs:PUBLISH",
    },
    routes=("bowerbird.portal.backfills:routes",),
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
