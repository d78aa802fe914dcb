"""What the variants on the generator's side, losses and discriminators declare, and that it is true of them."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter

from rlgan.adversary.losses import LossSettings
from rlgan.base.errors import ShapeError
from rlgan.discriminators import DiscriminatorSettings
from rlgan.extensions import Plugin
from rlgan.policy.advantage_scaling import NormalisationSettings, normalised
from rlgan.policy.baselines import BaselineSettings, BaselineState, ConstantBaseline, advantages
from rlgan.policy.credit import CreditSettings
from rlgan.policy.kl_penalty import ReferenceSettings
from rlgan.policy.logit_maps import Ratio
from rlgan.policy.metric_rewards import Mixed
from rlgan.policy.objectives import Gumbel, ObjectiveSettings
from rlgan.policy.reward_base import Reward
from rlgan.policy.reward_functions import PluginReward
from rlgan.policy.rewards import RewardSettings


def variants(union: Any) -> list[Any]:
    """Each variant with its defaults; what the user brings has none, but for a reward, which has a function."""
    classes = [one for one in get_args(get_args(union)[0]) if not issubclass(one, Plugin)]
    needed = {PluginReward: {"functions": ["tests.support.plugins:nothing"]}}
    return [TypeAdapter(one).validate_python(needed.get(one, {})) for one in classes]


SEQUENCE, TOKEN, PREFIX = "sequence", "token", "prefix"
OF_LOGITS = {"discriminator"}

# kind: level, what it reads, whether it scores continuations, whether it is of one logit
REWARDS: dict[str, tuple[str, set[str], bool, bool]] = {
    "probability": (SEQUENCE, OF_LOGITS, True, True),
    "logit": (SEQUENCE, OF_LOGITS, True, True),
    "log_probability": (SEQUENCE, OF_LOGITS, True, True),
    "neg_log_complement": (SEQUENCE, OF_LOGITS, True, True),
    "signed_probability": (SEQUENCE, OF_LOGITS, True, True),
    "ratio": (SEQUENCE, OF_LOGITS, True, True),
    "log_ratio": (TOKEN, OF_LOGITS, False, False),
    "logit_increment": (TOKEN, {"discriminator"}, False, False),
    "turn_increment": (TOKEN, {"discriminator"}, False, False),
    "standardised_logit": (TOKEN, {"discriminator"}, False, False),
    "pair_verdict": (SEQUENCE, {"discriminator", "demonstrations"}, False, False),
    "written_verdict": (SEQUENCE, {"discriminator", "verdicts"}, False, False),
    "relative_probability": (SEQUENCE, {"discriminator", "demonstrations"}, False, False),
    "feature_matching": (SEQUENCE, {"discriminator", "features"}, False, False),
    "mixed": (SEQUENCE, {"discriminator", "targets"}, True, False),
    "class_logprob": (SEQUENCE, {"discriminator", "training_data"}, True, False),
    "reference_bleu": (SEQUENCE, {"targets"}, True, False),
    "reference_match": (SEQUENCE, {"targets"}, True, False),
    "reference_rouge": (SEQUENCE, {"targets"}, True, False),
    "constant": (SEQUENCE, set(), False, False),
    "random": (SEQUENCE, set(), False, False),
    "length": (SEQUENCE, {"training_data"}, False, False),
    "bleu": (SEQUENCE, {"training_data"}, False, False),
    "oracle_ratio": (TOKEN, {"oracle"}, False, False),
    "oracle_likelihood": (TOKEN, {"oracle"}, False, False),
    "plugin": (SEQUENCE, {"discriminator", "texts"}, True, False),
}
# kind: levels, continuations with its defaults, whether prefixes are judged, whether states are valued, discount
CREDITS: dict[str, tuple[set[str], int, bool, bool, float]] = {
    "terminal": ({SEQUENCE}, 0, False, False, 1.0),
    "monte_carlo": ({SEQUENCE}, 16, False, False, 1.0),
    "prefix": ({PREFIX}, 0, True, False, 1.0),
    "reward_to_go": ({TOKEN}, 0, False, False, 1.0),
    "lambda_return": ({SEQUENCE, TOKEN}, 0, False, True, 1.0),
}
# kind: reads the reward, goes through the discriminator, makes soft rows, passes of steps with its defaults
OBJECTIVES: dict[str, tuple[bool, bool, bool, tuple[int, int]]] = {
    "reinforce": (True, False, False, (1, 1)),
    "ppo": (True, False, False, (4, 1)),
    "gumbel": (False, True, True, (1, 1)),
    "soft": (False, True, True, (1, 1)),
    "augmented_likelihood": (True, False, False, (1, 1)),
    "goal_directed": (True, False, False, (1, 1)),
    "weighted_likelihood": (True, False, False, (2, 2)),
    "implicit": (False, False, False, (3, 1)),
    "preferences": (True, False, False, (1, 2)),
    "inverse_soft_q": (False, False, False, (1, 1)),
    "none": (False, False, False, (1, 1)),
}
# kind: has an origin, costs of both classes, compares classes, is of a distribution, needs a bound
LOSSES: dict[str, tuple[bool, bool, bool, bool, bool]] = {
    "cross_entropy": (True, True, False, False, False),
    "hinge": (True, True, False, False, False),
    "wasserstein": (False, False, False, False, True),
    "least_squares": (True, True, False, False, False),
    "relativistic": (False, False, True, False, False),
    "ranking": (True, False, False, False, False),
    "bradley_terry": (False, False, True, False, False),
    "likelihood": (True, False, False, True, False),
    "prefix_cross_entropy": (True, False, False, True, False),
    "verdict_gradient": (False, False, True, False, False),
}


def test_every_reward_declares_what_it_is_of() -> None:
    found = {
        one.kind: (one.level, set(one.reads), one.scores_continuations, one.is_elementwise)
        for one in variants(RewardSettings)
    }
    assert found == REWARDS


def test_what_must_be_finished_is_no_function_of_one_logit() -> None:
    rewards = variants(RewardSettings)
    assert {one.kind for one in rewards if one.compares} == {
        "mixed", "class_logprob", "reference_bleu", "reference_rouge", "reference_match", "plugin"
    }  # fmt: skip
    assert not any(one.compares and one.is_elementwise for one in rewards)


def test_a_reward_has_figures_where_it_gives_what_measures_by_it() -> None:
    rewards = variants(RewardSettings)
    assert {one.kind for one in rewards if one.has_figures} == {"plugin", "class_logprob"}
    assert {one.kind for one in rewards if type(one).figures is not Reward.figures} == {"plugin", "class_logprob"}


def test_the_map_of_a_reward_is_itself_or_the_one_it_mixes() -> None:
    for reward in variants(RewardSettings):
        if reward.is_elementwise:
            assert reward.logit_map is reward
    mixed = Mixed(map=Ratio())
    assert mixed.logit_map == Ratio() and mixed.logit_map.reads_density_ratio
    assert {one.kind for one in variants(RewardSettings) if one.logit_map is None} == {
        "log_ratio", "logit_increment", "relative_probability", "feature_matching", "constant", "random", "length",
        "oracle_ratio", "oracle_likelihood", "bleu", "reference_bleu", "reference_rouge", "reference_match",
        "standardised_logit", "pair_verdict", "written_verdict", "turn_increment",
    }  # fmt: skip


def test_maps_that_read_log_odds_are_all_but_the_logit() -> None:
    maps = [one for one in variants(RewardSettings) if one.is_elementwise]
    assert {one.kind for one in maps if not one.reads_log_odds} == {"logit"}
    assert {one.kind for one in maps if one.reads_density_ratio} == {"ratio"}


@pytest.mark.parametrize(
    "reward", [one for one in variants(RewardSettings) if one.is_elementwise], ids=lambda r: r.kind
)
def test_an_elementwise_reward_is_the_same_of_one_logit_alone(reward: Any) -> None:
    logits = torch.linspace(-3, 3, 7)
    alone = [float(reward.of_logits(logit)) for logit in logits]
    assert reward.of_logits(logits).tolist() == alone


def test_every_credit_declares_what_it_needs() -> None:
    found = {
        one.kind: (set(one.levels), one.num_continuations, one.judges_prefixes, one.reads_state_values, one.gamma)
        for one in variants(CreditSettings)
    }
    assert found == CREDITS


def test_the_policy_that_continues_lags_behind_only_where_prefixes_are_continued() -> None:
    for credit in variants(CreditSettings):
        assert credit.rollout_ema == 0.0
    searched = next(one for one in variants(CreditSettings) if one.num_continuations)
    moved = searched.model_copy(update={"policy_ema": 0.5, "num_rollouts": 3})
    assert (moved.rollout_ema, moved.num_continuations) == (0.5, 3)


VALUES = torch.tensor([[0.5, 0.25], [1.0, 0.75], [0.25, 2.0], [0.0, 1.0]])
MASK = torch.ones_like(VALUES, dtype=torch.bool)
STATE_VALUES, LOG_RATIOS = VALUES / 2, torch.tensor([[0.1, 0.2], [0.7, -0.2], [0.0, 0.3], [0.5, 0.5]])
GIVEN = {"state_values": STATE_VALUES, "log_ratios": LOG_RATIOS, "group": 2}
SETTING = {"state_values": "state_values", "log_ratios": "log_ratios", "groups": "group"}


@pytest.mark.parametrize("baseline", variants(BaselineSettings), ids=lambda one: one.kind)
def test_a_baseline_reads_what_it_declares_and_nothing_else(baseline: Any) -> None:
    def formed(**given: Any) -> torch.Tensor:
        return advantages(baseline, VALUES, MASK, BaselineState(), **given).advantages

    needed = {SETTING[need] for need in baseline.needs}
    whole = formed(**{name: value for name, value in GIVEN.items() if name in needed})
    assert torch.equal(whole, formed(**GIVEN))
    for name in needed:
        fewer = {key: value for key, value in GIVEN.items() if key != name}
        if name == "group":
            assert not torch.equal(whole, formed(**fewer))
        else:
            with pytest.raises(ShapeError):
                formed(**fewer)


@pytest.mark.parametrize("baseline", variants(BaselineSettings), ids=lambda one: one.kind)
def test_a_baseline_subtracts_and_reads_values_as_it_declares(baseline: Any) -> None:
    changed = VALUES * torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    whole, other = (advantages(baseline, one, MASK, BaselineState(), **GIVEN).advantages for one in (VALUES, changed))
    assert torch.equal(whole, VALUES) == (not baseline.subtracts)
    assert torch.equal(whole, other) == (not baseline.reads_values)
    if baseline.cancels_constants:
        shifted = advantages(baseline, VALUES, MASK, BaselineState(), **GIVEN | {"log_ratios": LOG_RATIOS + 0.5})
        torch.testing.assert_close(shifted.advantages, whole)


def test_which_baselines_read_a_density_ratio() -> None:
    found = {one.kind for one in variants(BaselineSettings) if one.reads_density_ratio}
    assert found == {"log_partition", "importance_weights"}


@pytest.mark.parametrize("settings", variants(NormalisationSettings), ids=lambda one: one.kind)
def test_a_normalisation_reads_what_it_declares_and_nothing_else(settings: Any) -> None:
    def scaled(values: torch.Tensor, group: int | None) -> torch.Tensor:
        return normalised(settings, VALUES - 0.5, values, MASK, group=group)[0]

    whole = scaled(VALUES, 2)
    assert ("groups" in settings.needs) == (not torch.equal(whole, scaled(VALUES, None)))
    assert ("values" in settings.needs) == (not torch.equal(whole, scaled((VALUES - 0.6).square() + 0.1, 2)))


@pytest.mark.parametrize("settings", variants(NormalisationSettings), ids=lambda one: one.kind)
def test_where_a_normalisation_centres_a_constant_teaches_nothing(settings: Any) -> None:
    same = torch.full_like(VALUES, 0.5)
    advantage = advantages(ConstantBaseline(value=0.0), same, MASK, BaselineState()).advantages
    taught = normalised(settings, advantage, same, MASK, group=2)[0]
    assert bool((taught == 0.0).all()) == settings.centres


def test_every_penalty_declares_its_place() -> None:
    assert {one.kind: one.place for one in variants(ReferenceSettings)} == {
        "none": "none",
        "reward": "reward",
        "loss": "loss",
    }


def test_every_objective_declares_what_it_reads_and_does() -> None:
    found = {
        one.kind: (one.reads_reward, one.is_differentiated, one.makes_soft_rows, (one.epochs, one.minibatches))
        for one in variants(ObjectiveSettings)
    }
    assert found == OBJECTIVES
    assert {one.kind for one in variants(ObjectiveSettings) if one.relaxes} == {"gumbel"}
    assert {one.kind for one in variants(ObjectiveSettings) if one.learns_reals} == {"inverse_soft_q"}
    assert {one.kind for one in variants(ObjectiveSettings) if not one.draws_tokens} == {"soft"}
    assert all(one.entropy_bonus == 0.0 and one.loss_normaliser for one in variants(ObjectiveSettings))
    assert not Gumbel(fakes="tokens").makes_soft_rows and not Gumbel(straight_through=True).makes_soft_rows


def test_every_loss_declares_what_its_logit_is() -> None:
    found = {
        one.kind: (
            one.has_origin,
            one.has_costs,
            one.compares_classes,
            one.is_of_a_distribution,
            one.needs_bounded_slope,
        )
        for one in variants(LossSettings)
    }
    assert found == LOSSES
    assert {one.kind for one in variants(LossSettings) if one.guides_beside_reals} == {"relativistic"}
    assert {one.kind for one in variants(LossSettings) if one.is_of_ranks} == {"ranking"}
    assert {one.kind for one in variants(LossSettings) if one.is_of_verdicts} == {"verdict_gradient"}
    for one in variants(LossSettings):
        assert one.meaning and isinstance(one.reads_fakes, bool) and one.smoothing == 0.0
    smooth = next(one for one in variants(LossSettings) if one.is_log_odds)
    assert smooth.model_copy(update={"label_smoothing": 0.1}).smoothing == 0.1


def test_every_discriminator_declares_what_it_reads_and_judges() -> None:
    found = variants(DiscriminatorSettings)
    assert all(one.reads in ("sequences", "pairs", "either") and one.members == 1 for one in found)
    of_tokens = {"language_model", "density_ratio"}
    assert {one.kind for one in found if one.granularity == "token"} == {"causal_lstm", "window_cnn", *of_tokens}
    assert {one.kind for one in found if one.gives_features} == {"cnn_highway", "lstm", "transformer", "res_conv"}
    assert {one.kind for one in found if one.gives_distribution} == of_tokens
    assert {one.kind for one in found if one.writes_verdicts} == {"verdict_writer"}
    without = {"tabular", "logistic", "sequence_classifier", "verdict_writer"}
    assert {one.kind for one in found if not one.has_embedding} == without
    assert not any(one.has_spectral_norm or one.copies_embeddings for one in found)
    assert {one.kind for one in found if one.ranks} == {"ranker", "pair_ranker"}
    normalised = {"pair_cnn", "interaction_cnn"}
    assert {one.kind for one in found if not one.judges_rows_alone} == {*normalised, "ranker", "pair_ranker"}
    (bounded,) = (one for one in found if one.kind == "transformer")
    (copying,) = (one for one in found if one.kind == "interaction_cnn")
    assert bounded.model_copy(update={"spectral_norm": True}).has_spectral_norm
    assert not bounded.model_copy(update={"spectral_norm": True}).judges_rows_alone
    (normalising,) = (one for one in found if one.kind == "pair_cnn")
    assert normalising.model_copy(update={"batch_norm": False}).judges_rows_alone
    assert copying.model_copy(update={"embeddings": "generator"}).copies_embeddings
