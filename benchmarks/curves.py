"""How every preset comes nearer to a known distribution, update by update: the curves of docs/algorithms.md.

    python -m benchmarks.curves [--seeds 1 2 3] [--only NAME ...] [--updates N] [--plot FILE.png]

The world, the sizes and the divergences are those of `benchmarks.tiny_world`: 64 sequences, a generator that begins at
random, no likelihood beside the adversary. `wgan_gp` knows no likelihood; its Jensen-Shannon divergence is of 20,000
samples.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import machine
from benchmarks.tiny_world import RUNS, followed, small

TINY_MARKS = ("heavy",)

Curve = list[tuple[float, float, float]]
"""KL(p_d‖p_θ), KL(p_θ‖p_d), JS in nats a sequence, before the first update and after each."""
_NAMES = ("KL(data, generator)", "KL(generator, data)", "JS")
_AT = (0, 10, 30, 60, 100, 150, 300)


def row(name: str, curves: Sequence[Curve]) -> str:
    """JS at some updates, and the greatest share of each divergence that is left, over seeds."""
    found = [f"{statistics.mean(curve[at][2] for curve in curves):.3f}" if at < len(curves[0]) else "" for at in _AT]
    worst = [max(curve[-1][index] / curve[0][index] for curve in curves) for index in range(3)]
    left = [f"{share:.0%}" for share in (worst if name != "wgan_gp" else worst[2:])]
    return "| " + " | ".join((f"`{name}`", *found, ", ".join(left))) + " |"


def plot(curves: dict[str, list[Curve]], path: Path) -> None:
    """One panel a preset, one line a seed and divergence."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    columns = 4
    figure, axes = plt.subplots(
        math.ceil(len(curves) / columns),
        columns,
        figsize=(12, 2.4 * math.ceil(len(curves) / columns)),
        squeeze=False,
        sharey=True,
    )
    colours = ("tab:blue", "tab:orange", "black")
    for axis, (name, found) in zip(axes.flat, curves.items(), strict=False):
        for curve in found:
            for index, colour in enumerate(colours):
                if name == "wgan_gp" and index < 2:
                    continue
                values = [at[index] for at in curve]
                axis.plot(values, color=colour, linewidth=1.0, label=_NAMES[index] if curve is found[0] else None)
        axis.set_yscale("log")
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    for axis in list(axes.flat)[len(curves) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("generator updates", fontsize=8)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, fontsize=9)
    figure.supylabel("nats a sequence", fontsize=9)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.96))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def tiny(folder: Path) -> list[str]:
    return ["--seeds", "1", "--only", "seqgan", "wgan_gp", "--updates", "1", "--plot", str(folder / "curves.png")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", default=list(RUNS), choices=list(RUNS), metavar="NAME")
    parser.add_argument("--updates", type=int, metavar="N", help="of each generator (default 150, of wgan_gp 300)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves, too")
    arguments = parser.parse_args()
    print(f"{machine()}; seeds {' '.join(map(str, arguments.seeds))}\n")
    print(
        "| preset | "
        + " | ".join(f"JS at {at}" for at in _AT)
        + " | left of KL(p_d‖p_θ), KL(p_θ‖p_d), JS, worst seed |"
    )
    print("|---" * (len(_AT) + 2) + "|")
    curves: dict[str, list[Curve]] = {}
    changed = {} if arguments.updates is None else {"schedule.adversarial_updates": arguments.updates}
    for name in arguments.only:
        curves[name] = [list(followed(small(name, RUNS[name] | changed, seed))) for seed in arguments.seeds]
        print(row(name, curves[name]), flush=True)
    if arguments.plot is not None:
        plot(curves, arguments.plot)


if __name__ == "__main__":
    main()
