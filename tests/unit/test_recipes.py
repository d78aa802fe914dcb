"""Every preset against the recipe that it is named after, number by number.

The table is written from the papers and, where docs/algorithms.md states a deviation, from there ("docs"). What neither
says is marked "ours": nobody published it, but runs that were recorded had it. "§4" and so on are sections of
docs/algorithms.md, which name the paper. Every setting of an axis has to stand here, so that none is on unseen.
"""

from __future__ import annotations

from typing import Any

import pytest

from rlgan.config.paths import flatten, to_dict
from rlgan.presets.registry import PRESETS, preset

AXES = (
    "generator", "discriminator", "adversary", "reward", "credit", "baseline", "normalisation", "reference",
    "objective", "schedule", "optimizers",
)  # fmt: skip
"""What a recipe is of; of other parts (the task, the evaluation) only what the table tells."""

Part = dict[str, Any]
Recipe = dict[str, Any]

# ------------------------------------------------------------------------------------------------------------- parts

ADAM: Part = {"kind": "adam", "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "clip_norm": None, "clip_value": None}
RMSPROP: Part = {"kind": "rmsprop", "clip_norm": None, "clip_value": None}
SGD: Part = {"kind": "sgd", "momentum": 0.0, "nesterov": False, "clip_norm": None, "clip_value": None}
ADADELTA: Part = {"kind": "adadelta", "clip_norm": None, "clip_value": None}

LSTM: Part = {
    "kind": "lstm", "pretrained.kind": "none", "layers": 1, "output_layers": "last", "dropout": 0.0, "tied": False,
    "init_std": 0.1,  # §1
}  # fmt: skip
LSTM_32 = LSTM | {"embedding": 32, "hidden": 32}  # §1

RNN_SEARCH: Part = {
    "kind": "seq2seq_lstm", "layers": 1, "attention": "additive", "input_feeding": False, "self_attention": False,
    "dropout": 0.0, "tied": False, "init_std": 0.1,
}  # fmt: skip

CNN_HIGHWAY: Part = {  # §1
    "kind": "cnn_highway",
    "embedding": 64,
    "windows": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20],
    "filters": [100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160],  # 1720 in all
    "dropout": 0.25,
    "l2_out": 0.2,
    "members": 1,
}

RES_CONV: Part = {"kind": "res_conv", "window": 5, "members": 1}  # §10: conv5

BATCHES: Part = {
    "buffer": None, "mismatched": None, "l2_all": None, "weight_clip": None, "clip_every": "step",
    "perturbed": None, "perturbed_share": 0.1, "reals": "drawn", "replay": None,
    "tokens_at_once": None, "verdicts": "own",
}  # fmt: skip
"""Nothing but minibatches of reals and fakes."""

UNITS: Part = {
    "mle_epochs": 0, "mle_patience": None, "mle_batch": 64, "mle_halve_from": None, "example_weights": "none",
    "mle_inputs.kind": "none", "discriminator_rounds": 0, "discriminator_accuracy": None, "g_steps": 1, "g_group": None,
    "d_steps": 1, "d_epochs": 1, "balance.kind": "fixed", "selection.kind": "none",
    "d_fakes": "fresh", "d_first": False, "g_rate_end": 1.0, "d_rate_end": 1.0, "rollout_temperature": 1.0,
    "behaviour.kind": "own", "pretraining": "generator_first",
}  # fmt: skip
"""One round of one epoch an update, from scratch (1:1, none / 0 in 16.2)."""

PLAIN: Recipe = {
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "adversary.decoding": {"kind": "drawn"},
    "adversary.gradient_penalty": {"kind": "none"},
    "credit": {"kind": "terminal"},
    "baseline": {"kind": "none"},
    "normalisation": {"kind": "none"},
    "reference": {"kind": "none"},
    "schedule.teacher_forcing": {"kind": "none"},
    # Read where there is pretraining; else whatever it is.
    "optimizers.mle": ADAM | {"lr": 0.01, "clip_norm": 5.0},  # §1
}

REINFORCE: Part = {"kind": "reinforce", "entropy_bonus": 0.0}
BY_SEQUENCE = REINFORCE | {"loss_normaliser": "sequence"}
PPO: Part = {"kind": "ppo", "clip_low": 0.2, "clip_high": 0.2, "entropy_bonus": 0.0, "ratio": "token"}  # §17: ε

INTERLEAVED: Part = {"kind": "interleaved", "num_updates": 1}  # §14, §12: an update on the real pair after each

# ---------------------------------------------------------------------------------------------- nothing is given

SEQGAN: Recipe = PLAIN | {
    "task": {"kind": "oracle", "max_length": 20, "num_train": 10_000},  # §1
    "generator": LSTM_32,
    "discriminator": CNN_HIGHWAY,
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 10_000},  # §1
    "reward": {"kind": "probability"},  # §1
    "credit": {"kind": "monte_carlo", "num_rollouts": 16, "policy_ema": 0.0},  # §1 (1): κ = 0
    "objective": REINFORCE | {"loss_normaliser": "sum"},  # §1
    "schedule": UNITS | {
        "mle_epochs": 120, "discriminator_rounds": 50, "adversarial_updates": 200,  # §1
        "g_batch": 64, "d_steps": 5, "d_epochs": 3,  # §1
    },
    "optimizers.generator": ADAM | {"lr": 0.01, "clip_norm": 5.0},  # §1
    "optimizers.discriminator": ADAM | {"lr": 1e-4},  # §1
}  # fmt: skip

CRITIC: Part = {
    "kind": "critic", "epochs": 1, "clip": None, "embedding": 32, "hidden": 32,
    **{f"optimizer.{name}": value for name, value in (ADAM | {"clip_norm": 5.0}).items()},
}  # fmt: skip

SEQGAN_PREFIX: Recipe = SEQGAN | {
    "credit": {"kind": "prefix"},  # §14 (b)
    "baseline": CRITIC | {"reads": "state", "optimizer.lr": 1e-3},  # docs; rate ours
    "objective": BY_SEQUENCE,  # ours, regs
}

# Section 15; what it leaves open (updates and rates are of quick's order) is ours.
MODERN: Recipe = SEQGAN | {
    "credit": {"kind": "terminal"},  # §17: the whole sequence is one action
    "schedule": SEQGAN["schedule"] | {"g_batch": 256, "g_group": 8, "d_steps": 1},  # docs: groups of 8
    "optimizers.generator": ADAM | {"lr": 1e-3, "clip_norm": 1.0},
}

SEQGAN_RLOO: Recipe = MODERN | {
    "baseline": {"kind": "leave_one_out"},  # §17
    "reference": {"kind": "reward", "weight": 0.05, "target": None},  # §17; β ours
    "objective": BY_SEQUENCE,  # §17
}

