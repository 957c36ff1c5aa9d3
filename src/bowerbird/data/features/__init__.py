"""Features: declared columns, and their values as of a moment, offline and online by one code.

spend = {"n_30d": Count(over="30d"), "since": Since()}
events = timeline([household, product], at)
evaluate(spend, events, [asked_household, asked_product], asked_at)
"""
