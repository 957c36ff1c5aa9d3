"""What the repository holds names no machine of ours and no package registry."""

from __future__ import annotations

import re
import subprocess

from tests.docs.markdown import ROOT

_HOSTS = (
    "py" + "pi.org",
    "python" + "hosted",
    "download.py" + "torch",
    "npm" + "js.org",
    "anaconda" + ".org",
)
_PLACES = re.compile(
    r"(?<![\w.])/(?:work|ro"
    r"ot|home|Users)/\w|https?://[^\s\"')]*/simple\b|--(?:extra-)?index-url[ =]\S*//"
)


def test_no_tracked_file_names_a_machine_path_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if _PLACES.search(line) or any(host in line for host in _HOSTS):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)