SEQGAN_GRPO: Recipe = MODERN | {
    "baseline": {"kind": "group_mean"},  # §17
    "normalisation": {"kind": "none"},  # §17: scale_rewards false, no deviation
    "reference": {"kind": "loss", "weight": 0.04, "times_ratio": False},  # §17
    "objective": PPO | {"loss_normaliser": "fixed", "epochs": 1, "minibatches": 4},  # §17, Dr. GRPO; minibatches ours
}

SEQGAN_PPO: Recipe = MODERN | {
    "credit": {"kind": "lambda_return", "gamma": 1.0, "decay": 0.95},  # §17
    "baseline": CRITIC | {"reads": "state", "optimizer.lr": 1e-3, "epochs": 4, "clip": 0.2},  # §17: V clipped
    "reference": {"kind": "reward", "weight": 0.05, "target": 6.0},  # §17: 6 nats a sequence; first β ours
    "objective": PPO | {"loss_normaliser": "token", "epochs": 4, "minibatches": 4},  # §17; docs: 4 minibatches
    "schedule": MODERN["schedule"] | {"g_group": None},
}

MALIGAN: Recipe = SEQGAN | {
    "reward": {"kind": "ratio"},  # §4
    "credit": {"kind": "terminal"},  # ours
    "baseline": {  # §4: m·w̃ - ramp, 0 → 1; how slowly, ours
        "kind": "importance_weights", "normalise": "per_step", "ramp_to": 1.0, "ramp_updates": 100, "least_ess": 0.0,
    },
    "objective": BY_SEQUENCE,  # §4: divided by m
    "schedule": SEQGAN["schedule"] | {"mle_epochs": 80},  # §4, A; §4 (4): k ≥ 5; D's pretraining is SeqGAN's (docs)
}  # fmt: skip

MALIGAN_FULL: Recipe = MALIGAN | {
    "credit": {"kind": "monte_carlo", "num_rollouts": 16, "policy_ema": 0.0},  # §4, step-wise; N of §1
    "schedule": MALIGAN["schedule"] | {"g_group": 16},  # docs
    "schedule.teacher_forcing": {"kind": "mixed_prefix", "start": 15, "decrement": 5, "block": 20},  # §4: K = 5; docs
}

BGAN: Recipe = PLAIN | {
    "generator": LSTM_32,  # docs: SeqGAN's stands in
    "discriminator": RES_CONV | {"width": 256, "blocks": 3},  # §5, character model
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # docs: 64 fresh fakes a step
    "reward": {"kind": "ratio"},  # §5
    "baseline": {  # §5, forward KL: nothing is taken off
        "kind": "importance_weights", "normalise": "per_step", "ramp_to": 0.0, "ramp_updates": 0, "least_ess": 0.0,
    },
    "objective": BY_SEQUENCE,  # §5
    "schedule": UNITS | {"adversarial_updates": 10_000, "g_batch": 1_280},  # §5: 64·20; updates ours
    "optimizers.generator": ADAM | {"lr": 1e-4, "beta1": 0.5},  # §5
    "optimizers.discriminator": ADAM | {"lr": 1e-4, "beta1": 0.5},  # §5
}  # fmt: skip

BGAN_RKL: Recipe = BGAN | {
    "reward": {"kind": "logit"},  # §5
    "baseline": {"kind": "log_partition", "decay": 0.995},  # §5
}

SCRATCHGAN: Recipe = PLAIN | {
    "generator": LSTM | {"embedding": 364, "hidden": 512, "layers": 2, "output_layers": "all", "tied": True},  # §6
    "discriminator": {  # §6
        "kind": "causal_lstm", "embedding": 364, "pretrained.kind": "none", "hidden": 512, "layers": 1,
        "layer_norm": True, "dropout": 0.1, "position_features": 8, "members": 1,
    },
    "adversary": BATCHES | {"batch": 1_024, "sequences_per_round": 512, "l2_all": 1e-6},  # §6: 512 of each
    "reward": {"kind": "signed_probability"},  # §6
    "credit": {"kind": "reward_to_go", "gamma": 0.23},  # §6
    "baseline": {"kind": "ema", "decay": 0.08},  # §6
    "objective": REINFORCE | {"loss_normaliser": "fixed"},  # §6
    "schedule": UNITS | {"adversarial_updates": 200_000, "g_batch": 512},  # §6; keeps the last, see docs
    "optimizers.generator": ADAM | {"lr": 9.59e-5, "beta1": 0.5},  # §6
    "optimizers.discriminator": ADAM | {"lr": 9.38e-3, "beta1": 0.5},  # §6
    "evaluation": {"every": 1_000},  # §6
}  # fmt: skip

GRADIENT_PENALTY: Part = {"kind": "interpolated", "weight": 10.0, "target": 1.0, "space": "onehot"}  # §10
WGAN_ADAM = ADAM | {"lr": 1e-4, "beta1": 0.5, "beta2": 0.9}  # §10

WGAN_GP: Recipe = PLAIN | {
    "generator": {"kind": "latent_conv", "latent": 128, "width": 512, "blocks": 5, "window": 5},  # §10
    "discriminator": RES_CONV | {"width": 512, "blocks": 5},  # §10
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # §10: 64 of each
    "adversary.loss": {"kind": "wasserstein"},  # §10
    "adversary.gradient_penalty": GRADIENT_PENALTY,
    "reward": {"kind": "constant", "value": 1.0},  # nothing is paid
    "objective": {"kind": "soft"},  # §10
    "schedule": UNITS | {  # §10: n_critic 10, the critic first
        "discriminator_rounds": 10, "adversarial_updates": 200_000, "g_batch": 64, "d_steps": 10,
    },
    "optimizers.generator": WGAN_ADAM,
    "optimizers.discriminator": WGAN_ADAM,
    "evaluation": {"every": 100},  # §10
}  # fmt: skip

WGAN_REINFORCE: Recipe = SEQGAN | {
    "discriminator": RES_CONV | {"width": 128, "blocks": 5},  # ours; §10: 5 blocks; width ours
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # ours
    "adversary.loss": {"kind": "wasserstein"},
    "adversary.gradient_penalty": GRADIENT_PENALTY,  # ours: GP 10
    "reward": {"kind": "logit"},  # §8: f
    "credit": {"kind": "terminal"},  # ours
    "baseline": {"kind": "leave_one_out"},  # §8, ours
    "normalisation": {"kind": "running_scale", "decay": 0.9},  # §8: of |R - b|; decay ours
    "objective": BY_SEQUENCE,  # §8
    "schedule": UNITS | {  # ours: 1:5, batch 64; pretraining "optional", its length and 100 rounds ours
        "mle_epochs": 120, "discriminator_rounds": 100, "adversarial_updates": 200, "g_batch": 64, "d_steps": 5,
    },
    "optimizers.generator": WGAN_ADAM,
    "optimizers.discriminator": WGAN_ADAM,
}  # fmt: skip

