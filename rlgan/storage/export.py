"""A trained generator on its own: weights, architecture and vocabulary, without the data it was trained on.

A run folder holds `generator.safetensors` and `generator.json`, written together; both are plain data and safe to load
from strangers. What training leaves alone in it stands once in `bases/`, for the generator as for all checkpoints. Of a
network of the user's own the source stands in `generator.json` as text, and is executed only for who asks for it;
otherwise the file itself must be where it was, with the same content (`rlgan.extensions.admit`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlgan.base import seeding
from rlgan.base.errors import CheckpointError, ConfigError, DataError, PluginError
from rlgan.base.files import write_atomically
from rlgan.base.settings import Settings
from rlgan.base.weights import Base, Tensors, network_of
from rlgan.envs.drawing import drawing_of, kept_drawing
from rlgan.envs.model_tokens import ModelTokens
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.spelling import Spelling
from rlgan.envs.tasks.lines import padded
from rlgan.envs.tasks.prompts import PromptReading
from rlgan.envs.tasks.sources import Reading, ReadSources, Source
from rlgan.envs.tasks.task import Task, decode
from rlgan.envs.vocabulary import JOININGS, Joining, join_tokens
from rlgan.extensions import admit, kept_text, plugins_in, reading_a_folder
from rlgan.generators import Draw, Generator, GeneratorSettings, build_generator
from rlgan.sampling.sampler import sampler_of, stepper_of, stream
from rlgan.sampling.unknown_words import no_words, texts_with_source_words

from .bases import BASES, base_path, read_base

_NOT_WHOLE = "\N{REPLACEMENT CHARACTER}"  # what bytes are shown as that are no character yet
_WEIGHTS, _DESCRIPTION = "generator.safetensors", "generator.json"
GENERATOR_FILES = (_WEIGHTS, _DESCRIPTION)
"""Names of the files that hold the generator, in a run's folder."""
GENERATOR_FOLDERS = (BASES,)
"""Names of the folders that hold more of it, where they are there: what training leaves alone, which the description
names by its hash."""


NUMBER = "num_sequences"
"""Column of a request to a served generator that is given nothing: how many sequences."""


def asked_by(description: Mapping[str, Any]) -> str:
    """Column of a request to a served generator: a number of sequences, "prompt" of a language model, or "source".

    Args:
        description: of `generator.json`.
    """
    if condition_of(description) is None:
        return NUMBER
    return "prompt" if "kind" in (description.get("reading") or {}) else "source"


