"""Configurations: every preset and control can be made and written down, and every contradiction is named."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from rlgan.adversary.losses import PrefixCrossEntropy
from rlgan.base.errors import ConfigError
from rlgan.base.pretrained import HubModel
from rlgan.base.problems import ContradictionError
from rlgan.base.settings import settings_in
from rlgan.config.config import Config, Control
from rlgan.config.paths import documentation, flatten, from_dict, override, to_dict
from rlgan.discriminators import (
    CausalLSTM,
    CnnHighway,
    DensityRatio,
    InteractionCnn,
    LanguageModel,
    PairCnn,
    Tabular,
    Transformer,
)
from rlgan.envs.tasks import OracleTask, PairsTask, TextTask
from rlgan.envs.tasks.demonstrations import DemonstrationsTask
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies
from rlgan.envs.tasks.pieces import Characters
from rlgan.envs.tasks.transduction import Copy
from rlgan.generators import LSTM, CausalLM, LatentConv, Seq2SeqLSTM, Seq2SeqTransformer
from rlgan.layers.embeddings import WordVectors
from rlgan.policy.advantage_scaling import GroupDeviation, Whiten
from rlgan.policy.baselines import CriticBaseline, ImportanceWeights, LeaveOneOut, LogPartition, NoBaseline
from rlgan.policy.control_rewards import ConstantReward, OracleRatio, RandomReward
from rlgan.policy.credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.discriminator_rewards import LogitIncrement, LogRatio
from rlgan.policy.kl_penalty import LossPenalty, RewardPenalty
from rlgan.policy.logit_maps import Logit, LogProbability, NegLogComplement, Probability, Ratio, SignedProbability
from rlgan.policy.metric_rewards import Bleu, Mixed, ReferenceBleu, ReferenceRouge
from rlgan.policy.objectives import PPO, AugmentedLikelihood, Gumbel, NoPolicyGradient, Soft
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedPrefix,
    MixedTeacherForcing,
    TeacherForcingByExample,
)
from rlgan.presets.controls import control
from rlgan.presets.registry import PRESETS, preset
from rlgan.sampling.beam_search import BeamsAndSamples
from rlgan.schedule.discriminator_balance import Band, Equilibrium
from rlgan.schedule.model_selection import BestGenerator
from tests.support.errors import refused
from tests.support.tiny import PAIRS, TASK
from tests.unit.test_augmented_likelihood import REFUSED as AUGMENTED_LIKELIHOOD
from tests.unit.test_pairwise_loss import REFUSED as WITHIN_PROMPTS
from tests.unit.test_preferences import REFUSED as PREFERENCES

TEXT = TextTask(data="lines.txt")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [None, TEXT], ids=["its own task", "text"])
def test_every_preset_can_be_made_and_written_down(name: str, task: TextTask | None) -> None:
    if preset(name).generator.needs_conditions and task is not None:
        with refused(ConfigError, "preset_not_for_task", {"preset": name}, match="task='text'"):
            preset(name, task)
        return
    # TextGAIL and RARO compare with any real sequence where there are no prompts; VARL has no answer to verify.
    needs_prompts = preset(name).adversary.loss.within_prompts and name not in ("textgail", "raro")
    if (needs_prompts or name == "varl") and task is not None:
        with refused(ConfigError, "preset_not_for_task", {"preset": name}, match="task='text'"):
            preset(name, task)
        return
    if name == "selfgan" and task is not None:
        with refused(ConfigError, "preset_not_for_task", {"preset": name}, match="task='text'"):
            preset(name, task)
        return
    if name in ("oracle_ratio", "oracle_likelihood") and task is not None:
        with refused(ConfigError, "reward_needs_law", {"reward": "oracle_ratio"}, match="'text'"):
            preset(name, task)
        return
    config = preset(name, task)
    assert config.preset == name
    assert task is None or config.task == task
    assert from_dict(to_dict(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("name", [name for name in PRESETS if preset(name).has_adversary and name != "wgan_gp"])
@pytest.mark.parametrize("which", get_args(Control))
def test_every_adversarial_preset_has_every_control(name: str, which: Control) -> None:
    config = preset(name)
    of_judge = which in ("frozen_discriminator", "shuffled_discriminator")
    missing = None
    if which == "frozen_discriminator" and not config.schedule.discriminator_rounds:
        missing = "control_of_untrained"
    if which == "shuffled_discriminator" and not config.objective.reads_reward:
        missing = "control_without_rewards"
    if which == "oracle_ratio" and config.generator.latent_width:
        with refused(ConfigError, "latent_reward_of_policy", {"reward": "oracle_ratio"}):
            control(config, which)
        return
    if which == "oracle_ratio" and config.task.kind == "plugin":
        with refused(ConfigError, "reward_needs_law", {"reward": which}):
            control(config, which)
        return
    if which == "mle_equal_reals" and config.preset != "quick_distill":
        with refused(ConfigError, "control_of_a_stream", {"controls": which, "task": config.task.kind}):
            control(config, which)
        if "mode" not in to_dict(config)["task"] or config.adversary.mismatched is not None:
            return
        config = override(config, {"task.mode": "stream"})
    if of_judge and config.generator.prefix_features is not None:
        missing = "control_of_leaked_features"
    if missing is not None:
        with refused(ConfigError, missing, {"controls": which}):
            control(config, which)
        return
    controlled = control(config, which)
    assert (controlled.task, controlled.seed, controlled.generator) == (config.task, config.seed, config.generator)
    assert controlled.discriminator == (config.discriminator if of_judge else None) and controlled.controls == ()
    assert controlled.schedule.adversarial_updates == config.schedule.adversarial_updates
    # Made through `model_copy`, which does not validate: what comes out must be legal all the same.
    assert from_dict(to_dict(controlled)) == controlled


@pytest.mark.parametrize("which", get_args(Control))
def test_what_has_no_likelihood_has_no_controls(which: Control) -> None:
    with refused(ConfigError, "control_without_likelihood", {"generator": "latent_conv"}):
        control(preset("wgan_gp"), which)


@pytest.mark.parametrize("typed", ["seqgan-quick", "seqgan_quick"])
def test_presets_are_found_with_dashes_and_underscores(typed: str) -> None:
    assert preset(typed).preset == "seqgan-quick"


def test_an_unknown_preset_names_the_nearest() -> None:
    with refused(ConfigError, "unknown_preset", {"preset": "seqgann"}, match="Did you mean 'seqgan'"):
        preset("seqgann")


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_documented_once(name: str) -> None:
    config = preset(name)
    rows = list(documentation(config))
    paths = [path for path, _, _ in rows]
    assert len(set(paths)) == len(paths)
    # What a plug-in is given is its own: documented there.
    own = {re.sub(r"\.options\..*", ".options", path) for path in flatten(to_dict(config))}
    assert {path.removesuffix(".kind") for path in own} == set(paths)
    assert [path for path, _, text in rows if not text.strip()] == []
    values = {path: value for path, value, _ in rows}
    assert values["credit"] == config.credit.kind
    assert values["workers.chunk_rows"] == config.workers.chunk_rows


def test_documentation_of_an_axis_lists_its_variants() -> None:
    texts = {path: text for path, _, text in documentation(preset("mle"))}
    assert texts["credit"].endswith("One of terminal, monte_carlo, prefix, reward_to_go, lambda_return.")
    assert texts["discriminator"].endswith(
        "One of cnn_highway, lstm, causal_lstm, window_cnn, transformer, res_conv, multi_representation, ranker, "
        "language_model, density_ratio, tabular, logistic, pair_cnn, pair_lstm, hierarchical_lstm, interaction_cnn, "
        "triple_lstm, pair_multi_representation, pair_ranker, sequence_classifier, verdict_writer, plugin, none."
    )


# What has no adversary, and what is learned by a discriminator.
PLAIN: dict[str, Any] = {
    "task": TASK,
    "discriminator": None,
    "reward": ConstantReward(),
    "credit": Terminal(),
    "schedule": {"discriminator_rounds": 0, "d_steps": 0},
}
JUDGED: dict[str, Any] = {"task": TASK, "discriminator": CnnHighway(), "reward": Probability(), "credit": Terminal()}
DISTRIBUTION: dict[str, Any] = {
    "task": TASK,
    "discriminator": LanguageModel(),
    "adversary": {"loss": {"kind": "likelihood"}},
    "reward": LogRatio(),
    "credit": RewardToGo(),
}

RATIO = DISTRIBUTION | {"discriminator": DensityRatio(), "adversary": {"loss": PrefixCrossEntropy()}}
STREAM, STREAM_OF_PAIRS = (task.model_copy(update={"mode": "stream"}) for task in (TASK, PAIRS))
CERTAIN = PAIRS.model_copy(update={"rule": Copy(noise=0.0)})
OF_PAIRS = JUDGED | {"task": PAIRS, "generator": Seq2SeqLSTM(), "discriminator": PairCnn()}
IN_PIECES = PairsTask(input=Table(data="x.tsv"), vocabulary=SeparateVocabularies(target=Characters()))
SEARCHED: dict[str, Any] = {"decoding": BeamsAndSamples()}
ALWAYS_SEARCHED: dict[str, Any] = {"decoding": BeamsAndSamples(rounds="all")}
# What is compared with the pair's own target.
COMPARED = PLAIN | {"task": PAIRS, "generator": Seq2SeqLSTM(), "reward": ReferenceBleu()}
NOTHING_FIRST: dict[str, Any] = {"mle_epochs": 0}
BY_EXAMPLE: dict[str, Any] = {"teacher_forcing": TeacherForcingByExample()}
# What draws no tokens.
SOFT: dict[str, Any] = {
    "task": TASK,
    "generator": LatentConv(),
    "reward": ConstantReward(),
    "credit": Terminal(),
    "objective": Soft(),
    "schedule": NOTHING_FIRST,
    "evaluation": {"temperatures": (1.0,), "collapse_share": None},
}

# What contradicts itself; the rule, the settings that it is told of, and what it must say where that depends.
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (JUDGED | {"schedule": {"discriminator_rounds": 0, "d_steps": 0}}, "never_trained at discriminator"),
    (
        JUDGED | {"schedule": {"discriminator_rounds": 0, "adversarial_updates": 0, "d_steps": 5}},
        "never_trained at discriminator",
    ),
    (
        PLAIN | {"schedule": {"discriminator_rounds": 3, "d_steps": 0}},
        "none_to_train at schedule.discriminator_rounds=3, schedule.d_steps=0",
    ),
    (
        PLAIN | {"schedule": {"discriminator_rounds": 0, "d_steps": 2}},
        "none_to_train at schedule.discriminator_rounds=0, schedule.d_steps=2",
    ),
    (PLAIN | {"reward": Probability()}, "reward_needs_discriminator at reward='probability'"),
    (JUDGED | {"reward": RandomReward()}, "discriminator_unread at discriminator"),
    (PLAIN | {"credit": MonteCarlo()}, "prefixes_rewarded_alike at credit='monte_carlo'"),
    (
        PLAIN | {"reward": OracleRatio(), "credit": MonteCarlo()},
        "prefixes_rewarded_alike at credit='monte_carlo'",
    ),
    (PLAIN | {"reward": OracleRatio()}, "tokens_are_rewarded at credit='terminal'"),
    (PLAIN | {"credit": RewardToGo()}, "sequences_are_rewarded at credit='reward_to_go'"),
    (
        PLAIN | {"task": TEXT, "reward": OracleRatio(), "credit": RewardToGo()},
        "reward_needs_law at reward='oracle_ratio'",
    ),
    (JUDGED | {"baseline": ImportanceWeights()}, "weights_of_no_ratio at baseline='importance_weights'"),
    (
        JUDGED
        | {
            "reward": Ratio(),
            "credit": Prefix(),
            "baseline": ImportanceWeights(),
        },
        "weights_of_no_ratio at baseline='importance_weights'",
    ),
    (JUDGED | {"baseline": LogPartition()}, "partition_of_no_log_odds at baseline='log_partition'"),
    (
        JUDGED | {"reward": Logit(), "baseline": LogPartition(), "adversary": {"loss": {"kind": "hinge"}}},
        "partition_of_no_log_odds at baseline='log_partition'",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "reference": RewardPenalty()},
        "penalty_of_unread_values at reference='reward'",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "normalisation": GroupDeviation()},
        "scale_of_unread_values at normalisation='group_deviation'",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "schedule": {"g_batch": 1}},
        "nothing_to_compare at schedule.g_batch=1",
    ),
    (
        JUDGED | {"objective": PPO(epochs=1, minibatches=1)},
        "nothing_is_clipped at objective.epochs=1, objective.minibatches=1",
    ),
    (
        PLAIN | {"objective": Gumbel(), "schedule": PLAIN["schedule"] | {"adversarial_updates": 0}},
        "objective_needs_discriminator at objective='gumbel'",
    ),
    (
        SOFT | {"discriminator": None, "schedule": NOTHING_FIRST | {"discriminator_rounds": 0, "d_steps": 0}},
        "objective_needs_discriminator at objective='soft'",
    ),
    (
        JUDGED | {"schedule": {"example_weights": "tf_idf", "mle_epochs": 0}},
        "weights_of_no_likelihood at schedule.example_weights='tf_idf'",
    ),
    (
        RATIO | {"reward": LogitIncrement()},
        "increment_of_distribution at reward='logit_increment'",
    ),
    (
        JUDGED | {"reward": LogitIncrement()},
        "increment_of_sequences at reward='logit_increment'",
    ),
    (
        JUDGED | {"task": STREAM, "schedule": {"example_weights": "tf_idf"}},
        "weights_of_a_stream at schedule.example_weights='tf_idf'",
    ),
    (
        OF_PAIRS | {"task": STREAM_OF_PAIRS, "adversary": {"mismatched": 1.0}},
        "mismatched_beside_stream at adversary.mismatched=1",
    ),
    (
        RATIO | {"adversary": {"loss": PrefixCrossEntropy(), "buffer": 20_000}},
        "replay_beside_policy at adversary.buffer=20000",
    ),
    (
        RATIO | {"discriminator": DensityRatio(network=LatentConv())},
        "density_without_likelihood at discriminator.network='latent_conv'",
    ),
    (
        RATIO | {"discriminator": DensityRatio(start="generator")},
        "density_of_another_form at discriminator.start='generator'",
    ),
    (
        JUDGED | {"schedule": {"mle_halve_from": 4, "mle_epochs": 0}},
        "halving_of_no_pretraining at schedule.mle_halve_from=4",
    ),
    (
        JUDGED | {"schedule": {"d_rate_end": 0.1, "d_steps": 0}},
        "rate_of_no_rounds at schedule.d_rate_end=0.1",
    ),
    (
        JUDGED | {"schedule": {"discriminator_accuracy": 0.8, "discriminator_rounds": 0}},
        "accuracy_of_no_rounds at schedule.discriminator_accuracy=0.8",
    ),
    (
        JUDGED
        | {
            "reward": Logit(),
            "schedule": {"discriminator_accuracy": 0.8},
            "adversary": {"loss": {"kind": "wasserstein"}, "weight_clip": 0.1},
        },
        "accuracy_without_boundary at schedule.discriminator_accuracy=0.8",
    ),
    (
        PLAIN | {"task": PAIRS, "generator": Seq2SeqLSTM(), "reward": Bleu()},
        "random_references at reward='bleu'",
    ),
    (
        JUDGED | {"task": PAIRS},
        "generator_reads_no_conditions at generator='lstm'",
    ),
    (
        OF_PAIRS | {"evaluation": {"replace_unknown": True}},
        "words_of_no_source at evaluation.replace_unknown=True",
    ),
    (
        OF_PAIRS | {"task": IN_PIECES, "evaluation": {"replace_unknown": True}},
        "no_words at evaluation.replace_unknown=True",
    ),
    *(
        (PLAIN | {"reward": reward}, f"reward_reads_targets at reward='{reward.kind}'")
        for reward in (ReferenceBleu(), ReferenceRouge())
    ),
    (JUDGED | {"reward": Mixed()}, "reward_reads_targets at reward='mixed' | Use reward bleu"),
    (
        COMPARED | {"reward": Mixed(metric=ReferenceRouge())},
        "reward_needs_discriminator at reward='mixed'",
    ),
    (OF_PAIRS | {"reward": ReferenceBleu()}, "discriminator_unread at discriminator"),
    (COMPARED | {"credit": Prefix()}, "prefix_is_not_finished at credit='prefix'"),
    (OF_PAIRS | {"reward": Mixed(), "credit": Prefix()}, "prefix_is_not_finished at credit='prefix'"),
    (COMPARED | {"credit": RewardToGo()}, "sequences_are_rewarded at credit='reward_to_go'"),
    *((OF_PAIRS | {"reward": {"kind": "mixed", "weight": end}}, f" at reward.weight={end}") for end in (0.0, 1.0)),
    (
        OF_PAIRS | {"reward": Mixed(), "adversary": {"loss": {"kind": "hinge"}}},
        "logit_is_no_log_odds at reward.map='probability' | Use reward.map logit or adversary.loss cross",
    ),
    (
        OF_PAIRS | {"reward": Mixed(map=Ratio()), "adversary": {"loss": {"kind": "relativistic"}}},
        "logit_is_no_log_odds at reward.map='ratio'",
    ),
    (
        OF_PAIRS | {"reward": Mixed(map=Ratio()), "baseline": ImportanceWeights()},
        "weights_of_no_ratio at baseline='importance_weights'",
    ),
    *(
        (
            JUDGED | described | {"adversary": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}}},
            "logit_is_smoothed at adversary.loss.label_smoothing=0.1",
        )
        for described in (
            {"reward": Ratio(), "baseline": ImportanceWeights()},
            {"reward": Logit(), "baseline": LogPartition()},
        )
    ),
    *(
        (
            JUDGED | {"reward": Logit(), "baseline": NoBaseline()} | origin,
            f"reward_without_origin at baseline='none' | with {described} reward='logit'",
        )
        for origin, described in (
            ({"adversary": {"loss": {"kind": "wasserstein"}, "weight_clip": 0.1}}, "adversary.loss='wasserstein'"),
            ({"adversary": {"loss": {"kind": "relativistic"}}}, "adversary.loss='relativistic'"),
            ({"schedule": {"balance": {"kind": "equilibrium"}}}, "schedule.balance='equilibrium'"),
        )
    ),
    (
        JUDGED | {"adversary": {"clip_every": "phase"}},
        "clip_every_without_clip at adversary.clip_every='phase' | adversary.weight_clip is null",
    ),
    (
        OF_PAIRS | {"task": PairsTask(input=Table(data="a.tsv")), "generator": CausalLM(), "evaluation": {}},
        "conditions_are_no_prompts at generator='causal_lm' | Set task.vocabulary to shared",
    ),
    (
        PLAIN | {"generator": CausalLM(weights={"kind": "folder", "path": "m"})},
        "tokens_are_not_the_models at generator.weights='folder' | or set generator.weights to fresh",
    ),
    (
        PLAIN
        | {
            "task": DemonstrationsTask(demonstrations="a.jsonl", model=HubModel(name="a/b", offline=True)),
            "evaluation": {},
            "generator": CausalLM(weights={"kind": "hub", "name": "a/b"}),
        },
        "offline_in_part at generator.weights.offline=False, task.model.offline=True | Set generator.weights.offline",
    ),
    (JUDGED | {"generator": Seq2SeqLSTM()}, "generator_reads_conditions at generator='seq2seq_lstm'"),
    (OF_PAIRS | {"discriminator": CnnHighway()}, "discriminator_reads_no_conditions at discriminator='cnn_highway'"),
    (JUDGED | {"discriminator": PairCnn()}, "discriminator_reads_conditions at discriminator='pair_cnn'"),
    (
        PLAIN | {"evaluation": {"adversarial": {"kind": "fresh_evaluator"}}},
        "evaluator_without_pairs at evaluation.adversarial='fresh_evaluator' | Set it to none",
    ),
    (
        PLAIN | {"evaluation": {"language_model": {"kind": "learned_language_model"}}},
        "language_model_without_text at evaluation.language_model='learned_language_model'",
    ),
    (
        OF_PAIRS | {"adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "penalty_between_conditions at adversary.gradient_penalty='interpolated'",
    ),
    (
        OF_PAIRS | {"discriminator": PairCnn(), "adversary": {"tokens_at_once": 100}},
        "parts_of_rows_together at adversary.tokens_at_once=100",
    ),
    (
        JUDGED | {"adversary": {"gradient_penalty": {"kind": "interpolated"}, "tokens_at_once": 100}},
        "parts_beside_penalty at adversary.tokens_at_once=100",
    ),
    (
        JUDGED | {"adversary": {"mismatched": 1.0}},
        "mismatched_without_conditions at adversary.mismatched=1",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0, "loss": {"kind": "relativistic"}}},
        "mismatched_without_classes at adversary.mismatched=1",
    ),
    (
        OF_PAIRS | {"task": CERTAIN, "controls": ("oracle_ratio",)},
        "control_is_infinite at controls",
    ),
    (
        PLAIN
        | {
            "task": CERTAIN,
            "generator": Seq2SeqLSTM(),
            "reward": OracleRatio(),
            "credit": RewardToGo(),
            "controls": (),
        },
        "reward_is_infinite at reward='oracle_ratio'",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0}, "reward": Mixed(map=Ratio())},
        "mismatched_beside_ratio at adversary.mismatched=1",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0}, "reward": Ratio()},
        "mismatched_beside_ratio at adversary.mismatched=1",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0, "batch": 9}},
        "batch_of_halves at adversary.batch=9",
    ),
    (
        JUDGED | {"adversary": SEARCHED},
        "searched_alike at adversary.decoding='searched_and_drawn'",
    ),
    (
        DISTRIBUTION | {"adversary": DISTRIBUTION["adversary"] | SEARCHED},
        "searched_for_nobody at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"objective": Gumbel(), "reward": ConstantReward(), "adversary": SEARCHED},
        "searched_soft_rows at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "schedule": {"teacher_forcing": MixedPrefix()}},
        "searched_from_nothing at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "schedule": {"discriminator_rounds": 0}},
        "searched_in_no_rounds at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "reward": Mixed(map=Ratio())},
        "searched_beside_ratio at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"adversary": ALWAYS_SEARCHED, "reward": Ratio()},
        "searched_beside_ratio at adversary.decoding='searched_and_drawn'",
    ),
    (
        OF_PAIRS | {"adversary": ALWAYS_SEARCHED, "reward": Logit(), "baseline": LogPartition()},
        "searched_beside_ratio at adversary.decoding='searched_and_drawn'",
    ),
    (SOFT | {"generator": LSTM()}, "objective_of_no_tokens at objective='soft' | Use objective gumbel"),
    (SOFT | {"objective": Gumbel()}, "generator_without_likelihood at generator='latent_conv'"),
    (
        OF_PAIRS
        | {
            "objective": Gumbel(),
            "adversary": {"loss": {"kind": "bradley_terry"}},
            "reward": ConstantReward(),
            "credit": Terminal(),
            "baseline": NoBaseline(),
            "schedule": {"g_group": None},
        },
        "loss_compares_classes at adversary.loss='bradley_terry'",
    ),
    (
        OF_PAIRS
        | {
            "objective": AugmentedLikelihood(),
            "reference": {"kind": "reward", "weight": 0.1},
            "reward": {"kind": "reference_bleu"},
            "credit": Terminal(),
            "baseline": NoBaseline(),
            "discriminator": None,
            "schedule": {"discriminator_rounds": 0, "d_steps": 0},
        },
        "replay_of_conditions at objective.replay=10 | Set it to 0",
    ),
    (
        JUDGED | {"adversary": {"loss": {"kind": "ranking"}}},
        "ranking_without_ranker at adversary.loss='ranking' | Use discriminator ranker",
    ),
    (SOFT | {"reward": Probability()}, "no_reward_is_read at objective='soft'"),
    (
        SOFT | {"schedule": NOTHING_FIRST | {"mle_epochs": 3}},
        "learns_by_likelihood at schedule.mle_epochs=3 | Set it to 0",
    ),
    (
        SOFT | {"schedule": NOTHING_FIRST | {"teacher_forcing": MixedTeacherForcing()}},
        "learns_by_likelihood at schedule.teacher_forcing='mixed'",
    ),
    (SOFT | {"controls": ("mle_continued",)}, "learns_by_likelihood at controls=['mle_continued']"),
    (
        SOFT | {"evaluation": {"collapse_share": None}},
        "measured_of_drawn_tokens at evaluation.temperatures=(1.0, 0.95, 0.9, 0.85, 0.8, 0.7) | Set it to (1.0,)",
    ),
    (
        SOFT | {"evaluation": {"temperatures": (1.0,)}},
        "measured_of_drawn_tokens at evaluation.collapse_share=0.5 | Set it to null",
    ),
    (SOFT | {"sampling": "environment"}, "environment_of_no_tokens at sampling='environment' | to batched"),
    (
        JUDGED | {"schedule": {"balance": Equilibrium()}},
        "logit_is_no_log_odds at reward='probability' | ; reward ratio",
    ),
    *(
        (
            JUDGED
            | {"reward": Logit(), "schedule": {"balance": Equilibrium()}}
            | {"adversary": {"weight_clip": 0.1, "loss": {"kind": loss}}},
            f"nothing_is_weighed at schedule.balance='equilibrium' | '{loss}' has no separate losses",
        )
        for loss in ("relativistic", "wasserstein")
    ),
    (
        JUDGED | {"reward": Logit(), "credit": MonteCarlo(), "baseline": LogPartition()},
        "partition_of_no_log_odds at baseline='log_partition'",
    ),
    (PLAIN | {"credit": Prefix()}, "prefixes_rewarded_alike at credit='prefix'"),
    (JUDGED | {"credit": RewardToGo()}, "sequences_are_rewarded at credit='reward_to_go'"),
    (PLAIN | {"schedule": PLAIN["schedule"] | {"balance": Band()}}, "balance_of_no_rounds at schedule.balance='band'"),
    (
        JUDGED | {"reward": Logit(), "adversary": {"batch": 65}, "schedule": {"balance": Equilibrium()}},
        "batch_of_halves at adversary.batch=65",
    ),
    (JUDGED | {"credit": LambdaReturn()}, "return_without_critic at credit='lambda_return'"),
    (JUDGED | {"schedule": {"g_group": 7}}, "group_does_not_divide at schedule.g_group=7"),
    (JUDGED | {"schedule": {"g_group": 8}}, "group_without_comparison at schedule.g_group=8"),
    (
        JUDGED | {"schedule": {"mle_epochs": 0}, "reference": LossPenalty()},
        "reference_of_no_pretraining at reference='loss'",
    ),
    (JUDGED | {"objective": PPO(minibatches=3)}, "minibatches_do_not_divide at objective.minibatches=3"),
    (
        JUDGED
        | {"objective": PPO(minibatches=4), "schedule": {"mle_batch": 6, "teacher_forcing": MixedTeacherForcing()}},
        "minibatches_do_not_divide at objective.minibatches=4",
    ),
    (
        JUDGED | {"baseline": ImportanceWeights(ramp_to=1.0), "reward": Ratio(), "credit": RewardToGo()},
        "sequences_are_rewarded at credit='reward_to_go'",
    ),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(epochs=2),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": InterleavedTeacherForcing()},
        },
        "passes_over_nothing at objective.epochs=2",
    ),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(loss_normaliser="token"),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": MixedTeacherForcing()},
        },
        "divisor_of_nothing at objective.loss_normaliser='token'",
    ),
    (
        JUDGED | {"schedule": {"g_batch": 4, "teacher_forcing": TeacherForcingByExample(fraction=0.1)}},
        "fraction_is_all_or_nothing at schedule.teacher_forcing.fraction=0.1",
    ),
    (
        JUDGED | {"schedule": {"g_batch": 4, "teacher_forcing": TeacherForcingByExample(fraction=0.9)}},
        "fraction_is_all_or_nothing at schedule.teacher_forcing.fraction=0.9",
    ),
    (
        JUDGED | {"objective": Gumbel(), "reward": ConstantReward(), "schedule": BY_EXAMPLE},
        "example_in_place_of_rewarded at schedule.teacher_forcing='by_example'",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 12, "g_group": 4}, "baseline": LeaveOneOut()},
        "group_does_not_divide at schedule.g_group=4",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 2}, "baseline": LeaveOneOut()},
        "nothing_to_compare at schedule.g_batch=2, of which only 1 is generated",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 6}, "objective": PPO(minibatches=2)},
        "minibatches_do_not_divide at objective.minibatches=2",
    ),
    (
        JUDGED
        | {
            "schedule": {"g_batch": 6, "teacher_forcing": TeacherForcingByExample(fraction=0.32)},
            "objective": PPO(minibatches=4),
        },
        "minibatches_do_not_divide at objective.minibatches=4",
    ),
    (
        JUDGED | {"baseline": CriticBaseline(reads="source")},
        "value_of_no_source at baseline.reads='source'",
    ),
    (
        OF_PAIRS | {"baseline": CriticBaseline(reads="source"), "credit": LambdaReturn()},
        "value_of_all_tokens at baseline.reads='source'",
    ),
    (
        OF_PAIRS | {"discriminator": InteractionCnn(embedding=32, embeddings="generator")},
        "tables_of_another_width at discriminator.embedding=32",
    ),
    (
        JUDGED | {"baseline": LeaveOneOut(), "schedule": {"g_batch": 1}},
        "nothing_to_compare at schedule.g_batch=1",
    ),
    (
        PLAIN
        | {
            "schedule": {
                "discriminator_rounds": 0,
                "d_steps": 0,
                "adversarial_updates": 0,
                "teacher_forcing": MixedTeacherForcing(),
            }
        },
        "forcing_of_no_updates at schedule.teacher_forcing='mixed'",
    ),
    (PLAIN | {"objective": NoPolicyGradient()}, "nothing_is_learned at objective='none'"),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(),
            "reward": RandomReward(),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": MixedTeacherForcing()},
        },
        "no_reward_is_read at objective='none'",
    ),
    (
        PLAIN | {"schedule": PLAIN["schedule"] | {"adversarial_updates": 0}, "controls": ["mle_continued"]},
        "controls_of_no_phase at controls=['mle_continued']",
    ),
    (PLAIN | {"task": TEXT, "controls": ["oracle_ratio"]}, "control_needs_law at controls"),
    (
        JUDGED | {"adversary": {"buffer": 10, "sequences_per_round": 11}},
        "buffer_below_a_round at adversary.buffer=10",
    ),
    *(
        (
            JUDGED | {"reward": reward, "adversary": {"weight_clip": 0.1, "loss": {"kind": loss}}},
            f"logit_is_no_log_odds at reward='{reward.kind}' | Use reward logit or adversary.loss cross_entropy.",
        )
        for reward in (Probability(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio())
        for loss in ("hinge", "wasserstein", "least_squares")
    ),
    (
        JUDGED | {"reward": Ratio(), "adversary": {"loss": {"kind": "relativistic"}}},
        "logit_is_no_log_odds at reward='ratio' | ; reward ratio needs baseline importance_weights",
    ),
    (
        JUDGED | {"reward": Logit(), "adversary": {"batch": 65, "loss": {"kind": "hinge"}}},
        "batch_of_halves at adversary.batch=65 | Use an even number",
    ),
    (
        JUDGED | {"adversary": {"batch": 65, "gradient_penalty": {"kind": "interpolated"}}},
        "batch_of_halves at adversary.batch=65",
    ),
    (
        JUDGED | {"reward": Logit(), "adversary": {"l2_all": 1e-4, "loss": {"kind": "wasserstein"}}},
        "slope_is_unbounded at adversary.loss='wasserstein'",
    ),
    (
        JUDGED | {"discriminator": Transformer(spectral_norm=True), "adversary": {"weight_clip": 0.1}},
        "bounded_twice at adversary.weight_clip=0.1",
    ),
    (
        JUDGED
        | {"discriminator": Tabular()}
        | {"adversary": {"gradient_penalty": {"kind": "interpolated", "space": "embedding"}}},
        "penalty_without_embedding at adversary.gradient_penalty.space='embedding' | Set it to onehot",
    ),
    *(
        (
            JUDGED | {"discriminator": CausalLSTM(), "credit": credit},
            f"tokens_are_judged at credit='{credit.kind}' | Use credit reward_to_go",
        )
        for credit in (Terminal(), MonteCarlo())
    ),
    (
        JUDGED | {"discriminator": CausalLSTM(), "credit": Prefix()},
        "tokens_are_judged at credit='prefix'",
    ),
    (
        JUDGED | {"credit": Prefix(), "adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "penalty_of_prefixes at adversary.gradient_penalty='interpolated'",
    ),
    (
        JUDGED
        | {"discriminator": CausalLSTM(), "schedule": {"adversarial_updates": 0}}
        | {"adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "penalty_of_tokens at adversary.gradient_penalty='interpolated'",
    ),
    *(
        (
            DISTRIBUTION | {"reward": Logit(), "adversary": {"loss": {"kind": loss}, "weight_clip": 0.1}},
            f"loss_tells_apart at adversary.loss='{loss}'",
        )
        for loss in ("cross_entropy", "hinge", "wasserstein", "least_squares", "relativistic")
    ),
    (
        DISTRIBUTION | {"discriminator": CausalLSTM(), "reward": Logit()},
        "loss_of_a_distribution at adversary.loss='likelihood'",
    ),
    (
        DISTRIBUTION | {"discriminator": CausalLSTM(), "adversary": {}},
        "log_ratio_without_distribution at reward='log_ratio'",
    ),
    (
        DISTRIBUTION | {"discriminator": None, "schedule": PLAIN["schedule"]},
        "reward_needs_discriminator at reward='log_ratio'",
    ),
    *[
        (
            JUDGED | {"discriminator": {"kind": kind}},
            f"discriminator_reads_conditions at discriminator={kind!r}",
        )
        for kind in (
            *("pair_cnn", "pair_lstm", "hierarchical_lstm", "interaction_cnn", "triple_lstm"),
            "pair_multi_representation",
        )
    ],
    *(
        (
            DISTRIBUTION | {"reward": reward},
            f"logit_is_of_a_distribution at reward='{reward.kind}' | Use reward log_ratio, or logit.",
        )
        for reward in (Probability(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio())
    ),
    (DISTRIBUTION | {"reward": ConstantReward()}, "discriminator_unread at discriminator"),
    *(
        (DISTRIBUTION | {"credit": credit}, f"tokens_are_judged at credit='{credit.kind}'")
        for credit in (Terminal(), MonteCarlo(), Prefix())
    ),
    (DISTRIBUTION | {"credit": LambdaReturn()}, "return_without_critic at credit='lambda_return'"),
    (
        DISTRIBUTION | {"objective": Gumbel(), "reward": ConstantReward(), "credit": Terminal()},
        "discriminator_reads_tokens at discriminator='language_model'",
    ),
    (
        DISTRIBUTION | {"adversary": {"loss": {"kind": "likelihood"}, "gradient_penalty": {"kind": "interpolated"}}},
        "penalty_of_tokens at adversary.gradient_penalty='interpolated'",
    ),
    (DISTRIBUTION | {"schedule": {"balance": Band()}}, "nothing_is_ranked at schedule.balance='band'"),
    (
        DISTRIBUTION | {"schedule": {"balance": Equilibrium()}},
        "nothing_is_weighed at schedule.balance='equilibrium'",
    ),
    (
        JUDGED | {"schedule": {"mle_epochs": 0, "mle_inputs": {"kind": "scheduled_sampling"}}},
        "inputs_of_no_pretraining at schedule.mle_inputs='scheduled_sampling'",
    ),
    (
        JUDGED | {"schedule": {"adversarial_updates": 0, "selection": BestGenerator()}},
        "selection_of_no_phase at schedule.selection='best'",
    ),
    (
        SOFT | {"schedule": NOTHING_FIRST | {"selection": BestGenerator()}},
        "measure_of_likelihood at schedule.selection.measure='valid_nll'",
    ),
    (
        JUDGED | {"task": TEXT, "schedule": {"selection": BestGenerator(measure="kl_sum")}},
        "measure_of_law at schedule.selection.measure='kl_sum' | Use lm_rlm or valid_nll.",
    ),
    (
        OF_PAIRS | {"task": IN_PIECES, "schedule": {"selection": BestGenerator(measure="kl_sum")}},
        "measure_of_law at schedule.selection.measure='kl_sum' | Use corpus_bleu, chrf or valid_nll.",
    ),
    (
        JUDGED | {"schedule": {"selection": BestGenerator(measure="own_length")}},
        "measure_unknown at schedule.selection.measure='own_length' | choose one of valid_nll, kl_sum, lm_rlm",
    ),
    (
        OF_PAIRS | {"task": CERTAIN, "schedule": {"selection": BestGenerator(measure="kl_sum")}},
        "measure_is_infinite at schedule.selection.measure='kl_sum'",
    ),
    (
        JUDGED | {"schedule": {"selection": BestGenerator(measure="lm_rlm")}},
        "measure_of_text at schedule.selection.measure='lm_rlm'",
    ),
    *(
        (
            JUDGED | {"schedule": {"selection": BestGenerator(measure=measure)}},
            f"measure_of_references at schedule.selection.measure='{measure}'",
        )
        for measure in ("corpus_bleu", "chrf")
    ),
    (
        OF_PAIRS
        | {"generator": Seq2SeqTransformer(), "discriminator": InteractionCnn(embeddings="generator", embedding=64)},
        "no_tables_to_copy at discriminator.embeddings='generator'",
    ),
    (
        JUDGED | {"objective": Gumbel(), "reward": ConstantReward(), "schedule": {"teacher_forcing": MixedPrefix()}},
        "relaxed_from_the_start at schedule.teacher_forcing='mixed_prefix'",
    ),
    *(
        (JUDGED | {name: network, "credit": credit}, f"tokens_are_no_words at {name}.pretrained='word_vectors'")
        for name, network, credit in (
            ("generator", LSTM(pretrained=WordVectors(path="x")), Terminal()),
            ("discriminator", CausalLSTM(pretrained=WordVectors(path="x")), RewardToGo()),
        )
    ),
]


def test_what_the_contradictions_are_varied_from_is_legal() -> None:
    for legal in (PLAIN, JUDGED, PLAIN | {"task": TEXT}, PLAIN | {"reward": OracleRatio(), "credit": RewardToGo()}):
        assert list(Config(**legal).problems()) == []
    Config(**(JUDGED | {"adversary": {"buffer": 11, "sequences_per_round": 11}}))
    Config(**(JUDGED | {"baseline": LeaveOneOut(), "schedule": {"g_batch": 2}}))
    Config(**(JUDGED | {"adversary": {"batch": 65}}))
    for loss in ("hinge", "wasserstein", "least_squares", "relativistic"):
        adversary = {"weight_clip": 0.1, "loss": {"kind": loss}}
        Config(**(JUDGED | {"reward": Logit(), "baseline": LeaveOneOut(), "adversary": adversary}))
        # Nothing is paid before the adversarial phase.
        Config(**(JUDGED | {"adversary": adversary, "schedule": {"adversarial_updates": 0}}))
    for critic in ({"gradient_penalty": {"kind": "interpolated"}}, {"weight_clip": 0.01}):
        wasserstein = {"adversary": {"loss": {"kind": "wasserstein"}, **critic}}
        for centred in ({"baseline": LeaveOneOut()}, {"baseline": NoBaseline(), "normalisation": Whiten()}):
            Config(**(JUDGED | {"reward": Logit()} | centred | wasserstein))
    Config(**(JUDGED | {"discriminator": CausalLSTM(), "schedule": {"adversarial_updates": 0}}))
    critic = {"reward": Logit(), "baseline": LeaveOneOut(), "adversary": {"loss": {"kind": "wasserstein"}}}
    Config(**(JUDGED | critic | {"discriminator": Transformer(spectral_norm=True)}))
    for learns in ("reals", "mixture"):
        distribution = DISTRIBUTION | {"adversary": {"batch": 65, "loss": {"kind": "likelihood", "learns": learns}}}
        for legal in (
            distribution,
            distribution | {"reward": Logit()},
            distribution | {"credit": LambdaReturn(), "baseline": CriticBaseline()},
        ):
            assert list(Config(**legal).problems()) == []
    Config(**(JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 8, "g_group": 4}, "baseline": LeaveOneOut()}))
    Config(**(JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 8}, "objective": PPO(minibatches=4)}))
    Config(**(OF_PAIRS | {"baseline": CriticBaseline(reads="source")}))
    Config(**(OF_PAIRS | {"discriminator": InteractionCnn(embedding=64, embeddings="generator")}))
    relative = {"adversary": {"loss": {"kind": "relativistic"}}}
    Config(**(JUDGED | relative | {"reward": Ratio(), "baseline": ImportanceWeights()}))


def test_rewards_beside_targets_go_with_whole_sequences_and_with_continuations() -> None:
    legal: list[dict[str, Any]] = []
    for credit in (Terminal(), MonteCarlo()):
        legal.append(COMPARED | {"credit": credit})
        for part in (Probability(), Logit(), SignedProbability()):
            reward = Mixed(map=part, metric=ReferenceRouge(), weight=0.2)
            legal.append(OF_PAIRS | {"reward": reward, "credit": credit})
    legal.append(COMPARED | {"credit": LambdaReturn(), "baseline": CriticBaseline()})
    legal.append(OF_PAIRS | {"reward": Mixed(map=Logit()), "adversary": {"loss": {"kind": "hinge"}}})
    legal.append(JUDGED | {"adversary": {"weight_clip": 0.1, "clip_every": "phase"}})
    for settings in legal:
        assert list(Config(**settings).problems()) == []


def test_a_mix_with_a_judge_of_tokens_is_told() -> None:
    # No such judge reads pairs, which is told first.
    config = Config.model_construct(**(OF_PAIRS | {"reward": Mixed(), "discriminator": CausalLSTM()}))
    assert "mixed_with_tokens" in [problem.code for problem in config.problems()]


IDS = [expected[:60] for _, expected in CONTRADICTIONS]


def told_of(settings: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        from_dict({name: to_dict(part) if hasattr(part, "model_dump") else part for name, part in settings.items()})
    return caught.value


@pytest.mark.parametrize(
    ("settings", "expected"), CONTRADICTIONS, ids=[expected[:60] for _, expected in CONTRADICTIONS]
)
def test_a_contradiction_names_its_rule_and_the_settings(settings: dict[str, Any], expected: str) -> None:
    error = told_of(settings)
    code, _, rest = expected.partition(" at ")
    at, _, said = rest.partition(" | ")
    told = error.problem.code if isinstance(error, ContradictionError) else error.code
    # Of what a type refuses, such as a number out of its range, no rule of ours is named.
    assert told == (code or "setting_value"), error
    assert str(error).startswith(f"{at}: ") and said in str(error), error


def test_every_rule_is_tried() -> None:
    codes = set()
    for path in (Path(__file__).resolve().parents[2] / "rlgan").rglob("*.py"):
        codes |= set(re.findall(r'\bProblem\(\s*"(\w+)"', path.read_text("utf-8")))
    tried = {expected.partition(" at ")[0] for _, expected in CONTRADICTIONS}
    # Tests of their own: one is told after another, one is of no generator that ships.
    tried |= {
        "mixed_with_tokens",
        "actor_waits_for_rewards",
        "terms_of_continuations",
        "repeats_of_continuations",
        "generator_gives_no_soft_rows",
        "penalty_of_tokens_alone",
        "generator_attends_to_nothing",
        "shuffled_without_rewards",
        "contrast_of_prefixes",
        "weights_below_zero",
        "weights_less_a_penalty",
        "nothing_is_repeated",
        "likelihood_below_zero",
        "ratio_of_parts",
        "relative_of_tokens",
        "relative_of_prefixes",
    }
    # Of features: test_feature_matching.py; of classes: test_class_reward.py; of latents: test_vae.py.
    tried.add("class_without_conditions")
    tried |= {f"features_of_{what}" for what in ("none", "one", "prefixes")} | {"inputs_of_latents"}
    tried |= {f"latent_{what}" for what in ("given_prefixes", "contrasts", "reward_of_policy", "loss_of_policy")}
    tried |= {"latent_control", "behaviour_of_latents"}
    # Of demonstrations alone: test_iqlearn.py.
    tried.add("likelihood_beside_likelihood")
    # Of prompts without completions: test_prompts_alone.py.
    tried |= {"needs_completions", "measure_of_completions", "evaluator_without_completions"}
    # Of cold rollouts: test_coldgans.py.
    tried |= {f"behaviour_{what}" for what in ("of_no_rollouts", "is_not_cold", "of_ratios", "shown_as_policy")}
    tried.add("behaviour_of_matched_features")
    tried.add("clip_above_all_weights")
    # Of hypotheses of a search: test_selfgan.py.
    tried |= {"beams_without_conditions", "beams_are_no_samples", "beams_of_no_group", "beams_from_nothing"}
    tried.add("beams_continued")
    # Of verdicts that are written: test_written_verdicts.py.
    tried |= {f"{what}_of_written_verdicts" for what in ("loss", "reward")}
    tried |= {"critic_of_no_language_model", "critic_without_words"}
    # Of rewards of tokens within groups and of changed copies: test_r_airl.py; of verdicts and replay: test_raro.py.
    tried |= {
        "dense_of_sequences",
        "standardised_across_prompts",
        "standardised_alone",
        "order_of_no_rounds",
        "rollouts_before_they_are_drawn",
        "reals_of_no_classifier",
        "copies_without_classes",
        "copies_of_soft_rows",
        "copies_beside_ratio",
        "copies_beside_balance",
        "verdict_of_no_belief",
        "verdict_of_scaled_margins",
        "replay_beside_ratio",
        "replay_of_no_fakes",
    }
    # Of a target of log-probabilities, its memory and its filter: test_augmented_likelihood.py.
    tried |= {code for _, code in AUGMENTED_LIKELIHOOD}
    # Of pairs that a reward prefers: test_preferences.py.
    tried |= {code for _, code in PREFERENCES} | {"share_across_prompts"}
    # Of goals and leaked features, and of pretraining side by side: test_leakgan.py, of pairs test_leakgan_pairs.py.
    tried |= {"features_not_leaked", "features_of_other_sizes", "features_after_likelihood", "patience_with_features"}
    tried |= {"pair_features_not_leaked", "pair_features_of_other_sizes"}
    tried |= {"goals_of_none", "side_by_side_with_none", "side_by_side_with_copies"}
    # Of comparisons of a ranker: test_rankgan.py.
    tried |= {"ranker_learns_ranks", "comparisons_of_batch"}
    # Of the policy's temperature: test_rollout_temperature.py.
    tried |= {f"temperature_of_{what}" for what in ("no_tokens", "no_rollouts", "likelihood", "a_policy_read")}
    # Of comparisons within a prompt: test_pairwise_loss.py.
    tried |= {code.partition(":")[0] for code, _, _ in WITHIN_PROMPTS}
    assert len(codes) > 90 and codes - tried == set()


@pytest.mark.parametrize(
    ("settings", "expected"), CONTRADICTIONS, ids=[expected[:60] for _, expected in CONTRADICTIONS]
)
def test_a_contradiction_says_where_and_what_to_do(settings: dict[str, Any], expected: str) -> None:
    error = told_of(settings)
    if not isinstance(error, ContradictionError):
        return
    for path in error.problem.at:
        *above, leaf = path.split(".")
        owners: list[Any] = [Config]
        for name in above:
            owners = [below for one in owners for below in settings_in(one.model_fields.get(name))]
        assert any(leaf in owner.model_fields for owner in owners), path
    assert re.search(r"(^|[.] |, |: )(Use|choose|Set|Remove|Make|Raise|Choose|Give) ", str(error)), error


def test_a_generator_without_soft_rows_goes_with_no_relaxed_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset("gumbel")
    assert list(config.problems()) == []
    monkeypatch.setattr(LSTM, "relaxes", False)
    (problem,) = config.problems()
    assert (problem.code, problem.at) == ("generator_gives_no_soft_rows", {"objective": "gumbel"})


def test_a_discriminator_of_tokens_alone_is_shown_no_soft_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(**(JUDGED | {"adversary": {"gradient_penalty": {"kind": "interpolated"}}}))
    through = preset("gumbel")
    monkeypatch.setattr(CnnHighway, "reads_soft_rows", False)
    assert [problem.code for problem in config.problems()] == ["penalty_of_tokens_alone"]
    assert [problem.code for problem in through.problems()] == ["discriminator_reads_tokens"]


def test_an_oracle_has_its_sizes_from_one_place() -> None:
    with refused(ConfigError, "no_effect_beside_params", {"params": "o.npz", "vocab_size": 7}):
        from_dict({"task": {"kind": "oracle", "params": "o.npz", "vocab_size": 7}})
    assert isinstance(from_dict({"task": {"kind": "oracle"}}).task, OracleTask)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", True),
        ("schedule.g_batch", False),
        ("optimizers.generator.lr", True),
        ("evaluation.temperatures", [True]),
    ],
)
def test_a_truth_value_is_no_number(path: str, value: object) -> None:
    with refused(ConfigError, "setting_value", {path: value}, match="not true or false"):
        override(preset("quick"), {path: value})


def test_a_truth_value_is_one_where_truth_is_meant() -> None:
    assert override(preset("quick"), {"tracking.enabled": False}).tracking.enabled is False
