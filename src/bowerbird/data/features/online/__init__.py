"""A group's latest values, to look up by key: in a release that holds an LMDB file, or in Redis.

Both keep which version of the table they were made from, and up to when it is fresh. A reader sees
one version during a look-up, whatever is published meanwhile.

write_online(folder, latest(rows, ["household_id"]), about)          a release's file
with open_online(folder) as online: online.lookup({"household_id": [1, 2]})

publish_redis(client, latest(rows, ["household_id"]), about)         a Redis server
RedisOnline(client, "feature_group:shop/spend").lookup({"household_id": [1, 2]})
"""

from bowerbird.data.features.online.files import FileOnline, LiveFiles, open_online, write_online
from bowerbird.data.features.online.redis import RedisOnline, mirror_redis, publish_redis
from bowerbird.data.features.online.rows import About, Contents, Found, latest

__all__ = [
    "About",
    "Contents",
    "FileOnline",
    "Found",
    "LiveFiles",
    "RedisOnline",
    "latest",
    "mirror_redis",
    "open_online",
    "publish_redis",
    "write_online",
]
