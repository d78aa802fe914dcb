"""Combinations of settings that cannot work, or in which a setting would have no effect, each as a sentence.

The checks that cross rooms: `rlgan.config.Config` raises the first. What one settings class can tell alone, it checks
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rlgan.envs.tasks import PairsTask, TaskSettings, TextTask, TransductionTask
from rlgan.envs.tasks.pieces import Words

from .adversary_losses import CrossEntropy, Hinge, LeastSquares, Likelihood, Relativistic, Wasserstein
from .adversary_regularisers import InterpolatedPenalty, NoGradientPenalty
from .balance import Band, Equilibrium, FixedBalance
from .baselines import (
    BaselineSettings,
    CriticBaseline,
    GroupMean,
    ImportanceWeights,
    LeaveOneOut,
    LogPartition,
    NoBaseline,
)
from .credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from .decoding import Drawn
from .discriminators import DiscriminatorSettings, InteractionCnn, LanguageModel, Tabular, Transformer
from .generators import LatentConv, Seq2SeqLSTM
from .normalisation import GroupDeviation, NormalisationSettings, Whiten
from .objectives import (
    PPO,
    Differentiated,
    Gumbel,
    InTheSameUpdate,
    MixedPrefix,
    MixedTeacherForcing,
    NoPolicyGradient,
    NoTeacherForcing,
    ScheduledSampling,
    Soft,
    TeacherForcingByExample,
    makes_soft_rows,
)
from .reference import NoReference, RewardPenalty
from .rewards import Bleu, JudgedReward, Logit, LogRatio, Mixed, TokenReward, map_of, metric_of
from .selection import BestGenerator
from .unknown_words import no_words

if TYPE_CHECKING:
    from .config import Config


def compares_sequences(baseline: BaselineSettings, normalisation: NormalisationSettings) -> bool:
    """Whether sequences of a batch are compared with each other, so that `schedule.g_group` has an effect."""
    compares = isinstance(baseline, LeaveOneOut | GroupMean | ImportanceWeights)
    return compares or isinstance(normalisation, GroupDeviation)


def contradictions(config: Config) -> Iterator[str]:
    """All of them, in the order in which they would be mended.

    Args:
        config: whose parts are valid, each by itself.

    Returns:
        Sentences that name fields, what they are and what to do.
    """
    yield from _who_learns(config)
    yield from _who_is_given_what(config)
    yield from _who_gives_a_law(config)
    yield from _who_is_paid(config)
    yield from _what_is_compared(config)
    yield from _what_is_differentiated(config)
    yield from _without_likelihood(config)
    yield from _what_likelihood_teaches(config)
    yield from _how_a_batch_is_learned(config)
    yield from _what_there_is_before(config)
    yield from _who_keeps_the_balance(config)
    yield from _what_is_read_of_texts(config)
    yield from _who_is_selected(config)
    if config.discriminator is not None:
        yield from _how_fakes_are_written(config)
        yield from _what_is_read_into_logits(config, config.discriminator)
        yield from _what_has_no_origin(config)


def _who_learns(config: Config) -> Iterator[str]:
    """A discriminator that there is, is trained and read, and none is asked where there is none."""
    reward, schedule = config.reward, config.schedule
    adversarial = schedule.adversarial_updates > 0
    pays_by_discriminator = isinstance(reward, JudgedReward)
    if config.has_adversary and not schedule.discriminator_rounds and not (adversarial and schedule.d_steps):
        yield (
            "discriminator: is never trained (schedule.discriminator_rounds=0 and schedule.d_steps or "
            "schedule.adversarial_updates=0). Set discriminator to none, or train it."
        )
    if not config.has_adversary and (schedule.discriminator_rounds or schedule.d_steps):
        yield (
            f"schedule.discriminator_rounds={schedule.discriminator_rounds}, schedule.d_steps={schedule.d_steps}: "
            "there is no discriminator to train. Set both to 0, or choose a discriminator."
        )
    if (wanted := schedule.discriminator_accuracy) is not None:
        if not schedule.discriminator_rounds:
            yield (
                f"schedule.discriminator_accuracy={wanted:g}: ends pretraining, and schedule.discriminator_rounds is 0."
                " Set it to null, or give it rounds."
            )
        if not config.adversary.loss.has_boundary:
            yield (
                f"schedule.discriminator_accuracy={wanted:g}: adversary.loss={config.adversary.loss.kind!r} has no "
                "boundary between reals and fakes. Set it to null, or use another loss."
            )
    if adversarial and pays_by_discriminator and not config.has_adversary:
        without = "constant" if (metric := metric_of(reward)) is None else metric.kind
        yield f"reward={reward.kind!r}: needs a discriminator, and discriminator is none. Use reward {without}."
    is_differentiated = isinstance(config.objective, Differentiated)
    if is_differentiated and not config.has_adversary:
        yield (
            f"objective={config.objective.kind!r}: is differentiated through the discriminator, and discriminator is "
            "none. Choose one."
        )
    if adversarial and not pays_by_discriminator and config.has_adversary and not is_differentiated:
        yield f"discriminator: has no effect with reward={reward.kind!r}. Set discriminator to none."


def _what_is_differentiated(config: Config) -> Iterator[str]:
    """Objectives that go through the discriminator, or past it, read no reward."""
    schedule = config.schedule
    is_differentiated = isinstance(config.objective, Differentiated)
    if is_differentiated and isinstance(config.adversary.loss, Relativistic):
        yield (
            f"adversary.loss='relativistic': compares with reals, which objective={config.objective.kind!r} does not "
            "see. Use another loss."
        )
    if isinstance(config.objective, Gumbel) and isinstance(schedule.teacher_forcing, MixedPrefix):
        yield (
            "schedule.teacher_forcing='mixed_prefix': objective='gumbel' draws whole sequences. Use mixed, interleaved "
            "or none."
        )
    if is_differentiated and isinstance(schedule.teacher_forcing, TeacherForcingByExample):
        yield (
            "schedule.teacher_forcing='by_example': takes the place of sequences that are paid, and objective="
            f"{config.objective.kind!r} pays none. Use mixed, interleaved or none."
        )
    if isinstance(config.objective, NoPolicyGradient | Differentiated):
        axes = {"reward": "constant", "credit": "terminal", "baseline": "none"}
        axes |= {"normalisation": "none", "reference": "none"}
        used = {axis: getattr(config, axis).kind for axis in axes}
        if used != axes:
            idle = [f"{axis}={kind!r}" for axis, kind in used.items() if kind != axes[axis]]
            yield (
                f"objective={config.objective.kind!r}: {', '.join(idle)} would have no effect. Set "
                + ", ".join(f"{axis} {kind}" for axis, kind in axes.items())
                + "."
            )


def _what_likelihood_teaches(config: Config) -> Iterator[str]:
    """Teacher forcing, and what there is to learn by it alone."""
    schedule = config.schedule
    if not schedule.adversarial_updates and not isinstance(schedule.teacher_forcing, NoTeacherForcing):
        yield (
            f"schedule.teacher_forcing={schedule.teacher_forcing.kind!r}: has no effect with "
            "schedule.adversarial_updates=0. Set it to none."
        )
    learns_likelihood = not isinstance(schedule.teacher_forcing, NoTeacherForcing | MixedPrefix)
    if schedule.example_weights != "none" and not (learns_likelihood or schedule.mle_epochs):
        yield (
            f"schedule.example_weights={schedule.example_weights!r}: has no effect with schedule.mle_epochs=0 and "
            f"schedule.teacher_forcing={schedule.teacher_forcing.kind!r}. Set it to none, or learn by likelihood."
        )
    if schedule.mle_halve_from is not None and not schedule.mle_epochs:
        yield (
            f"schedule.mle_halve_from={schedule.mle_halve_from}: is of pretraining, and schedule.mle_epochs is 0. Set "
            "it to null, or give it epochs."
        )
    if isinstance(config.objective, NoPolicyGradient) and not learns_likelihood:
        yield (
            f"objective='none': with schedule.teacher_forcing {schedule.teacher_forcing.kind} nothing would be "
            "learned. Set an objective, or mixed, interleaved or by_example teacher forcing."
        )
    forcing = schedule.teacher_forcing
    if isinstance(forcing, TeacherForcingByExample) and not (schedule.num_real and schedule.num_sampled):
        yield (
            f"schedule.teacher_forcing.fraction={forcing.fraction:g}: of schedule.g_batch={schedule.g_batch} sequences "
            f"{schedule.num_real} would be real, and some must be and some not. Raise schedule.g_batch, or bring the "
            "fraction nearer to 0.5."
        )


def _how_a_batch_is_learned(config: Config) -> Iterator[str]:
    """Passes over a batch, and the steps of a pass."""
    schedule = config.schedule
    if isinstance(config.objective, PPO) and config.objective.epochs == config.objective.minibatches == 1:
        yield (
            "objective.epochs=1, objective.minibatches=1: the first step is taken at the policy that sampled, where "
            "nothing is clipped. Raise one of them, or use objective reinforce."
        )
    forcing, objective = schedule.teacher_forcing, config.objective
    if isinstance(objective, NoPolicyGradient) and not isinstance(forcing, InTheSameUpdate):
        for setting in ("epochs", "minibatches"):
            if (value := getattr(objective, setting)) != 1:
                yield (
                    f"objective.{setting}={value}: has no effect without mixed or by_example teacher forcing. Set it "
                    "to 1."
                )
    divisor = objective.loss_normaliser if isinstance(objective, NoPolicyGradient) else "sequence"
    if divisor != "sequence" and not isinstance(forcing, TeacherForcingByExample):
        yield (
            f"objective.loss_normaliser={divisor!r}: with objective='none' has no effect without by_example teacher "
            "forcing. Set it to sequence."
        )
    if isinstance(objective, PPO | NoPolicyGradient):
        batches = {_of_the_batch(config, schedule.num_sampled): schedule.num_sampled}
        if isinstance(objective, NoPolicyGradient):
            batches = {}
        if isinstance(forcing, TeacherForcingByExample):
            batches[_of_the_batch(config, schedule.num_real, "real")] = schedule.num_real
        if isinstance(forcing, MixedTeacherForcing):
            batches[f"schedule.mle_batch={schedule.mle_batch}"] = schedule.mle_batch
        for told, size in batches.items():
            if size % objective.minibatches:
                yield f"objective.minibatches={objective.minibatches}: does not divide {told}. Set it to a divisor."


def _of_the_batch(config: Config, number: int, kind: str = "generated") -> str:
    """How so many sequences of a generator update are told of."""
    schedule = config.schedule
    if not schedule.num_real:
        return f"schedule.g_batch={schedule.g_batch}"
    return (
        f"the {number} {kind} sequences of schedule.g_batch={schedule.g_batch} "
        f"(schedule.teacher_forcing={schedule.teacher_forcing.kind!r})"
    )


def _what_there_is_before(config: Config) -> Iterator[str]:
    """What pretraining, controls and the task's law are needed for."""
    schedule = config.schedule
    if not schedule.adversarial_updates and config.controls:
        yield (
            f"controls={list(config.controls)}: are controls of the adversarial phase, and "
            "schedule.adversarial_updates is 0. Set controls to []."
        )
    if not isinstance(config.reference, NoReference) and not schedule.mle_epochs:
        yield (
            f"reference={config.reference.kind!r}: stays near the generator that pretraining ended with, and "
            "schedule.mle_epochs is 0. Set it to none, or pretrain."
        )
    if isinstance(schedule.mle_inputs, ScheduledSampling) and not schedule.mle_epochs:
        yield "schedule.mle_inputs='scheduled_sampling': has no effect with schedule.mle_epochs=0. Set it to none."
    if "oracle_ratio" in config.controls and not config.task.knows_law:
        yield f"controls: oracle_ratio needs an exact law, which task={config.task.kind!r} has not. Leave it out."
    if "oracle_ratio" in config.controls and _is_certain(config.task):
        yield (
            "controls: oracle_ratio pays infinitely little for a wrong token, for task.rule.noise is 0. Give it noise, "
            "or leave it out."
        )
    for name in () if isinstance(config.task, TextTask) else config.word_vectors:
        yield (
            f"{name}.pretrained='word_vectors': the tokens of task={config.task.kind!r} are no words. Set it to none, "
            "or train on a text by --data."
        )


