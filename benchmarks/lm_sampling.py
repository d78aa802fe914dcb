"""Sampling of a causal language model against `model.generate` of transformers: tokens a second, the same model.

    python -m benchmarks.lm_sampling [--repeats 3] [--rows 64] [--new 128] [--group 8] [--device cuda] ...

One process and thread, turn by turn, float32, random weights, temperature 1, no token that ends a sequence, so that
both draw the same number of tokens. Once each row has a prompt of its own, and once `--group` rows share one. That
rlgan draws from the model's distribution is tested (`tests/unit/test_causal_lm.py`); here the mean log-probability of
what each side drew stands beside its time, computed by one forward pass of the model. Times are CPU seconds, or, on a
GPU, seconds that pass. Where each row has a prompt of its own, what nobody can leave out is timed, too: the products
with all matrices of the model, and those of each row's query with its keys and values, for as many steps, and nothing
else.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import ratios, spread
from benchmarks.lm_common import Clock, add_device, write_model
from rlgan.base.pretrained import ModelFolder
from rlgan.base.seeding import generator_on
from rlgan.base.threads import torch_threads
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.generators import CausalLM, build_generator
from rlgan.sampling.sampler import sampler_of

TINY_MARKS = ("heavy",)
NEEDS = ("transformers", "peft")


def tiny(folder: Path) -> list[str]:
    return ["--repeats", "1", "--rows", "4", "--group", "2", "--new", "4", "--prompt", "3", "--vocab", "270"] + [
        "--width", "16", "--layers", "1",
    ]  # fmt: skip


def timed(clock: Clock, function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = clock.now()
    result = function()
    return clock.now() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in {
        "repeats": 3, "rows": 64, "group": 8, "new": 128, "prompt": 32, "vocab": 4096, "width": 256, "layers": 4,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    add_device(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, torch_threads(1):
        compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Print both sides and their ratio."""
    import transformers

    clock, device = Clock(options.device), torch.device(options.device)
    size = write_model(folder, options.vocab, options.width, options.layers, options.prompt + options.new)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval().to(device)
    vocab = model.config.vocab_size
    space = SequenceSpace(vocab, options.new, condition=SequenceSpace(vocab, options.prompt))
    generator = build_generator(CausalLM(weights=ModelFolder(path=str(folder))), space)
    generator.take_files()
    sampler = sampler_of(generator.to(device).eval().requires_grad_(False), space, chunk_rows=options.rows)
    model.generation_config.eos_token_id = None
    print(clock.machine)
    print(f"{size:,} weights, {options.rows} rows of {options.new} new tokens behind {options.prompt}, 1 thread")
    rng = random.Random(0)
    for rows_a_prompt in (1, options.group):
        number = options.rows // rows_a_prompt
        prompts = torch.tensor([[rng.randrange(vocab) for _ in range(options.prompt)] for _ in range(number)])
        conditions = prompts.repeat_interleave(rows_a_prompt, 0).to(device)

        def ours(seed: int, given: Tensor = conditions) -> Tensor:
            return sampler.sample(len(given), generator_on(device, seed), conditions=given).tokens

        def theirs(seed: int, given: Tensor = conditions) -> Tensor:
            torch.manual_seed(seed)
            found: Tensor = model.generate(
                given, attention_mask=torch.ones_like(given), do_sample=True, top_k=0, top_p=1.0,
                max_new_tokens=options.new, min_new_tokens=options.new, pad_token_id=0,
            )  # fmt: skip
            return found[:, given.shape[1] :]

        taken: dict[str, list[float]] = {"rlgan": [], "generate": []}
        products: dict[str, list[float]] = {"matrices": [], "keys and values": []}
        likelihood: dict[str, list[float]] = {"rlgan": [], "generate": []}
        for repeat in range(options.repeats + 1):
            for name, draw in (("generate", theirs), ("rlgan", ours)):
                spent, tokens = timed(clock, lambda draw=draw, repeat=repeat: draw(repeat))  # type: ignore[misc]
                assert tokens.shape == (options.rows, options.new)
                with torch.no_grad():
                    nll = -float(generator.conditional(conditions).logprobs(tokens).mean())
                if repeat:  # the first warms up
                    taken[name].append(spent)
                    likelihood[name].append(nll)
            if repeat and rows_a_prompt == 1:
                with torch.no_grad():
                    products["matrices"].append(timed(clock, lambda: of_matrices(model, options))[0])
                    products["keys and values"].append(timed(clock, lambda: of_keys(model, options))[0])
        tokens_drawn = options.rows * options.new
        print(f"{rows_a_prompt} rows a prompt:")
        for name, seconds in taken.items():
            print(
                f"  {name}: {spread([tokens_drawn / one for one in seconds], 0)} tokens a {clock.unit}; "
                f"NLL {spread(likelihood[name], 4)} nats a token"
            )
        print(f"  tokens a second, rlgan / generate: {spread(ratios(taken['generate'], taken['rlgan']))}")
        if rows_a_prompt == 1:
            bare = [sum(both) for both in zip(*products.values(), strict=True)]
            for name, seconds in {**taken, **products}.items():
                print(f"  {name}: {spread(seconds)} {clock.unit}")
            print(f"  products alone / rlgan: {spread(ratios(bare, taken['rlgan']))}")
            print(f"  if nothing else were computed, rlgan / generate: {spread(ratios(taken['generate'], bare))}")


def of_matrices(model: Any, options: argparse.Namespace) -> Tensor:
    """The products of every step with all matrices of the model."""
    layers = [part.weight for part in model.modules() if isinstance(part, torch.nn.Linear)]
    rows = {
        width: torch.randn(options.rows, width, device=model.device) for width in {weight.shape[1] for weight in layers}
    }
    found = rows[layers[0].shape[1]]
    for _ in range(options.new):
        for weight in layers:
            found = torch.nn.functional.linear(rows[weight.shape[1]], weight)
    return found


def of_keys(model: Any, options: argparse.Namespace) -> Tensor:
    """The products of every step's queries with the keys and values that are there."""
    config, size = model.config, options.prompt + options.new
    heads, depth = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    queries = torch.randn(options.rows, heads, 1, depth, device=model.device)
    kept = torch.randn(config.num_hidden_layers, 2, options.rows, heads, size, depth, device=model.device)
    found = queries
    for step in range(options.new):
        for keys, values in kept[:, :, :, :, : options.prompt + step + 1]:
            found = (queries @ keys.transpose(-1, -2)) @ values
    return found


if __name__ == "__main__":
    main()
