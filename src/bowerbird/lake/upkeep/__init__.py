"""Tables kept in order: each piece of work is a plan with its cost, and changes no row.

`compaction` puts files back into order and size (`layout` judges how they lie); `expiry` takes old
versions out (`retention` says which may go, `reach` what only they need) and deletes their files;
`orphans` finds files that nothing names; `health` says what there is to do; `statistics` what a
table holds.
"""
