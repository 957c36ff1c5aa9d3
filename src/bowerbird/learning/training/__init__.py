"""Training: lists of rows in, a fitted ranker and its curves out; evaluation with stated rules.

ranker, curves = fit(config, [lists], Fit(epochs=3), validate=measure)
scores = predict(ranker, rows)
ndcg(candidates, scores[:, 0], label, taken)
"""