def _who_keeps_the_balance(config: Config) -> Iterator[str]:
    """Buffers, and how much the discriminator learns beside the generator."""
    schedule = config.schedule
    if config.adversary.buffer is not None and config.adversary.buffer < config.adversary.sequences_per_round:
        yield (
            f"adversary.buffer={config.adversary.buffer}: holds less than one round of "
            f"adversary.sequences_per_round={config.adversary.sequences_per_round}. Make it at least as large."
        )
    learns_between = schedule.adversarial_updates > 0 and config.has_adversary and schedule.d_steps > 0
    if not isinstance(schedule.balance, FixedBalance) and not learns_between:
        yield (
            f"schedule.balance={schedule.balance.kind!r}: has no effect without rounds of the discriminator between "
            "generator updates. Set it to fixed."
        )
    costless = Relativistic | Wasserstein | Likelihood
    if isinstance(schedule.balance, Equilibrium) and isinstance(config.adversary.loss, costless):
        yield (
            f"schedule.balance='equilibrium': weighs what reals cost against what fakes cost, and adversary.loss="
            f"{config.adversary.loss.kind!r} has no such costs. Use another loss or balance."
        )


def _what_is_read_of_texts(config: Config) -> Iterator[str]:
    """Words can be put in the place of unknown ones where there are words on both sides."""
    task = config.task
    if not config.evaluation.replace_unknown:
        return
    if not isinstance(task, PairsTask):
        yield (
            f"evaluation.replace_unknown=True: takes words of a source, and task={task.kind!r} has none. Set it to "
            "false."
        )
    elif refusal := no_words(isinstance(task.source_tokens, Words), isinstance(task.target_tokens, Words)):
        yield f"evaluation.replace_unknown=True: {refusal}. Set it to false."


