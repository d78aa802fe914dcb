"""Papers on sequences that are given nothing."""

from __future__ import annotations

from rlgan.adversary.losses import CrossEntropy, Likelihood, PrefixCrossEntropy, Wasserstein
from rlgan.adversary.regularisers import InterpolatedPenalty
from rlgan.adversary.settings import AdversarySettings
from rlgan.config.config import Config, Optimizers
from rlgan.discriminators import CausalLSTM, CnnHighway, DensityRatio, LanguageModel, PairCnn, ResConv
from rlgan.envs.tasks import OracleTask, TaskSettings
from rlgan.evaluation.evaluator import EvaluationSettings
from rlgan.generators import LSTM, LatentConv, ManagerWorker, PairManagerWorker, Seq2SeqLSTM
from rlgan.layers.optimizers import Adam
from rlgan.layers.relaxation_temperatures import DecayingTemperature
from rlgan.policy.advantage_scaling import NoScaling, RankRescaled, RunningScale
from rlgan.policy.baselines import (
    CriticBaseline,
    ExponentialMean,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    LogPartition,
    PerStepMean,
)
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import LogRatio
from rlgan.policy.kl_penalty import LossPenalty, NoReference, RewardPenalty
from rlgan.policy.logit_maps import Logit, Probability, Ratio, SignedProbability
from rlgan.policy.objectives import PPO, GoalDirected, Gumbel, Reinforce, Soft
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedPrefix,
    MixedTeacherForcing,
    NoTeacherForcing,
)
from rlgan.schedule.phases import Schedule

from .controls import controls_of
from .named import shipped


@shipped()
def seqgan(task: TaskSettings | None = None) -> Config:
    """SeqGAN with the published settings (Yu et al. 2017): Monte Carlo search 16, reward D, no baseline, Adam 0.01.

    Where sequences are given something, an encoder-decoder and two towers take the places of its networks.
    """
    is_of_pairs = task is not None and task.gives_conditions
    return Config(
        task=task or OracleTask(),
        generator=Seq2SeqLSTM() if is_of_pairs else LSTM(embedding=32, hidden=32),
        discriminator=PairCnn() if is_of_pairs else CnnHighway(),
        adversary=AdversarySettings(batch=64, sequences_per_round=10_000),
        reward=Probability(),
        credit=MonteCarlo(num_rollouts=16),
        objective=Reinforce(loss_normaliser="sum"),
        schedule=Schedule(
            mle_epochs=120, discriminator_rounds=50, adversarial_updates=200, g_steps=1, d_steps=5, d_epochs=3
        ),
        optimizers=Optimizers(
            mle=Adam(lr=0.01, clip_norm=5.0), generator=Adam(lr=0.01, clip_norm=5.0), discriminator=Adam(lr=1e-4)
        ),
        controls=controls_of(task),
    )


@shipped()
def seqgan_prefix(task: TaskSettings | None = None) -> Config:
    """SeqGAN whose discriminator judges prefixes, with a critic: REGS (b) of Li et al. 2017 without a condition."""
    base = seqgan(task)
    return base.model_copy(
        update={
            "credit": Prefix(),
            "baseline": CriticBaseline(),
            "objective": Reinforce(loss_normaliser="sequence"),
        }
    )


@shipped()
def leakgan(task: TaskSettings | None = None) -> Config:
    """LeakGAN (Guo et al. 2018): a manager sets goals among features of D, a worker writes towards them.

    Where sequences are given something, both have read it, and the features are those of two towers.
    """
    base = seqgan(task)
    is_of_pairs = task is not None and task.gives_conditions
    return base.model_copy(
        update={
            "generator": PairManagerWorker() if is_of_pairs else ManagerWorker(),
            "discriminator": PairCnn(dropout=0.0) if is_of_pairs else CnnHighway(dropout=0.0),
            "credit": MonteCarlo(num_rollouts=4),
            "normalisation": RankRescaled(steepness=16.0),
            "objective": GoalDirected(loss_normaliser="token"),
            "schedule": base.schedule.model_copy(
                update={
                    "mle_epochs": 80,
                    "pretraining": "side_by_side",
                    "adversarial_updates": 800,
                    # Published is an epoch every 15 updates, which is 10 batches an update.
                    "teacher_forcing": InterleavedTeacherForcing(num_updates=10),
                }
            ),
            "optimizers": base.optimizers.model_copy(
                update={"mle": Adam(lr=0.0015, clip_norm=5.0), "generator": Adam(lr=0.0015, clip_norm=5.0)}
            ),
        }
    )


