"""A finished run of pairs as the teacher: the conditions of its own task, sequences that its generator draws."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rlgan
from rlgan.base.errors import CheckpointError, ConfigError, DataError, RlganError, ShapeError
from rlgan.config.config import Config
from rlgan.config.paths import override
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import DemonstrationsTask, PairsTask, build_task
from rlgan.envs.testing import all_sequences, check_task
from rlgan.envs.transition import sequence_mask
from rlgan.extensions.sources import memory
from rlgan.generators import (
    CausalLM,
    Generator,
    GeneratorSettings,
    PairManagerWorker,
    Seq2SeqLSTM,
    Seq2SeqRelationalMemory,
    Seq2SeqTransformer,
    build_generator,
)
from rlgan.policy.control_rewards import ConstantReward
from rlgan.policy.credit import Terminal
from rlgan.presets.registry import preset
from rlgan.runs.run import RunRequest, evaluate_run
from rlgan.runs.run import run as do_run
from rlgan.runs.teacher import Teacher, teacher
from rlgan.storage.checkpoint import CONFIG
from rlgan.storage.export import load_run_generator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support import language_models
from tests.support.errors import refused
from tests.support.runs import assert_ends_alike, stop_after
from tests.support.tiny import PAIRS, Recorder, finish, of_pairs, tiny_config

pytestmark = pytest.mark.integration

SHORT = {
    "tracking.enabled": False, "controls": [], "evaluation.final_sequences": 32, "evaluation.temperatures": [1.0],
}  # fmt: skip
SIZES = {"num_train": 48, "num_valid": 15, "num_test": 25}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs: `fixed` of 70 pairs, `endless` of a stream."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, mode in (("fixed", "fixed"), ("endless", "stream")):
        task = PAIRS.model_copy(update={"mode": mode})
        rlgan.train(override(of_pairs(task=task), SHORT), out=folder / name, quiet=True)
    return folder


def student(run: Path, options: dict[str, Any] | None = None, **changes: Any) -> Config:
    """A tiny run that learns from a teacher."""
    named = {"task": "teacher", "task.options": {"run": str(run), **SIZES, **(options or {})}}
    return override(of_pairs(**changes), SHORT | named)


def by_likelihood(**changes: Any) -> Config:
    """A tiny run of likelihood alone."""
    schedule = {"mle_epochs": 1, "discriminator_rounds": 0, "adversarial_updates": 0, "d_steps": 0}
    alone = {"discriminator": None, "reward": ConstantReward(), "credit": Terminal()}
    return of_pairs(schedule, **(alone | changes))


# ------------------------------------------------------------------------------------------ an exact distribution

SPACE = SequenceSpace(3, 3, end_id=0, condition=SequenceSpace(4, 2, end_id=0))
PROMPTS = replace(SPACE, condition=SequenceSpace(4, 3, end_id=3))  # of the same tokens, with an end of their own
NETWORKS: dict[str, GeneratorSettings] = {
    "causal_lm": CausalLM(weights={"kind": "fresh", "width": 4, "heads": 2, "layers": 1}),
    "lstm": Seq2SeqLSTM(embedding=4, hidden=5, init_std=1.0),
    "transformer": Seq2SeqTransformer(width=4, heads=2, layers=1),
    "relational_memory": Seq2SeqRelationalMemory(embedding=3, heads=2, head_size=4),
    "pair_manager_worker": PairManagerWorker(embedding=4, hidden=6, feature_embedding=4, feature_filters=(3,)),
}


def network(settings: GeneratorSettings, space: SequenceSpace = SPACE) -> Generator:
    torch.manual_seed(0)
    net = build_generator(settings, space).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return net


def of_each(conditions: Tensor, sequences: Tensor) -> tuple[Tensor, Tensor]:
    """Every sequence under every condition."""
    return conditions.repeat_interleave(len(sequences), 0), sequences.repeat(len(conditions), 1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_an_exact_distribution_given_each_condition(name: str, temperature: float) -> None:
    space, conditions = SPACE, torch.tensor([[1, 2], [3, 0], [2, 2]])
    if name == "causal_lm":
        language_models.require()
        space, conditions = PROMPTS, torch.tensor([[1, 2, 3], [2, 3, 3], [3, 3, 3]])
    net = network(NETWORKS[name], space)
    own, every = Teacher(net, space, temperature), all_sequences(space)
    given, sequences = of_each(conditions, every)
    mask = sequence_mask(space, sequences)
    logprobs = own(given).logprobs(sequences)
    # By hand: the logits of the network, divided by the temperature before they are normalised.
    with torch.no_grad():
        hand = torch.log_softmax(net.conditional(given).logits(sequences) / temperature, 2)
    hand = hand.gather(2, sequences.unsqueeze(2)).squeeze(2).masked_fill(~mask, 0.0)
    assert torch.allclose(logprobs, hand, atol=1e-5) and not logprobs[~mask].any()
    probs = logprobs.double().sum(1).exp().view(len(conditions), len(every))
    assert torch.allclose(probs.sum(1), torch.ones(3, dtype=torch.float64), atol=1e-5)
    assert float((probs[0] - probs[1]).abs().max()) > 0.01, "the condition changes nothing"
    # Frequencies of 9,000 draws for each condition, of batches in which conditions alternate.
    drawn = own(conditions.repeat(9_000, 1)).sample(27_000, seed=5).view(9_000, 3, -1)
    counted = torch.stack([(drawn == row).all(2).sum(0) for row in every]).T.double() / 9_000
    assert bool(((counted - probs).abs() <= 4.5 * (probs * (1 - probs) / 9_000).sqrt() + 1e-9).all())
    # The entropy of a set of conditions, per token: all nats over all tokens, by the whole table.
    nats = -(probs.view(-1) * logprobs.double().sum(1)).sum()
    exact = float(nats / (probs.view(-1) * mask.sum(1)).sum())
    assert own(conditions).entropy == pytest.approx(exact, rel=0.03)


def test_of_other_numbers_than_conditions_nothing_is_known() -> None:
    own = Teacher(network(NETWORKS["lstm"]), SPACE)(torch.tensor([[1, 2], [3, 0]]))
    for ask in (lambda: own.sample(3, 0), lambda: own.logprobs(torch.zeros(1, 3, dtype=torch.int64))):
        with refused(ShapeError, "one_sequence_per_condition"):
            ask()


def test_the_entropy_of_the_same_conditions_is_estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Teacher(network(NETWORKS["lstm"]), SPACE)
    drawn: list[int] = []
    real = Teacher.sample

    def sample(self: Teacher, num_sequences: int, seed: int) -> Tensor:
        drawn.append(num_sequences)
        return real(self, num_sequences, seed)

    monkeypatch.setattr(Teacher, "sample", sample)
    conditions = torch.tensor([[1, 2], [3, 0], [2, 2]], dtype=torch.int16)
    first = own(conditions).entropy
    assert own(conditions.long()).entropy == first and drawn == [5_001]  # 1,667 of each
    assert own(conditions[:1]).entropy != first and drawn == [5_001, 5_000]


# ---------------------------------------------------------------------------------------------------- its task


def sets_of(*parts: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for part in parts for row in part.tolist()}


def test_its_task_has_the_conditions_of_the_run_and_new_sequences(runs: Path) -> None:
    base, task = build_task(PAIRS), teacher(str(runs / "fixed"))
    assert base.conditions is not None and task.conditions is not None and task.oracle is None
    own = load_run_generator(runs / "fixed").generator
    for split in ("train", "valid", "test"):
        conditions, sequences = getattr(task.conditions, split), getattr(task, split)
        assert torch.equal(conditions, getattr(base.conditions, split))
        assert not torch.equal(sequences, getattr(base, split))
        distribution = task.oracle_of(conditions)
        assert distribution is not None
        with torch.no_grad():
            expected = own.conditional(conditions.long()).logprobs(sequences)
        mask = sequence_mask(task.space, sequences)
        assert torch.allclose(distribution.logprobs(sequences)[mask], expected[mask], atol=1e-6)
    assert task.has_known_distribution and task.has_prompts == base.has_prompts and not task.measures
    assert any("70 train, 20 valid, 20 test" in note for note in task.notes)


@pytest.mark.parametrize("mode", ["stream", "fixed"])
@pytest.mark.parametrize("name", ["fixed", "endless"])
def test_it_keeps_the_contract_of_tasks(runs: Path, name: str, mode: Any) -> None:
    task = teacher(str(runs / name), mode=mode, **SIZES)
    check_task(task)
    assert (task.stream is None) == (mode == "fixed")


def test_an_almost_certain_teacher_keeps_the_contract_too(runs: Path) -> None:
    task = teacher(str(runs / "fixed"), temperature=1e-3)
    assert task.conditions is not None
    distribution = task.oracle_of(task.conditions.valid)
    assert distribution is not None and torch.equal(distribution.sample(20, 1), distribution.sample(20, 2))
    check_task(task)


def test_numbers_of_sequences_go_through_the_conditions_in_passes(runs: Path) -> None:
    base = build_task(PAIRS).conditions
    task = teacher(str(runs / "fixed"), num_train=150, num_valid=10, num_test=20, seed=3).conditions
    assert base is not None and task is not None
    assert len(task.train) == 150 and len(task.valid) == 10
    as_often = [sorted(map(tuple, rows.tolist())) for rows in (base.train, task.train[:70], task.train[70:140])]
    assert as_often[0] == as_often[1] == as_often[2] and not torch.equal(task.train[:70], task.train[70:140])
    assert sets_of(task.valid) <= sets_of(base.valid)
    again, other = (teacher(str(runs / "fixed"), num_train=150, seed=seed) for seed in (3, 4))
    assert again.conditions is not None and other.conditions is not None
    assert torch.equal(again.conditions.train, task.train) and not torch.equal(other.conditions.train, task.train)


def test_a_stream_draws_new_sequences_for_conditions_of_the_train_split(runs: Path) -> None:
    task = teacher(str(runs / "fixed"), num_train=40)
    assert task.stream is not None and task.conditions is not None and task.conditions.stream is not None
    tokens, conditions = task.stream(80, 7)
    again, other = task.stream(80, 7), task.stream(80, 8)
    assert conditions is not None and again[1] is not None and other[1] is not None
    assert torch.equal(tokens, again[0]) and torch.equal(conditions, again[1])
    assert not torch.equal(tokens, other[0]) and not torch.equal(conditions, other[1])
    assert torch.equal(task.conditions.stream(80, 7), conditions)
    # Each of the 40 twice, and only these, in another order than they have.
    known, first, second = (sorted(map(tuple, r.tolist())) for r in (task.conditions.train, *conditions.split(40)))
    assert known == first == second and not torch.equal(conditions[:40], task.conditions.train.long())
    assert not sets_of(conditions) - sets_of(task.conditions.train)
    # The same condition gets other sequences: not those of the split.
    order = {tuple(row): place for place, row in enumerate(task.conditions.train.tolist())}
    split = task.train[[order[tuple(row)] for row in conditions.tolist()]]
    assert not torch.equal(split, tokens)


def test_of_a_run_of_a_stream_the_conditions_are_new_too(runs: Path) -> None:
    task, base = teacher(str(runs / "endless")), build_task(PAIRS.model_copy(update={"mode": "stream"}))
    assert task.stream is not None and base.stream is not None and task.conditions is not None
    (tokens, conditions), (others, expected) = task.stream(60, 11), base.stream(60, 11)
    assert conditions is not None and expected is not None
    assert torch.equal(conditions, expected) and not torch.equal(tokens, others)


def test_a_stream_is_drawn_by_the_teacher(runs: Path) -> None:
    task = teacher(str(runs / "endless"), temperature=0.7)
    assert task.stream is not None
    tokens, conditions = task.stream(20_000, 2)
    distribution = task.oracle_of(conditions)
    assert distribution is not None
    nll = -float(distribution.logprobs(tokens).sum() / sequence_mask(task.space, tokens).sum())
    assert nll == pytest.approx(distribution.entropy, rel=0.02)


@pytest.mark.heavy
def test_a_teacher_may_have_had_a_teacher(runs: Path, tmp_path: Path) -> None:
    rlgan.train(student(runs / "fixed"), out=tmp_path / "second", quiet=True)
    first, second = teacher(str(runs / "fixed"), **SIZES), teacher(str(tmp_path / "second"))
    assert first.conditions is not None and second.conditions is not None and second.stream is not None
    assert torch.equal(first.conditions.test, second.conditions.test) and not torch.equal(first.test, second.test)
    _, conditions = second.stream(10, 1)
    assert conditions is not None and sets_of(conditions) <= sets_of(first.conditions.train)


# ------------------------------------------------------------------------------------------------- its students


def test_settings_declare_what_the_teacher_has(runs: Path) -> None:
    settings = student(runs / "fixed").task
    assert settings.gives_conditions and settings.is_stream and settings.knows_distribution and settings.has_prompts
    for name in ("quick", "quick_distill", "density_ratio"):
        config = preset(name, settings)
        assert config.generator.reads_conditions, name
        assert config.discriminator is None or config.discriminator.reads == "pairs", name


@pytest.mark.heavy
@pytest.mark.parametrize(
    "generator", [Seq2SeqLSTM(embedding=4, hidden=3), Seq2SeqTransformer(width=4, heads=2, layers=1)]
)
def test_a_student_learns_from_it_beside_controls(runs: Path, tmp_path: Path, generator: GeneratorSettings) -> None:
    config = override(student(runs / "fixed", generator=generator), {"controls": ["mle_continued", "oracle_ratio"]})
    one = rlgan.train(config, out=tmp_path / "one", quiet=True)
    gaps = one.table[one.table["name"].ne("real data (n=25)")][["kl_forward", "kl_reverse"]]
    assert len(gaps) == 4 and gaps.notna().all().all() and gaps.abs().lt(10).all().all()
    assert {"mle_continued", "oracle_ratio"} <= set(one.table["name"])
    counted = one.metrics["data/real_sequences"].dropna()
    # 2 epochs of 48; 3 rounds of 24. Of rollouts and fakes the conditions are read, and no sequence of the teacher.
    assert counted.iloc[-1] == 2 * 48 + 3 * 24 and counted.is_monotonic_increasing
    summary = " ".join((tmp_path / "one" / "summary.txt").read_text("utf-8").split())
    # Both controls learn a batch of 16 by likelihood in each of 2 updates.
    assert f"this run {2 * 48 + 3 * 24}, mle_continued {2 * 48 + 2 * 16}, oracle_ratio {2 * 48 + 2 * 16}." in summary


def test_all_that_is_learned_is_drawn_by_it_for_training_conditions(runs: Path) -> None:
    config = student(runs / "fixed", schedule={"teacher_forcing": {"kind": "interleaved"}})
    task, recorder = build_task(config.task), Recorder()
    with build_parts(config, task) as parts:
        finish(Trainer(config, task, recorder.around(parts)))
    assert task.conditions is not None
    known = sets_of(task.conditions.train)
    for _, experience, _ in recorder.updates:
        assert experience.conditions is not None and sets_of(experience.conditions) <= known
    for request in recorder.rounds:
        assert request.reals is not None and request.reals.conditions is not None
        assert sets_of(request.reals.conditions) <= known
    for shards, *_ in recorder.searches:
        assert all(one.conditions is not None and sets_of(one.conditions) <= known for one in shards)


@pytest.mark.heavy
def test_its_run_is_a_function_of_the_seed(runs: Path, tmp_path: Path) -> None:
    config = student(runs / "endless")
    for name in ("one", "again"):
        rlgan.train(config, out=tmp_path / name, quiet=True)
    assert_ends_alike(tmp_path / "one", tmp_path / "again")


@pytest.mark.heavy
@pytest.mark.parametrize("num_iterations", [1, 4])
def test_its_run_goes_on_as_if_it_had_never_stopped(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_iterations: int
) -> None:
    config = override(student(runs / "fixed"), {"checkpoint_every_s": 0.0})
    do_run(RunRequest(config, tmp_path / "whole", resume=False))
    with monkeypatch.context() as patched:
        stop_after(patched, num_iterations)
        assert do_run(RunRequest(config, tmp_path / "part", resume=False)).stopped
    assert not do_run(RunRequest(config, tmp_path / "part", resume=True)).stopped
    assert_ends_alike(tmp_path / "whole", tmp_path / "part")


# ------------------------------------------------------------------------------------------------ language models


@pytest.fixture(scope="module")
def of_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny language model, and models for students: one of its tokens, one of others."""
    language_models.require()
    folder = tmp_path_factory.mktemp("models")
    for name in ("model", "same", "other"):
        language_models.write_tokenizer(folder / name)
        language_models.write_model(folder / name, "gpt2" if name == "same" else "qwen2")
    content = json.loads((folder / "other" / "tokenizer.json").read_text("utf-8"))
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (folder / "other" / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    language_models.write_records(folder / "chats.jsonl", language_models.chats(60))
    task = {"demonstrations": str(folder / "chats.jsonl"), "model": {"kind": "folder", "path": str(folder / "model")}}
    config = preset("sft", DemonstrationsTask.model_validate(task))
    rlgan.train(override(config, SHORT | SHORT_OF_MODELS), out=folder / "run", quiet=True)
    return folder


SHORT_OF_MODELS = {"schedule.mle_epochs": 1, "schedule.mle_batch": 16, "evaluation.num_sequences": 16}


@pytest.mark.heavy
def test_a_language_model_teaches_one_of_the_same_tokens(of_prompts: Path, tmp_path: Path) -> None:
    run = of_prompts / "run"
    task = teacher(str(run), num_train=32)
    check_task(task)
    assert task.has_prompts and task.model_tokens is not None and task.conditions is not None
    assert task.language_model == rlgan.load(run).config.task.language_model
    assert task.conditions.train_records is None  # of a stream no sequence has a number, by which columns are found
    distribution = task.oracle_of(task.conditions.test)
    assert distribution is not None
    with torch.no_grad():
        own = load_run_generator(run).generator.conditional(task.conditions.test.long()).logits(task.test)
    expected = torch.log_softmax(own, 2).gather(2, task.test.unsqueeze(2)).squeeze(2)
    mask = sequence_mask(task.space, task.test)
    assert torch.allclose(distribution.logprobs(task.test)[mask], expected[mask], atol=1e-4)
    named = {"task": "teacher", "task.options": {"run": str(run), "num_train": 32}, **SHORT, **SHORT_OF_MODELS}
    config = override(rlgan.load(run).config, named)
    assert config.task.language_model == task.language_model

    def of_model(name: str) -> Config:
        return override(config, {"generator.config": None, "generator.weights.path": str(of_prompts / name)})

    one = rlgan.train(of_model("same"), out=tmp_path / "same", quiet=True)
    assert one.table[["kl_forward", "kl_reverse"]].iloc[1:].notna().all().all()
    assert len(one.sample(sources=["how are you?"])) == 1
    with refused(ConfigError, "model_of_other_tokenizer"):
        rlgan.train(of_model("other"), out=tmp_path / "other", quiet=True)


@pytest.mark.heavy
def test_prompts_alone_get_the_sequences_of_the_teacher(of_prompts: Path, tmp_path: Path) -> None:
    language_models.write_records(tmp_path / "prompts.jsonl", [{"prompt": f"how {n}?"} for n in range(40)])
    (tmp_path / "own.py").write_text("def short(tokens, mask):\n    return -mask.sum(1).float()\n", "utf-8")
    model = {"kind": "folder", "path": str(of_prompts / "model")}
    task = {"demonstrations": str(tmp_path / "prompts.jsonl"), "model": model, "form": "prompts_alone", "max_length": 4}
    changes = {
        "reward": f"{tmp_path / 'own.py'}:short", "schedule.adversarial_updates": 1, "schedule.g_batch": 8,
        "schedule.g_group": 4, "evaluation.num_sequences": 16,
    }  # fmt: skip
    config = override(preset("grpo", DemonstrationsTask.model_validate(task)), SHORT | changes)
    rlgan.train(config, out=tmp_path / "run", quiet=True)
    taught = teacher(str(tmp_path / "run"))
    check_task(taught)
    assert taught.has_real_sequences and sequence_mask(taught.space, taught.train).sum() > len(taught.train)
    named = {"task": "teacher", "task.options": {"run": str(tmp_path / "run")}}
    student = override(preset("grpo", DemonstrationsTask.model_validate(task)), {**changes, **named})
    assert student.task.has_real_sequences and student.task.knows_distribution


# ------------------------------------------------------------------------------------------------------- refused


def without(run: Path, to: Path, *names: str) -> Path:
    """A copy of a run that lacks some files."""
    shutil.copytree(run, to)
    for name in names:
        (to / name).unlink()
    return to


def test_a_run_that_is_not_finished_is_no_teacher(runs: Path, tmp_path: Path) -> None:
    folder = without(runs / "fixed", tmp_path / "begun", "table.txt")
    with refused(CheckpointError, "teacher_unfinished", {"task.options.run": str(folder)}):
        teacher(str(folder))


def test_a_generator_alone_does_not_say_which_conditions(runs: Path, tmp_path: Path) -> None:
    folder = without(runs / "fixed", tmp_path / "alone", CONFIG, "table.txt")
    with refused(CheckpointError, "teacher_without_task", {"task.options.run": str(folder)}):
        teacher(str(folder))


@pytest.mark.parametrize("name", ["num_train", "num_valid", "num_test"])
def test_no_sequence_of_a_split_is_refused(runs: Path, name: str) -> None:
    with refused(ConfigError, "teacher_options", {f"task.options.{name}": 0}):
        teacher(str(runs / "fixed"), **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"generator": "lstm"}, "generator_reads_no_conditions"),
        ({"discriminator": "cnn_highway"}, "discriminator_reads_no_conditions"),
    ],
)
def test_a_setting_of_sequences_alone_is_refused_beside_it(runs: Path, changes: dict[str, Any], code: str) -> None:
    with refused(ConfigError, code):
        override(student(runs / "fixed"), changes)


