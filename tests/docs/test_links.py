"""No link of the docs leads nowhere, inside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Page, page, pages

PAGES = pages()


@pytest.mark.parametrize("one", PAGES, ids=lambda one: one.name)
def test_every_link_leads_somewhere(one: Page) -> None:
    dead = []
    for link in one.links:
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / one.name).parent / path if path else ROOT / one.name
        if not target.exists():
            dead.append(f"{link}: no such file")
        elif anchor and anchor not in page(str(target.resolve().relative_to(ROOT))).anchors:
            dead.append(f"{link}: no such heading")
    assert not dead


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), ["README.md"]
    while ahead:
        name = ahead.pop()
        if name in reached:
            continue
        reached.add(name)
        for link in page(name).links:
            target = ((ROOT / name).parent / link.partition("#")[0]).resolve()
            if "://" not in link and target.suffix == ".md" and target.is_file():
                ahead.append(str(target.relative_to(ROOT)))
    assert {one.name for one in PAGES} - reached == set()


def test_the_module_that_ranks_is_three_clicks_from_the_readme() -> None:
    assert "docs/rooms.md" in page("README.md").links
    ranks = Path("src/bowerbird/learning/models/transact.py")
    links = [(ROOT / "docs" / link).resolve() for link in page("docs/rooms.md").links]
    assert ROOT / ranks in links
