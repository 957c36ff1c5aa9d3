"""What others can hold their own parts to: conformance suites of the ports, and the crash harness.

A new engine, target or ledger subclasses its suite and says how one is made; whatever the suite
claims then runs against it. Needs pytest; nothing else of the house imports this package.
"""
