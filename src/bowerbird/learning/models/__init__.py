"""Models: baselines over arrays, rankers and losses in plain torch; they know no table, no file.

weights = ease(log, through=split.test[0])
weights.scores(user, item, at)          # as of each query
Ranker(TransAct(features=86, heads=("trip", "trip_new")))
"""