GUMBEL: Recipe = PLAIN | {
    "generator": LSTM_32,  # ours
    "discriminator": CNN_HIGHWAY,  # ours: cnn
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # ours
    "reward": {"kind": "constant", "value": 1.0},  # nothing is paid
    "objective": {
        "kind": "gumbel", "straight_through": False, "fakes": "soft",  # 10; docs: the published form
        "temperature.kind": "decaying", "temperature.rate": 1e-4, "temperature.least": 0.5,  # 10: max(0.5, e^-rt)
    },
    "schedule": UNITS | {"adversarial_updates": 10_000, "g_batch": 64},  # ours; updates ours
    "optimizers.generator": ADAM | {"lr": 1e-4},  # ours
    "optimizers.discriminator": ADAM | {"lr": 1e-4},  # ours
}  # fmt: skip

ST_GUMBEL: Recipe = GUMBEL | {"objective": GUMBEL["objective"] | {"straight_through": True}}  # 10

RELGAN: Recipe = PLAIN | {
    "generator": {"kind": "relational_memory", "embedding": 32, "heads": 2, "head_size": 256},  # §60
    "discriminator": {  # §60
        "kind": "multi_representation", "embedding": 64, "representations": 64, "windows": [2, 3, 4, 5],
        "filters": [300], "dropout": 0.25, "members": 1,
    },
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # §60: 64 of each
    "adversary.loss": {"kind": "relativistic"},  # §60
    "reward": {"kind": "constant", "value": 1.0},  # nothing is paid
    "objective": {
        "kind": "gumbel", "straight_through": False, "fakes": "soft",  # §60
        "temperature.kind": "rising_inverse", "temperature.greatest": 2.0, "temperature.shape": "exponential",  # §60
    },
    "schedule": UNITS | {"mle_epochs": 150, "adversarial_updates": 3_000, "g_batch": 64, "d_steps": 5},  # §60
    "optimizers.generator": ADAM | {"lr": 1e-4, "clip_norm": 5.0},  # §60
    "optimizers.discriminator": ADAM | {"lr": 1e-4, "clip_norm": 5.0},  # §60
}  # fmt: skip

LEAKGAN: Recipe = SEQGAN | {
    "generator": {  # §62: horizon 4, goal size 16; sizes of D; init .1
        "kind": "manager_worker", "embedding": 32, "hidden": 32, "goal_size": 16, "horizon": 4, "init_std": 0.1,
        **{f"feature_{size}": CNN_HIGHWAY[size] for size in ("embedding", "windows", "filters")},
    },
    "discriminator": CNN_HIGHWAY | {"dropout": 0.0},  # §62: no dropout
    "credit": {"kind": "monte_carlo", "num_rollouts": 4, "policy_ema": 0.0},  # §62: 4
    "normalisation": {"kind": "rank_rescaled", "steepness": 16.0},  # §62: 16 in the code
    "objective": {"kind": "goal_directed", "loss_normaliser": "token"},  # §62: over B·T tokens
    "schedule": SEQGAN["schedule"] | {  # §62: 80 epochs, side by side; 800 updates
        "mle_epochs": 80, "pretraining": "side_by_side", "adversarial_updates": 800,
    },
    "schedule.teacher_forcing": {"kind": "interleaved", "num_updates": 10},  # §62: 156 batches in 15 updates
    "optimizers.mle": ADAM | {"lr": 0.0015, "clip_norm": 5.0},  # §62
    "optimizers.generator": ADAM | {"lr": 0.0015, "clip_norm": 5.0},  # §62
}  # fmt: skip

RANKGAN: Recipe = SEQGAN | {
    "discriminator": {key: value for key, value in CNN_HIGHWAY.items() if key != "l2_out"} | {  # §61: SeqGAN's
        "kind": "ranker", "references": 16, "comparisons": 16, "sharpness": 1.0,  # §61
    },
    "adversary.loss": {"kind": "ranking"},  # §61
    "reward": {"kind": "logit"},  # §61: the log of the rank
    "baseline": {"kind": "per_step_mean"},  # docs: the paper has none
}  # fmt: skip

LM_RATIO: Recipe = SEQGAN | {
    "discriminator": {  # 14: tied, 48/96, .3
        "kind": "language_model", "embedding": 48, "hidden": 96, "layers": 1, "dropout": 0.3, "tied": True,
    },
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 2_000},  # ours
    "adversary.loss": {"kind": "likelihood", "learns": "reals"},  # 14
    "reward": {"kind": "log_ratio"},  # 14
    "credit": {"kind": "reward_to_go", "gamma": 1.0},  # 14
    "baseline": {"kind": "per_step_mean"},  # 14
    "objective": BY_SEQUENCE,  # docs
    "schedule": SEQGAN["schedule"] | {  # 14: 200 updates; learned once and held; the rest ours
        "discriminator_rounds": 200, "g_batch": 256, "d_steps": 0, "d_epochs": 1,
    },
    "schedule.teacher_forcing": {"kind": "mixed", "weight": 0.3},  # 14
    "optimizers.generator": ADAM | {"lr": 2e-3, "clip_norm": 5.0},  # 14; clip ours
    "optimizers.discriminator": ADAM | {"lr": 0.01, "weight_decay": 0.1, "clip_norm": 5.0},  # docs: decay .1
}  # fmt: skip

MEDIATOR: Recipe = LM_RATIO | {
    "adversary.loss": {"kind": "likelihood", "learns": "mixture"},  # 14
    "schedule": LM_RATIO["schedule"] | {"d_steps": 1},  # docs: before and between updates
}

DENSITY_RATIO: Recipe = LM_RATIO | {
    "discriminator": {"kind": "density_ratio", "start": "random"},
    "discriminator.network": LSTM | {"embedding": 32, "hidden": 64},  # ours: twice the student's
    "adversary": BATCHES | {"batch": 512, "sequences_per_round": 256},  # ours: a step a round
    "adversary.loss": {"kind": "prefix_cross_entropy", "likelihood": 0.0},  # docs
    "schedule": LM_RATIO["schedule"] | {"discriminator_rounds": 1_500, "d_steps": 2},  # ours
    "optimizers.discriminator": ADAM | {"lr": 2e-3, "clip_norm": 5.0},  # ours
}

# ---------------------------------------------------------------------------------------------- something is given