def test_a_setting_that_needs_conditions_is_refused_beside_a_teacher_without(tmp_path: Path) -> None:
    rlgan.train(override(tiny_config(), SHORT), out=tmp_path / "alone", quiet=True)
    with refused(ConfigError, "generator_reads_conditions"):
        student(tmp_path / "alone")


def test_a_teacher_without_likelihood_is_refused(tmp_path: Path) -> None:
    generator = preset("vae_seqgan", PAIRS).generator
    short = {"generator.embedding": 4, "generator.hidden": 4, "generator.latent": 2}
    rlgan.train(override(by_likelihood(generator=generator), SHORT | short), out=tmp_path / "vae", quiet=True)
    with refused(ConfigError, "teacher_without_likelihood"):
        teacher(str(tmp_path / "vae"))


PAIRS_OF_WORDS = "".join(f"{one} and {one + 1}\t{one % 7} {one % 5}\n" for one in range(60))


def of_file(folder: Path) -> PairsTask:
    return PairsTask.model_validate({"input": {"kind": "tsv", "data": str(folder / "pairs.tsv")}})


@pytest.fixture(scope="module")
def of_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a file of pairs."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "pairs.tsv").write_text(PAIRS_OF_WORDS, "utf-8")
    rlgan.train(override(by_likelihood(task=of_file(folder)), SHORT), out=folder / "run", quiet=True)
    return folder


