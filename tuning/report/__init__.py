"""A sweep in words and pictures, and in MLflow: its page, its plots, its winner in the registry.

What is said comes from `rlgan.tuning.judge`.
"""
