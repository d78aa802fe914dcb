"""Likelihood covers, an adversary seeks: a student with one mode learns a teacher with two, everything exact.

    python -m benchmarks.toy_mixture [--seeds 1 2 3 4 5] [--updates 300] [--modes MEAN DEVIATION WEIGHT ...]
        [--plot FILE.png] [--set PATH VALUE ...]

The toy of the paper of GAD (Ye et al. 2025). The teacher is a mixture of two Gaussians on ten classes, and sequences
are one token long. The student has two parameters, the mean and the deviation of one Gaussian on the same classes, so
that it cannot be the teacher. Of each seed

    likelihood    is learned by maximum likelihood, from a start of its own
    gad           begins there, and learns from a judge with a free logit for each class

The judge's loss compares each class that the student drew with all of the teacher's: of one prompt that is the Bradley-
Terry loss. Its optimum is log p_d/p_θ plus a constant, so that the policy gradient is that of KL(p_θ‖p_d).

Prints forward KL(p_d‖p_θ) and reverse KL(p_θ‖p_d), exactly, by a sum over the classes; the least that any student can
reach of either; and the reverse divergence to which that of the least forward one falls by descent.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import add_changes, machine
from benchmarks.presets import interval
from benchmarks.tiny_world import distribution, divergences
from rlgan import extensions
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Task, ToyTask, build_task
from rlgan.envs.tasks.task import stream_of
from rlgan.envs.tasks.toy import TabularOracle
from rlgan.presets.registry import preset
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts

CLASSES = 10
MODES = (2.5, 0.7, 0.8, 7.0, 0.7, 0.2)
"""Mean, deviation and weight of the first Gaussian of the teacher, and of the second."""
WORLD = ToyTask(vocab_size=CLASSES, max_length=1, mode="stream", num_train=6_400, num_valid=500, num_test=500)


def gaussian(mean: Tensor, deviation: Tensor) -> Tensor:
    """(..., CLASSES) log-probabilities of a Gaussian on the classes, by means and deviations (...)."""
    distance = (torch.arange(CLASSES) - mean.unsqueeze(-1)) / deviation.unsqueeze(-1)
    return (-0.5 * distance**2).log_softmax(-1)


def mixture(modes: Sequence[float]) -> Tensor:
    """(CLASSES,) float64 log-probabilities of Gaussians, by mean, deviation and weight of each."""
    means, deviations, weights = torch.tensor(modes, dtype=torch.float64).view(-1, 3).T
    return ((weights / weights.sum()) @ gaussian(means, deviations).exp()).log()


class OneGaussian(nn.Module):
    """A student with a mean and a deviation; the former begins anywhere within the classes.

    Args:
        space: of single tokens.
    """

    def __init__(self, space: SequenceSpace) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.rand(()) * (space.vocab_size - 1))
        self.log_deviation = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 1) tokens, the start alone → (B, 1, V) logits."""
        logits = gaussian(self.mean, self.log_deviation.exp())
        return logits.expand(*tokens.shape, -1)


def least(teacher: Tensor) -> dict[str, Tensor]:
    """The best students of a teacher (CLASSES,), all log-probabilities, by name.

    The least of either divergence is found on a grid. The third is where the reverse one falls to from the student of
    the least forward one: a local minimum, which may not be the least.
    """
    means, deviations = torch.linspace(-5, 15, 401), torch.linspace(0.2, 10, 491)
    grid = torch.tensor(list(itertools.product(means.tolist(), deviations.tolist())), dtype=torch.float64)
    students = gaussian(*grid.T)
    difference = teacher - students
    forward, reverse = (teacher.exp() * difference).sum(1), -(students.exp() * difference).sum(1)
    mean, deviation = grid[forward.argmin()]
    at = torch.stack([mean, deviation.log()]).requires_grad_()
    descent = torch.optim.Adam([at], lr=0.01)
    for _ in range(2_000):
        student = gaussian(at[0], at[1].exp())
        descent.zero_grad()
        (student.exp() * (student - teacher)).sum().backward()
        descent.step()
    return {
        "least forward": students[forward.argmin()],
        "least reverse": students[reverse.argmin()],
        "reverse, from the least forward": gaussian(at[0], at[1].exp()).detach(),
    }


def world(teacher: Tensor) -> Task:
    """The task: single tokens of a teacher (CLASSES,), new ones each time."""
    plain = build_task(WORLD)
    oracle: Any = TabularOracle(plain.space, teacher.exp())
    splits = {
        name: oracle.sample(len(getattr(plain, name)), seed) for seed, name in enumerate(("train", "valid", "test"))
    }
    return replace(plain, oracle=oracle, stream=stream_of(oracle), **splits)