def _is_certain(task: TaskSettings) -> bool:
    """Whether what a sequence is given leaves nothing open."""
    return isinstance(task, TransductionTask) and task.is_certain


def _who_is_selected(config: Config) -> Iterator[str]:
    """A generator is selected among those of an adversarial phase, by what can be measured of it on validation data."""
    selection, task = config.schedule.selection, config.task
    if not isinstance(selection, BestGenerator):
        return
    path = f"schedule.selection.measure={selection.measure!r}"
    if not config.schedule.adversarial_updates:
        yield (
            "schedule.selection='best': is of the adversarial phase, and schedule.adversarial_updates is 0. Set it to "
            "none."
        )
    if selection.measure in ("valid_nll", "kl_sum") and isinstance(config.generator, LatentConv):
        yield f"{path}: is of likelihoods, which generator='latent_conv' has not. Use lm_rlm, on text."
    if selection.measure == "kl_sum" and not task.knows_law:
        fitting = "corpus_bleu, chrf" if isinstance(task, PairsTask) else "lm_rlm"
        yield f"{path}: needs an exact law, which task={task.kind!r} has not. Use {fitting} or valid_nll."
    if selection.measure == "kl_sum" and _is_certain(task):
        yield (
            f"{path}: is infinite while one sample is wrong, for task.rule.noise is 0. Use valid_nll, or give it noise."
        )
    if selection.measure == "lm_rlm" and not isinstance(task, TextTask):
        yield f"{path}: is of language models of text, which task={task.kind!r} is not. Use valid_nll."
    if selection.measure in ("corpus_bleu", "chrf") and not isinstance(task, PairsTask):
        yield f"{path}: compares texts with references, which task={task.kind!r} has not. Use valid_nll."