@dataclass(frozen=True)
class ExportedGenerator:
    """A generator that can be sampled from.

    Attributes:
        settings: what the network was built by.
        generator: the network, in evaluation mode.
        space: its sequences.
        token_names: how each id is shown.
        joining: how tokens become text.
        reading: how sources become what it is given; None where it is given nothing, or no text.
        condition_names: how each id of what it is given is shown; None where it is given nothing.
        model_tokens: of the language model in whose tokens it writes; None where they are the task's own.
    """

    settings: GeneratorSettings
    generator: Generator
    space: SequenceSpace
    token_names: tuple[str, ...]
    joining: Joining
    reading: Reading | PromptReading | None = None
    condition_names: tuple[str, ...] | None = None
    model_tokens: ModelTokens | None = None

    def sample(
        self,
        num_sequences: int,
        temperature: float = 1.0,
        seed: int = 0,
        *,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> list[str]:
        """Sequences as text.

        Args:
            num_sequences: how many.
            temperature: divides the logits; see `rlgan.generators.Draw`, also for the next two.
            seed: of the draw.
            top_k: how many of the likeliest tokens are drawn from; None for all.
            top_p: which share of the probability is drawn from; None for all.

        Returns:
            One string a sequence.

        Raises:
            ConfigError: its sequences are given something, or a value is out of range.
        """
        self.require_sources(None)
        sampler = sampler_of(self.generator, self.space, Draw(temperature, top_k, top_p))
        drawn = sampler.sample(num_sequences, seeding.stream(seed, "export"))
        return self._texts(drawn.tokens)

    def answer(
        self,
        sources: Sequence[Source],
        path: str,
        decoding: Decoding,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
    ) -> tuple[list[str], tuple[str, ...]]:
        """What it writes for sources.

        Args:
            sources: one text each, or its parts where the generator reads text.
            path: where they are from, for errors.
            decoding: how.
            seed: of the draw.
            numbers: of the lines that the sources stand on; None: 1, 2, ...

        Returns:
            One string a source; and notes of what was cut, or is unknown.

        Raises:
            ConfigError: it is given nothing; or unknown words are to be replaced, and there are none.
            DataError: a source is empty, or no text is read and it is not made of the tokens that are.
        """
        self.require_sources(path)
        if self.reading is None:
            refusal: str | None = "its sources are generated by the task and contain no unknown tokens"
        else:
            refusal = no_words(self.reading.are_words, self.joining == "words")
        if decoding.replaces_unknown and refusal is not None:
            raise ConfigError(f"--replace-unknown: {refusal}. Remove it.", code="replace_unknown_refused")
        read = self.read_sources(sources, path, numbers)
        conditions = read.conditions
        sampler, number = sampler_of(self.generator, self.space, decoding.draw), len(sources)
        if decoding.beam is None:
            tokens = sampler.sample(number, seeding.stream(seed, "export"), conditions=conditions).tokens
        else:
            tokens = sampler.likeliest(number, decoding.beam, decoding.length_exponent, conditions).tokens
        if not decoding.replaces_unknown:
            return self._texts(tokens), read.notes
        assert self.reading is not None
        texts = texts_with_source_words(
            self.generator, self.space, self.token_names, tokens, conditions, read.words, self.reading.separator
        )
        return texts, read.notes

    def require_sources(self, path: str | None) -> None:
        """See to it that sources are given to a generator that reads them, and to no other.

        Args:
            path: where they are from; None where there are none.

        Raises:
            ConfigError: they are not.
        """
        if self.space.condition is not None and path is None:
            raise ConfigError(
                "--input: is missing. This generator writes for a source: a prompt, a sentence to translate, a "
                "document. Give a file with one source per line, or use --prompt.",
                code="input_missing",
            )
        if self.space.condition is None and path is not None:
            shown = path if path.startswith("--") else f"--input {path}"
            raise ConfigError(
                f"{shown}: has no effect, because this generator reads no text. Remove it.",
                code="input_no_effect",
                fields={"input": path},
            )

    def streamed(self, source: Source | None, path: str, draw: Draw, rng: torch.Generator) -> Iterator[str]:
        """One sequence as text, piece by piece as it is drawn.

        Args:
            source: what it is written for; None of a generator that is given nothing.
            path: where that is from, for errors.
            draw: from which distribution.
            rng: source of the draw; of several sequences in a row the same.

        Raises:
            ConfigError: the generator writes whole sequences, or reads no text.
            DataError: see `read_sources`.
        """
        if not self.generator.draws_tokens or self.generator.own_sampler(self.space, draw, 1) is not None:
            raise ConfigError(
                (
                    f"{type(self.generator).__name__}: generates whole sequences instead of one token after another, "
                    "so they cannot be streamed. Ask for them without streaming."
                ),
                code="stream_of_whole_sequences",
            )
        conditions = None if source is None else self.read_sources([source], path).conditions
        names: list[str] = []
        shown = ""
        for token in stream(stepper_of(self.generator, draw), self.space, rng, conditions):
            if token == self.space.end_id:
                break
            names.append(self.token_names[token])
            text = join_tokens(names, self.joining, in_one_line=self.model_tokens is None)
            # A character of several tokens is shown once it is whole.
            if text.startswith(shown) and not text.endswith(_NOT_WHOLE):
                yield text[len(shown) :]
                shown = text
        text = join_tokens(names, self.joining, in_one_line=self.model_tokens is None)
        if text != shown:
            yield text.removeprefix(shown)

    def _texts(self, tokens: Tensor) -> list[str]:
        """(B, T) as text; what a language model writes keeps its lines."""
        return decode(self.space, self.token_names, self.joining, tokens, in_one_line=self.model_tokens is None)

    def read_sources(self, sources: Sequence[Source], path: str, numbers: Sequence[int] | None = None) -> ReadSources:
        """Sources as conditions (n, S), of a generator that is given something.

        Args:
            sources: one text each, or its parts where the generator reads text.
            path: where they are from, for errors.
            numbers: of the lines that the sources stand on; None: 1, 2, ...

        Raises:
            DataError: a source is empty, or no text is read and it is not made of the tokens that are.
        """
        if self.reading is not None:
            return self.reading.read(sources, path, numbers)
        assert self.space.condition is not None
        names = self.condition_names or tuple(map(str, range(self.space.condition.vocab_size)))
        return ReadSources(_of_names([str(text) for text in sources], path, names, self.space.condition), (), ())


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a sequence is written for a source.

    Attributes:
        draw: from which distribution.
        beam: beams of a search for the likeliest sequence; None draws one.
        length_exponent: α of `decoding.length_penalty`, of a search.
        replaces_unknown: whether words of the source take the place of unknown ones; see `unknown_words`.
    """

    draw: Draw = Draw()
    beam: int | None = None
    length_exponent: float = 0.0
    replaces_unknown: bool = False


def save_run_generator(
    run_dir: Path, settings: GeneratorSettings, task: Task, tensors: Tensors, base: Base | None = None
) -> None:
    """Write the generator of a run into its folder.

    Args:
        run_dir: folder of the run.
        settings: architecture.
        task: for its sequences and vocabulary.
        tensors: all its weights, see `Weights.complete`.
        base: what of them training leaves alone, where a checkpoint in the folder has written it; None writes all.
    """
    description = {
        "generator": settings.model_dump(mode="json"),
        "source": kept_text(settings),
        **names_of(task),
        **texts_of(task),
        "base": None if base is None else base.digest,
    }
    frozen = {} if base is None or base.tensors is None else base.tensors
    owned = {name: tensor.contiguous() for name, tensor in tensors.items() if name not in frozen}
    write_atomically(run_dir / _WEIGHTS, lambda path: save_file(owned, path))
    write_atomically(
        run_dir / _DESCRIPTION, lambda path: path.write_text(json.dumps(description, ensure_ascii=False), "utf-8")
    )


def texts_of(task: Task) -> dict[str, Any]:
    """How texts become sequences of a task and what they are given, as `reading_of` and `model_tokens_of` read it."""
    reading = None if task.conditions is None else task.conditions.reading
    # Prompts are read in the same tokens, and know them.
    tokens = None if reading is not None and reading.model_tokens is not None else task.model_tokens
    return {
        "reading": None if reading is None else reading.model_dump(mode="json"),
        "model_tokens": None if tokens is None else tokens.model_dump(mode="json"),
    }


def reading_of(description: Mapping[str, Any]) -> Reading | PromptReading | None:
    """How sources become conditions, as a description tells; that of pairs has no kind. None where none do."""
    kept = description.get("reading")
    if kept is None:
        return None
    return PromptReading.model_validate(kept) if "kind" in kept else Reading.model_validate(kept)


def model_tokens_of(description: Mapping[str, Any]) -> ModelTokens | None:
    """Tokens of a language model in which sequences are written, as a description tells; None where they are not."""
    reading = reading_of(description)
    if reading is not None and reading.model_tokens is not None:
        return reading.model_tokens
    kept = description.get("model_tokens")
    return None if kept is None else ModelTokens.model_validate(kept)


def _of_names(lines: Sequence[str], path: str, names: Sequence[str], space: SequenceSpace) -> Tensor:
    """Conditions (n, S) of lines in which the names of tokens stand with spaces between them."""
    ids = {name: index for index, name in enumerate(names) if index != space.end_id}
    most, rows = space.max_length - (space.end_id is not None), []
    for number, line in enumerate(lines, 1):
        tokens = line.split()
        if unknown := next((token for token in tokens if token not in ids), None):
            raise DataError(
                f"{path}, line {number}: {unknown!r} is not a token of this generator's task; its tokens are "
                f"{', '.join(ids)}.",
                code="input_unknown_token",
                fields={"path": path, "line": number},
            )
        if not tokens or len(tokens) > most or (space.end_id is None and len(tokens) < most):
            wanted = f"{most}" if space.end_id is None else f"1 to {most}"
            raise DataError(
                f"{path}, line {number}: has {len(tokens)} tokens, but this generator reads {wanted}.",
                code="input_length",
                fields={"path": path, "line": number},
            )
        rows.append([ids[token] for token in tokens])
    return padded(rows, space)


def names_of(task: Task) -> dict[str, Any]:
    """Sequences and vocabulary of a task, as `space_of` and `joining_of` read them."""
    return {
        **_of_space(task.space),
        "condition": None if task.space.condition is None else _of_space(task.space.condition),
        "joining": task.joining,
        "token_names": list(task.token_names),
        "condition_names": None if task.conditions is None else list(task.conditions.token_names),
        "condition_joining": None if task.conditions is None else task.conditions.joining,
        "drawing": kept_drawing(task.drawing),
    }


def _of_space(space: SequenceSpace) -> dict[str, int | None]:
    return {name: getattr(space, name) for name in _SPACE}


def condition_of(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The sequences of conditions that a description tells of; None where there are none. 0.1.0 calls them "given"."""
    condition: dict[str, Any] | None = description.get("condition", description.get("given"))
    return condition


def condition_names_of(description: Mapping[str, Any]) -> list[str] | None:
    """How each id of the conditions is shown; None where there are none. 0.1.0 calls them "given_names"."""
    names: list[str] | None = description.get("condition_names", description.get("given_names"))
    return names


_SPACE = ("vocab_size", "max_length", "end_id", "separator_id", "unknown_id", "start_id", "padding_id")


def space_of(description: Mapping[str, Any]) -> SequenceSpace:
    """The sequences that a description tells of."""
    # Older versions say neither where turns end, nor which token is the unknown one, nor how conditions are spelled;
    # their start is 0 and their padding the terminator.
    condition, names = condition_of(description), description.get("token_names")
    if condition is not None:
        joining = description.get("condition_joining", "words")
        condition = {**condition, "token_names": condition_names_of(description), "joining": joining}
    return SequenceSpace(
        description["vocab_size"],
        description["max_length"],
        description["end_id"],
        condition=None if condition is None else space_of(condition),
        separator_id=description.get("separator_id"),
        unknown_id=description.get("unknown_id"),
        start_id=description.get("start_id", 0),
        padding_id=description.get("padding_id"),
        spelling=None if names is None else Spelling(tuple(names), joining_of(description)),
        drawing=drawing_of(description.get("drawing")),
    )


def load_run_generator(run_dir: Path, *, trust_code: bool = False) -> ExportedGenerator:
    """Read the generator of a run.

    Args:
        run_dir: folder of the run.
        trust_code: whether code that came along with the folder may be executed; see `rlgan.extensions.admit`.

    Raises:
        CheckpointError: the folder holds none, or it is damaged; or the network is code that is not at hand, or may
            not be executed unasked.
        PluginError: the plug-in cannot be built.
    """
    try:
        description = json.loads((run_dir / _DESCRIPTION).read_text("utf-8"))
        space = space_of(description)
        with reading_a_folder():
            settings = TypeAdapter(GeneratorSettings).validate_python(description["generator"])
        token_names = tuple(description["token_names"])
        admit_network(settings, run_dir, _DESCRIPTION, description.get("source"), trust_code)
        digest = description.get("base")  # older versions write all weights into one file
        frozen = {} if digest is None else read_base(run_dir, digest)
        weights = {**frozen, **load_file(run_dir / _WEIGHTS)}
        generator = network_of(lambda: build_generator(settings, space), weights)
        if len(token_names) != space.vocab_size:
            raise ValueError(f"{len(token_names)} token names for {space.vocab_size} tokens")
        names = condition_names_of(description)
        condition_names = None if names is None else tuple(names)
        return ExportedGenerator(
            settings,
            generator.eval(),
            space,
            token_names,
            joining_of(description),
            reading_of(description),
            condition_names,
            model_tokens_of(description),
        )
    except (CheckpointError, PluginError):
        raise
    except FileNotFoundError as error:
        missing = Path(error.filename or _WEIGHTS).name  # safetensors does not say which
        raise CheckpointError(
            f"{run_dir}: contains no trained generator ({missing} is missing). Give the folder of a run that has "
            "saved at least one checkpoint.",
            code="no_trained_generator",
            fields={"path": run_dir},
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ValidationError, SafetensorError) as error:
        raise CheckpointError(
            f"{run_dir}: its generator cannot be read ({error}). Try the checkpoints of the run.",
            code="damaged_generator",
            fields={"path": run_dir},
        ) from None


def base_of_generator(folder: Path) -> Path | None:
    """The file of what training leaves alone in the generator of a folder; None where all is in one file."""
    digest = json.loads((folder / _DESCRIPTION).read_text("utf-8")).get("base")
    return None if digest is None else base_path(folder, digest)


def admit_network(settings: Settings, run_dir: Path, file: str, source: str | None, trust_code: bool) -> None:
    """See to it that a network's code is at hand and may be executed, where it is somebody's own.

    Args:
        settings: of the network.
        run_dir: folder that it was read from.
        file: name of the description there.
        source: that the description holds.
        trust_code: see `rlgan.extensions.admit`.

    Raises:
        CheckpointError: the code is not at hand, or may not be executed unasked.
    """
    texts = {} if source is None else {str(run_dir / file): source}
    admit(plugins_in(settings), run_dir, str(run_dir), trust_code=trust_code, texts=texts)


def require_fitting(exported: ExportedGenerator, task: Task, asked: str) -> None:
    """See to it that a generator writes what a task consists of.

    Args:
        exported: the generator.
        task: that it is to be measured on.
        asked: how the message names the run.

    Raises:
        CheckpointError: its sequences or tokens are others.
    """
    condition_names = None if task.conditions is None else task.conditions.token_names
    known = (
        exported.condition_names if exported.condition_names is not None else condition_names
    )  # older versions do not tell it
    same_shape = all(getattr(exported.space, name) == getattr(task.space, name) for name in _SPACE[:3])
    if not same_shape or exported.token_names != task.token_names or known != condition_names:
        raise CheckpointError(
            f"{asked}: its data has changed since the run began: its generator writes "
            f"{len(exported.token_names):,} tokens in sequences of at most {exported.space.max_length}, but its "
            f"data now has {len(task.token_names):,} tokens in sequences of at most {task.space.max_length}, or "
            "other tokens. Restore the data, or start a new run.",
            code="export_of_other_data",
            fields={"run": asked},
        )


def joining_of(description: Mapping[str, Any]) -> Joining:
    """How tokens become text, as a description tells."""
    # Runs of older versions have what stands between tokens instead.
    found = description["joining"] if "joining" in description else _OF_SEPARATOR[description["separator"]]
    if found not in JOININGS:
        raise ValueError(f"joining {found!r} is not one of {', '.join(JOININGS)}")
    return cast(Joining, found)


_OF_SEPARATOR: Mapping[str, Joining] = {" ": "words", "": "characters"}
