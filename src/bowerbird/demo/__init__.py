"""The demo's own knowledge: what a supermarket's data looks like, and what is declared over it.

Arrow tables of Complete Journey come in; training sets, scores and metrics leave. Everything here
is a pure function over tables and arrays: reading, committing and planning are the caller's.
"""
