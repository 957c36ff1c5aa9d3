"""The demo project: a supermarket's public data from its files to a ranked feed.

Here is what only the demo knows: how Complete Journey's tables read as arrays (`shop`), what is
declared over them (`features`), which requests train and judge a ranker (`training_set`), and the
table of figures (`ranking`). All are pure functions; reading and committing are the caller's.
"""
