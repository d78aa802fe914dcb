"""The ready studies by name, and the question of each. Light, for help shows it; what they vary is in `studies`."""

READY = {
    "reward_baseline": "Which reward map, credit and baseline help, at which learning rate?",
    "discriminator": "What makes the discriminator generalise, and does the generator gain by it?",
    "from_scratch": "Without pretraining: batch, a reward for every token, D's regularisation (ScratchGAN's claims).",
    "stability": "Who trains when: schedules, teacher forcing, batches and learning rates.",
    "everything": "The whole space but the generator's size, which every other choice depends on.",
}