DIALOGUE: Recipe = PLAIN | {
    "generator": RNN_SEARCH | {  # §14
        "embedding": 512, "hidden": 512, "layers": 2, "dropout": 0.2,
        "init_std": 0.058,  # docs: the deviation of U(±0.1), 0.1/√3
        "attention": "multiplicative",  # ours: 3.4 says "attention"
    },
    # §14
    "discriminator": {"kind": "hierarchical_lstm", "embedding": 512, "hidden": 512, "dropout": 0.2, "members": 1},
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 64},  # §14: 64 of each, D's batch 128
    "adversary.decoding": {  # §14: half beams, half sampled, in pretraining (docs); of 5 is ours
        "kind": "searched_and_drawn", "beam_share": 0.5, "beam": 5, "rounds": "pretraining",
    },
    "reward": {"kind": "probability"},  # §14
    "baseline": CRITIC | {"reads": "source", "optimizer.lr": 5e-4},  # §14
    "objective": BY_SEQUENCE,  # ours
    "schedule": UNITS | {
        "mle_epochs": 8, "mle_halve_from": 6, "mle_batch": 64,  # §14; batch: docs
        "discriminator_rounds": 500, "adversarial_updates": 5_000,  # ours
        "g_batch": 64, "d_steps": 5,  # §14
    },
    "schedule.teacher_forcing": INTERLEAVED,
    "optimizers.mle": SGD | {"lr": 1.0, "clip_norm": 5.0},  # §14
    "optimizers.generator": SGD | {"lr": 0.5, "clip_norm": 10.0},  # §14: 1.0 × 0.5; docs: clip 10
    "optimizers.discriminator": SGD | {"lr": 0.01, "clip_norm": 5.0},  # §14
}  # fmt: skip

CGAN_SEQ: Recipe = PLAIN | {
    "generator": RNN_SEARCH | {"embedding": 64, "hidden": 128},  # ours
    "discriminator": {  # §11, ours: joint, dropout; sizes ours
        "kind": "pair_cnn", "embedding": 64, "windows": [1, 2, 3, 4], "filters": [64, 64, 64, 64], "batch_norm": True,
        "mlp_hidden": 128, "dropout": 0.25, "head.kind": "joint", "members": 1,
    },
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 640, "mismatched": 1.0},  # 12: w_m = 1
    "reward": {"kind": "probability"},  # 12
    "credit": {"kind": "prefix"},  # §11, ours
    "baseline": {"kind": "ema", "decay": 0.9},  # ours; decay ours
    "objective": BY_SEQUENCE,  # 12
    "schedule": UNITS | {  # ours: 1:1, 64; the rest ours
        "mle_epochs": 20, "discriminator_rounds": 20, "adversarial_updates": 1_000, "g_batch": 64,
    },
    "schedule.teacher_forcing": INTERLEAVED,  # ours
    "optimizers.mle": ADAM | {"lr": 1e-3, "clip_norm": 5.0},  # ours
    "optimizers.generator": ADAM | {"lr": 1e-4},  # ours
    "optimizers.discriminator": ADAM | {"lr": 1e-4},  # ours
}  # fmt: skip

CSGAN_NMT: Recipe = PLAIN | {
    "generator": RNN_SEARCH | {"embedding": 512, "hidden": 1_024},  # §12
    "discriminator": {
        "kind": "pair_cnn", "embedding": 512, "batch_norm": True,  # §12
        "windows": [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49],  # §12
        "filters": [110, 150, 190, 230, 270, 310, 350, 390, 430, 470, 510, 550, 590],  # §12: 100 + 10·window
        "mlp_hidden": 128, "dropout": 0.25, "head.kind": "joint", "members": 1,  # docs: a hidden layer and dropout
    },
    "adversary": BATCHES | {
        "batch": 80, "sequences_per_round": 5_000,  # §12: D's batch 40, of each class (docs); 5000 a phase
        "weight_clip": 1.0,  # §12
        "clip_every": "step",  # 19 (8)
        "verdicts": "own", "tokens_at_once": None,
    },
    "reward": {"kind": "probability"},  # §12
    "credit": {"kind": "monte_carlo", "num_rollouts": 20, "policy_ema": 0.0},  # §12, ours
    "baseline": {"kind": "constant", "value": 0.6},  # §12
    "objective": BY_SEQUENCE,  # §12: 1/B
    "schedule": UNITS | {
        "mle_epochs": 20, "mle_patience": 3,  # ours
        "mle_batch": 100, "g_batch": 100,  # §12
        "discriminator_rounds": 50, "discriminator_accuracy": 0.82,  # §12; docs: at most 50
        "adversarial_updates": 10_000,  # ours
    },
    "schedule.teacher_forcing": INTERLEAVED,
    "optimizers.mle": ADAM | {"lr": 1e-3, "clip_norm": 5.0},  # §12: Adam; §12: clip 5; rate ours
    "optimizers.generator": RMSPROP | {"lr": 1e-5, "clip_norm": 5.0},  # §12
    "optimizers.discriminator": RMSPROP | {"lr": 1e-4, "clip_value": 1.0},  # §12
}  # fmt: skip

BR_CSGAN: Recipe = CSGAN_NMT | {
    "reward": {  # §12
        "kind": "mixed", "map.kind": "probability", "metric.kind": "reference_bleu", "metric.order": 4, "weight": 0.7,
        "normalise_terms": False,
    },
    "credit": {"kind": "monte_carlo", "num_rollouts": 16, "policy_ema": 0.0},  # §12, RNNSearch code
    "baseline": {"kind": "constant", "value": pytest.approx(0.42)},  # §12: b of D alone, 0.7·0.6
}  # fmt: skip

ATRNN_SUMMARY: Recipe = CSGAN_NMT | {  # 7: loop and losses as section 5, λ = 1
    "generator": RNN_SEARCH | {  # 7: double attention; docs: sizes
        "embedding": 128, "hidden": 256, "attention": "multiplicative", "self_attention": True,
    },
    "discriminator": {  # 7: triple RNN; docs: sizes
        "kind": "triple_lstm", "embedding": 128, "hidden": 256, "mlp_hidden": 256, "dropout": 0.25, "members": 1,
    },
}  # fmt: skip

ADVERSARIAL_NMT: Recipe = PLAIN | {
    "generator": RNN_SEARCH | {"embedding": 620, "hidden": 1_000},  # §13: RNNSearch; docs: its sizes
    "discriminator": {
        "kind": "interaction_cnn", "embedding": 620, "embeddings": "generator",  # §13: fixed to G's
        "channels": 20, "mlp_hidden": 20,  # §13
        "projection": 16,  # §13: project first; to what, ours
        "dropout": 0.25, "members": 1,  # ours: dropout; how much, ours
    },
    "adversary": BATCHES | {"batch": 160, "sequences_per_round": 80},  # §13: a step on 80 of each
    "reward": {"kind": "neg_log_complement"},  # §13
    "baseline": {"kind": "ema", "decay": 0.9},  # §13; docs: .9
    "objective": BY_SEQUENCE,  # §13
    "schedule": UNITS | {
        "mle_epochs": 20, "mle_patience": 3, "mle_batch": 80, "g_batch": 80,  # §13, ours: 32-80; docs: 80
        "discriminator_rounds": 500,  # docs
        "adversarial_updates": 10_000,  # ours
    },
    "schedule.teacher_forcing": {"kind": "by_example", "fraction": 0.5, "advantage": 1.0, "decay_updates": None},  # §13
    "optimizers.mle": ADADELTA | {"lr": 1.0, "rho": 0.95, "clip_norm": 1.0},  # docs: RNNSearch's
    "optimizers.generator": SGD | {"lr": 1e-3, "clip_norm": 1.0},  # docs
    "optimizers.discriminator": SGD | {"lr": 1e-3, "momentum": 0.9, "nesterov": True},  # §13; docs: .9
}  # fmt: skip

