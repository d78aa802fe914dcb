"""Sequences out of a generator: drawn token by token, or searched by beams; the records that hold them.

Nothing here judges a sequence. Judged sequences, in shards, come from `rlgan.rollouts`.
"""
