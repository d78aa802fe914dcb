"""The ground that everything stands on: errors, settings, seeds, threads, devices, weights as data.

Nothing here knows what a sequence is. What knows one, and is no network, lives in `rlgan.envs`.
"""
