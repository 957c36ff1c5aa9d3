"""What the discovery wing offers."""

from bowerbird.core.room import Room

NEIGHBORS = Room(
    name="discovery/neighbors",
    title="Nearest neighbours, found offline and looked up online",
    specs={"Neighbors": "bowerbird.discovery.neighbors.specs:Neighbors"},
    wants={"Neighbors": "bowerbird.discovery.neighbors.specs:wants"},
    steps={"neighbors.publish": "bowerbird.discovery.neighbors.specs:PUBLISH"},
    standing="first",
)

SERVING = Room(
    name="discovery/serving",
    title="The feed, from request to ranked page",
    specs={"Feed": "bowerbird.discovery.serving.specs:Feed"},
    wants={"Feed": "bowerbird.discovery.serving.specs:wants"},
    steps={"feed.publish": "bowerbird.discovery.serving.specs:PUBLISH"},
    routes=("bowerbird.discovery.serving.server:routes",),
    standing="first",
)