# ------------------------------------------------------------------------------------------- of the first hour, ours

QUICK: Recipe = MALIGAN | {
    "task": {"kind": "oracle", "vocab_size": 500, "max_length": 20, "num_train": 5_000},  # ours
    "discriminator": CNN_HIGHWAY | {"embedding": 32, "windows": [1, 2, 3, 4], "filters": [64] * 4, "dropout": 0.5},
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 1_000},
    "baseline": MALIGAN["baseline"] | {"ramp_updates": 0},  # §4: the ports' full ramp from the first step
    "schedule": UNITS | {
        "mle_epochs": 60, "mle_patience": 3, "discriminator_rounds": 5, "adversarial_updates": 60, "g_batch": 256,
    },
    "schedule.teacher_forcing": {"kind": "mixed", "weight": 1.0},  # ours: MLE 1:1
    "optimizers.mle": ADAM | {"lr": 0.01, "weight_decay": 0.2, "clip_norm": 5.0},
    "optimizers.generator": ADAM | {"lr": 1e-3, "weight_decay": 0.2, "clip_norm": 5.0},  # ours: 1e-3
    "optimizers.discriminator": ADAM | {"lr": 3e-4},
}  # fmt: skip

SEQGAN_QUICK: Recipe = SEQGAN | {
    "task": QUICK["task"],
    "discriminator": CNN_HIGHWAY | {"embedding": 32, "windows": [1, 2, 3, 4, 5, 6, 8, 10], "filters": [32] * 8},
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 1_000},
    "credit": {"kind": "monte_carlo", "num_rollouts": 8, "policy_ema": 0.0},
    "schedule": UNITS | {
        "mle_epochs": 30, "discriminator_rounds": 5, "adversarial_updates": 20, "g_batch": 64, "d_steps": 2,
        "d_epochs": 2,
    },
    "optimizers.discriminator": ADAM | {"lr": 1e-3},
}  # fmt: skip

QUICK_DISTILL: Recipe = DENSITY_RATIO | {
    "task": {  # ours
        "kind": "oracle", "mode": "stream", "vocab_size": 50, "embedding": 32, "hidden": 32, "max_length": 12,
        "num_train": 12_800,
    },
    "generator": LSTM | {"embedding": 8, "hidden": 8},  # ours: too small
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 256},  # ours: four steps a round
    "adversary.loss": {"kind": "prefix_cross_entropy", "likelihood": 1.0},  # docs
    "schedule": UNITS | {
        "mle_epochs": 6, "mle_batch": 128, "mle_halve_from": 4, "discriminator_rounds": 100,
        "adversarial_updates": 150, "g_batch": 128, "g_rate_end": 0.1, "d_rate_end": 0.1,
    },
    "optimizers.mle": ADAM | {"lr": 0.01, "clip_norm": 5.0},
    "optimizers.generator": ADAM | {"lr": 5e-3, "clip_norm": 5.0},
    "optimizers.discriminator": ADAM | {"lr": 0.01, "clip_norm": 5.0},
}  # fmt: skip

# ------------------------------------------------------------------------- controls (16.2 names them; docs, Controls)

CONTROL: Recipe = {path: part for path, part in QUICK.items() if path != "discriminator"} | {
    "discriminator": None,
    "baseline": {"kind": "none"},
    "schedule": QUICK["schedule"] | {"discriminator_rounds": 0, "d_steps": 0},
}

MLE: Recipe = CONTROL | {
    "reward": {"kind": "constant", "value": 1.0},
    "schedule": UNITS | {  # §1: 120 epochs; stopped early on validation
        "mle_epochs": 120, "mle_patience": 5, "adversarial_updates": 0, "g_batch": 64, "d_steps": 0, "d_epochs": 3,
    },
    "schedule.teacher_forcing": {"kind": "none"},
}  # fmt: skip

SFT: Recipe = {name: part for name, part in MLE.items() if name != "generator"} | {  # ours
    "generator": {
        "kind": "causal_lm", "config": None, "dtype": "float32", "checkpointing": False, "training.kind": "whole",
    },
    "generator.weights": {
        "kind": "fresh", "positions": None, "architecture": "llama", "width": 128, "layers": 2, "heads": 4,
        "key_value_heads": None,
        "expansion": 4, "dropout": 0.0, "tied": True,
    },
    "schedule": MLE["schedule"] | {"mle_epochs": 10, "mle_patience": 1, "mle_batch": 16},
    "optimizers.mle": ADAM | {"lr": 1e-3, "clip_norm": 1.0},
    # It has no discriminator and no update of the kind: what there is where nothing is said.
    "task": {"kind": "transduction", "vocab_size": 10, "max_length": 5},
    "adversary": MLE["adversary"] | {"sequences_per_round": 10_000},
    "objective": MLE["objective"] | {"loss_normaliser": "sum"},
    "optimizers.generator": ADAM | {"lr": 1e-2, "clip_norm": 5.0},
    "optimizers.discriminator": ADAM | {"lr": 1e-4},
}  # fmt: skip

GRPO: Recipe = SFT | {  # TRL's defaults (trl 1.16), but for two steps a batch, so that something is clipped
    "reward": {"kind": "reference_bleu", "order": 2},
    "baseline": {"kind": "group_mean"},
    "normalisation": {"kind": "group_deviation", "epsilon": 1e-4, "bessel": True},
    "objective": {
        "kind": "ppo", "loss_normaliser": "token", "entropy_bonus": 0.0, "clip_low": 0.2, "clip_high": 0.2,
        "epochs": 1, "minibatches": 2, "ratio": "token",
    },
    "schedule": SFT["schedule"] | {
        "mle_epochs": 5, "mle_patience": None, "adversarial_updates": 200, "g_batch": 64, "g_group": 8
    },
    "optimizers.generator": ADAM | {"lr": 1e-4, "clip_norm": 1.0},
}  # fmt: skip

