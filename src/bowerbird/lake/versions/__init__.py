"""A table's versions: put back, given names, published, compared.

`rollback` puts partitions back without writing a byte of data; `branches` makes branches and tags;
`publish` makes what a branch holds the table, in one commit; `diff` says what differs between two
versions, by files, statistics, and rows (`rows`).
"""
