"""A sweep of your own: which reward and how much discriminator help on text, and does any of it beat likelihood?

    python examples/sweep.py
    rlgan tune examples/sweep.py --data names.txt --tokens char --trials 12      the same question as a command

The file is a study: it says what varies, around which preset. Trials are compared by a measure that sees quality and
coverage (`lm_rlm`); the best two then run again with fresh seeds beside likelihood, likelihood at its best temperature,
and the same updates without an adversary.

Prints: what the sweep says as it goes, and its finding in words with the page that has the pictures. Needs the packages
of the extra `tune`: optuna and scikit-learn.
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
