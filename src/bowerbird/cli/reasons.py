"""A chain of reasons, as a tree on one screen."""

from __future__ import annotations

import msgspec
from rich.text import Text
from rich.tree import Tree

from bowerbird.cli.screen import ago, out
from bowerbird.discovery.serving.page import PageItem
from bowerbird.workspace.why import Reason


class ItemReason(msgspec.Struct, frozen=True):
    """Why an item is on a feed's page, and what that feed was made from."""

    item: PageItem
    reason: Reason


def show_reason(reason: Reason) -> None:
    """Print a reason and all that it rests on."""
    tree = Tree(_line(reason), guide_style="dim")
    _grow(tree, reason)
    out.print(tree)


def show_item(shown: ItemReason) -> None:
    """Print why an item is on a page: its reasons, the sources that proposed it, its score; then
    the walk back."""
    item, product = shown.item, shown.item.product
    out.print(
        Text.assemble((product.name, "bold"), f"  {product.department}, place {item.position}")
    )
    for reason in item.reasons:
        out.print(Text(f"  {reason.text}"))
    sources = ", ".join(f"{one.source} {one.score:.3g}" for one in item.sources)
    score = "" if item.score is None else f"score {item.score:.3f}; "
    out.print(Text(f"  {score}proposed by {sources}", style="dim"))
    show_reason(shown.reason)


def _grow(tree: Tree, reason: Reason) -> None:
    for below in reason.inputs:
        _grow(tree.add(_line(below)), below)


def _line(reason: Reason) -> Text:
    text = Text.assemble((reason.ref, "bold"))
    if reason.version:
        text.append(f" @{reason.version[-12:]}", style="cyan")
    if reason.rows is not None:
        text.append(f"  {reason.rows:,} rows")
    if reason.definition:
        text.append(f"  {reason.definition}", style="dim")
    if reason.made:
        text.append(f"  {ago(reason.made)} by {reason.principal}", style="dim")
    elif reason.by:
        text.append(f"  {reason.by}", style="dim")
    return text