GAD: Recipe = GRPO | {  # Ye et al. 2025 (docs/algorithms/gad.md); sizes are ours
    "discriminator": {
        "kind": "sequence_classifier", "weights.kind": "generator", "pooling": "own", "granularity": "sequence",
        "training.kind": "whole", "max_length": None, "dtype": "float32", "checkpointing": False, "config": None,
        "tokens": None, "generator": None,
    },
    "adversary": BATCHES | {"batch": 72, "sequences_per_round": 64, "decoding.kind": "drawn"},
    "adversary.loss": {"kind": "bradley_terry", "temperature": 1.0, "label_smoothing": 0.0},
    "reward": {"kind": "logit"},
    "normalisation": {"kind": "group_deviation", "epsilon": 1e-6, "bessel": True},
    "reference": {"kind": "loss", "weight": 1e-3, "times_ratio": False},
    "schedule": GRPO["schedule"] | {
        "discriminator_rounds": 50, "d_steps": 1, "d_epochs": 1, "d_fakes": "rollouts", "rollout_temperature": 0.8
    },
    "optimizers.generator": ADAM | {"lr": 1e-4, "clip_norm": 0.2},
    "optimizers.discriminator": ADAM | {"lr": 1e-4, "clip_norm": 0.2},
}  # fmt: skip

TEXTGAIL: Recipe = GAD | {  # Wu et al. 2020 (docs/algorithms/textgail.md); sizes are ours
    "adversary": GAD["adversary"] | {"batch": 32, "sequences_per_round": 96},
    "reward": {"kind": "relative_probability"},
    "baseline": {"kind": "running_moments", "momentum": 0.9, "bound": 2.0},
    "normalisation": {"kind": "none"},
    "reference": {"kind": "none"},
    "objective": GAD["objective"] | {
        "loss_normaliser": "sequence", "ratio": "sequence", "epochs": 1, "minibatches": 16
    },
    "schedule": GAD["schedule"] | {"g_batch": 128, "g_group": None, "rollout_temperature": 1.0},
    "schedule.teacher_forcing": {"kind": "by_example", "fraction": 0.25, "advantage": 2.0, "decay_updates": 100},
}  # fmt: skip

GCN: Recipe = GAD | {  # Lamprier et al. 2022 (docs/algorithms/gcn.md); sizes are ours
    "adversary": GAD["adversary"] | {"batch": 64},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "reward": {"kind": "probability"},
    "baseline": {"kind": "none"},
    "normalisation": {"kind": "self_normalised"},
    "reference": {"kind": "none"},
    "objective": {"kind": "weighted_likelihood", "loss_normaliser": "sequence", "epochs": 2, "minibatches": 2},
    "schedule": GAD["schedule"] | {"rollout_temperature": 1.0},
}

SELFGAN: Recipe = GCN | {  # Scialom et al. 2021 (docs/algorithms/selfgan.md); sizes are ours
    "normalisation": {"kind": "best_of_group"},
    "schedule": GCN["schedule"] | {"behaviour.kind": "beams"},
}

COLDGANS: Recipe = GAD | {  # Scialom et al. 2020 (docs/algorithms/coldgans.md); all constants are ours
    "adversary": GAD["adversary"] | {"batch": 64, "buffer": 256},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "reward": {"kind": "probability"},
    "baseline": {"kind": "batch_mean"},
    "normalisation": {"kind": "none"},
    "reference": {"kind": "none"},
    "objective": {"kind": "reinforce", "loss_normaliser": "sequence", "entropy_bonus": 0.0},
    "schedule": {name: value for name, value in GAD["schedule"].items() if not name.startswith("behaviour")} | {
        "g_group": None, "d_fakes": "fresh", "rollout_temperature": 1.0, "behaviour.kind": "cold_mixture",
        "behaviour.share": 0.5, "behaviour.temperature": 0.5, "behaviour.top_p": None, "behaviour.max_weight": 1.5,
    },
}  # fmt: skip

PARED: Recipe = GAD | {  # 2026 (docs/algorithms/pared.md); sizes are ours
    "discriminator": {"kind": "logistic", "degree": 2, "length": False, "l2": 1e-3},
    "adversary": GAD["adversary"] | {"batch": 64, "buffer": 512},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "reward": {"kind": "log_probability"},
    "schedule": GAD["schedule"] | {"d_epochs": 4, "rollout_temperature": 1.0},
    "optimizers.discriminator": ADAM | {"lr": 0.05},
}

R_AIRL: Recipe = GAD | {  # Fanconi et al. 2025 (docs/algorithms/r_airl.md); sizes are ours
    "discriminator": GAD["discriminator"] | {"granularity": "token"},
    "adversary": GAD["adversary"] | {"perturbed": 2, "reals": "of_prompts"},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.1, "smooths": "both"},
    "reward": {"kind": "standardised_logit", "clip": None},
    "credit": {"kind": "reward_to_go", "gamma": 0.9},
    "baseline": {"kind": "none"},
    "normalisation": {"kind": "none"},
    "reference": {"kind": "none"},
    "schedule": GAD["schedule"] | {"d_fakes": "fresh", "d_first": True, "rollout_temperature": 1.0},
}

VARL: Recipe = GAD | {  # 2026 (docs/algorithms/varl.md); all but the sum of two terms is ours
    "adversary": GAD["adversary"] | {"reals": "of_prompts"},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "reward": {
        "kind": "mixed", "map.kind": "logit", "metric.kind": "reference_match", "weight": 0.5, "normalise_terms": True
    },
    "normalisation": {"kind": "none"},
    "schedule": GAD["schedule"] | {"rollout_temperature": 1.0},
}  # fmt: skip

DIAL: Recipe = GAD | {  # 2025 (docs/algorithms/dial.md), the reward alone
    "discriminator": GAD["discriminator"] | {"granularity": "token"},
    "adversary": GAD["adversary"] | {"batch": 64},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "reward": {"kind": "turn_increment"},
    "credit": {"kind": "reward_to_go", "gamma": 1.0},
    "schedule": GAD["schedule"] | {"rollout_temperature": 1.0},
}

DIAL_DPO: Recipe = GAD | {  # 2025 (docs/algorithms/dial.md), the loop of preferences; sizes and the share are ours
    "adversary": GAD["adversary"] | {"batch": 64, "sequences_per_round": 512},
    "adversary.loss": {"kind": "cross_entropy", "label_smoothing": 0.0, "smooths": "reals"},
    "baseline": {"kind": "none"},
    "normalisation": {"kind": "none"},
    "reference": {"kind": "none"},
    "objective": {"kind": "preferences", "share": 0.25, "epochs": 1, "minibatches": 4},
    "objective.loss": {"kind": "pair_logistic", "scale": 1.0},
    "schedule": GAD["schedule"]
    | {"rollout_temperature": 1.0, "adversarial_updates": 20, "g_batch": 512, "discriminator_rounds": 6},
}