@shipped()
def seqgan_rloo(task: TaskSettings | None = None) -> Config:
    """SeqGAN's networks and reward, moved by RLOO: leave-one-out in groups of 8, KL to the start in the reward."""
    return _modern(task, baseline=LeaveOneOut(), reference=RewardPenalty(weight=0.05))


@shipped()
def seqgan_grpo(task: TaskSettings | None = None) -> Config:
    """SeqGAN's networks and reward, moved by GRPO without its two biases (Dr. GRPO)."""
    return _modern(
        task,
        baseline=GroupMean(),
        normalisation=NoScaling(),
        reference=LossPenalty(weight=0.04),
        objective=PPO(loss_normaliser="fixed", epochs=1, minibatches=4),
    )


@shipped()
def seqgan_ppo(task: TaskSettings | None = None) -> Config:
    """SeqGAN's networks and reward, moved by PPO: critic, generalised advantages, four epochs, adapted KL."""
    base = _modern(
        task,
        credit=LambdaReturn(gamma=1.0, decay=0.95),
        baseline=CriticBaseline(epochs=4, clip=0.2),
        reference=RewardPenalty(weight=0.05, target=6.0),
        objective=PPO(loss_normaliser="token", epochs=4, minibatches=4),
    )
    return base.model_copy(update={"schedule": base.schedule.model_copy(update={"g_group": None})})


def _modern(task: TaskSettings | None, **axes: object) -> Config:
    """What the policy gradients of language models have in common here: one round of D a batch, a gentle rate."""
    base = seqgan(task)
    return base.model_copy(
        update={
            "credit": Terminal(),
            "objective": Reinforce(loss_normaliser="sequence"),
            # A group is of one condition; without conditions any neighbours will do.
            "schedule": base.schedule.model_copy(update={"g_batch": 256, "g_group": 8, "d_steps": 1}),
            "optimizers": base.optimizers.model_copy(update={"generator": Adam(lr=1e-3, clip_norm=1.0)}),
            **axes,
        }
    )


@shipped()
def maligan(task: TaskSettings | None = None) -> Config:
    """MaliGAN (Che et al. 2017), basic: importance weights of whole sequences, five rounds of D an update."""
    base = seqgan(task)
    return base.model_copy(
        update={
            "reward": Ratio(),
            "credit": Terminal(),
            "baseline": ImportanceWeights(ramp_updates=100),
            "objective": Reinforce(loss_normaliser="sequence"),
            "schedule": base.schedule.model_copy(update={"mle_epochs": 80}),
        }
    )


@shipped()
def maligan_full(task: TaskSettings | None = None) -> Config:
    """MaliGAN (Che et al. 2017), full: prefixes of real sequences, step-wise weights by Monte Carlo search."""
    base = maligan(task)
    return base.model_copy(
        update={
            "credit": MonteCarlo(num_rollouts=16),
            # The paper begins with 30 tokens of its longer sequences.
            "schedule": base.schedule.model_copy(
                update={"g_group": 16, "teacher_forcing": MixedPrefix(start=15, decrement=5, block=20)}
            ),
        }
    )


@shipped()
def bgan(task: TaskSettings | None = None) -> Config:
    """Boundary-seeking GAN (Hjelm et al. 2018), forward KL: importance weights, from scratch."""
    return Config(
        task=task or OracleTask(),
        generator=LSTM(embedding=32, hidden=32),
        discriminator=ResConv(width=256, blocks=3),
        adversary=AdversarySettings(batch=128, sequences_per_round=64),
        reward=Ratio(),
        credit=Terminal(),
        # Without noise there is nothing to group by: the group is the batch.
        baseline=ImportanceWeights(ramp_to=0.0),
        objective=Reinforce(loss_normaliser="sequence"),
        schedule=Schedule(
            mle_epochs=0, discriminator_rounds=0, adversarial_updates=10_000, g_batch=1_280, d_steps=1, d_epochs=1
        ),
        optimizers=Optimizers(generator=Adam(lr=1e-4, beta1=0.5), discriminator=Adam(lr=1e-4, beta1=0.5)),
        evaluation=EvaluationSettings(every=500),
        controls=controls_of(task),
    )


