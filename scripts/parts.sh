#!/bin/sh
# The real parts that the tests run against and pip does not bring: PostgreSQL 15.
# Installs what is missing where that is possible; where not, the tests say what they left out.
set -eu
for folder in /usr/lib/postgresql/*/bin; do
  [ -x "$folder/initdb" ] && exit 0
done
command -v initdb >/dev/null 2>&1 && exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "installing postgresql (for the tests)"
{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } \
  >/dev/null 2>&1 || echo "postgresql could not be installed; its tests will be left out"
