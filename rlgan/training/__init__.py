"""The outer loop, readable beside Algorithm 1 of Yu et al. 2017, and the real sequences that it learns from.

It drives parts that it is handed, and does not know Ray. Who builds those parts is `rlgan.workers`.
"""
