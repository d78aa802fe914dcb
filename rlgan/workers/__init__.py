"""The rooms that know Ray: rollout actors, the discriminator actor, the learner group, and the cluster they live on.

Each does what its room below would do in one process: `rlgan.rollouts`, `rlgan.adversary`, `rlgan.policy`. Nothing is
decided here that could change a number.
"""
