"""The synthetic benchmark: an LSTM with N(0,1) parameters is the known distribution of real sequences.

Source: Yu et al. 2017 (SeqGAN), section 4.1. The distribution is given by a file of arrays or drawn from a seed;
numbers from different oracles are not comparable. All sequences have exactly `max_length` tokens; there is no
terminator, and token 0 is both the input before the first token and an ordinary token.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError, ShapeError
from rlgan.base.settings import IsFile, Settings
from rlgan.base.threads import torch_threads

from ..categorical import draw_from_weights, padded_vocab_size
from ..sequence_space import SequenceSpace
from .task import Mode, Sides, Task, TaskMeasure, stream_note, stream_of

# The arrays of an oracle and their axes: V vocabulary, E embedding, H hidden.
PARAMETER_AXES: Mapping[str, str] = {
    "embedding": "VE",
    **{f"W{gate}": "EH" for gate in ("i", "f", "og", "c")},
    **{f"U{gate}": "HH" for gate in ("i", "f", "og", "c")},
    **{f"b{gate}": "H" for gate in ("i", "f", "og", "c")},
    "Wo": "HV",
    "bo": "V",
}

DEFAULT_VOCAB_SIZE = 5000
DEFAULT_EMBEDDING = 32
DEFAULT_HIDDEN = 32

# Rows of logits worked on at once; on a CPU a buffer of a few megabytes that stays in cache is the fastest.
CHUNK_ROWS = 256

ENTROPY_SEED = 20170209
NUM_ENTROPY_SEQUENCES = 5000


class OracleTask(Settings):
    """Sequences from an LSTM whose distribution is known exactly."""

    gives_conditions: ClassVar[bool] = False
    has_prompts: ClassVar[bool] = False
    language_model: ClassVar[None] = None
    knows_distribution: ClassVar[bool] = True
    has_real_sequences: ClassVar[bool] = True
    measures: ClassVar[frozenset[TaskMeasure]] = frozenset()
    are_words: ClassVar[Sides] = (False, False)
    is_certain: ClassVar[bool] = False
    kind: Literal["oracle"] = "oracle"

    params: Annotated[str | None, IsFile("oracle_params")] = None
    """.npz file with the arrays of the LSTM; None draws them from N(0,1) with `seed`."""

    vocab_size: int | None = Field(default=None, ge=2, le=1_000_000)
    """Number of tokens; None: the size in `params`, or 5000 without it."""

    embedding: int | None = Field(default=None, ge=1, le=4096)
    """Width of the LSTM's input; None: the size in `params`, or 32 without it."""

    hidden: int | None = Field(default=None, ge=1, le=4096)
    """Width of the LSTM's state; None: the size in `params`, or 32 without it."""

    max_length: int = Field(default=20, ge=1, le=10_000)
    """Number of tokens of every sequence."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    """Seed of the sequences of all splits and, without `params`, of the LSTM's parameters."""

    mode: Mode = "fixed"
    """Whether training sequences are `num_train` fixed ones, or drawn anew each time that some are learned from or
    shown to the discriminator (stream); an epoch is then `num_train` new ones."""

    num_train: int = Field(default=10_000, ge=1)
    """Number of training sequences."""

    num_valid: int = Field(default=1_000, ge=1)
    """Number of validation sequences, for early stopping and model selection."""

    num_test: int = Field(default=2_000, ge=1)
    """Number of test sequences, for the reported metrics."""

    @property
    def is_stream(self) -> bool:
        """Whether training sequences are new each time."""
        return self.mode == "stream"

    @model_validator(mode="after")
    def _sizes_come_from_one_place(self) -> OracleTask:
        if self.params is not None:
            for name in ("vocab_size", "embedding", "hidden"):
                if getattr(self, name) is not None:
                    raise ConfigError(
                        f"{name}={getattr(self, name)}: has no effect beside params={self.params!r}, whose arrays "
                        "define the sizes. Remove one of the two.",
                        code="no_effect_beside_params",
                        fields={name: getattr(self, name), "params": self.params},
                    )
        return self


