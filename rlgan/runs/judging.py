"""From generators to a verdict: temperatures are chosen on validation data, evidence is gathered on test data.

What may be concluded from it is `rlgan.evaluation.verdict`'s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlgan.base.activity import stage
from rlgan.config.config import Config
from rlgan.envs.tasks import Task
from rlgan.evaluation.evaluator import Evaluator, selection_view
from rlgan.evaluation.evidence import KL_SUM, Evidence
from rlgan.evaluation.verdict import Ends, Entrant, Verdict, best_temperature, judge, no_trainings, not_judged
from rlgan.generators import Generator


@dataclass(frozen=True, slots=True)
class Contender:
    """A generator that is compared.

    Attributes:
        name: as the verdict calls it.
        generator: at the end of its training.
        is_trained: whether it was trained after the common start.
    """

    name: str
    generator: Generator
    is_trained: bool = True


@dataclass(frozen=True, slots=True)
class Contest:
    """All generators of a verdict.

    Attributes:
        run: the run's.
        controls: what it has to beat, the start among them where that has learned anything.
        equal: trainings that differ by the seed alone, the first of which is a control; by them the chance of training
            is known. Empty where there are none.
        continued: mle_continued, which is one of the controls; None where the run has no such control.
        ceiling: oracle_ratio; None likewise.
    """

    run: Contender
    controls: tuple[Contender, ...]
    equal: tuple[Contender, ...] = ()
    continued: Contender | None = None
    ceiling: Contender | None = None


def judge_run(
    config: Config,
    task: Task,
    evaluator: Evaluator,
    contest: Contest,
    temperatures: Sequence[float],
) -> Verdict:
    """Compare a run with its controls.

    Args:
        config: of the run.
        task: of the run.
        evaluator: of test data, as the final table has it.
        contest: the generators.
        temperatures: among which each has its own chosen.

    Returns:
        The verdict.
    """
    measure = evaluator.two_sided(contest.run.generator)
    if not task.has_real_sequences:
        return not_judged("its data has prompts alone, and without completions nothing measured here sees coverage")
    if measure is None:
        return not_judged(
            "its generator has no exact likelihoods, so that no measure here sees quality and coverage at once"
        )
    if not contest.controls:
        return not_judged("no control was trained beside it, and its start had learned nothing")
    if len(task.test) < 2:
        return not_judged("the test split has one sequence, whose chance cannot be told")
    # A choice among a few temperatures is no figure: it takes as many samples as a measurement during training.
    number, few = config.evaluation.final_sequences, config.evaluation.num_sequences
    validator = validation_evaluator(config, task)

    def chosen(one: Contender) -> tuple[float, float]:
        found = {}
        for temperature in temperatures:
            with stage("choice", f"{one.name} τ={temperature:g} on validation data"):
                found[temperature] = validator.evidence(one.generator, temperature, few, has_groups=False).total
        return best_temperature(found)

    def evidence(one: Contender, temperature: float) -> Evidence:
        with stage("evidence", f"{one.name} τ={temperature:g} on test data"):
            return evaluator.evidence(one.generator, temperature, number)

    choices = {one.name: chosen(one) for one in (contest.run, *contest.controls)}
    entrants = {
        one.name: Entrant(one.name, *choices[one.name], evidence(one, choices[one.name][0]), one.is_trained)
        for one in (contest.run, *contest.controls)
        if math.isfinite(choices[one.name][1])
    }
    infinite = [name for name in choices if name not in entrants or not entrants[name].evidence.is_finite]
    if infinite:
        return not_judged(f"{measure.name} of {' and of '.join(infinite)} is not finite: {measure.infinite}")
    trainings = [entrants[contest.equal[0].name].evidence.sides] if contest.equal else []
    for number_of, one in enumerate(contest.equal[1:], 2):
        temperature = entrants[one.name].temperature
        with stage("training", f"training {number_of} of {one.name}"):
            trainings.append(evaluator.evidence(one.generator, temperature, number, has_groups=False).sides)
    ends = None
    if contest.ceiling is not None and contest.continued is not None and measure == KL_SUM:
        run_at_one, continued, ceiling = (
            evidence(one, 1.0) for one in (contest.run, contest.continued, contest.ceiling)
        )
        if run_at_one.is_finite and continued.is_finite and ceiling.is_finite:
            ends = Ends(run_at_one, continued, ceiling, of_stream=task.stream is not None)
    run = entrants.pop(contest.run.name)
    sides = np.array(trainings) if trainings else no_trainings()
    trained_again = contest.equal[0].name if contest.equal else None
    return judge(measure, run, [*entrants.values()], sides, trained_again, ends)


def validation_evaluator(config: Config, task: Task) -> Evaluator:
    """Measures on validation data, with draws of its own and nothing that a two-sided measure does not need."""
    update = {"encoders": (), "adversarial": None, "language_model": None, "metrics": ()}
    settings = config.evaluation.model_copy(update=update)
    return Evaluator(selection_view(task), settings, config.seed, draw="temperature")
