"""One spec, one step, killed in the middle, resumed: nothing lost, nothing twice.

    python examples/one_step.py

A `Table` says where its rows come from. `bowerbird apply` plans one step for it and carries it
out. Here the process is killed by SIGKILL right before the commit, and once more right after it,
before anybody wrote down that it happened. The same command goes on both times.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SPEC = """
import pyarrow as pa
from bowerbird.lake import Table, bucket

def letters() -> pa.Table:
    return pa.table({"id": range(26), "letter": [chr(97 + i) for i in range(26)]})

alphabet = Table(
    "example/alphabet",
    schema={"id": "long not null", "letter": "string"},
    partition=(bucket("id", 4),),
    sort=("id",),
    source=letters,
    owner="user:you",
)
"""


def bowerbird(*words: str, die_at: str = "") -> None:
    """Run a command as a user would; `die_at` names the fault point at which it is killed."""
    killed = f"    (killed at {die_at})" if die_at else ""
    print(f"\n$ bowerbird {' '.join(words)}{killed}", flush=True)
    fault = {"BOWERBIRD_FAULT": die_at} if die_at else {}
    ended = subprocess.run([sys.executable, "-m", "bowerbird", *words], env=os.environ | fault)
    if ended.returncode:
        print(f"(exit {ended.returncode})", flush=True)


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    bowerbird("init")
    Path("specs/tables.py").write_text(SPEC)
    bowerbird("plan")
    bowerbird("apply", die_at="lake.commit.before")
    bowerbird("apply", die_at="lake.commit.after")
    bowerbird("apply")
    bowerbird("apply")
    bowerbird("why", "table:example/alphabet")
