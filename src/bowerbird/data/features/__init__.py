"""Features: declared once, the same values in training and online; staged, gated, promoted.

Who comes in: an engineer who declares a `FeatureGroup` (columns over the events of a key, or SQL,
or a function), a `Backfill` of groups beside a table's rows, a `Promotion` of what is staged. What
leaves: values as of any moment, kept tables that cost a day a day, training tables, statistics::

    spend = FeatureGroup("shop/spend", source=purchases, key=("household_id",),
                         columns={"n_30d": Count(over="30d"), "since": Since()})
    compute(spend, events, asked)                  # here; or in DuckDB, on Ray, for one request
    staged = Backfill("shop/spend", rows=visits, id=("visit_id",), features=(spend,))
    Promotion("shop/training", into=training, rows=visits, staged=(staged,))

`columns` says what there is, `reference` what each means, `asof` computes it fast, `sql` writes it
down, `tiles` folds it from days. `backfill`, `promote` and `check` are the way of staged features;
`leakage` and `gates` stand in it, `desk` is where one looks at it and acts on it. `online` and
`interop` are doors to elsewhere.
"""
