"""Everything that the docs tell a reader to type is typed, in order, page by page.

On each page, in a new folder with an empty home:

- a block whose first line is ``# some/file.py`` is written to that file;
- any other ``python`` block runs as a script; ``output`` after it is what it prints;
- a ``console`` block is typed into one bash; what is shown under a command is what it says (ids,
  times and sizes masked; … for anything); a command that ends badly is followed by ``echo $?``;
- ``<!-- by hand: why -->`` before a block leaves it to a person, and `BY_HAND` counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests import warm
from tests.docs.markdown import ROOT, Block, Page, pages
from tests.docs.session import Session, agrees, commands
from tests.seaweed import KEY, SECRET, Seaweed

BY_HAND = {"README.md": 2, "docs/tour.md": 2, "docs/guides/postgresql.md": 1}
BY_HAND |= {"docs/lake/catalogs.md": 1, "docs/lake/other_engines.md": 2}
BY_HAND |= {"docs/guides/import_features.md": 2, "docs/guides/look_up_features.md": 2}

LANGUAGES = {"python", "console", "output", "toml", "yaml", "text"}

PAGES = {page.name: page for page in pages()}
TYPED = [name for name, page in PAGES.items() if any(b.language != "text" for b in page.blocks)]


@pytest.fixture
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Session]:
    name = request.getfixturevalue("name")
    # Threads start at once; that processes do the same is the conformance suite's to show.
    variables = {"BOWERBIRD_ENGINE": "threads"}
    if name.endswith("postgresql.md"):
        variables["SHOP_METADATA"] = request.getfixturevalue("postgres_url")
    if name == "docs/lake/catalogs.md":
        variables |= _store(request.getfixturevalue("seaweed_server"))
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    if name == "README.md":
        (folder / "examples").symlink_to(ROOT / "examples")
    opened = Session(folder, home, warm.folder(), variables)
    try:
        yield opened
    finally:
        opened.close()


def _store(server: Seaweed) -> dict[str, str]:
    return {
        "SHOP_STORE": server.s3,
        "SHOP_KEY": KEY,
        "SHOP_SECRET": SECRET,
        "SHOP_CATALOG": f"rest:{server.rest}",
        "SHOP_CREDENTIAL": f"{KEY}:{SECRET}",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", TYPED)
def test_a_page_does_what_it_shows(name: str, session: Session, tmp_path: Path) -> None:
    blocks, said = PAGES[name].blocks, ""
    for block, after in pairwise([*blocks, Block(name, 0, "", "")]):
        if block.by_hand or block.language in ("text", "output"):
            continue
        if block.path:
            path = tmp_path / "project" / block.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            script = tmp_path / "block.py"
            script.write_text(block.text)
            said, code = session.type(f"python {script}")
            assert code == 0, f"{name}:{block.line} ends with {code}:\n{said}"
        elif block.language == "console":
            said = type_all(session, block)
        if after.language == "output":
            assert agrees(after.text, said), f"{name}:{after.line} shows otherwise:\n{said}"


def type_all(session: Session, block: Block) -> str:
    """Type a block's commands; what the last one says."""
    said = ""
    typed = list(commands(block.text))
    for (line, command, shown), (_, following, _) in pairwise([*typed, (0, "", "")]):
        said, code = session.type(command)
        where = f"{block.page}:{block.line + line + 1} `{command}`"
        assert code == 0 or following == "echo $?", f"{where} ends with {code}:\n{said}"
        assert not shown or agrees(shown, said), f"{where} says:\n{said}\n-- shown is:\n{shown}"
    return said


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_every_block_says_what_it_is(page: Page) -> None:
    strange = [
        f"{b.page}:{b.line} {b.language!r}" for b in page.blocks if b.language not in LANGUAGES
    ]
    assert not strange, f"expected one of {sorted(LANGUAGES)}"


def test_what_is_left_to_a_person_is_counted() -> None:
    found = Counter(block.page for page in PAGES.values() for block in page.blocks if block.by_hand)
    assert found == Counter(BY_HAND)
