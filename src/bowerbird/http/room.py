"""What the web application itself offers: the server that ``bowerbird up`` runs."""

from bowerbird.core.room import Room, Service

ROOM = Room(
    name="http",
    title="The one web application: identity at the door, the rooms' routes behind it",
    services={"web": Service("server", "bowerbird.http.server:serve", "the web application")},
    standing="first",
)