RARO: Recipe = GAD | {  # 2025 (docs/algorithms/raro.md); sizes are ours
    "adversary": GAD["adversary"] | {"buffer": 10_000, "replay": 0.5},
    "reward": {"kind": "pair_verdict", "critic_tie": 0.55, "policy_tie": 0.6},
    "normalisation": {"kind": "none"},
    "objective": GAD["objective"] | {"loss_normaliser": "fixed"},
    "schedule": GAD["schedule"] | {"rollout_temperature": 1.0},
}

RARO_VERDICT: Recipe = RARO | {  # 2025 (docs/algorithms/raro.md); the entropy is ours, as sizes are
    "discriminator": {
        "kind": "verdict_writer", "weights.kind": "fresh", "generator": None, "question": None,
        "weights.architecture": "llama", "weights.width": 128, "weights.layers": 2, "weights.heads": 4,
        "weights.key_value_heads": None, "weights.expansion": 4, "weights.dropout": 0.0, "weights.tied": True,
        "weights.positions": None,
    },
    "adversary.loss": {"kind": "verdict_gradient", "tie": 0.55, "verdicts": 16, "entropy": 0.1},
    "reward": {"kind": "written_verdict", "tie": 0.6},
    "optimizers.discriminator": ADAM | {"lr": 1e-3, "clip_norm": 1.0},
}  # fmt: skip

SPIN: Recipe = SFT | {  # Chen et al. 2024 (docs/algorithms/spin.md); sizes are ours
    "objective": {"kind": "implicit", "epochs": 3, "minibatches": 16},
    "objective.loss": {"kind": "pair_logistic", "scale": 0.1},
    "schedule": SFT["schedule"] | {
        "mle_epochs": 5, "mle_patience": None, "adversarial_updates": 10, "g_batch": 512
    },
    "optimizers.generator": ADAM | {"lr": 1e-4, "clip_norm": 1.0},
}  # fmt: skip

GSIL: Recipe = SPIN | {  # Xiao et al. 2024
    "objective.loss": {"kind": "bernoulli", "scale": 0.01, "shift": 2.0},
}

IQLEARN: Recipe = {name: part for name, part in SPIN.items() if name != "objective.loss"} | {
    # Wulfmeier et al. 2024 (docs/algorithms/iqlearn.md); sizes are ours
    "objective": {"kind": "inverse_soft_q", "weight": 0.1, "gamma": 1.0},
    "schedule": SPIN["schedule"] | {"adversarial_updates": 1_000, "g_batch": 16},
}

SCHEDULED_SAMPLING: Recipe = MLE | {
    # Docs: half of the inputs after 30 epochs.
    "schedule": MLE["schedule"] | {
        "mle_inputs.kind": "scheduled_sampling", "mle_inputs.share": 0.5, "mle_inputs.epochs": 30
    },
}  # fmt: skip

MLE_CONTINUED: Recipe = CONTROL | {  # ours: the same updates by likelihood, and nothing else
    "reward": {"kind": "constant", "value": 1.0},
    "objective": {"kind": "none", "epochs": 1, "minibatches": 1, "loss_normaliser": "sequence"},
}

CONSTANT_REWARD: Recipe = CONTROL | {"reward": {"kind": "constant", "value": 1.0}}  # §1 (2); docs: 1, no baseline

RANDOM_REWARD: Recipe = CONTROL | {"reward": {"kind": "random"}, "baseline": {"kind": "leave_one_out"}}

PG_BLEU: Recipe = RANDOM_REWARD | {
    "reward": {"kind": "bleu", "order": 3, "num_references": 20},  # ours
    "schedule.teacher_forcing": {"kind": "none"},
}

ORACLE_RATIO: Recipe = CONTROL | {
    "reward": {"kind": "oracle_ratio"},  # ours
    "credit": {"kind": "reward_to_go", "gamma": 1.0},  # ours
    "baseline": {"kind": "per_step_mean"},  # ours
    "schedule.teacher_forcing": {"kind": "mixed", "weight": 0.3},  # ours
    "optimizers.generator": ADAM | {"lr": 2e-3, "clip_norm": 5.0},  # ours
}

ORACLE_LIKELIHOOD: Recipe = ORACLE_RATIO | {
    "reward": {"kind": "oracle_likelihood"},  # ours, there oracle_reward
    "schedule.teacher_forcing": {"kind": "none"},
}

# ------------------------------------------------------------------------------------- §40 (docs/algorithms/latents.md)

GENTLE: Recipe = {"optimizers.generator": ADAM | {"lr": 1e-3, "clip_norm": 1.0}}

VAE_SEQGAN: Recipe = SEQGAN | GENTLE | {
    "generator": {
        "kind": "vae", "embedding": 32, "hidden": 32, "latent": 16, "kl_weight": 1.0, "kl_epochs": 10,
        "word_dropout": 0.3, "dropout": 0.0, "bound_draws": 16,
    },
    "credit": {"kind": "terminal"},
    "baseline": {"kind": "leave_one_out"},
    "objective": BY_SEQUENCE,
    "schedule": SEQGAN["schedule"] | {"g_batch": 256, "d_steps": 1},
    "schedule.teacher_forcing": {"kind": "mixed", "weight": 0.3},
}  # fmt: skip

FEATURE_MATCHING: Recipe = (
    SEQGAN
    | GENTLE
    | {
        "reward": {"kind": "feature_matching"},
        "credit": {"kind": "terminal"},
        "baseline": {"kind": "leave_one_out"},
        "normalisation": {"kind": "running_scale", "decay": 0.9},
        "objective": BY_SEQUENCE,
        "schedule": SEQGAN["schedule"] | {"g_batch": 256, "d_steps": 1},
    }
)

WINDOW_GAN: Recipe = SEQGAN | GENTLE | {
    "discriminator": {
        "kind": "window_cnn", "embedding": 32, "pretrained.kind": "none", "window": 3, "filters": 128, "hidden": 64,
        "dropout": 0.25, "members": 1,
    },
    "adversary": BATCHES | {"batch": 128, "sequences_per_round": 2_000},
    "reward": {"kind": "signed_probability"},
    "credit": {"kind": "reward_to_go", "gamma": 0.5},
    "baseline": {"kind": "per_step_mean"},
    "objective": BY_SEQUENCE,
    "schedule": SEQGAN["schedule"] | {"g_batch": 256, "d_steps": 1},
}  # fmt: skip

# -------------------------------------------------------------------------------------------------------- molecules