def moved(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


@pytest.mark.heavy
def test_sources_of_a_file_are_read_and_answered_again(of_files: Path, tmp_path: Path) -> None:
    task = teacher(str(of_files / "run"))
    check_task(task)
    assert task.conditions is not None and task.conditions.reading is not None and task.test_words is None
    assert all(" and " in one for one in task.conditions.decode(task.conditions.train))
    # Words and measures belong to the targets of the file, which are not read.
    assert not task.measures and task.conditions.test_words is None and build_task(of_file(of_files)).measures
    named = {"task": "teacher", "task.options": {"run": str(of_files / "run")}}
    rlgan.train(override(by_likelihood(), SHORT | named), out=tmp_path / "student", quiet=True)
    # The student reads texts as its teacher did.
    assert len(rlgan.load(tmp_path / "student").sample(sources=["3 and 4", "5 and 6"])) == 2


def test_data_of_the_teacher_that_is_missing_or_has_changed_is_named(of_files: Path, tmp_path: Path) -> None:
    run = moved(of_files, tmp_path / "elsewhere") / "run"
    data = of_files / "pairs.tsv"
    # Where it lay it is found, beside the moved folder too.
    assert teacher(str(run)).conditions is not None
    aside = data.rename(data.with_suffix(".aside"))
    try:
        assert teacher(str(run)).conditions is not None
        (run.parent / "pairs.tsv").write_text(PAIRS_OF_WORDS.replace("9 and 10", "9 and 11"), "utf-8")
        with refused(CheckpointError, "data_changed") as changed:
            teacher(str(run))
        assert "--" not in str(changed.value)  # no option would help
        (run.parent / "pairs.tsv").unlink()
        with refused(DataError, "teacher_data_missing", {"task.options.run": str(run)}):
            teacher(str(run))
    finally:
        aside.rename(data)


@pytest.mark.heavy
def test_a_student_whose_teacher_is_gone_says_so_and_shows_what_it_has(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = moved(runs / "fixed", tmp_path / "teacher")
    config = override(student(source), {"checkpoint_every_s": 0.0})
    do_run(RunRequest(config, tmp_path / "whole", resume=False))
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        do_run(RunRequest(config, tmp_path / "part", resume=False))
    source.rename(tmp_path / "moved")
    told = {"task.options.run": str(source)}
    with refused(RlganError, "teacher_no_folder", told):
        do_run(RunRequest(config, tmp_path / "part", resume=True))
    with refused(RlganError, "teacher_no_folder", told):
        evaluate_run(tmp_path / "whole", 1.0, 16)
    whole = rlgan.load(tmp_path / "whole")
    assert len(whole.table) and len(whole.sample(sources=["1 2"])) == 1
    (tmp_path / "moved").rename(source)
    assert evaluate_run(tmp_path / "whole", 1.0, 16)
    assert not do_run(RunRequest(config, tmp_path / "part", resume=True)).stopped
    assert_ends_alike(tmp_path / "whole", tmp_path / "part")


@pytest.mark.heavy
def test_a_student_does_not_go_on_with_another_teacher(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = moved(runs / "fixed", tmp_path / "teacher")
    config = student(source)
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        do_run(RunRequest(config, tmp_path / "part", resume=False))
    shutil.rmtree(source)
    moved(runs / "endless", source)
    with refused(CheckpointError, "data_changed"):
        do_run(RunRequest(config, tmp_path / "part", resume=True))


def test_a_generator_of_another_alphabet_than_its_task_is_refused(runs: Path, tmp_path: Path) -> None:
    folder = moved(runs / "fixed", tmp_path / "mixed")
    description = json.loads((folder / "generator.json").read_text("utf-8"))
    description["token_names"] = ["a", "b", "c"]
    (folder / "generator.json").write_text(json.dumps(description), "utf-8")
    with refused(CheckpointError, "export_of_other_data"):
        teacher(str(folder))


OWN_TASK = """
from rlgan.envs.tasks import TransductionTask, build_task

def copies():
    return build_task(TransductionTask(vocab_size=3, max_length=3, ends=True, num_train=70, num_valid=20, num_test=20))
"""


@pytest.mark.heavy
def test_code_of_somebody_else_is_not_executed_for_a_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(OWN_TASK, "utf-8")
    config = override(of_pairs(), SHORT | {"task": f"{tmp_path / 'own.py'}:copies"})
    rlgan.train(config, out=tmp_path / "run", quiet=True)
    assert teacher(str(tmp_path / "run")).conditions is not None
    # As another process finds it: the file is gone, and its text has come along with the folder.
    (tmp_path / "own.py").unlink()
    monkeypatch.setattr(memory, "sources", {})
    monkeypatch.setattr(memory, "own", set())
    with refused(CheckpointError, "teacher_foreign_code"):
        teacher(str(tmp_path / "run"))
