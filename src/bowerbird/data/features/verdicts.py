"""What the gates of a promotion have said: kept with the step that asked them, shown afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bowerbird.core.runs import StepRecord
from bowerbird.data.features.gates import Finding, failures

FailedRun = tuple[str, StepRecord]
"""The id of a run, and the step that failed."""

KINDS = ("features.stage", "features.promote", "features.check")
"""The kinds of steps that make what is staged and promoted, and judge it."""

FINDINGS = "findings"
"""Among the results of a step."""


class Failure(msgspec.Struct, frozen=True):
    """How the newest run of a target failed. gates: that refused it; none: it was no gate."""

    run: str
    error: str
    gates: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """In a few words."""
        return f"was refused by {', '.join(self.gates)}" if self.gates else "failed"


class Verdict(msgspec.Struct, frozen=True):
    """What the gates say of a promotion.

    of: the promotion; empty: no promotion takes this backfill. failure, refused: of its newest run,
    and all that the gates found then. live: what they found of what was promoted last, judged once
    more as it was live.
    """

    of: str = ""
    failure: Failure | None = None
    refused: tuple[Finding, ...] = ()
    live: tuple[Finding, ...] = ()

    @property
    def told(self) -> str:
        """In a sentence."""
        if self.failure is not None:
            return f"The newest run {self.failure.told}."
        if self.live:
            many = f"{len(self.live)} check{'s' * (len(self.live) > 1)}"
            return f"{many} passed of what was promoted last."
        if self.of:
            return "Nothing was promoted yet, so no gate has judged."
        return "No promotion takes it, so no gate judges it."


def as_results(findings: Iterable[Finding]) -> dict[str, Any]:
    """Findings as results of a step."""
    return {FINDINGS: msgspec.to_builtins(list(findings))}


def of_results(results: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The findings among the results of a step."""
    return msgspec.convert(results.get(FINDINGS, ()), tuple[Finding, ...])


def failure(failed: FailedRun | None) -> Failure | None:
    """How a run failed, if it did."""
    if failed is None:
        return None
    run, step = failed
    refused = failures(of_results(step.results))
    return Failure(run, step.error, tuple(dict.fromkeys(one.gate for one in refused)))


def verdict(of: str, failed: FailedRun | None, live: tuple[Finding, ...]) -> Verdict:
    """What the gates say of a promotion. failed: its newest run, if it failed."""
    refused = () if failed is None else of_results(failed[1].results)
    return Verdict(of, failure(failed), refused, live)


def lines(finding: Finding) -> list[str]:
    """A finding in an error's text; under it a few rows to look at."""
    head = f"{finding.gate} {finding.column}".rstrip()
    return [f"{head}: {finding.text}", *(f"  such as {row}" for row in finding.examples[:3])]
