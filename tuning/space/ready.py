"""The ready studies by name, and the question of each. Light, for help shows it; what they vary is in `studies`."""

READY = {
    "reward_baseline": "Which reward map, credit and baseline help, and at which learning rate?",
    "discriminator": "What makes the discriminator generalise, and does the generator benefit?",
    "from_scratch": (
        "Training without pretraining: batch size, a reward for every token, regularisation of the discriminator "
        "(claims of ScratchGAN)."
    ),
    "stability": "Schedules, teacher forcing, batch sizes and learning rates.",
    "everything": "The whole space except the size of the generator, on which all other choices depend.",
}
