"""The rooms that know Ray: rollout actors, the discriminator actor, the learner group, and the cluster they live on."""
