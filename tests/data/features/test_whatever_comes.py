"""Whatever a column holds: statistics, comparison, gates, figures and pages do not fall over."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bowerbird.cli import screen_features
from bowerbird.data.features.comparison import compare
from bowerbird.data.features.figures import StatisticsView, statistics_view
from bowerbird.data.features.gates import (
    DEFAULT,
    Coverage,
    Distinct,
    Drift,
    Facts,
    Finite,
    Nulls,
    Range,
    judge,
)
from bowerbird.data.features.kinds import Kind, fits
from bowerbird.data.features.offenders import offenders
from bowerbird.data.features.statistics import (
    decode,
    encode,
    merged_columns,
    summarise,
    summarise_exactly,
)
from bowerbird.portal.statistics import render
from tests.portal.test_report import Tags

pytest.importorskip("datasketches")

doubles = st.none() | st.floats() | st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324])
texts = st.none() | st.text(max_size=5) | st.just("")
types = {
    pa.float64(): doubles,
    pa.int64(): st.none() | st.integers(-(2**63), 2**63 - 1),
    pa.string(): texts,
    pa.bool_(): st.none() | st.booleans(),
    pa.list_(pa.float64()): st.none() | st.lists(doubles, max_size=3),
    pa.list_(pa.string()): st.none() | st.lists(texts, max_size=3),
    pa.map_(pa.string(), pa.float64()): st.none()
    | st.lists(st.tuples(st.text(max_size=2), doubles), max_size=2),
}
columns = st.sampled_from(list(types)).flatmap(
    lambda kind: st.lists(types[kind], max_size=12).map(lambda values: pa.array(values, kind))
)
GATES = (
    *DEFAULT,
    Coverage(at_least=0.5),
    Nulls(),
    Finite(),
    Range("x", -1, 1),
    Distinct(),
    Drift(psi=0.0, ks=0.0),
)


LONG = pa.array([None, None, [1.5e154]], pa.list_(pa.float64()))
"""A vector whose square is no number any more."""


@pytest.mark.slow
@example(LONG, LONG, Kind.EMBEDDING, False)
@given(columns, columns, st.sampled_from(list(Kind)), st.booleans())
def test_nothing_falls_over(before: pa.Array, after: pa.Array, kind: Kind, exactly: bool) -> None:
    how = summarise_exactly if exactly else summarise
    tables = [pa.table({"x": values}) for values in (before, after)]
    declared = [{"x": kind} if fits(kind, values.type) else None for values in (before, after)]
    was, now = (how(table, kinds) for table, kinds in zip(tables, declared, strict=True))
    assert encode(decode(encode(now))) == encode(now)
    assert merged_columns([now, now])["x"].rows == 2 * len(after)
    assert len(compare(was, now)) == 1

    facts = Facts(rows_found=len(after), rows_expected=len(before), duplicates=0, leaks=0)
    findings = judge(GATES, now, was, facts)
    assert len(findings) >= len(GATES)
    rows = tables[1].append_column("id", pa.array(range(len(after))))
    shown = offenders(GATES, findings, rows, ["id"], {"x": now["x"].kind})
    assert all(one.startswith("id=") for one in shown.get("x", ()))

    view = statistics_view(
        "a/b", "2", {"*": now}, against="1", before={"*": was}, findings=findings
    )
    assert msgspec.json.decode(msgspec.json.encode(view), type=StatisticsView) == view
    assert Tags(render(view)).wrong == []
    with screen_features.out.capture():
        screen_features.statistics(view)
        screen_features.parts(view)
