"""Rollouts in shards: sequences drawn, continued by Monte Carlo search, and scored, all in one process.

What is learned from them is decided in `rlgan.policy`; where they are computed, in `rlgan.workers`.
"""