@shipped()
def bgan_rkl(task: TaskSettings | None = None) -> Config:
    """Boundary-seeking GAN, policy-gradient form: the logit less a moving log Z, which descends the reverse KL."""
    return bgan(task).model_copy(update={"reward": Logit(), "baseline": LogPartition(decay=0.995)})


@shipped()
def scratchgan(task: TaskSettings | None = None) -> Config:
    """ScratchGAN (de Masson d'Autume et al. 2019): no pretraining, a reward for every token, large batches."""
    return Config(
        task=task or OracleTask(),
        # 300 of the columns are GloVe's in the paper, which goes with a file; docs/algorithms.md has the command.
        generator=LSTM(embedding=364, hidden=512, layers=2, output_layers="all", tied=True),
        discriminator=CausalLSTM(embedding=364),
        adversary=AdversarySettings(batch=1_024, sequences_per_round=512, l2_all=1e-6, loss=CrossEntropy()),
        reward=SignedProbability(),
        credit=RewardToGo(gamma=0.23),
        baseline=ExponentialMean(decay=0.08),
        objective=Reinforce(loss_normaliser="fixed"),
        schedule=Schedule(
            mle_epochs=0, discriminator_rounds=0, adversarial_updates=200_000, g_batch=512, d_steps=1, d_epochs=1
        ),
        optimizers=Optimizers(generator=Adam(lr=9.59e-5, beta1=0.5), discriminator=Adam(lr=9.38e-3, beta1=0.5)),
        evaluation=EvaluationSettings(every=1_000),
        controls=controls_of(task),
    )


@shipped()
def wgan_reinforce(task: TaskSettings | None = None) -> Config:
    """A Wasserstein critic with gradient penalty (Gulrajani et al. 2017) as the reward of discrete samples."""
    base = seqgan(task)
    return base.model_copy(
        update={
            "discriminator": ResConv(width=128, blocks=5),
            "adversary": AdversarySettings(
                batch=128,
                sequences_per_round=64,
                loss=Wasserstein(),
                gradient_penalty=InterpolatedPenalty(weight=10.0),
            ),
            "reward": Logit(),
            "credit": Terminal(),
            # A critic's score has neither origin nor unit.
            "baseline": LeaveOneOut(),
            "normalisation": RunningScale(decay=0.9),
            "reference": NoReference(),
            "objective": Reinforce(loss_normaliser="sequence"),
            "schedule": base.schedule.model_copy(
                update={"discriminator_rounds": 100, "d_epochs": 1, "teacher_forcing": NoTeacherForcing()}
            ),
            "optimizers": base.optimizers.model_copy(
                update={
                    "generator": Adam(lr=1e-4, beta1=0.5, beta2=0.9),
                    "discriminator": Adam(lr=1e-4, beta1=0.5, beta2=0.9),
                }
            ),
        }
    )


@shipped()
def gumbel(task: TaskSettings | None = None) -> Config:
    """Gumbel-softmax GAN (Jang et al. 2017; Kusner & Hernández-Lobato 2016): soft samples, τ falls from 1 to 0.5."""
    return Config(
        task=task or OracleTask(),
        generator=LSTM(embedding=32, hidden=32),
        discriminator=CnnHighway(),
        adversary=AdversarySettings(batch=128, sequences_per_round=64),
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Gumbel(temperature=DecayingTemperature(rate=1e-4, least=0.5)),
        schedule=Schedule(
            mle_epochs=0, discriminator_rounds=0, adversarial_updates=10_000, g_batch=64, d_steps=1, d_epochs=1
        ),
        optimizers=Optimizers(generator=Adam(lr=1e-4), discriminator=Adam(lr=1e-4)),
        evaluation=EvaluationSettings(every=500),
        controls=controls_of(task),
    )


