"""One GRPO step beside that of TRL: the same model, completions and rewards give the same numbers.

Of TRL everything is its own but what it would draw: its trainer takes one whole training step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgan.base.weights import load_weights, weights_of
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators import CausalLM, Generator, build_generator
from rlgan.layers.optimizers import SGD
from rlgan.policy.advantage_scaling import GroupDeviation
from rlgan.policy.baselines import GroupMean
from rlgan.policy.credit import Terminal
from rlgan.policy.experience import Memory, Recipe, learnable
from rlgan.policy.kl_penalty import LossPenalty, NoReference
from rlgan.policy.loss_terms import LossNormaliser
from rlgan.policy.metric_rewards import ReferenceBleu
from rlgan.policy.objectives import PPO, Reinforce
from rlgan.sampling.records import Rollouts
from rlgan.workers.learner import GeneratorLearners
from tests.support.language_models import require, write_model, write_tokenizer
from tests.support.on_ray import learner_role
from tests.support.tiny import FAULTS

require()
pytest.importorskip("trl")
pytest.importorskip("datasets")

pytestmark = [pytest.mark.integration, pytest.mark.heavy]

PROMPTS = ("hello there", "fine, thanks. and you?")
GROUP, LENGTH, BETA, LR = 4, 6, 0.3, 0.5
END = 2  # <|im_end|>
COMPLETIONS = [
    [[40, 50, END], [60, 70, 80, 90, 100, 110], [41, END], [61, 62, 63, END]],
    [[45, 46, 47, 48, 49, END], [END], [51, 52, 53, 54, 55, 56], [57, 58, END]],
]
REWARDS = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.5, -1.0, 0.25, 2.0]])


@dataclass
class Step:
    """What one step came to.

    Attributes:
        advantages: of the sequences, in the order of COMPLETIONS.
        loss: before the step.
        kl: mean k3 of the tokens; None without a reference.
        weights: after the step.
        moved_by: greatest change of a weight.
    """

    advantages: Tensor
    loss: float
    kl: float | None
    weights: dict[str, Tensor]
    moved_by: float = 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose ids are the tokenizer's: TRL's softmax is over all of them, ours over the task's tokens."""
    folder = write_tokenizer(tmp_path_factory.mktemp("trl") / "model")
    write_model(folder, "llama", extra_ids=0)
    return folder


