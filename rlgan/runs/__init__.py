"""A run from its beginning to its table: folder, session, progress, controls beside it, publishing.

One process works on one run. The loop itself lives in `rlgan.training`, the command line in `rlgan.cli`.
"""