@shipped()
def st_gumbel(task: TaskSettings | None = None) -> Config:
    """The same with the straight-through estimator: the discriminator sees one-hot rows."""
    base = gumbel(task)
    return base.model_copy(update={"objective": base.objective.model_copy(update={"straight_through": True})})


@shipped()
def wgan_gp(task: TaskSettings | None = None) -> Config:
    """WGAN-GP's character model (Gulrajani et al. 2017): no tokens are drawn, and the critic reads soft rows."""
    adam = Adam(lr=1e-4, beta1=0.5, beta2=0.9)
    return Config(
        task=task or OracleTask(),
        generator=LatentConv(),
        discriminator=ResConv(),
        adversary=AdversarySettings(
            batch=128, sequences_per_round=64, loss=Wasserstein(), gradient_penalty=InterpolatedPenalty(weight=10.0)
        ),
        reward=ConstantReward(),
        credit=Terminal(),
        objective=Soft(),
        # The critic goes first; 10 rounds an update in the paper's experiments on language.
        schedule=Schedule(
            mle_epochs=0, discriminator_rounds=10, adversarial_updates=200_000, g_batch=64, d_steps=10, d_epochs=1
        ),
        optimizers=Optimizers(generator=adam, discriminator=adam),
        evaluation=EvaluationSettings(every=100, temperatures=(1.0,), collapse_share=None),
        controls=(),
    )


@shipped()
def lm_ratio(task: TaskSettings | None = None) -> Config:
    """LM-ratio: a language model of reals, learned once, rewards by log p_φ - log p_θ: descends KL(p_θ‖p_φ)."""
    base = seqgan(task)
    return base.model_copy(
        update={
            "discriminator": LanguageModel(embedding=48, hidden=96, dropout=0.3, tied=True),
            "adversary": AdversarySettings(batch=64, sequences_per_round=2_000, loss=Likelihood(learns="reals")),
            "reward": LogRatio(),
            "credit": RewardToGo(gamma=1.0),
            "baseline": PerStepMean(),
            "objective": Reinforce(loss_normaliser="sequence"),
            # 200 rounds are 40 epochs of 10,000 sequences; the reals do not change, so that no more is to be learned.
            "schedule": base.schedule.model_copy(
                update={
                    "discriminator_rounds": 200,
                    "g_batch": 256,
                    "d_steps": 0,
                    "d_epochs": 1,
                    "teacher_forcing": MixedTeacherForcing(weight=0.3),
                }
            ),
            "optimizers": base.optimizers.model_copy(
                update={
                    "generator": Adam(lr=2e-3, clip_norm=5.0),
                    "discriminator": Adam(lr=0.01, weight_decay=0.1, clip_norm=5.0),
                }
            ),
        }
    )


@shipped()
def density_ratio(task: TaskSettings | None = None) -> Config:
    """LM-ratio whose language model learns as an adversary: log p_φ - log p_θ tells every prefix real or fake."""
    base = lm_ratio(task)
    network = base.generator if base.task.gives_conditions else LSTM(embedding=32, hidden=64)
    return base.model_copy(
        update={
            "discriminator": DensityRatio(network=network),
            "adversary": AdversarySettings(batch=512, sequences_per_round=256, loss=PrefixCrossEntropy()),
            # A round is one step on as many reals as the generator has sequences; it follows the generator.
            "schedule": base.schedule.model_copy(update={"discriminator_rounds": 1_500, "d_steps": 2}),
            "optimizers": base.optimizers.model_copy(update={"discriminator": Adam(lr=2e-3, clip_norm=5.0)}),
        }
    )


@shipped()
def mediator(task: TaskSettings | None = None) -> Config:
    """Cooperative Training (Lu et al. 2019), the mediator as a reward of samples: descends Jensen-Shannon."""
    base = lm_ratio(task)
    return base.model_copy(
        update={
            "adversary": base.adversary.model_copy(update={"loss": Likelihood(learns="mixture")}),
            # The mixture moves with the generator.
            "schedule": base.schedule.model_copy(update={"d_steps": 1}),
        }
    )
