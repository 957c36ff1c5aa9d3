"""What the house is made of: specs, meanings, plans, steps, targets and engines as ports, errors.

Pure: no clock, no disk, no network (they come in as ports). Read `plans` for how desired and
actual state become steps, `targets` for the one loop by which a step commits, `meaning` for why a
cell is current or stale, `errors` for everything that can go wrong::

    plan = make_plan(wants, present, trees)
    committed = LogTarget(log, clock).commit(token, base, change)
"""