class LSTMOracle:
    """An LSTM as a distribution over sequences of exactly T tokens; on the CPU, in float32, without gradient.

        i, f, o = sigmoid(e W + h U + b)   for the gates i, f, og
        g = tanh(e Wc + h Uc + bc)
        c = f c + i g;   h = o tanh(c)
        p(x_t | x_<t) = softmax(h Wo + bo)          e = embedding[x_{t-1}],  x_{-1} = token 0,  h = c = 0 at first

    Args:
        parameters: the arrays of `PARAMETER_AXES`, row-vector convention.
        max_length: tokens T of every sequence.
        source: how error messages call the parameters; a file name for instance.

    Raises:
        DataError: an array is missing, has the wrong shape or type, or holds NaN or infinity.
    """

    def __init__(
        self, parameters: Mapping[str, np.ndarray], max_length: int, source: str = "oracle parameters"
    ) -> None:
        self.parameters = _checked_parameters(parameters, source)
        vocab_size, self.embedding = self.parameters["embedding"].shape
        self.hidden = self.parameters["bi"].shape[0]
        self.space = SequenceSpace(vocab_size=vocab_size, max_length=max_length)

        p = self.parameters
        gates = ("i", "f", "og", "c")
        # What a token adds to the gates is looked up rather than multiplied out at each step.
        self._input_gates = p["embedding"] @ torch.cat([p[f"W{gate}"] for gate in gates], 1) + torch.cat(
            [p[f"b{gate}"] for gate in gates]
        )
        self._recurrent = torch.cat([p[f"U{gate}"] for gate in gates], 1)
        # Columns up to a whole block of draw_from_weights: their logits are -inf, hence their weights exactly 0.
        padding = padded_vocab_size(vocab_size) - vocab_size
        self._output = torch.nn.functional.pad(p["Wo"], (0, padding))
        self._output_bias = torch.nn.functional.pad(p["bo"], (0, padding), value=-torch.inf)

    @classmethod
    def random(cls, vocab_size: int, embedding: int, hidden: int, max_length: int, seed: int) -> LSTMOracle:
        """An oracle whose parameters are all drawn from N(0,1)."""
        sizes = {"V": vocab_size, "E": embedding, "H": hidden}
        rng = np.random.default_rng(seed)
        parameters = {
            name: rng.standard_normal([sizes[axis] for axis in axes], dtype=np.float32)
            for name, axes in PARAMETER_AXES.items()
        }
        return cls(parameters, max_length, source=f"oracle parameters of seed {seed}")

    @classmethod
    def load(cls, path: str | Path, max_length: int) -> LSTMOracle:
        """An oracle from a .npz file; pickled content is never read.

        Raises:
            DataError: no such file, not such a file, or arrays that are missing or do not fit together.
        """
        return cls(_read_npz(Path(path)), max_length, source=str(path))

    @cached_property
    def entropy(self) -> float:
        """Entropy in nats per token: an estimate, made once, when first asked for.

        The mean, over the steps of 5,000 sequences of the oracle's own (a fixed seed), of the *exact* entropy of the
        next token. On the published oracle its standard error is 0.003, and that of their mean NLL 0.0075.
        """
        with torch_threads(1):
            return self._mean_entropy(self._sample(NUM_ENTROPY_SEQUENCES, ENTROPY_SEED))

    def _mean_entropy(self, tokens: Tensor) -> float:
        total = 0.0
        for logits, _ in self._logits_in_chunks(tokens):
            # H = log Z - E[l] with l = logit - max and Z = sum exp l: one exponential a logit.
            shifted = logits[:, : self.space.vocab_size] - logits.amax(1, keepdim=True)
            weights = shifted.exp()
            normaliser = weights.sum(1)
            entropies = normaliser.log() - (weights * shifted).sum(1) / normaliser
            total += float(entropies.sum(dtype=torch.float64))
        return total / tokens.numel()

    def logprobs(self, tokens: Tensor) -> Tensor:
        """Log-probability of each token given its prefix.

        Args:
            tokens: (B, T') int64 with any T', on the CPU.

        Returns:
            (B, T') float32, in nats.

        Raises:
            ShapeError: not two-dimensional, or an id outside the vocabulary.
        """
        if tokens.dim() != 2:
            raise ShapeError(f"tokens has shape {tuple(tokens.shape)}: expected (B, T).", code="oracle_tokens_shape")
        size = self.space.vocab_size
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < size:
            raise ShapeError(
                (f"tokens holds ids {int(tokens.min())}..{int(tokens.max())}: the distribution has ids 0..{size - 1}."),
                code="oracle_token_ids",
            )
        picked = [
            logits.gather(1, chosen.unsqueeze(1)).squeeze(1) - logits.logsumexp(1)
            for logits, chosen in self._logits_in_chunks(tokens)
        ]
        return torch.cat(picked).view(tokens.shape) if picked else torch.zeros(tokens.shape)

    def sample(self, num_sequences: int, seed: int) -> Tensor:
        """Draw sequences.

        Args:
            num_sequences: number of sequences B.
            seed: seeds the draw completely; sequence b is the same whatever `num_sequences` is.

        Returns:
            (B, T) int64.
        """
        with torch_threads(1):  # rounding, and thereby a rare token, must not depend on the machine
            return self._sample(num_sequences, seed)

    def _sample(self, num_sequences: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        length = self.space.max_length
        chunks = []
        for _ in range(0, num_sequences, CHUNK_ROWS):
            # Chunks are always whole: neither the uniforms nor the rounding of a row depend on how many there are.
            uniforms = torch.rand(length, CHUNK_ROWS, generator=generator)
            weights = torch.empty(CHUNK_ROWS, self._output.shape[1])
            hidden = torch.zeros(CHUNK_ROWS, self.hidden)
            cell = torch.zeros_like(hidden)
            tokens = torch.full((CHUNK_ROWS, length + 1), self.space.required_start)
            for t in range(length):
                hidden, cell = self._step(tokens[:, t], hidden, cell)
                torch.addmm(self._output_bias, hidden, self._output, out=weights)
                weights.sub_(weights.amax(1, keepdim=True)).exp_()
                tokens[:, t + 1] = draw_from_weights(weights, uniforms[t])
            chunks.append(tokens[:, 1:])
        return torch.cat(chunks)[:num_sequences].contiguous() if chunks else torch.empty(0, length, dtype=torch.int64)

    def _step(self, previous: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        gates = torch.addmm(self._input_gates[previous], hidden, self._recurrent)
        input_gate, forget_gate, output_gate, candidate = gates.chunk(4, 1)
        cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
        return output_gate.sigmoid() * cell.tanh(), cell

    def _logits_in_chunks(self, tokens: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits (R, padded V) of every position of every row, in row-major order, with the tokens (R,) chosen there.

        The logits are a buffer that the next chunk overwrites.
        """
        hidden = torch.zeros(tokens.shape[0], self.hidden)
        cell = torch.zeros_like(hidden)
        previous = torch.full((tokens.shape[0],), self.space.required_start)
        states = []
        for t in range(tokens.shape[1]):
            hidden, cell = self._step(previous, hidden, cell)
            states.append(hidden)
            previous = tokens[:, t]
        if not tokens.numel():
            return
        buffer = torch.empty(CHUNK_ROWS, self._output.shape[1])
        flat_states = torch.stack(states, 1).view(-1, self.hidden)
        flat_tokens = tokens.reshape(-1)
        for rows, chosen in zip(
            torch.split(flat_states, CHUNK_ROWS), torch.split(flat_tokens, CHUNK_ROWS), strict=True
        ):
            logits = buffer[: len(rows)]
            torch.addmm(self._output_bias, rows, self._output, out=logits)
            yield logits, chosen


def build_oracle_task(settings: OracleTask) -> Task:
    """Build the task: the oracle and three independent draws from it.

    Raises:
        DataError: `settings.params` cannot be read or does not hold an oracle.
    """
    if settings.params is not None:
        oracle = LSTMOracle.load(settings.params, settings.max_length)
        origin = f"parameters from {settings.params}"
    else:
        oracle = LSTMOracle.random(
            settings.vocab_size or DEFAULT_VOCAB_SIZE,
            settings.embedding or DEFAULT_EMBEDDING,
            settings.hidden or DEFAULT_HIDDEN,
            settings.max_length,
            settings.seed,
        )
        origin = f"parameters drawn from N(0,1) with seed {settings.seed}"
    seeds = np.random.SeedSequence(settings.seed).generate_state(3)
    train, valid, test = (
        oracle.sample(number, int(seed))
        for number, seed in zip((settings.num_train, settings.num_valid, settings.num_test), seeds, strict=True)
    )
    return Task(
        name="oracle",
        space=oracle.space,
        train=train,
        valid=valid,
        test=test,
        token_names=tuple(str(token) for token in range(oracle.space.vocab_size)),
        oracle=oracle,  # type: ignore[arg-type]  # its entropy is a cached property: computed when first asked for
        stream=stream_of(oracle) if settings.is_stream else None,  # type: ignore[arg-type]
        notes=(
            f"oracle: LSTM over {oracle.space.vocab_size} tokens, embedding {oracle.embedding}, hidden "
            f"{oracle.hidden}, {oracle.space.max_length} tokens per sequence; {origin}",
            f"oracle: drew {len(train)} train, {len(valid)} valid, {len(test)} test sequences, seed {settings.seed}",
            *stream_note("oracle", settings.is_stream),
        ),
    )


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    remedy = f"Give a .npz file, as numpy.savez writes it, with the arrays {', '.join(PARAMETER_AXES)}."
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}. {remedy}", code="oracle_no_file", fields={"path": path})
    try:
        with open(path, "rb") as file:
            # Without pickle nothing in the file can run code.
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise DataError(
                    f"{path}: contains a single unnamed array. {remedy}",
                    code="oracle_unnamed_array",
                    fields={"path": path},
                )
            missing = [name for name in PARAMETER_AXES if name not in content.files]
            if missing:
                found = ", ".join(content.files) or "nothing"
                raise DataError(
                    f"{path}: arrays missing: {', '.join(missing)}; found: {found}. {remedy}",
                    code="oracle_file_lacks_arrays",
                    fields={"path": path},
                )
            return {name: content[name] for name in PARAMETER_AXES}
    except DataError:
        raise
    # A damaged archive fails in any of these ways, depending on where it was hit.
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not a readable .npz file without pickled content ({error}). {remedy}",
            code="oracle_file_unreadable",
            fields={"path": path},
        ) from error


def _checked_parameters(parameters: Mapping[str, np.ndarray], source: str) -> dict[str, Tensor]:
    missing = [name for name in PARAMETER_AXES if name not in parameters]
    if missing:
        raise DataError(
            f"{source}: arrays missing: {', '.join(missing)}. Give all of {', '.join(PARAMETER_AXES)}.",
            code="oracle_lacks_arrays",
            fields={"source": source},
        )
    sizes: dict[str, int] = {}
    checked = {}
    # The axes of the first arrays that name them fix V, E and H for the rest.
    for name, axes in PARAMETER_AXES.items():
        array = np.asarray(parameters[name])
        expected = tuple(sizes.get(axis, "any") for axis in axes)
        fits = array.ndim == len(axes) and all(
            sizes.get(axis, size) == size >= 1 for axis, size in zip(axes, array.shape, strict=True)
        )
        if not fits:
            raise DataError(
                f"{source}: array {name} has shape {array.shape}; expected ({', '.join(axes)}) = "
                f"({', '.join(map(str, expected))}). V tokens, E embedding and H hidden units must be equal in all "
                "arrays.",
                code="oracle_array_shape",
                fields={"source": source},
            )
        if not np.issubdtype(array.dtype, np.floating):
            raise DataError(
                f"{source}: array {name} has type {array.dtype}; expected float32, float64 or float16.",
                code="oracle_array_type",
                fields={"source": source},
            )
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise DataError(
                f"{source}: array {name} contains NaN, infinity or values outside float32. All values must be finite.",
                code="oracle_array_values",
                fields={"source": source},
            )
        sizes.update(zip(axes, array.shape, strict=True))
        checked[name] = torch.from_numpy(array)
    if sizes["V"] < 2:
        raise DataError(
            f"{source}: array embedding has {sizes['V']} row; at least 2 tokens are needed.",
            code="oracle_one_token",
            fields={"source": source},
        )
    return checked