def _without_likelihood(config: Config) -> Iterator[str]:
    """A generator that draws no tokens knows no likelihood, and learns from none."""
    generator, objective = config.generator, config.objective
    if isinstance(objective, Soft) and not isinstance(generator, LatentConv):
        yield (
            f"objective='soft': is of a generator that draws no tokens, and generator={generator.kind!r} draws them. "
            "Use objective gumbel, or generator latent_conv."
        )
    if not isinstance(generator, LatentConv):
        return
    if not isinstance(objective, Soft):
        yield (
            f"generator='latent_conv': has no log-probabilities, which objective={objective.kind!r} learns by. Use "
            "objective soft."
        )
    forcing, evaluation = config.schedule.teacher_forcing, config.evaluation
    unfit: dict[str, tuple[object, object]] = {
        "schedule.mle_epochs": (config.schedule.mle_epochs, 0),
        "schedule.teacher_forcing": (forcing.kind, "none"),
        "controls": (list(config.controls), []),
    }
    for path, (value, only) in unfit.items():
        if value != only:
            yield f"{path}={value!r}: learns by likelihood, which generator='latent_conv' has not. Set it to {only}."
    # Its laws of the next token, whose collapse is told of, are one-hot from the beginning.
    idle: dict[str, tuple[object, object]] = {
        "evaluation.temperatures": (evaluation.temperatures, (1.0,)),
        "evaluation.collapse_share": (evaluation.collapse_share, None),
    }
    for path, (value, only) in idle.items():
        if value != only:
            yield (
                f"{path}={value!r}: has no effect on generator='latent_conv', which draws no tokens. Set it to "
                f"{'null' if only is None else only}."
            )


