"""One function a paper: each returns a point of the one space, for a given task, with the published settings.

Where a paper's task is not ours, its algorithm's settings are kept; docs/algorithms.md says what differs. The presets
of the first hour and the controls are in `rlgan.presets`.
"""

from .controls import controls_of
from .pairs import adversarial_nmt, atrnn_summary, br_csgan, cgan_seq, csgan_nmt, dialogue_reinforce, regs, regs_prefix
from .sequences import (
    bgan,
    bgan_rkl,
    gumbel,
    lm_ratio,
    maligan,
    maligan_full,
    mediator,
    scratchgan,
    seqgan,
    seqgan_grpo,
    seqgan_ppo,
    seqgan_prefix,
    seqgan_rloo,
    st_gumbel,
    wgan_gp,
    wgan_reinforce,
)

__all__ = [
    "adversarial_nmt",
    "atrnn_summary",
    "bgan",
    "bgan_rkl",
    "br_csgan",
    "cgan_seq",
    "controls_of",
    "csgan_nmt",
    "dialogue_reinforce",
    "gumbel",
    "lm_ratio",
    "maligan",
    "maligan_full",
    "mediator",
    "regs",
    "regs_prefix",
    "scratchgan",
    "seqgan",
    "seqgan_grpo",
    "seqgan_ppo",
    "seqgan_prefix",
    "seqgan_rloo",
    "st_gumbel",
    "wgan_gp",
    "wgan_reinforce",
]
