"""Faults: one table of what can go wrong (`matrix`), a running test for each of its rows.

`docs/faults.md` is written from the same table. A test says with `@pytest.mark.fault("D1")` which
row it holds, and compares what came out with the row through `outcome.expect`.
"""