def _who_is_given_what(config: Config) -> Iterator[str]:
    """What the task gives with each sequence, generator and discriminator must read, and nothing else."""
    task, generator, network = config.task, config.generator, config.discriminator
    if task.gives_conditions and not generator.reads_conditions:
        yield (
            f"generator={generator.kind!r}: cannot read what task={task.kind!r} gives with each sequence. Use "
            "generator seq2seq_lstm or seq2seq_transformer."
        )
    if generator.reads_conditions and not task.gives_conditions:
        yield (
            f"generator={generator.kind!r}: reads conditions, and task={task.kind!r} gives none. Use generator lstm or "
            "transformer, or a task of pairs (--pairs, or --source and --target)."
        )
    if task.gives_conditions and isinstance(config.reward, Bleu):
        yield (
            f"reward='bleu': compares with sequences drawn at random, and task={task.kind!r} asks for another one each "
            "time. Use reward reference_bleu."
        )
    if not task.gives_conditions and metric_of(config.reward) is not None:
        yield (
            f"reward={config.reward.kind!r}: compares each sequence with what the data has for its condition, and task="
            f"{task.kind!r} gives none. Use reward bleu, of sequences drawn at random, or a task of pairs."
        )
    if config.evaluation.adversarial is not None and not task.gives_conditions:
        yield (
            f"evaluation.adversarial={config.evaluation.adversarial.kind!r}: judges pairs, and task={task.kind!r} "
            "gives nothing with its sequences. Set it to none."
        )
    if config.evaluation.language_model is not None and not isinstance(task, TextTask):
        yield (
            f"evaluation.language_model={config.evaluation.language_model.kind!r}: is trained on text, and task="
            f"{task.kind!r} has none. Set it to none."
        )
    if isinstance(config.baseline, CriticBaseline) and config.baseline.reads == "source" and not task.gives_conditions:
        yield (
            f"baseline.reads='source': reads what sequences are given, and task={task.kind!r} gives nothing. Set it to "
            "state."
        )
    if network is None:
        return
    if task.gives_conditions and network.reads == "sequences":
        yield (
            f"discriminator={network.kind!r}: judges sequences without what task={task.kind!r} gives with them, so "
            "that an answer to anything would do. Use discriminator pair_cnn, pair_lstm, hierarchical_lstm, "
            "interaction_cnn or triple_lstm."
        )
    if network.reads == "pairs" and not task.gives_conditions:
        yield (
            f"discriminator={network.kind!r}: judges pairs, and task={task.kind!r} gives nothing with its sequences. "
            "Use another discriminator."
        )
    if config.adversary.mismatched is not None and not task.gives_conditions:
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: is of conditions, and task={task.kind!r} gives "
            "none. Set it to null."
        )
    if config.adversary.mismatched is not None and _reads_ratio(config):
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: adds real sequences to what D tells reals from, "
            f"and reward={config.reward.kind!r} and baseline={config.baseline.kind!r} read its logit as log p_d/p_θ. "
            "Set it to null, or use reward probability."
        )
    if config.adversary.mismatched is not None and isinstance(config.adversary.loss, Relativistic | Likelihood):
        yield (
            f"adversary.mismatched={config.adversary.mismatched:g}: is a third class, and adversary.loss="
            f"{config.adversary.loss.kind!r} has no classes apart. Use another loss."
        )
    if task.gives_conditions and not isinstance(config.adversary.gradient_penalty, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={config.adversary.gradient_penalty.kind!r}: joins a real sequence with a fake "
            f"one, and task={task.kind!r} gives them different conditions. Set it to none."
        )
    if isinstance(network, InteractionCnn) and network.embeddings == "generator":
        if not isinstance(generator, Seq2SeqLSTM):
            yield (
                f"discriminator.embeddings='generator': copies two tables of tokens, and generator={generator.kind!r} "
                "has no such tables. Use generator seq2seq_lstm, or set it to own."
            )
        elif network.embedding != generator.embedding:
            yield (
                f"discriminator.embedding={network.embedding}: with discriminator.embeddings='generator' it is "
                f"generator.embedding={generator.embedding}. Set both to the same."
            )