# MOSES' CharRNN has three layers of 768, dropout .2 and 80 epochs; these sizes are ours.
MOLECULE_MLE: Recipe = PLAIN | {
    "task": {"kind": "plugin", "name": "molecules"},
    "generator": LSTM | {"embedding": 64, "hidden": 256, "layers": 2},
    "discriminator": None,
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 10_000},
    "reward": {"kind": "constant", "value": 1.0},
    "objective": REINFORCE | {"loss_normaliser": "sum"},  # without updates: what there is where nothing is said
    "schedule": UNITS | {
        "mle_epochs": 30, "mle_patience": 2, "mle_batch": 128, "adversarial_updates": 0, "g_batch": 64, "d_steps": 0,
        "d_epochs": 3,
    },
    "optimizers.mle": ADAM | {"lr": 2e-3, "clip_norm": 5.0},
    "optimizers.generator": ADAM | {"lr": 1e-2, "clip_norm": 5.0},
    "optimizers.discriminator": ADAM | {"lr": 1e-4},
}  # fmt: skip


def own_qed(weight: float) -> Part:
    digest = "qualified-name:rlgan.domains.molecules:qed"
    function = {"kind": "plugin", "name": "qed", "options": {}, "digest": digest, "weight": weight}
    others = {"normalise_terms": False, "timeout_s": 60.0, "map_weight": 1.0, "divide_repeats": False}
    return {"kind": "plugin", "functions": [function]} | others


ORGAN: Recipe = MOLECULE_MLE | {
    "discriminator": CNN_HIGHWAY | {"embedding": 32, "windows": [1, 2, 3, 4, 5, 6, 8, 10], "filters": [64] * 8},  # ours
    "adversary": BATCHES | {"batch": 64, "sequences_per_round": 256},  # ours
    "reward": own_qed(0.5) | {"filter": None, "map_weight": 0.5, "divide_repeats": True},  # λ is ours
    "reward.map": {"kind": "probability"},
    "baseline": {"kind": "leave_one_out"},  # ours: none in the paper
    "objective": BY_SEQUENCE,
    "schedule": UNITS | {
        "mle_epochs": 30, "mle_batch": 128, "discriminator_rounds": 20, "adversarial_updates": 300, "g_batch": 64,
        "g_group": 8,
    },
    "optimizers.generator": ADAM | {"lr": 1e-4, "clip_norm": 5.0},
    "optimizers.discriminator": ADAM | {"lr": 1e-3},
}  # fmt: skip

ORGAN_GRPO: Recipe = ORGAN | {
    "baseline": {"kind": "group_mean"},
    "reference": {"kind": "loss", "weight": 0.04, "times_ratio": False},  # as seqgan_grpo
    "objective": PPO | {"loss_normaliser": "fixed", "epochs": 1, "minibatches": 4},
}

REINVENT: Recipe = MOLECULE_MLE | {  # Olivecrona et al. 2017, Blaschke et al. 2020; numbers of REINVENT 4
    "reward": own_qed(1.0) | {"map": None},
    "reward.filter": {
        "kind": "plugin", "name": "scaffold_buckets", "timeout_s": 60.0,
        "digest": "qualified-name:rlgan.domains.molecules:ScaffoldBuckets",
    },
    "reward.filter.options": {"bucket_size": 25, "min_score": 0.4},
    "reference": {"kind": "reward", "weight": 1 / 128, "target": None},  # σ 128
    "objective": {"kind": "augmented_likelihood", "replay": 10, "memory": 100},
    "schedule": UNITS | {
        "mle_epochs": 30, "mle_batch": 128, "adversarial_updates": 300, "g_batch": 64, "d_steps": 0, "d_epochs": 3,
    },
    "optimizers.generator": ADAM | {"lr": 1e-4},
}  # fmt: skip

RECIPES: dict[str, Recipe] = {
    "molecule_mle": MOLECULE_MLE,
    "organ": ORGAN,
    "organ_grpo": ORGAN_GRPO,
    "reinvent": REINVENT,
    "quick": QUICK,
    "seqgan": SEQGAN,
    "seqgan-quick": SEQGAN_QUICK,
    "quick_distill": QUICK_DISTILL,
    "seqgan_prefix": SEQGAN_PREFIX,
    "seqgan_rloo": SEQGAN_RLOO,
    "seqgan_grpo": SEQGAN_GRPO,
    "seqgan_ppo": SEQGAN_PPO,
    "maligan": MALIGAN,
    "maligan_full": MALIGAN_FULL,
    "bgan": BGAN,
    "bgan_rkl": BGAN_RKL,
    "scratchgan": SCRATCHGAN,
    "vae_seqgan": VAE_SEQGAN,
    "feature_matching": FEATURE_MATCHING,
    "window_gan": WINDOW_GAN,
    "wgan_gp": WGAN_GP,
    "cgan_seq": CGAN_SEQ,
    "csgan_nmt": CSGAN_NMT,
    "adversarial_nmt": ADVERSARIAL_NMT,
    "dialogue_reinforce": DIALOGUE,  # ours: terminal
    "regs": DIALOGUE | {"credit": {"kind": "monte_carlo", "num_rollouts": 5, "policy_ema": 0.0}},  # §14 (a), §14
    "regs_prefix": DIALOGUE | {"credit": {"kind": "prefix"}},  # §14 (b)
    "br_csgan": BR_CSGAN,
    "atrnn_summary": ATRNN_SUMMARY,
    "lm_ratio": LM_RATIO,
    "mediator": MEDIATOR,
    "density_ratio": DENSITY_RATIO,
    "wgan_reinforce": WGAN_REINFORCE,
    "gumbel": GUMBEL,
    "relgan": RELGAN,
    "rankgan": RANKGAN,
    "leakgan": LEAKGAN,
    "st_gumbel": ST_GUMBEL,
    "mle": MLE,
    "sft": SFT,
    "grpo": GRPO,
    "gad": GAD,
    "textgail": TEXTGAIL,
    "gcn": GCN,
    "selfgan": SELFGAN,
    "coldgans": COLDGANS,
    "pared": PARED,
    "r_airl": R_AIRL,
    "varl": VARL,
    "raro": RARO,
    "raro_verdict": RARO_VERDICT,
    "dial": DIAL,
    "dial_dpo": DIAL_DPO,
    "spin": SPIN,
    "gsil": GSIL,
    "iqlearn": IQLEARN,
    "mle_continued": MLE_CONTINUED,
    "constant_reward": CONSTANT_REWARD,
    "random_reward": RANDOM_REWARD,
    "oracle_ratio": ORACLE_RATIO,
    "oracle_likelihood": ORACLE_LIKELIHOOD,
    "pg_bleu": PG_BLEU,
    "scheduled_sampling": SCHEDULED_SAMPLING,
}


def test_every_preset_has_a_recipe() -> None:
    assert set(PRESETS) == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_preset_is_its_recipe(name: str) -> None:
    recipe: Recipe = {}
    for path, part in RECIPES[name].items():
        recipe |= {f"{path}.{field}": value for field, value in part.items()} if part is not None else {path: None}
    found = flatten(to_dict(preset(name)))
    assert {path: found[path] for path in found if path in recipe or path.split(".")[0] in AXES} == recipe
