"""What lies on disk or in a store: checkpoints, models for use elsewhere, places that a URI names.

Nothing is ever unpickled. What a run folder is called and holds is decided in `rlgan.runs`.
"""
