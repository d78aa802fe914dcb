"""Pieces of networks that generators and discriminators share, and how parameters are optimised.

No layer knows which network it is in. Whole networks live in `rlgan.generators` and `rlgan.discriminators`.
"""
