"""Papers whose discriminator compares generated sequences with real ones."""

from __future__ import annotations

from rlgan.adversary.losses import Ranking, Relativistic
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import MultiRepresentation, PairMultiRepresentation, PairRanker, Ranker
from rlgan.envs.tasks import OracleTask, TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import RelationalMemory, Seq2SeqRelationalMemory
from rlgan.layers.optimizers import Adam
from rlgan.layers.relaxation_temperatures import RisingInverse
from rlgan.policy.baselines import PerStepMean
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.policy.logit_maps import Logit
from rlgan.policy.objectives import Gumbel
from rlgan.schedule.phases import Schedule

from .controls import controls_of
from .named import shipped
from .sequences import seqgan


@shipped()
def relgan(task: TaskSettings | None = None) -> Config:
    """RelGAN (Nie et al. 2019): relational memory, soft samples whose β = 1/τ rises, D with 64 views, relative loss.

    Where sequences are given something, the memory reads that first, and each view is of both sides.
    """
    task = task or OracleTask()
    return Config(
        task=task,
        generator=Seq2SeqRelationalMemory() if task.gives_conditions else RelationalMemory(),
        discriminator=PairMultiRepresentation() if task.gives_conditions else MultiRepresentation(),
        adversary=AdversarySettings(batch=128, sequences_per_round=64, loss=Relativistic()),
        reward=ConstantReward(),
        credit=Terminal(),
        # Published greatest β: 1 or 2 on the oracle, 100 or 1,000 on captions.
        objective=Gumbel(temperature=RisingInverse(greatest=2.0 if task.knows_distribution else 100.0)),
        schedule=Schedule(
            mle_epochs=150, discriminator_rounds=0, adversarial_updates=3_000, g_batch=64, d_steps=5, d_epochs=1
        ),
        optimizers=Optimizers(
            mle=Adam(lr=0.01, clip_norm=5.0),
            generator=Adam(lr=1e-4, clip_norm=5.0),
            discriminator=Adam(lr=1e-4, clip_norm=5.0),
        ),
        evaluation=EvaluationSettings(every=100),
        controls=controls_of(task),
    )


@shipped()
def rankgan(task: TaskSettings | None = None) -> Config:
    """RankGAN (Lin et al. 2017): SeqGAN rewarded by the log of its rank among real sequences, beside references.

    Where sequences are given something, pairs are ranked among real pairs.
    """
    base = seqgan(task)
    return base.model_copy(
        update={
            "discriminator": PairRanker() if base.task.gives_conditions else Ranker(),
            "adversary": AdversarySettings(batch=64, sequences_per_round=10_000, loss=Ranking()),
            "reward": Logit(),
            # The log of a rank score is below 0 for every sequence, which alone would lower all probabilities.
            "baseline": PerStepMean(),
        }
    )