def _how_fakes_are_written(config: Config) -> Iterator[str]:
    """Fakes that beams find are of a task that asks for different ones, and of a law that nobody reads."""
    adversary, forcing, decoding = config.adversary, config.schedule.teacher_forcing, config.adversary.decoding
    if isinstance(decoding, Drawn):
        return
    told = f"adversary.decoding={decoding.kind!r}"
    if not adversary.loss.reads_fakes:
        yield f"{told}: has no effect with adversary.loss={adversary.loss.kind!r}, which reads no fakes. Use drawn."
    if not config.task.gives_conditions:
        yield (
            f"{told}: all fakes that beams find would be one, for task={config.task.kind!r} gives nothing with its "
            "sequences. Use drawn."
        )
    if makes_soft_rows(config.objective):
        yield f"{told}: finds tokens, and objective={config.objective.kind!r} makes soft rows of fakes. Use drawn."
    if isinstance(forcing, MixedPrefix):
        yield (
            f"{told}: begins with nothing, and schedule.teacher_forcing='mixed_prefix' gives fakes their first tokens. "
            "Use drawn, or another teacher forcing."
        )
    if decoding.rounds == "pretraining" and not config.schedule.discriminator_rounds:
        yield (
            f"{told}: is of pretraining, and schedule.discriminator_rounds is 0. Set adversary.decoding.rounds to all, "
            "or use drawn."
        )
    if _reads_ratio(config):
        yield (
            f"{told}: fakes that are found are not of the law p_θ, whose ratio reward={config.reward.kind!r} and "
            f"baseline={config.baseline.kind!r} read. Use drawn."
        )


def _reads_ratio(config: Config) -> bool:
    """Whether the logit must be log p_d/p_θ, so that everything that D tells reals from is drawn by the generator."""
    return map_of(config.reward).kind == "ratio" or isinstance(config.baseline, LogPartition)


def _who_gives_a_law(config: Config) -> Iterator[str]:
    """A language model, the loss that it learns by and what is read of it belong together."""
    network, loss, reward = config.discriminator, config.adversary.loss, config.reward
    if network is None:
        return
    if isinstance(network, LanguageModel) and not isinstance(loss, Likelihood):
        yield (
            f"adversary.loss={loss.kind!r}: tells reals from fakes, and discriminator='language_model' is a law over "
            "tokens. Use adversary.loss likelihood, or another discriminator."
        )
    if isinstance(loss, Likelihood) and not isinstance(network, LanguageModel):
        yield (
            f"adversary.loss='likelihood': is of a law over tokens, and discriminator={network.kind!r} is none. Use "
            "discriminator language_model, or another loss."
        )
    if isinstance(reward, LogRatio) and not isinstance(network, LanguageModel):
        yield (
            f"reward='log_ratio': reads log p_φ of tokens, and discriminator={network.kind!r} gives none. Use "
            "discriminator language_model and adversary.loss likelihood, or reward logit."
        )
    if isinstance(network, LanguageModel) and isinstance(config.objective, Differentiated):
        yield (
            f"discriminator='language_model': reads tokens, and objective={config.objective.kind!r} shows it soft rows."
            " Use another discriminator, or objective reinforce with reward log_ratio."
        )
    if isinstance(loss, Likelihood) and isinstance(config.schedule.balance, Band):
        yield (
            "schedule.balance='band': is of the area under the ROC curve, and adversary.loss='likelihood' ranks "
            "nothing. Set it to fixed."
        )


def _who_is_paid(config: Config) -> Iterator[str]:
    """Reward, credit and discriminator must speak of the same: sequences, prefixes, or tokens."""
    reward, credit = config.reward, config.credit
    pays_by_discriminator = isinstance(reward, JudgedReward)
    judge = config.discriminator if pays_by_discriminator and config.schedule.adversarial_updates else None
    is_of_finished = metric_of(reward) is not None
    if isinstance(credit, Prefix) and is_of_finished:
        yield (
            f"credit='prefix': reward={reward.kind!r} compares finished sequences, which a prefix is not. Use credit "
            "terminal or monte_carlo."
        )
    if isinstance(reward, Mixed) and judge is not None and judge.granularity == "token":
        yield (
            f"reward='mixed': adds a metric of sequences to what the discriminator says of them, and discriminator="
            f"{judge.kind!r} judges every token. Use another discriminator, or another reward."
        )
    if isinstance(credit, MonteCarlo | Prefix) and not pays_by_discriminator and not is_of_finished:
        yield (
            f"credit={credit.kind!r}: all prefixes would be paid alike by reward={reward.kind!r}. Use credit "
            + ("reward_to_go." if isinstance(reward, TokenReward) else "terminal.")
        )
    pays_tokens = isinstance(reward, TokenReward) or (judge is not None and judge.granularity == "token")
    adds_up = isinstance(credit, RewardToGo | LambdaReturn)
    use = "Use credit reward_to_go or lambda_return."
    if isinstance(reward, TokenReward) and not adds_up:
        yield f"credit={credit.kind!r}: reward={reward.kind!r} pays every token. {use}"
    if judge is not None and judge.granularity == "token" and not adds_up:
        yield f"credit={credit.kind!r}: discriminator={judge.kind!r} judges every token. {use}"
    if isinstance(credit, LambdaReturn) and not isinstance(config.baseline, CriticBaseline):
        yield (
            f"credit='lambda_return': asks a critic, and baseline={config.baseline.kind!r} is none. Use baseline "
            "critic, or credit " + ("reward_to_go." if pays_tokens else "terminal.")
        )
    reads_source = isinstance(config.baseline, CriticBaseline) and config.baseline.reads == "source"
    if isinstance(credit, LambdaReturn) and reads_source:
        yield (
            "baseline.reads='source': tells one value for all tokens, and credit='lambda_return' asks what each token "
            "has changed. Set it to state, or use credit " + ("reward_to_go." if pays_tokens else "terminal.")
        )
    if isinstance(credit, RewardToGo) and not pays_tokens:
        yield (
            f"credit='reward_to_go': needs a reward for every token, and reward={reward.kind!r} pays sequences. Use "
            "credit terminal, or a discriminator that judges tokens."
        )
    if isinstance(reward, TokenReward) and not config.task.knows_law:
        yield f"reward={reward.kind!r}: the exact law of task={config.task.kind!r} is not known. Use an oracle task."
    if isinstance(reward, TokenReward) and _is_certain(config.task):
        yield f"reward={reward.kind!r}: is infinite at a wrong token, for task.rule.noise is 0. Give it noise."


