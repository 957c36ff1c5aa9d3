"""A page of the docs, as the tests read it: its blocks, headings and links.

Parsed by markdown-it, the parser that Rich brings along, so a fence inside a list or a quote is
found as a reader's viewer finds it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

_BY_HAND = re.compile(r"<!-- by hand: (?P<why>.+?) -->", re.DOTALL)
_FILE = re.compile(r"# (?P<path>[\w.-]+(?:/[\w.-]+)*\.(?:py|toml|yaml|txt|csv))\n")


@dataclass(frozen=True)
class Block:
    """One fenced block. by_hand: why it is not executed. path: the file that it is to be."""

    page: str
    line: int
    language: str
    text: str
    by_hand: str = ""

    @property
    def path(self) -> str:
        found = _FILE.match(self.text) if self.language != "console" else None
        return found["path"] if found else ""


@dataclass(frozen=True)
class Page:
    """One Markdown file. name: its path from the root of the repository."""

    name: str
    text: str
    blocks: tuple[Block, ...]
    anchors: frozenset[str]
    links: tuple[str, ...]


def pages() -> list[Page]:
    """The README and everything under docs/, by name."""
    files = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page(str(file.relative_to(ROOT))) for file in files]


@cache
def page(name: str) -> Page:
    text = (ROOT / name).read_text()
    blocks: list[Block] = []
    anchors: list[str] = []
    links: list[str] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        if token.type == "fence":
            remark = before.content if before and before.type == "html_block" else ""
            why = _BY_HAND.search(remark)
            blocks.append(
                Block(
                    name,
                    (token.map or [0])[0] + 1,
                    token.info.split(" ")[0],
                    token.content,
                    why["why"] if why else "",
                )
            )
        if token.type == "inline":
            if before and before.type == "heading_open":
                anchors.append(anchor(token.content, anchors))
            links += [
                str(child.attrs["href"])
                for child in token.children or ()
                if child.type == "link_open"
            ]
    return Page(name, text, tuple(blocks), frozenset(anchors), tuple(links))


def anchor(heading: str, taken: list[str]) -> str:
    """A heading's anchor, as code hosts make it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
    same = sum(
        one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in taken
    )
    return f"{slug}-{same}" if same else slug
