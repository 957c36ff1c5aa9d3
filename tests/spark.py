"""A real Spark with Iceberg's runtime, on the same catalog and files as a lake of ours.

Slow to start (6 to 10 seconds, 0.8 GB), so one session serves all tests; each has tables of its
own.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bowerbird.core.steps import Home

JARS = Path(sys.prefix) / "parts" / "spark"


def missing() -> str | None:
    """What Spark lacks on this machine; None if it can be started."""
    if importlib.util.find_spec("pyspark") is None:
        return "no Spark on this machine (pip install 'bowerbird[spark]')"
    if shutil.which("java") is None:
        return "no Java on this machine, so no Spark"
    if not list(JARS.glob("iceberg-spark-runtime-*.jar")):
        return "no jars of Iceberg for Spark (scripts/parts.sh fetches them where Maven is)"
    return None


@contextmanager
def spark_on(home: Home, folder: Path, memory: str = "1g") -> Iterator[Any]:
    """A session whose catalog, by the same name, is that of `home`: on SQLite, in a folder."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    catalog = f"spark.sql.catalog.{home.catalog}"
    database = home.metadata.removeprefix("sqlite:///")
    settings = {
        "spark.jars": ",".join(map(str, sorted(JARS.glob("*.jar")))),
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder / "local"),
        "spark.sql.warehouse.dir": str(folder / "spark-warehouse"),
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "jdbc",
        f"{catalog}.uri": f"jdbc:sqlite:file:{database}",
        f"{catalog}.jdbc.schema-version": "V1",
        f"{catalog}.jdbc.busy_timeout": "60000",
        f"{catalog}.warehouse": home.warehouse,
        # Every query sees the table as it is then.
        f"{catalog}.cache-enabled": "false",
        # A join of two tables that are bucketed alike moves no row (DESIGN: bucket join).
        "spark.sql.autoBroadcastJoinThreshold": "-1",
        "spark.sql.sources.v2.bucketing.enabled": "true",
        "spark.sql.iceberg.planning.preserve-data-grouping": "true",
    }
    builder: Any = SparkSession.builder
    builder = builder.master("local[2]").appName("bowerbird-tests")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        gateway: Any = SparkContext._gateway
        session.stop()
        # It would stay until Python ends, with its memory; it ends when nobody holds its input.
        gateway.shutdown()
        gateway.proc.stdin.close()
        gateway.proc.wait(timeout=30)
        SparkContext._gateway = SparkContext._jvm = None