def _what_is_compared(config: Config) -> Iterator[str]:
    """Baselines and normalisations against what they are taken of."""
    reward, credit, baseline, schedule = config.reward, config.credit, config.baseline, config.schedule
    if isinstance(baseline, ImportanceWeights) and not (
        reward.kind == "ratio" and isinstance(credit, Terminal | MonteCarlo)
    ):
        yield (
            f"baseline='importance_weights': weighs by the density ratio of sequences, so reward={reward.kind!r} and "
            f"credit={credit.kind!r} would have no effect. Use reward ratio and credit terminal or monte_carlo."
        )
    if isinstance(baseline, ImportanceWeights) and isinstance(config.reference, RewardPenalty):
        yield (
            "reference='reward': is taken off values, which baseline='importance_weights' does not read. Use reference "
            "loss."
        )
    if isinstance(baseline, ImportanceWeights) and isinstance(config.normalisation, GroupDeviation):
        yield (
            "normalisation='group_deviation': is of values, and baseline='importance_weights' weighs by something "
            "else. Use another normalisation."
        )
    is_of_logits = reward.kind == "logit" and isinstance(credit, Terminal) and config.tells_log_odds
    if isinstance(baseline, LogPartition) and not is_of_logits:
        yield (
            f"baseline='log_partition': is of log-odds of sequences, and reward={reward.kind!r}, "
            f"credit={credit.kind!r} and adversary.loss={config.adversary.loss.kind!r} pay something else. Use reward "
            "logit, credit terminal and adversary.loss cross_entropy."
        )
    group = schedule.g_group
    if isinstance(baseline, LeaveOneOut | GroupMean | ImportanceWeights) and schedule.num_sampled < 2:
        told = "" if schedule.num_sampled == schedule.g_batch else ", of which 1 is generated"
        yield (
            f"schedule.g_batch={schedule.g_batch}{told}: baseline={baseline.kind!r} compares sequences, at least 2 of "
            "them. Raise it."
        )
    if group is not None and schedule.num_sampled % group:
        told = _of_the_batch(config, schedule.num_sampled)
        yield f"schedule.g_group={group}: does not divide {told}. Set it to a divisor."
    if group is not None and not compares_sequences(baseline, config.normalisation):
        yield (
            f"schedule.g_group={group}: has no effect with baseline={baseline.kind!r} and "
            f"normalisation={config.normalisation.kind!r}. Leave it null."
        )


