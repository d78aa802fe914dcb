"""Configurations: every preset and control can be made and written down, and every contradiction is named."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from rlgan.base.errors import ConfigError
from rlgan.config.checks import contradictions
from rlgan.config.config import Config, Control
from rlgan.config.paths import documentation, flatten, from_dict, to_dict
from rlgan.discriminators import CausalLSTM, CnnHighway, InteractionCnn, LanguageModel, PairCnn, Tabular, Transformer
from rlgan.envs.tasks import OracleTask, PairsTask, TextTask
from rlgan.envs.tasks.pair_files import Table
from rlgan.envs.tasks.pairs import SeparateVocabularies
from rlgan.envs.tasks.pieces import Characters
from rlgan.envs.tasks.transduction import Copy
from rlgan.generators import LSTM, LatentConv, Seq2SeqLSTM
from rlgan.policy.advantage_scaling import GroupDeviation, Whiten
from rlgan.policy.baselines import CriticBaseline, ImportanceWeights, LeaveOneOut, LogPartition, NoBaseline
from rlgan.policy.credit import LambdaReturn, MonteCarlo, Prefix, RewardToGo, Terminal
from rlgan.policy.kl_penalty import LossPenalty, RewardPenalty
from rlgan.policy.logit_maps import Logit, LogProbability, NegLogComplement, Probability, Ratio, SignedProbability
from rlgan.policy.objectives import PPO, Gumbel, NoPolicyGradient, Soft
from rlgan.policy.rewards import (
    Bleu,
    ConstantReward,
    LogRatio,
    Mixed,
    OracleRatio,
    RandomReward,
    ReferenceBleu,
    ReferenceRouge,
)
from rlgan.policy.teacher_forcing import (
    InterleavedTeacherForcing,
    MixedPrefix,
    MixedTeacherForcing,
    TeacherForcingByExample,
)
from rlgan.presets.controls import control
from rlgan.presets.registry import PRESETS, preset
from rlgan.sampling.beam_search import SearchedAndDrawn
from rlgan.schedule.discriminator_balance import Band, Equilibrium
from tests.support.tiny import PAIRS, TASK

TEXT = TextTask(data="lines.txt")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [None, TEXT], ids=["its own task", "text"])
def test_every_preset_can_be_made_and_written_down(name: str, task: TextTask | None) -> None:
    if preset(name).task.gives_conditions and task is not None:
        with pytest.raises(
            ConfigError, match=f"preset '{name}' is not for this task. .*reads conditions, and task='text'"
        ):
            preset(name, task)
        return
    if name in ("oracle_ratio", "oracle_likelihood") and task is not None:
        with pytest.raises(ConfigError, match="reward='oracle_ratio': the exact law of task='text' is not known"):
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
    controlled = control(config, which)
    assert (controlled.task, controlled.seed, controlled.generator) == (config.task, config.seed, config.generator)
    assert controlled.discriminator is None and controlled.controls == ()
    assert controlled.schedule.adversarial_updates == config.schedule.adversarial_updates
    # Made through `model_copy`, which does not validate: what comes out must be legal all the same.
    assert from_dict(to_dict(controlled)) == controlled


@pytest.mark.parametrize("which", get_args(Control))
def test_what_has_no_likelihood_has_no_controls(which: Control) -> None:
    with pytest.raises(ConfigError, match="generator='latent_conv' has no likelihood.* Run preset mle"):
        control(preset("wgan_gp"), which)


@pytest.mark.parametrize("typed", ["seqgan-quick", "seqgan_quick"])
def test_presets_are_found_with_dashes_and_underscores(typed: str) -> None:
    assert preset(typed).preset == "seqgan-quick"


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'seqgann': not known. Did you mean 'seqgan'\? Presets are quick, "):
        preset("seqgann")


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_documented_once(name: str) -> None:
    config = preset(name)
    rows = list(documentation(config))
    paths = [path for path, _, _ in rows]
    assert len(set(paths)) == len(paths)
    assert {path.removesuffix(".kind") for path in flatten(to_dict(config))} == set(paths)
    assert [path for path, _, text in rows if not text.strip()] == []
    values = {path: value for path, value, _ in rows}
    assert values["credit"] == config.credit.kind
    assert values["workers.chunk_rows"] == config.workers.chunk_rows


def test_documentation_of_an_axis_lists_its_variants() -> None:
    texts = {path: text for path, _, text in documentation(preset("mle"))}
    assert texts["credit"].endswith("One of terminal, monte_carlo, prefix, reward_to_go, lambda_return.")
    assert texts["discriminator"].endswith(
        "One of cnn_highway, lstm, causal_lstm, transformer, res_conv, language_model, tabular, pair_cnn, pair_lstm, "
        "hierarchical_lstm, interaction_cnn, triple_lstm, plugin, none."
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
LAW: dict[str, Any] = {
    "task": TASK,
    "discriminator": LanguageModel(),
    "adversary": {"loss": {"kind": "likelihood"}},
    "reward": LogRatio(),
    "credit": RewardToGo(),
}

CERTAIN = PAIRS.model_copy(update={"rule": Copy(noise=0.0)})
OF_PAIRS = JUDGED | {"task": PAIRS, "generator": Seq2SeqLSTM(), "discriminator": PairCnn()}
IN_PIECES = PairsTask(input=Table(data="x.tsv"), vocabulary=SeparateVocabularies(target=Characters()))
SEARCHED: dict[str, Any] = {"decoding": SearchedAndDrawn()}
ALWAYS_SEARCHED: dict[str, Any] = {"decoding": SearchedAndDrawn(rounds="all")}
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

CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    (JUDGED | {"schedule": {"discriminator_rounds": 0, "d_steps": 0}}, "discriminator: is never trained"),
    (
        JUDGED | {"schedule": {"discriminator_rounds": 0, "adversarial_updates": 0, "d_steps": 5}},
        "discriminator: is never trained",
    ),
    (
        PLAIN | {"schedule": {"discriminator_rounds": 3, "d_steps": 0}},
        "schedule.discriminator_rounds=3, schedule.d_steps=0: there is no discriminator to train",
    ),
    (
        PLAIN | {"schedule": {"discriminator_rounds": 0, "d_steps": 2}},
        "schedule.discriminator_rounds=0, schedule.d_steps=2: there is no discriminator to train",
    ),
    (PLAIN | {"reward": Probability()}, "reward='probability': needs a discriminator"),
    (JUDGED | {"reward": RandomReward()}, "discriminator: has no effect with reward='random'"),
    (PLAIN | {"credit": MonteCarlo()}, r"credit='monte_carlo': all prefixes .* Use credit terminal\.$"),
    (
        PLAIN | {"reward": OracleRatio(), "credit": MonteCarlo()},
        r"credit='monte_carlo': .* Use credit reward_to_go\.$",
    ),
    (PLAIN | {"reward": OracleRatio()}, "credit='terminal': reward='oracle_ratio' pays every token"),
    (PLAIN | {"credit": RewardToGo()}, "credit='reward_to_go': needs a reward for every token, and reward='constant'"),
    (
        PLAIN | {"task": TEXT, "reward": OracleRatio(), "credit": RewardToGo()},
        "reward='oracle_ratio': the exact law of task='text' is not known",
    ),
    (JUDGED | {"baseline": ImportanceWeights()}, "baseline='importance_weights': .* reward='probability'"),
    (
        JUDGED
        | {
            "reward": Ratio(),
            "credit": Prefix(),
            "baseline": ImportanceWeights(),
        },
        "baseline='importance_weights': .* credit='prefix'",
    ),
    (JUDGED | {"baseline": LogPartition()}, "baseline='log_partition': .* reward='probability'"),
    (
        JUDGED | {"reward": Logit(), "baseline": LogPartition(), "adversary": {"loss": {"kind": "hinge"}}},
        "baseline='log_partition': .*adversary.loss='hinge' pay something else",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "reference": RewardPenalty()},
        "reference='reward': is taken off values",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "normalisation": GroupDeviation()},
        "normalisation='group_deviation': is of values",
    ),
    (
        JUDGED | {"reward": Ratio(), "baseline": ImportanceWeights(), "schedule": {"g_batch": 1}},
        "schedule.g_batch=1: baseline='importance_weights' compares sequences",
    ),
    (JUDGED | {"objective": PPO(epochs=1, minibatches=1)}, "objective.epochs=1, objective.minibatches=1: the first"),
    (
        PLAIN | {"objective": Gumbel(), "schedule": PLAIN["schedule"] | {"adversarial_updates": 0}},
        "objective='gumbel': is differentiated through the discriminator",
    ),
    (
        SOFT | {"discriminator": None, "schedule": NOTHING_FIRST | {"discriminator_rounds": 0, "d_steps": 0}},
        "objective='soft': is differ",
    ),
    (
        JUDGED | {"schedule": {"example_weights": "tf_idf", "mle_epochs": 0}},
        "schedule.example_weights='tf_idf': has no effect with schedule.mle_epochs=0 and schedule.teacher_forcing",
    ),
    (
        JUDGED | {"schedule": {"mle_halve_from": 4, "mle_epochs": 0}},
        "schedule.mle_halve_from=4: is of pretraining, and schedule.mle_epochs is 0",
    ),
    (
        JUDGED | {"schedule": {"discriminator_accuracy": 0.8, "discriminator_rounds": 0}},
        "schedule.discriminator_accuracy=0.8: ends pretraining, and schedule.discriminator_rounds is 0",
    ),
    (
        JUDGED
        | {
            "reward": Logit(),
            "schedule": {"discriminator_accuracy": 0.8},
            "adversary": {"loss": {"kind": "wasserstein"}, "weight_clip": 0.1},
        },
        "schedule.discriminator_accuracy=0.8: adversary.loss='wasserstein' has no boundary",
    ),
    (
        PLAIN | {"task": PAIRS, "generator": Seq2SeqLSTM(), "reward": Bleu()},
        "reward='bleu': compares with sequences drawn at random, and task='transduction'",
    ),
    (
        JUDGED | {"task": PAIRS},
        "generator='lstm': cannot read what task='transduction' gives .* generator seq2seq_lstm or seq2seq_transformer",
    ),
    (
        OF_PAIRS | {"evaluation": {"replace_unknown": True}},
        "evaluation.replace_unknown=True: takes words of a source, and task='transduction' has none",
    ),
    (
        OF_PAIRS | {"task": IN_PIECES, "evaluation": {"replace_unknown": True}},
        "evaluation.replace_unknown=True: targets are cut into characters or pieces of words",
    ),
    *(
        (PLAIN | {"reward": reward}, f"reward='{reward.kind}': compares each sequence with what the data has for its")
        for reward in (ReferenceBleu(), ReferenceRouge())
    ),
    (JUDGED | {"reward": Mixed()}, "reward='mixed': compares .* and task='oracle' gives none. Use reward bleu"),
    (
        COMPARED | {"reward": Mixed(metric=ReferenceRouge())},
        r"reward='mixed': needs a discriminator, .* Use reward reference_rouge\.$",
    ),
    (OF_PAIRS | {"reward": ReferenceBleu()}, "discriminator: has no effect with reward='reference_bleu'"),
    (COMPARED | {"credit": Prefix()}, "credit='prefix': reward='reference_bleu' compares finished sequences"),
    (OF_PAIRS | {"reward": Mixed(), "credit": Prefix()}, "credit='prefix': reward='mixed' compares finished sequences"),
    (COMPARED | {"credit": RewardToGo()}, "credit='reward_to_go': .* and reward='reference_bleu' pays sequences"),
    *((OF_PAIRS | {"reward": {"kind": "mixed", "weight": end}}, f"reward.weight={end}: ") for end in (0.0, 1.0)),
    (
        OF_PAIRS | {"reward": Mixed(), "adversary": {"loss": {"kind": "hinge"}}},
        r"reward.map='probability': reads the logit as log p_d/p_θ, .* Use reward.map logit or adversary.loss cross",
    ),
    (
        OF_PAIRS | {"reward": Mixed(map=Ratio()), "adversary": {"loss": {"kind": "relativistic"}}},
        r"reward.map='ratio': reads .* Use reward.map logit or adversary.loss cross_entropy\.$",
    ),
    (
        OF_PAIRS | {"reward": Mixed(map=Ratio()), "baseline": ImportanceWeights()},
        "baseline='importance_weights': .* reward='mixed'",
    ),
    *(
        (
            JUDGED | told | {"adversary": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}}},
            r"adversary.loss.label_smoothing=0.1: the logit would be log \(1 - s\) p_d/\(p_θ \+ s p_d\), and reward=",
        )
        for told in (
            {"reward": Ratio(), "baseline": ImportanceWeights()},
            {"reward": Logit(), "baseline": LogPartition()},
        )
    ),
    *(
        (
            JUDGED | {"reward": Logit(), "baseline": NoBaseline()} | origin,
            f"baseline='none': with {told} reward='logit'",
        )
        for origin, told in (
            ({"adversary": {"loss": {"kind": "wasserstein"}, "weight_clip": 0.1}}, "adversary.loss='wasserstein'"),
            ({"adversary": {"loss": {"kind": "relativistic"}}}, "adversary.loss='relativistic'"),
            ({"schedule": {"balance": {"kind": "equilibrium"}}}, "schedule.balance='equilibrium'"),
        )
    ),
    (
        JUDGED | {"adversary": {"clip_every": "phase"}},
        "adversary.clip_every='phase': no weights are clipped, for adversary.weight_clip is null",
    ),
    (JUDGED | {"generator": Seq2SeqLSTM()}, "generator='seq2seq_lstm': reads conditions, and task='oracle' gives none"),
    (OF_PAIRS | {"discriminator": CnnHighway()}, "discriminator='cnn_highway': judges sequences without what task="),
    (JUDGED | {"discriminator": PairCnn()}, "discriminator='pair_cnn': judges pairs, and task='oracle' gives nothing"),
    (
        PLAIN | {"evaluation": {"adversarial": {"kind": "fresh_evaluator"}}},
        "evaluation.adversarial='fresh_evaluator': judges pairs, and task='oracle' gives nothing .* Set it to none",
    ),
    (
        PLAIN | {"evaluation": {"language_model": {"kind": "learned_language_model"}}},
        "evaluation.language_model='learned_language_model': is trained on text, and task='oracle' has none",
    ),
    (
        OF_PAIRS | {"adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "adversary.gradient_penalty='interpolated': joins a real sequence with a fake one",
    ),
    (
        JUDGED | {"adversary": {"mismatched": 1.0}},
        "adversary.mismatched=1: is of conditions, and task='oracle' gives none",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0, "loss": {"kind": "relativistic"}}},
        "adversary.mismatched=1: is a third class, and adversary.loss='relativistic' has no classes apart",
    ),
    (
        OF_PAIRS | {"task": CERTAIN, "controls": ("oracle_ratio",)},
        "controls: oracle_ratio pays infinitely little for a wrong token",
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
        "reward='oracle_ratio': is infinite at a wrong token, for task.rule.noise is 0",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0}, "reward": Mixed(map=Ratio())},
        "adversary.mismatched=1: adds real sequences to what D tells reals from, and reward='mixed'",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0}, "reward": Ratio()},
        "adversary.mismatched=1: adds real sequences to what D tells reals from, and reward='ratio'",
    ),
    (
        OF_PAIRS | {"adversary": {"mismatched": 1.0, "batch": 9}},
        "adversary.batch=9: adversary.mismatched=1 compares reals",
    ),
    (
        JUDGED | {"adversary": SEARCHED},
        "adversary.decoding='searched_and_drawn': all fakes that beams find would be one",
    ),
    (
        LAW | {"adversary": LAW["adversary"] | SEARCHED},
        "adversary.decoding='searched_and_drawn': has no effect with adversary.loss='likelihood', which reads no fakes",
    ),
    (
        OF_PAIRS | {"objective": Gumbel(), "reward": ConstantReward(), "adversary": SEARCHED},
        "adversary.decoding='searched_and_drawn': finds tokens, and objective='gumbel' makes soft rows",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "schedule": {"teacher_forcing": MixedPrefix()}},
        "adversary.decoding='searched_and_drawn': begins with nothing, and schedule.teacher_forcing='mixed_prefix'",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "schedule": {"discriminator_rounds": 0}},
        "adversary.decoding='searched_and_drawn': is of pretraining, and schedule.discriminator_rounds is 0",
    ),
    (
        OF_PAIRS | {"adversary": SEARCHED, "reward": Mixed(map=Ratio())},
        "adversary.decoding='searched_and_drawn': fakes that are found are not of the law p_θ",
    ),
    (
        OF_PAIRS | {"adversary": ALWAYS_SEARCHED, "reward": Ratio()},
        "adversary.decoding='searched_and_drawn': fakes that are found are not of the law",
    ),
    (
        OF_PAIRS | {"adversary": ALWAYS_SEARCHED, "reward": Logit(), "baseline": LogPartition()},
        "adversary.decoding='searched_and_drawn': fakes that are found are not of the law",
    ),
    (SOFT | {"generator": LSTM()}, "objective='soft': .* generator='lstm' draws them. Use objective gumbel"),
    (SOFT | {"objective": Gumbel()}, "generator='latent_conv': has no log-probabilities, which objective='gumbel'"),
    (
        SOFT | {"adversary": {"loss": {"kind": "relativistic"}}},
        ".* compares with reals, which objective='soft'",
    ),
    (SOFT | {"reward": Probability()}, "objective='soft': reward='probability' would have no effect"),
    (
        SOFT | {"schedule": NOTHING_FIRST | {"mle_epochs": 3}},
        "schedule.mle_epochs=3: learns .* Set it to 0",
    ),
    (
        SOFT | {"schedule": NOTHING_FIRST | {"teacher_forcing": MixedTeacherForcing()}},
        "schedule.teacher_forcing='mixed': learns by likelihood",
    ),
    (SOFT | {"controls": ("mle_continued",)}, r"controls=\['mle_continued'\]: learns by likelihood"),
    (
        SOFT | {"evaluation": {"collapse_share": None}},
        r"evaluation.temperatures=\(1.0, .*: has no effect .* Set it to \(1.0,\)",
    ),
    (SOFT | {"evaluation": {"temperatures": (1.0,)}}, "evaluation.collapse_share=0.5: has no effect .* Set it to null"),
    (SOFT | {"sampling": "environment"}, "sampling='environment': has no effect with objective='soft', .* to batched"),
    (
        JUDGED | {"schedule": {"balance": Equilibrium()}},
        r"reward='probability': .*with schedule.balance='equilibrium' it is that plus log k.*fixed; reward ratio",
    ),
    *(
        (
            JUDGED
            | {"reward": Logit(), "schedule": {"balance": Equilibrium()}}
            | {"adversary": {"weight_clip": 0.1, "loss": {"kind": loss}}},
            f"schedule.balance='equilibrium': weighs what reals cost .*'{loss}' has no such costs",
        )
        for loss in ("relativistic", "wasserstein")
    ),
    (
        JUDGED | {"reward": Logit(), "credit": MonteCarlo(), "baseline": LogPartition()},
        "baseline='log_partition': .* credit='monte_carlo'",
    ),
    (PLAIN | {"credit": Prefix()}, r"credit='prefix': all prefixes .* Use credit terminal\.$"),
    (JUDGED | {"credit": RewardToGo()}, "credit='reward_to_go': .* and reward='probability' pays sequences"),
    (PLAIN | {"schedule": PLAIN["schedule"] | {"balance": Band()}}, "schedule.balance='band': has no effect without"),
    (
        JUDGED | {"reward": Logit(), "adversary": {"batch": 65}, "schedule": {"balance": Equilibrium()}},
        "adversary.batch=65: schedule.balance='equilibrium' compares reals with as many fakes",
    ),
    (JUDGED | {"credit": LambdaReturn()}, "credit='lambda_return': asks a critic, and baseline='none' is none"),
    (JUDGED | {"schedule": {"g_group": 7}}, "schedule.g_group=7: does not divide schedule.g_batch=64"),
    (JUDGED | {"schedule": {"g_group": 8}}, "schedule.g_group=8: has no effect with baseline='none' and normal"),
    (
        JUDGED | {"schedule": {"mle_epochs": 0}, "reference": LossPenalty()},
        "reference='loss': .* schedule.mle_epochs is 0",
    ),
    (JUDGED | {"objective": PPO(minibatches=3)}, "objective.minibatches=3: does not divide schedule.g_batch=64"),
    (
        JUDGED
        | {"objective": PPO(minibatches=4), "schedule": {"mle_batch": 6, "teacher_forcing": MixedTeacherForcing()}},
        "objective.minibatches=4: does not divide schedule.mle_batch=6",
    ),
    (
        JUDGED | {"baseline": ImportanceWeights(ramp_to=1.0), "reward": Ratio(), "credit": RewardToGo()},
        "credit='reward_to_go': needs",
    ),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(epochs=2),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": InterleavedTeacherForcing()},
        },
        "objective.epochs=2: has no effect without mixed or by_example teacher forcing",
    ),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(loss_normaliser="token"),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": MixedTeacherForcing()},
        },
        "objective.loss_normaliser='token': with objective='none' has no effect without by_example",
    ),
    (
        JUDGED | {"schedule": {"g_batch": 4, "teacher_forcing": TeacherForcingByExample(fraction=0.1)}},
        "schedule.teacher_forcing.fraction=0.1: of schedule.g_batch=4 sequences 0 would be real",
    ),
    (
        JUDGED | {"schedule": {"g_batch": 4, "teacher_forcing": TeacherForcingByExample(fraction=0.9)}},
        "schedule.teacher_forcing.fraction=0.9: of schedule.g_batch=4 sequences 4 would be real",
    ),
    (
        JUDGED | {"objective": Gumbel(), "reward": ConstantReward(), "schedule": BY_EXAMPLE},
        "schedule.teacher_forcing='by_example': takes the place of sequences that are paid, and objective='gumbel'",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 12, "g_group": 4}, "baseline": LeaveOneOut()},
        "schedule.g_group=4: does not divide the 6 generated sequences of schedule.g_batch=12",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 2}, "baseline": LeaveOneOut()},
        "schedule.g_batch=2, of which 1 is generated: baseline='leave_one_out' compares sequences",
    ),
    (
        JUDGED | {"schedule": BY_EXAMPLE | {"g_batch": 6}, "objective": PPO(minibatches=2)},
        "objective.minibatches=2: does not divide the 3 generated sequences of schedule.g_batch=6",
    ),
    (
        JUDGED
        | {
            "schedule": {"g_batch": 6, "teacher_forcing": TeacherForcingByExample(fraction=0.32)},
            "objective": PPO(minibatches=4),
        },
        "objective.minibatches=4: does not divide the 2 real sequences of schedule.g_batch=6",
    ),
    (
        JUDGED | {"baseline": CriticBaseline(reads="source")},
        "baseline.reads='source': reads what sequences are given, and task='oracle' gives nothing",
    ),
    (
        OF_PAIRS | {"baseline": CriticBaseline(reads="source"), "credit": LambdaReturn()},
        "baseline.reads='source': tells one value for all tokens, and credit='lambda_return' asks",
    ),
    (
        OF_PAIRS | {"discriminator": InteractionCnn(embedding=32, embeddings="generator")},
        "discriminator.embedding=32: with discriminator.embeddings='generator' it is generator.embedding=64",
    ),
    (
        JUDGED | {"baseline": LeaveOneOut(), "schedule": {"g_batch": 1}},
        "schedule.g_batch=1: .*leave_one_out' compares",
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
        "schedule.teacher_forcing='mixed': has no effect with schedule.adversarial_updates=0",
    ),
    (PLAIN | {"objective": NoPolicyGradient()}, "objective='none': with schedule.teacher_forcing none nothing"),
    (
        PLAIN
        | {
            "objective": NoPolicyGradient(),
            "reward": RandomReward(),
            "schedule": PLAIN["schedule"] | {"teacher_forcing": MixedTeacherForcing()},
        },
        "objective='none': reward='random' would have no effect",
    ),
    (
        PLAIN | {"schedule": PLAIN["schedule"] | {"adversarial_updates": 0}, "controls": ["mle_continued"]},
        r"controls=\['mle_continued'\]: are controls of the adversarial phase",
    ),
    (PLAIN | {"task": TEXT, "controls": ["oracle_ratio"]}, "controls: oracle_ratio needs an exact law"),
    (
        JUDGED | {"adversary": {"buffer": 10, "sequences_per_round": 11}},
        "adversary.buffer=10: holds less than one round of adversary.sequences_per_round=11",
    ),
    *(
        (
            JUDGED | {"reward": reward, "adversary": {"weight_clip": 0.1, "loss": {"kind": loss}}},
            rf"reward='{reward.kind}': reads the logit as log p_d/p_θ, and with adversary.loss='{loss}' it is .*"
            r"Use reward logit or adversary.loss cross_entropy\.$",
        )
        for reward in (Probability(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio())
        for loss in ("hinge", "wasserstein", "least_squares")
    ),
    (
        JUDGED | {"reward": Ratio(), "adversary": {"loss": {"kind": "relativistic"}}},
        "reward='ratio': .* plus an unknown constant.*; reward ratio goes with baseline importance_weights",
    ),
    (
        JUDGED | {"reward": Logit(), "adversary": {"batch": 65, "loss": {"kind": "hinge"}}},
        "adversary.batch=65: adversary.loss='hinge' compares reals with as many fakes. Use an even number",
    ),
    (
        JUDGED | {"adversary": {"batch": 65, "gradient_penalty": {"kind": "interpolated"}}},
        "adversary.batch=65: adversary.gradient_penalty='interpolated' compares reals with as many fakes",
    ),
    (
        JUDGED | {"reward": Logit(), "adversary": {"l2_all": 1e-4, "loss": {"kind": "wasserstein"}}},
        "adversary.loss='wasserstein': has no minimum while nothing bounds .*interpolated, adversary.weight_clip",
    ),
    (
        JUDGED | {"discriminator": Transformer(spectral_norm=True), "adversary": {"weight_clip": 0.1}},
        "adversary.weight_clip=0.1: bounds matrices that discriminator.spectral_norm=True scales afterwards",
    ),
    (
        JUDGED
        | {"discriminator": Tabular()}
        | {"adversary": {"gradient_penalty": {"kind": "interpolated", "space": "embedding"}}},
        "adversary.gradient_penalty.space='embedding': discriminator='tabular' has no embedding. Set it to onehot",
    ),
    *(
        (
            JUDGED | {"discriminator": CausalLSTM(), "credit": credit},
            f"credit='{credit.kind}': discriminator='causal_lstm' judges every token. Use credit reward_to_go",
        )
        for credit in (Terminal(), MonteCarlo())
    ),
    (
        JUDGED | {"discriminator": CausalLSTM(), "credit": Prefix()},
        "credit='prefix': discriminator='causal_lstm' judges every token",
    ),
    (
        JUDGED | {"credit": Prefix(), "adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "adversary.gradient_penalty='interpolated': is taken at whole sequences, and credit='prefix' shows",
    ),
    (
        JUDGED
        | {"discriminator": CausalLSTM(), "schedule": {"adversarial_updates": 0}}
        | {"adversary": {"gradient_penalty": {"kind": "interpolated"}}},
        "adversary.gradient_penalty='interpolated': is of one score a sequence, .*'causal_lstm' scores tokens",
    ),
    *(
        (
            LAW | {"reward": Logit(), "adversary": {"loss": {"kind": loss}, "weight_clip": 0.1}},
            f"adversary.loss='{loss}': tells reals from fakes, and discriminator='language_model' is a law",
        )
        for loss in ("cross_entropy", "hinge", "wasserstein", "least_squares", "relativistic")
    ),
    (
        LAW | {"discriminator": CausalLSTM(), "reward": Logit()},
        "adversary.loss='likelihood': is of a law over tokens, and discriminator='causal_lstm' is none",
    ),
    (
        LAW | {"discriminator": CausalLSTM(), "adversary": {}},
        "reward='log_ratio': reads log p_φ of tokens, and discriminator='causal_lstm' gives none",
    ),
    (LAW | {"discriminator": None, "schedule": PLAIN["schedule"]}, "reward='log_ratio': needs a discriminator"),
    *[
        (
            JUDGED | {"discriminator": {"kind": kind}},
            f"discriminator={kind!r}: judges pairs, and task='oracle' gives noth",
        )
        for kind in ("pair_cnn", "pair_lstm", "hierarchical_lstm", "interaction_cnn", "triple_lstm")
    ],
    *(
        (
            LAW | {"reward": reward},
            rf"reward='{reward.kind}': reads the logit as log p_d/p_θ, and with adversary.loss='likelihood' it is "
            r"log p_φ. Use reward log_ratio, or logit\.$",
        )
        for reward in (Probability(), LogProbability(), NegLogComplement(), SignedProbability(), Ratio())
    ),
    (LAW | {"reward": ConstantReward()}, "discriminator: has no effect with reward='constant'"),
    *(
        (LAW | {"credit": credit}, f"credit='{credit.kind}': discriminator='language_model' judges every token")
        for credit in (Terminal(), MonteCarlo(), Prefix())
    ),
    (LAW | {"credit": LambdaReturn()}, r"credit='lambda_return': asks a critic, .*or credit reward_to_go\.$"),
    (
        LAW | {"objective": Gumbel(), "reward": ConstantReward(), "credit": Terminal()},
        "discriminator='language_model': reads tokens, and objective='gumbel' shows it soft rows",
    ),
    (
        LAW | {"adversary": {"loss": {"kind": "likelihood"}, "gradient_penalty": {"kind": "interpolated"}}},
        "adversary.gradient_penalty='interpolated': is of one score a sequence, .*'language_model' scores tokens",
    ),
    (LAW | {"schedule": {"balance": Band()}}, "schedule.balance='band': is of the area .*'likelihood' ranks nothing"),
    (
        LAW | {"schedule": {"balance": Equilibrium()}},
        "schedule.balance='equilibrium': weighs what reals cost .*'likelihood' has no such costs",
    ),
]


def test_what_the_contradictions_are_varied_from_is_legal() -> None:
    for legal in (PLAIN, JUDGED, PLAIN | {"task": TEXT}, PLAIN | {"reward": OracleRatio(), "credit": RewardToGo()}):
        assert list(contradictions(Config(**legal))) == []
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
        law = LAW | {"adversary": {"batch": 65, "loss": {"kind": "likelihood", "learns": learns}}}
        for legal in (law, law | {"reward": Logit()}, law | {"credit": LambdaReturn(), "baseline": CriticBaseline()}):
            assert list(contradictions(Config(**legal))) == []
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
        assert list(contradictions(Config(**settings))) == []


def test_a_mix_with_a_judge_of_tokens_is_told() -> None:
    # No such judge reads pairs, which is told first.
    config = Config.model_construct(**(OF_PAIRS | {"reward": Mixed(), "discriminator": CausalLSTM()}))
    told = list(contradictions(config))
    assert [
        one for one in told if re.match("reward='mixed': adds a metric .*discriminator='causal_lstm' judges every", one)
    ]


@pytest.mark.parametrize(("settings", "message"), CONTRADICTIONS, ids=[message[:50] for _, message in CONTRADICTIONS])
def test_a_contradiction_names_the_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict({name: to_dict(part) if hasattr(part, "model_dump") else part for name, part in settings.items()})
    assert re.match(message, str(caught.value)), caught.value


def test_an_oracle_has_its_sizes_from_one_place() -> None:
    with pytest.raises(ConfigError, match="task: vocab_size=7: has no effect beside params='o.npz'"):
        from_dict({"task": {"kind": "oracle", "params": "o.npz", "vocab_size": 7}})
    assert isinstance(from_dict({"task": {"kind": "oracle"}}).task, OracleTask)