def moved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a policy that has left its reference."""
    noise = {name: torch.Generator().manual_seed(len(name)) for name in state}
    return {name: value + 0.05 * torch.randn(value.shape, generator=noise[name]) for name, value in state.items()}


def by_trl(folder: Path, out: Path, loss_type: str, beta: float, temperature: float) -> Step:
    import datasets
    import transformers
    import trl

    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    own_ids = {tuple(tokenizer(prompt)["input_ids"]): index for index, prompt in enumerate(PROMPTS)}
    rewards = {
        tuple(ids): float(REWARDS[prompt, index])
        for prompt, group in enumerate(COMPLETIONS)
        for index, ids in enumerate(group)
    }
    args = trl.GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=len(PROMPTS) * GROUP,
        num_generations=GROUP,
        max_completion_length=LENGTH,
        beta=beta,
        temperature=temperature,
        loss_type=loss_type,
        use_bias_correction_kl=loss_type == "dapo",
        learning_rate=LR,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=1.0,
        max_steps=1,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
    )

    def reward(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        return [rewards[tuple(ids)] for ids in completion_ids]

    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": list(PROMPTS)}),
        processing_class=tokenizer,
    )
    model.load_state_dict(moved(model.state_dict()))

    def written(prompt_ids: list[list[int]], *more: Any, **kwargs: Any) -> tuple[list[list[int]], None]:
        left = [list(group) for group in COMPLETIONS]
        return [left[own_ids[tuple(ids)]].pop(0) for ids in prompt_ids], None

    seen: dict[str, Any] = {}
    compute = trainer._compute_loss

    def watched(policy: Any, inputs: dict[str, Tensor]) -> Tensor:
        loss: Tensor = compute(policy, inputs)
        seen.update(loss=float(loss.detach()), advantages=inputs["advantages"], ids=inputs["completion_ids"])
        return loss

    trainer._generate_single_turn, trainer._compute_loss = written, watched
    trainer.train()
    order = [tuple(int(one) for one in row) for row in seen["ids"]]
    rows = [next(i for i, row in enumerate(order) if list(row[: len(ids)]) == ids) for ids in sum(COMPLETIONS, [])]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    kl = None if beta == 0.0 else float(logged[0]["kl"])
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return Step(seen["advantages"][rows].flatten(), seen["loss"], kl, state)


def by_rlgan(folder: Path, normaliser: LossNormaliser, beta: float, temperature: float) -> Step:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    size = len(tokenizer)
    given = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    longest = max(map(len, given)) + 1
    space = SequenceSpace(size, LENGTH, end_id=END, padding_id=0, condition=SequenceSpace(size + 1, longest, size))
    conditions = torch.tensor([[*ids, *[size] * (longest - len(ids))] for ids in given]).repeat_interleave(GROUP, 0)
    tokens = torch.tensor([[*ids, *[0] * (LENGTH - len(ids))] for ids in sum(COMPLETIONS, [])])
    mask = sequence_mask(space, tokens)
    settings = CausalLM(weights={"kind": "folder", "path": str(folder)})
    reference = build_generator(settings, space)
    reference.take_files()
    start = {name.removeprefix("network."): value for name, value in weights_of(reference, 0).complete.items()}
    policy = load_weights(
        build_generator(settings, space), {f"network.{name}": value for name, value in moved(start).items()}
    )

    def logprobs(generator: Generator) -> Tensor:
        with torch.no_grad():
            return generator.conditional(conditions).logprobs(tokens, temperature).masked_fill(~mask, 0.0)

    rollouts = Rollouts(
        tokens=tokens, logprobs=logprobs(policy), mask=mask, real_logits=None, token_logits=None,
        continuation_logits=None, reference_logprobs=logprobs(reference), generator_version=0,
        discriminator_version=None, prefix_length=0, num_drawn=0, conditions=conditions, scores=REWARDS.flatten(),
    )  # fmt: skip
    axes = Recipe(
        reward=ReferenceBleu(),  # whatever the scores are
        credit=Terminal(),
        reference=LossPenalty(weight=beta, times_ratio=normaliser == "token") if beta else NoReference(),
        baseline=GroupMean(),
        normalisation=GroupDeviation(bessel=True, epsilon=1e-4),
        objective=PPO(loss_normaliser=normaliser),
        group=GROUP,
    )
    task: Any = None  # read by no reward here
    experience = learnable(rollouts, axes, Memory(), task, torch.Generator()).experience
    optimizers: Any = {"mle": SGD(lr=LR), "adversarial": SGD(lr=LR, clip_norm=1.0)}
    group = GeneratorLearners(settings, space, optimizers, learner_role(0), 1, 0, FAULTS, objective=axes.objective)
    group.load(weights_of(policy, 0).complete)
    learned = group.update("adversarial", experience, len(tokens), temperature=temperature)
    assert learned["logprob_gap_max"] < 1e-5  # of the same distribution
    plain = replace(axes, objective=Reinforce(loss_normaliser="sum"))
    advantages = learnable(rollouts, plain, Memory(), task, torch.Generator()).experience.weights[:, 0]
    kl = None
    if beta:
        difference = (rollouts.reference_logprobs - rollouts.logprobs)[mask]
        kl = float((difference.exp() - difference - 1.0).mean())
    before, after = weights_of(policy, 0).complete, group.weights().complete
    moved_by = max(float((value - before[name]).abs().max()) for name, value in after.items())
    weights = {name.removeprefix("network."): value for name, value in after.items()}
    return Step(advantages, learned["loss"], kl, weights, moved_by)


@pytest.mark.parametrize(
    ("loss_type", "normaliser", "beta", "temperature"),
    [
        ("dapo", "token", BETA, 1.0),
        ("grpo", "sequence_mean", BETA, 1.0),
        ("dr_grpo", "fixed", 0.0, 1.0),
        ("dapo", "token", BETA, 0.7),
        ("grpo", "sequence_mean", BETA, 1.4),
    ],
)
def test_one_step_has_the_numbers_of_trl(
    loss_type: str, normaliser: LossNormaliser, beta: float, temperature: float, folder: Path, tmp_path: Path
) -> None:
    theirs = by_trl(folder, tmp_path, loss_type, beta, temperature)
    ours = by_rlgan(folder, normaliser, beta, temperature)
    torch.testing.assert_close(ours.advantages, theirs.advantages, atol=1e-4, rtol=0)
    assert float(theirs.advantages.abs().min()) > 0.05
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
    assert (ours.kl is None) == (beta == 0.0)
    if ours.kl is not None:
        assert ours.kl == pytest.approx(theirs.kl, abs=1e-4) and ours.kl > 0.01
    assert ours.moved_by > 1e-2
    for name, value in ours.weights.items():
        torch.testing.assert_close(value, theirs.weights[name], atol=1e-4, rtol=0, msg=name)
