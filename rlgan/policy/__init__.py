"""The policy gradient: rewards, credit, baselines, importance weights, KL penalties and objectives.

Pure functions of whole batches. Nothing here draws a sequence, and only the value function updates a network, its own.
Sequences come from `rlgan.rollouts`; updates of the generator are the learners', in `rlgan.workers`.
"""