def _what_is_read_into_logits(config: Config, network: DiscriminatorSettings) -> Iterator[str]:
    """Those of how the discriminator learns and of what is read into its logits."""
    adversary = config.adversary
    path, reward = "reward.map" if isinstance(config.reward, Mixed) else "reward", map_of(config.reward)
    loss, slope = adversary.loss, adversary.gradient_penalty
    pays = config.schedule.adversarial_updates > 0 and isinstance(reward, JudgedReward)
    is_of_a_law = isinstance(loss, Likelihood)
    # Importance weights are a softmax of the logits, in which an unknown constant cancels.
    is_shifted = isinstance(loss, Relativistic) or (
        loss.is_log_odds and isinstance(config.schedule.balance, Equilibrium)
    )
    is_shift_free = is_shifted and isinstance(config.baseline, ImportanceWeights)
    if pays and is_of_a_law and not isinstance(reward, LogRatio | Logit):
        yield (
            f"{path}={reward.kind!r}: reads the logit as log p_d/p_θ, and with adversary.loss='likelihood' it is "
            f"{loss.meaning}. Use reward log_ratio, or logit."
        )
    if pays and not (is_of_a_law or config.tells_log_odds or isinstance(reward, Logit) or is_shift_free):
        which, meaning = f"adversary.loss={loss.kind!r}", loss.meaning
        if loss.is_log_odds:
            which, meaning = "schedule.balance='equilibrium'", "that plus log k"
        yield (
            f"{path}={reward.kind!r}: reads the logit as log p_d/p_θ, and with {which} it is {meaning}. Use {path} "
            + ("logit or schedule.balance fixed" if loss.is_log_odds else "logit or adversary.loss cross_entropy")
            + ("; reward ratio goes with baseline importance_weights." if is_shifted and path == "reward" else ".")
        )
    smoothing = loss.label_smoothing if isinstance(loss, CrossEntropy) else 0.0
    if pays and smoothing and _reads_ratio(config):
        yield (
            f"adversary.loss.label_smoothing={smoothing:g}: the logit would be log (1 - s) p_d/(p_θ + s p_d), and "
            f"{path}={reward.kind!r} with baseline={config.baseline.kind!r} reads it as log p_d/p_θ. Set it to 0."
        )
    if network.granularity == "token" and not isinstance(slope, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={slope.kind!r}: is of one score a sequence, and discriminator="
            f"{network.kind!r} scores tokens. Set it to none, or choose another discriminator."
        )
    if isinstance(config.credit, Prefix) and not isinstance(slope, NoGradientPenalty):
        yield (
            f"adversary.gradient_penalty={slope.kind!r}: is taken at whole sequences, and credit='prefix' shows the "
            "discriminator none. Set it to none, or choose another credit."
        )
    balance = config.schedule.balance
    if adversary.batch % 2 and (adversary.needs_halves or isinstance(balance, Equilibrium)):
        which = f"adversary.gradient_penalty={slope.kind!r}"
        if adversary.mismatched is not None:
            which = f"adversary.mismatched={adversary.mismatched:g}"
        if loss.needs_halves:
            which = f"adversary.loss={loss.kind!r}"
        elif isinstance(balance, Equilibrium):
            which = f"schedule.balance={balance.kind!r}"
        yield f"adversary.batch={adversary.batch}: {which} compares reals with as many fakes. Use an even number."
    has_spectral_norm = isinstance(network, Transformer) and network.spectral_norm
    is_bounded = adversary.weight_clip is not None or not isinstance(slope, NoGradientPenalty) or has_spectral_norm
    if isinstance(loss, Wasserstein) and not is_bounded:
        yield (
            "adversary.loss='wasserstein': has no minimum while nothing bounds the critic. Set "
            "adversary.gradient_penalty to interpolated, adversary.weight_clip, or a transformer's spectral_norm."
        )
    if adversary.weight_clip is not None and has_spectral_norm:
        yield (
            f"adversary.weight_clip={adversary.weight_clip:g}: bounds matrices that discriminator.spectral_norm=True "
            "scales afterwards. Set one of them to none or false."
        )
    if isinstance(network, Tabular) and isinstance(slope, InterpolatedPenalty) and slope.space == "embedding":
        yield (
            "adversary.gradient_penalty.space='embedding': discriminator='tabular' has no embedding. Set it to onehot."
        )


def _what_has_no_origin(config: Config) -> Iterator[str]:
    """Where logits are known up to a constant, something must be taken off rewards (specification 8.3)."""
    reward, loss = map_of(config.reward), config.adversary.loss
    if not config.schedule.adversarial_updates or not isinstance(reward, JudgedReward):
        return
    has_origin = config.tells_log_odds or isinstance(loss, Hinge | LeastSquares | Likelihood)
    centres = isinstance(config.normalisation, Whiten | GroupDeviation) or not isinstance(config.baseline, NoBaseline)
    if not (has_origin or centres or isinstance(config.objective, Differentiated)):
        which = "schedule.balance='equilibrium'" if loss.is_log_odds else f"adversary.loss={loss.kind!r}"
        yield (
            f"baseline='none': with {which} reward={reward.kind!r} has no origin, and its mean alone would raise or "
            "lower whatever is sampled. Use baseline leave_one_out, or normalisation whiten."
        )
