"""A terminal in which a page's commands are typed, and how what they say is compared.

No library runs `$ ` blocks in one shell per page with files, exit codes and masks (the ones that
were looked at run Python blocks, or each block alone), so this is ours: bash on a pipe.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_END = "@@ended@@"
_AFTER = f'{{ __code=$?; printf \'\\n{_END} %d\\n\' "$__code"; (exit "$__code"); }}\n'

_MASKS = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}\b", "ID"),
    (r"@[0-9a-f]{12}\b", "@ID"),
    (r"\b[0-9a-f]{32}\b", "HASH"),
    (r"\bcode [0-9a-f]{8}\b", "code HASH"),
    (r"\b\d{10,}\b", "NUMBER"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?", "TIME"),
    (r"\b\d+ (?:s|min|h|d) ago\b", "AGO"),
    (r"\b\d+(?:\.\d+)? (?:s|ms)\b", "SECONDS"),
    (r"\b\d+(?:\.\d+)? (?:B|KiB|MiB|GiB)\b", "SIZE"),
    (r"\buser:\w+", "USER"),
    (r"^.*: line \d+:\s+\d+ Killed.*$", "Killed"),
    (r"[ \t]+", " "),
    (r" $", ""),
)
"""What is another at every run: ids, hashes, times, sizes, the user's name, blanks."""


def masked(text: str) -> str:
    lines = []
    for line in text.strip("\n").splitlines():
        for pattern, name in _MASKS:
            line = re.sub(pattern, name, line)
        lines.append(line)
    return "\n".join(lines)


def agrees(shown: str, said: str) -> bool:
    """Whether a command said what the page shows; … stands for anything, alone for any lines."""
    parts = []
    for line in masked(shown).splitlines():
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("…")) + r"\n")
    return re.fullmatch("".join(parts), masked(said) + "\n") is not None


class Session:
    """One bash in one folder, with an empty home. commands_in: what is first on its path."""

    def __init__(
        self, folder: Path, home: Path, commands_in: Path, variables: Mapping[str, str]
    ) -> None:
        kept = {key: value for key, value in os.environ.items() if key in ("LANG", "PYTHONPATH")}
        source, self._script = os.pipe()
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc", f"/dev/fd/{source}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(source,),
            cwd=folder,
            text=True,
            env={
                **kept,
                "HOME": str(home),
                "TMPDIR": str(home),
                "PATH": f"{commands_in}:{Path(sys.executable).parent}:/usr/bin:/bin",
                "USER": "you",
                "LOGNAME": "you",
                **variables,
            },
        )
        os.close(source)

    def type(self, command: str) -> tuple[str, int]:
        """What a command says, both streams together as a terminal shows them, and how it ends."""
        os.write(self._script, f"{command}\n{_AFTER}".encode())
        said: list[str] = []
        assert self._bash.stdout is not None
        for line in self._bash.stdout:
            if line.startswith(_END):
                return "".join(said).rstrip("\n"), int(line.split()[1])
            said.append(line)
        raise AssertionError(f"the shell ended after: {command}\n{''.join(said)}")

    def close(self) -> None:
        os.close(self._script)
        assert self._bash.stdout is not None
        self._bash.stdout.close()
        self._bash.wait(timeout=10)


def commands(text: str) -> Iterator[tuple[int, str, str]]:
    """The commands of a console block: line in the block, command, what is shown under it.

    `> ` goes on with the command above.
    """
    found: list[list[str]] = []
    at: list[int] = []
    for number, line in enumerate(text.splitlines()):
        if line.startswith("$ "):
            found.append([line[2:], ""])
            at.append(number)
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0] += "\n" + line[2:]
        elif found:
            found[-1][1] += line + "\n"
    for number, (command, shown) in zip(at, found, strict=True):
        yield number, command, shown
