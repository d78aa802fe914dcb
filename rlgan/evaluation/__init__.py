"""What is measured of a generator, with which evidence, and what may be said of it.

The formulas live in `rlgan.metrics`; tables and pages of the figures in `rlgan.report`.
"""
