"""How far log-probabilities of the sampler and of the learner part, in nats: what `workers.most_logprob_gap` bounds.

    python -m benchmarks.lm_gap [--rows 64] [--completion 64] [--widths 64,256] [--sharpness 1,16]

A new model draws completions as in a run, token by token from keys and values that it kept; the learner computes the
same tokens by one forward pass over prompt and completion. A model with random weights is nearly uniform: `sharpness`
multiplies its logits, until they are those of a trained one (its entropy is printed).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.common import machine
from rlgan.base.threads import torch_threads
from rlgan.base.weights import load_weights, weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, build_generator
from rlgan.layers.pretrained import FreshWeights
from rlgan.policy.learner_loss import logprob_gap
from rlgan.sampling.sampler import sampler_of

TINY_MARKS = ("heavy",)
NEEDS = ("transformers", "peft")

_VOCAB, _PROMPT = 1_000, 24


def tiny(folder: Path) -> list[str]:
    return ["--rows", "2", "--completion", "3", "--widths", "16", "--sharpness", "1"]


def measured(architecture: str, dtype: str, width: int, sharpness: float, rows: int, length: int) -> tuple[float, ...]:
    """Greatest gap, the 99th percentile of gaps, and the entropy of the policy, nats a token."""
    condition = SequenceSpace(_VOCAB + 1, _PROMPT + 1, end_id=_VOCAB)
    space = SequenceSpace(_VOCAB, length, end_id=0, condition=condition)
    weights = FreshWeights(architecture=architecture, width=width, layers=4, heads=4, tied=False)
    torch.manual_seed(0)
    settings = CausalLM(weights=weights, dtype=dtype)
    generator = build_generator(settings, space).eval()
    # The last layer alone, so that what is computed before it is what a model of this size computes.
    sharp = {
        name: one * sharpness if "lm_head" in name else one for name, one in weights_of(generator, 0).complete.items()
    }
    generator = load_weights(generator, sharp).requires_grad_(False)
    rng = torch.Generator().manual_seed(1)
    lengths = torch.randint(4, _PROMPT + 1, (rows, 1), generator=rng)
    prompts = torch.randint(1, _VOCAB, (rows, _PROMPT + 1), generator=rng)
    prompts = prompts.masked_fill(torch.arange(_PROMPT + 1) >= lengths, _VOCAB)
    samples = sampler_of(generator, space).sample(rows, rng, conditions=prompts)
    mask = sequence_mask(space, samples.tokens)
    with torch.no_grad():
        logprobs = generator.conditional(prompts).logprobs(samples.tokens)
    gaps = (logprobs - samples.logprobs).abs()[mask]
    greatest = logprob_gap(logprobs.masked_fill(~mask, 0.0), samples.logprobs)
    return greatest, float(gaps.quantile(0.99)), -float(samples.logprobs[mask].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--completion", type=int, default=64)
    parser.add_argument("--widths", default="64,256")
    parser.add_argument("--sharpness", default="1,16")
    options = parser.parse_args()
    print(machine())
    print("\n| model | entropy | float32: greatest gap, 99 % | bfloat16: greatest gap, 99 % |\n|---|---|---|---|")
    with torch_threads(1):
        for architecture in ("gpt2", "llama", "qwen2"):
            for width in map(int, options.widths.split(",")):
                for sharpness in map(float, options.sharpness.split(",")):
                    sizes = (width, sharpness, options.rows, options.completion)
                    found = [measured(architecture, dtype, *sizes) for dtype in ("float32", "bfloat16")]
                    cells = " | ".join(f"{one[0]:.2g}, {one[1]:.2g}" for one in found)
                    print(f"| {architecture}, width {width}, logits x {sharpness:g} | {found[0][2]:.2f} | {cells} |")


if __name__ == "__main__":
    main()
