"""Your own sweep: which reward and how much discriminator training help on text, and is any better than likelihood?

    python examples/sweep.py
    rlgan tune examples/sweep.py --data names.txt --tokens char --trials 12      the same question as a command

This file is a study: it defines what varies, starting from a preset. Trials are compared by a metric that contains
quality and coverage (`lm_rlm`). The best two then run again with new seeds, and are compared with likelihood,
likelihood at its best temperature, and the same updates without an adversary.

Prints the log of the sweep, its result in words, and the path of a page with plots. Needs the extra `tune`: optuna and
scikit-learn.
"""

from __future__ import annotations

import rlgan
from rlgan.base.search_priors import Choice, LogUniform
from rlgan.tuning import Study

STUDY = Study(
    name="names",
    description="Which reward, how many discriminator steps, which learning rate help on names?",
    preset="quick",
    axes={
        "reward": Choice(("ratio", "probability", "logit")),
        "schedule.d_steps": Choice((1, 4)),
        "optimizers.generator.lr": LogUniform(1e-4, 1e-2),
    },
    changes={
        "baseline": "leave_one_out",
        "schedule.mle_epochs": 10,
        "schedule.adversarial_updates": 20,
        "evaluation.num_sequences": 1000,
        "evaluation.final_sequences": 1000,
        "evaluation.temperatures": [1.0, 0.9],
    },
)


def main() -> None:
    from corpus import names  # here, so that the study is read from any folder

    rlgan.tune(__file__, data=names(), tokens="char", trials=12, finalists=2, seeds=3)


if __name__ == "__main__":
    main()