def configs(seed: int, updates: int, changes: Mapping[str, Any]) -> dict[str, Config]:
    """Likelihood, and gad without likelihood before it."""
    extensions.register("generator", "one Gaussian", OneGaussian)
    shared: dict[str, Any] = {
        "seed": seed,
        "generator.kind": "plugin",
        "generator.name": "one Gaussian",
        "optimizers.mle.lr": 0.04,
        "optimizers.generator.lr": 0.01,
        "workers.threads": 1,
    }
    # An epoch of the stream is 100 steps.
    likelihood: dict[str, Any] = {
        "schedule.mle_epochs": max(1, updates // 100),
        "schedule.mle_batch": 64,
        "schedule.mle_patience": None,
    }
    adversarial: dict[str, Any] = {
        "schedule.mle_epochs": 0,
        "schedule.adversarial_updates": updates,
        "schedule.rollout_temperature": 1.0,
        "schedule.g_group": None,
        "discriminator": "tabular",
        "optimizers.discriminator.lr": 0.1,
        # Of one prompt the loss of gad.
        "adversary.loss": "relativistic",
        "adversary.batch": 128,
        # Nothing holds the student where it began.
        "reference": "none",
    }
    found = {}
    for name, own in {"likelihood": likelihood, "gad": adversarial}.items():
        base = preset("mle" if name == "likelihood" else "gad").model_copy(update={"task": WORLD, "controls": ()})
        found[name] = override(override(base, shared | own), dict(changes))
    return found


def learned(config: Config, task: Task, start: Any = None) -> tuple[Tensor, Any]:
    """(CLASSES,) log-probabilities of the student at the end of a run, and the run's start for another."""
    with build_parts(config, task) as parts:
        trainer = Trainer(config, task, parts, start)
        while trainer.next_phase is not None:
            trainer.step(measure=False)
        classes = torch.arange(CLASSES).unsqueeze(1)
        return distribution(trainer.current_generator(), task, classes), trainer.mle_start


def one_seed(teacher: Tensor, seed: int, updates: int, changes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name of each student → (CLASSES,) its log-probabilities."""
    task, runs = world(teacher), configs(seed, updates, changes)
    covering, start = learned(runs["likelihood"], task)
    seeking, _ = learned(runs["gad"], task, start)
    return {"likelihood": covering, "gad": seeking}


def moments(probs: Tensor) -> tuple[float, float]:
    """Mean and deviation of a distribution (CLASSES,)."""
    classes = torch.arange(CLASSES)
    mean = float((probs * classes).sum())
    return mean, float((probs * (classes - mean) ** 2).sum().sqrt())


def table(teacher: Tensor, students: Mapping[str, Sequence[Tensor]]) -> str:
    """Means over seeds with half-widths of 95 % t intervals: name → log-probabilities of each seed."""
    text = ["| | KL(p_d‖p_θ), forward | KL(p_θ‖p_d), reverse | mean | deviation |", "|---" * 5 + "|"]
    for name, found in students.items():
        measured = [(*divergences(teacher, one.double())[:2], *moments(one.exp())) for one in found]
        text.append("| " + " | ".join((name, *(interval(column) for column in zip(*measured, strict=True)))) + " |")
    return "\n".join(text)


def plot(teacher: Tensor, students: Mapping[str, Sequence[Tensor]], path: Path) -> None:
    """Draw the teacher as bars, and each seed of likelihood and of gad after it as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(CLASSES), teacher.exp().tolist(), color="0.85", label="teacher: two modes")
    names = {
        "likelihood": ("likelihood covers both", "tab:blue", "o"),
        "gad": ("the adversary seeks one", "tab:red", "s"),
    }
    for name, (title, colour, marker) in names.items():
        for number, one in enumerate(students[name]):
            label = "_" if number else f"{title} ({name})"  # matplotlib leaves out what begins with _
            axes.plot(
                range(CLASSES), one.exp().tolist(), color=colour, marker=marker, ms=4, lw=1, alpha=0.7, label=label
            )
    axes.set_xticks(range(CLASSES))
    axes.set_xlabel("class")
    axes.set_ylabel("probability")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def tiny(folder: Path) -> list[str]:
    sizes = {"schedule.g_batch": 16, "adversary.sequences_per_round": 16}
    words = [word for path, value in sizes.items() for word in ("--set", path, str(value))]
    return ["--seeds", "1", "--updates", "2", "--plot", str(folder / "mixture.png"), *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--updates", type=int, default=300, help="of the student by either way")
    parser.add_argument("--modes", type=float, nargs="+", default=MODES, help="mean, deviation and weight of each")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    add_changes(parser)
    arguments = parser.parse_args()
    print(machine(), flush=True)
    teacher, students = mixture(arguments.modes), dict[str, list[Tensor]]()
    for seed in arguments.seeds:
        for name, one in one_seed(teacher, seed, arguments.updates, dict(arguments.set)).items():
            students.setdefault(name, []).append(one)
            forward, reverse, _ = divergences(teacher, one.double())
            mean, deviation = moments(one.exp())
            print(
                f"seed {seed}: {name}: forward {forward:.3f}, reverse {reverse:.3f}; {mean:.2f} ± {deviation:.2f}",
                flush=True,
            )
    best = {name: [one] for name, one in least(teacher).items()}
    print(f"\n{table(teacher, students | best)}")
    if arguments.plot:
        plot(teacher, students, arguments.plot)


if __name__ == "__main__":
    main()
