"""Tables and pictures from plain data; nothing here trains, measures or tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MISSING = "–"

# Panel title → (unit, metric → label); a panel appears if any of its metrics was logged.
_PANELS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Likelihood": (
        "nats per token",
        {
            "mle/train_nll": "MLE, train",
            "mle/valid_nll": "MLE, valid",
            "mle/nll_gen": "NLL_gen",
            "eval/nll_gen": "NLL_gen",
            "mle/nll_oracle": "NLL_oracle",
            "eval/nll_oracle": "NLL_oracle",
        },
    ),
    "KL gaps": (
        "nats per token",
        {
            "mle/kl_forward": "forward",
            "eval/kl_forward": "forward",
            "mle/kl_reverse": "reverse",
            "eval/kl_reverse": "reverse",
        },
    ),
    "BLEU": (
        "score",
        {
            "mle/bleu_2": "BLEU-2",
            "eval/bleu_2": "BLEU-2",
            "mle/bleu_4": "BLEU-4",
            "eval/bleu_4": "BLEU-4",
            "mle/self_bleu_4": "Self-BLEU-4",
            "eval/self_bleu_4": "Self-BLEU-4",
        },
    ),
    "Discriminator accuracy": (
        "share",
        {
            "discriminator_pretraining/accuracy_heldout": "held-out",
            "discriminator/accuracy_heldout": "held-out",
            "discriminator_pretraining/accuracy_fake": "training, fakes",
            "discriminator/accuracy_fake": "training, fakes",
            "discriminator_pretraining/accuracy_real": "training, reals",
            "discriminator/accuracy_real": "training, reals",
        },
    ),
    "Value of a token": ("reward units", {"generator/mean_value": "mean", "generator/advantage_std": "advantage std"}),
    "Entropy of the generator": ("nats per token", {"generator/entropy": "rollouts"}),
}
_PHASES = {
    "mle": ("MLE", "#dbe9f6"),
    "discriminator": ("D pretraining", "#fde6cd"),
    "adversarial": ("adversarial", "#ffffff"),
}


def format_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], decimals: int = 3) -> str:
    """An aligned text table.

    Args:
        rows: values by column; numbers are right-aligned with fixed decimals, what is missing is shown as "–".
        columns: in order; the first is left-aligned.
        decimals: of floats.

    Returns:
        Lines without a final newline: header, rule, rows.
    """

    def cell(value: Any) -> str:
        if value is None:
            return _MISSING
        return f"{value:.{decimals}f}" if isinstance(value, float) else str(value)

    cells = [list(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = [
        "  ".join(
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    return "\n".join([lines[0].rstrip(), "-" * len(lines[0]), *(line.rstrip() for line in lines[1:])])


def plot_learning_curves(rows: Sequence[Mapping[str, Any]], path: Path) -> Figure:
    """Small multiples over the units of a run, its phases shaded.

    Args:
        rows: of metrics.jsonl: "unit", "phase", "metrics".
        path: PNG to write.

    Returns:
        The figure, already saved and closed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["unit"] is not None]
    logged = {name for row in rows for name, value in row["metrics"].items() if value is not None}
    panels = {title: panel for title, panel in _PANELS.items() if logged & set(panel[1])}
    num_columns = 2 if len(panels) > 1 else 1
    num_rows = max(1, -(-len(panels) // num_columns))
    figure = Figure(figsize=(6.5 * num_columns, 3.2 * num_rows), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, (unit, metrics)) in enumerate(panels.items()):
        axes = figure.add_subplot(num_rows, num_columns, index + 1)
        _shade_phases(axes, rows)
        colours: dict[str, Any] = {}
        for name, label in metrics.items():
            points = [(row["unit"], row["metrics"][name]) for row in rows if row["metrics"].get(name) is not None]
            if points:
                # The same quantity before and after a change of phase is one curve in one colour.
                line = axes.plot(
                    *zip(*points, strict=True),
                    label=None if label in colours else label,
                    color=colours.get(label),
                    linewidth=1.4,
                    marker="." if len(points) < 40 else None,
                )[0]
                colours.setdefault(label, line.get_color())
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("units of the run", fontsize=8)
        axes.set_ylabel(unit, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    return figure


def _shade_phases(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    start = 0
    for phase, (name, colour) in _PHASES.items():
        units = [row["unit"] for row in rows if row["phase"] == phase]
        if not units:
            continue
        axes.axvspan(start, max(units), color=colour, zorder=0, linewidth=0)
        axes.annotate(
            name, ((start + max(units)) / 2, 1.0), xycoords=("data", "axes fraction"), xytext=(0, -9),
            textcoords="offset points", ha="center", fontsize=7, color="#666666",
        )  # fmt: skip
        start = max(units)


def plot_quality_diversity(rows: Sequence[Mapping[str, Any]], x: str, y: str, path: Path) -> Figure:
    """The final table as a plane, with the curve that maximum likelihood draws by its temperature alone.

    A generator is of interest where it lies off that curve on the better side, not where it lies along it.

    Args:
        rows: of the final table; those whose name begins with "MLE" make the curve, ordered by temperature.
        x: column of the horizontal axis.
        y: column of the vertical axis.
        path: PNG to write.

    Returns:
        The figure, already saved.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    curve = sorted((row for row in rows if str(row["name"]).startswith("MLE")), key=lambda row: -row["temperature"])
    axes.plot([row[x] for row in curve], [row[y] for row in curve], "o-", color="#888888", label="MLE by temperature")
    for row in curve:
        axes.annotate(
            f"τ={row['temperature']:g}", (row[x], row[y]), xytext=(5, -11), textcoords="offset points", fontsize=8,
            color="#666666",
        )  # fmt: skip
    markers = "sD^vP*X"
    for index, row in enumerate(row for row in rows if row not in curve):
        axes.plot([row[x]], [row[y]], markers[index % len(markers)], markersize=9, linestyle="none", label=row["name"])
    axes.set_xlabel(_AXIS_NAMES.get(x, x))
    axes.set_ylabel(_AXIS_NAMES.get(y, y))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.savefig(path, dpi=120)
    return figure


_AXIS_NAMES = {
    "kl_reverse": "KL(generator‖oracle), nats per token: quality, lower is better",
    "kl_forward": "KL(oracle‖generator), nats per token: coverage, lower is better",
    "bleu_4": "BLEU-4 against the test set: quality, higher is better",
    "nll_gen": "NLL of held-out text, nats per token: coverage, lower is better",
}
