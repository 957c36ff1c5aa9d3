#!/bin/sh
# The real parts that the tests run against and pip does not bring: PostgreSQL 15, and Iceberg's jars
# for Spark. Installs what is missing where that is possible; where not, the tests say what they left
# out.
set -u
cd "$(dirname "$0")/.."

postgresql() {
  for folder in /usr/lib/postgresql/*/bin; do
    [ -x "$folder/initdb" ] && return 0
  done
  command -v initdb >/dev/null 2>&1 && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 0
  echo "installing postgresql (for the tests)"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql; } \
    >/dev/null 2>&1 || echo "postgresql could not be installed; its tests will be left out"
}

spark_jars() {
  jars=.venv/parts/spark
  [ -f "$jars/.ready" ] && [ "$jars/.ready" -nt scripts/parts/spark.xml ] && return 0
  command -v mvn >/dev/null 2>&1 && command -v java >/dev/null 2>&1 || return 0
  echo "fetching Iceberg's jars for Spark (for the tests, 64 MB)"
  rm -rf "$jars"
  mkdir -p "$jars"
  if mvn -q -B -ntp -f scripts/parts/spark.xml \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$PWD/$jars" >/dev/null 2>&1
  then touch "$jars/.ready"
  else echo "the jars could not be fetched; the tests with Spark will be left out"
  fi
}

postgresql
spark_jars
