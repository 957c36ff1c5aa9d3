"""Tables joined bucket by bucket, as of a time, and sampled by key: no row is shuffled.

Tables that are bucketed by one key (their counts may differ, if one divides the other) hold each
key in the same bucket, in order. So a join reads both sides' buckets as streams and merges them, in
the memory of a few blocks::

    plan = bucket_join(lake, Side("shop/trips", "household_id"),
                       With("shop/households", "household_id", how=How.LEFT))
    print(explain(plan))
    rows = join_rows(lake, plan)

`join` plans and reads, `steps` runs a task a bucket and commits once, `views` says what it will
take; `asof` is one more kind of side, `sample` the same buckets read in part.
"""
