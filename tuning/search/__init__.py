"""The search on Ray Tune: proposals, trials from shared starts, schedulers, the final race, and the journal of it.

What may be concluded is decided in `rlgan.tuning.judge`.
"""
