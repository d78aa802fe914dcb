"""A causal language model as generator: log-probabilities of completions, and a stepping copy that writes them.

    log p(y | x) = Σ_t log softmax(f(x, y_<t))[y_t]

x stands on the left, padded there to the longest of the batch; y stands behind it. What is learned and what is drawn is
the distribution over the task's V tokens: a model may have more ids than its tokenizer, which nobody ever means.

    B sequences, P positions of a prompt, S of a condition, T of a sequence, W width, V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rlgan.base.pretrained import HubModel, ModelFolder
from rlgan.base.weights import frozen_copy
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.transition import sequence_mask
from rlgan.generators.generator import Distribution, Generator, SavedModel
from rlgan.generators.vocabulary import token_logprobs
from rlgan.layers.pretrained import FreshWeights, LoRA, adapters_off, base_model, load_files

from .architecture import build_network, has_plain_output, require_same_tokens
from .saving import save_model
from .settings import CausalLM
from .stepper import CausalLMStepper

_CHUNK_ROWS = 128  # tokens whose logits are held at once


class CausalLMGenerator(Generator):
    """A model of `transformers`, with or without adapters of `peft`.

    Args:
        settings: where it comes from, and what is trained.
        space: the task's sequences, given prompts or nothing.

    Raises:
        ConfigError: sequences do not fit into the model, or a library is missing.
        DataError: there is no such model.
    """

    def __init__(self, settings: CausalLM, space: SequenceSpace) -> None:
        super().__init__()
        self._settings, self._space = settings, space
        self.vocab_size, self.max_length = space.vocab_size, space.max_length
        self._start_id = space.required_start
        self.dtype = getattr(torch, settings.dtype)
        self.network = build_network(settings, space)
        self._rates = [
            (module, name, value)
            for module in self.network.modules()
            for name in ("p", "attention_dropout")
            if isinstance(value := getattr(module, name, None), float)
            and (name != "p" or isinstance(module, nn.Dropout))
        ]
        self._is_plain = has_plain_output(base_model(self.network))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def take_files(self) -> tuple[str, ...]:
        """Take the weights of its folder; see `Generator.take_files`."""
        weights = self._settings.weights
        if isinstance(weights, FreshWeights):
            return ()
        require_same_tokens(weights, self._space)
        number = load_files(self.network, weights)
        trained = sum(one.numel() for one in self.parameters() if one.requires_grad)
        return (f"generator: {number:,} parameters from {weights.shown}; {trained:,} are trained",)

    def save_for_transformers(self, folder: Path, source: ModelFolder | HubModel | None, *, merges: bool) -> SavedModel:
        """Write model or adapter; see `Generator.save_for_transformers`."""
        return save_model(self.network, self._settings, self._space, folder, source, merges=merges)

    def use_dropout(self, enabled: bool) -> None:
        """Switch dropout on or off; see `Generator.use_dropout`."""
        for module, name, rate in self._rates:
            setattr(module, name, rate if enabled else 0.0)

    def stepper(self, temperature: float = 1.0) -> CausalLMStepper:
        """A frozen copy for sampling; see `Generator.stepper`."""
        return CausalLMStepper(frozen_copy(self), temperature)

    def conditional(self, conditions: Tensor | None) -> Distribution:
        """Its distribution of completions of prompts, or of texts; see `Generator.conditional`."""
        return _Completions(self, conditions)

    def without_training(self, conditions: Tensor | None) -> Distribution:
        """The model without its adapters; see `Generator.without_training`."""
        if not isinstance(self._settings.training, LoRA):
            return super().without_training(conditions)
        return _Completions(self, conditions, adapters_off)

    def num_read(self, tokens: Tensor, conditions: Tensor | None) -> Tensor:
        """Tokens of each prompt and each sequence; see `Generator.num_read`."""
        completions = sequence_mask(self._space, tokens).sum(1)
        prompt_lengths = (
            torch.ones_like(completions) if conditions is None else self._is_prompt(conditions).sum(1).clamp_min(1)
        )
        return torch.stack([prompt_lengths, completions], 1)

    # ------------------------------------------------------------------ for the distribution and the stepper

    def prompts(self, conditions: Tensor | None, num_rows: int) -> tuple[Tensor, Tensor]:
        """What is read before a sequence.

        Args:
            conditions: (B, S) int64, padded on the right as everywhere; None for nothing.
            num_rows: B, where there are none.

        Returns:
            Ids (B, P) int64, padded on the left, P the length of the longest; and which are real, (B, P) bool. A prompt
            without a token is the start token.
        """
        if conditions is None:
            start = torch.full((num_rows, 1), self._start_id, device=self.device)
            return start, torch.ones_like(start, dtype=torch.bool)
        lengths = self._is_prompt(conditions).sum(1)
        size = max(1, int(lengths.max()))
        places = torch.arange(size, device=conditions.device) - (size - lengths).unsqueeze(1)
        mask = places >= 0
        ids = conditions.gather(1, places.clamp_min(0)).masked_fill(~mask, 0)
        is_empty = lengths == 0
        ids[:, -1] = torch.where(is_empty, self._start_id, ids[:, -1])
        mask[:, -1] |= is_empty
        return ids, mask

    def _is_prompt(self, conditions: Tensor) -> Tensor:
        """Which of (B, S) are read; a terminator that is none of the model's tokens is not."""
        assert self._space.condition is not None
        return sequence_mask(self._space.condition, conditions) & (conditions < self.vocab_size)

    def features(self, ids: Tensor, positions: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the output layer reads.

        Args:
            ids: (B, L) int64.
            positions: (B, L) int64 of each token within its sequence.
            mask: (B, L) bool, False at padding; None where a reader (`attention.reading`) knows what is seen.

        Returns:
            (B, L, W).
        """
        model = base_model(self.network)
        body = getattr(model, model.base_model_prefix)
        # A mask of four dimensions is not looked at by the model; the reader has its own.
        seen = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device) if mask is None else mask
        with self._computing():
            found = body(input_ids=ids, position_ids=positions, attention_mask=seen, use_cache=False, return_dict=True)
        features: Tensor = found.last_hidden_state
        return features

    def output(self, features: Tensor) -> Tensor:
        """Logits (..., V) float32 of features (..., W)."""
        model = base_model(self.network)
        with self._computing():
            if self._is_plain:
                layer = model.get_output_embeddings()
                bias = None if layer.bias is None else layer.bias[: self.vocab_size]
                return functional.linear(features, layer.weight[: self.vocab_size].to(features.dtype), bias).float()
            logits: Tensor = model.get_output_embeddings()(features)
        return self._shaped(logits.float())[..., : self.vocab_size]

    def _shaped(self, logits: Tensor) -> Tensor:
        """Logits as the architecture scales and bounds them."""
        config = base_model(self.network).config
        scale = getattr(config, "logit_scale", None)
        logits = logits if scale is None else logits * scale
        divided = getattr(config, "logits_scaling", None)
        logits = logits if divided is None else logits / divided
        bound = getattr(config, "final_logit_softcapping", None)
        return logits if bound is None else torch.tanh(logits / bound) * bound

    def _computing(self) -> AbstractContextManager[object]:
        if self._settings.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def logprobs_of(self, features: Tensor, tokens: Tensor, temperature: float) -> Tensor:
        """Log-probabilities (R,) of tokens (R,) from features (R, W), without ever holding all logits."""
        if self._is_plain and self._settings.dtype == "float32":
            layer = base_model(self.network).get_output_embeddings()
            weight = layer.weight[: self.vocab_size]
            bias = weight.new_zeros(self.vocab_size) if layer.bias is None else layer.bias[: self.vocab_size]
            return token_logprobs(features / temperature, weight, bias / temperature, tokens)

        def chosen(part: Tensor, ids: Tensor) -> Tensor:
            return -functional.cross_entropy(self.output(part) / temperature, ids, reduction="none")

        return torch.cat(_in_chunks(chosen, features, tokens))


class _Completions(Distribution):
    """The distribution of sequences behind prompts.

    Args:
        generator: whose.
        conditions: (B, S) int64; None for sequences that are given nothing.
        computing: around the network where it computes features.
    """

    def __init__(
        self,
        generator: CausalLMGenerator,
        conditions: Tensor | None,
        computing: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._generator, self._conditions, self._computing = generator, conditions, computing

    def logits(self, tokens: Tensor) -> Tensor:
        """Logits of every token; see `Distribution.logits`."""
        return self._generator.output(self._features(tokens))

    def logprobs(self, tokens: Tensor, temperature: float = 1.0, read: Tensor | None = None) -> Tensor:
        """Log-probability of each token; see `Distribution.logprobs`. 0 behind the longest sequence."""
        length = self._longest(tokens)
        features = self._features((tokens if read is None else read)[:, :length])
        found = self._generator.logprobs_of(features.flatten(0, 1), tokens[:, :length].flatten(), temperature)
        return functional.pad(found.view(len(tokens), length), (0, tokens.shape[1] - length))

    def logprobs_and_entropies(self, tokens: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies; see `Distribution.logprobs_and_entropies`. Logits of a chunk are held."""
        length = self._longest(tokens)
        features, ids = self._features(tokens[:, :length]).flatten(0, 1), tokens[:, :length].flatten()

        def both(part: Tensor, chosen: Tensor) -> Tensor:
            logits = self._generator.output(part)
            logprobs = torch.log_softmax(logits if temperature == 1.0 else logits / temperature, 1)
            entropies = -(logprobs.exp() * logprobs).sum(1)
            return torch.stack([logprobs.gather(1, chosen.unsqueeze(1)).squeeze(1), entropies])

        found = torch.cat(_in_chunks(both, features, ids), 1).view(2, len(tokens), length)
        logprobs, entropies = functional.pad(found, (0, tokens.shape[1] - length))
        return logprobs, entropies

    def _longest(self, tokens: Tensor) -> int:
        """Tokens of the longest sequence, the terminator included: nothing is computed of what is padding for all."""
        return int(sequence_mask(self._generator._space, tokens).sum(1).max())

    def _features(self, tokens: Tensor) -> Tensor:
        """(B, T, W), [:, t] of tokens[:, :t] behind the prompt."""
        ids, is_real = self._generator.prompts(self._conditions, len(tokens))
        size, follow = ids.shape[1], tokens[:, :-1]
        mask = torch.cat([is_real, torch.ones_like(follow, dtype=torch.bool)], 1)
        positions = (mask.cumsum(1) - 1).clamp_min(0)
        with self._computing(self._generator.network):
            return self._generator.features(torch.cat([ids, follow], 1), positions, mask)[:, size - 1 :]


def _in_chunks(function: Callable[[Tensor, Tensor], Tensor], features: Tensor, tokens: Tensor) -> list[Tensor]:
    """A function of chunks of features (R, W) and tokens (R,); what it computes is computed again for its gradient."""
    pairs = zip(features.split(_CHUNK_ROWS), tokens.split(_CHUNK_ROWS), strict=True)
    if not torch.is_grad_enabled():
        return [function(*pair) for pair in pairs]
    return [checkpoint(function, *pair, use_reentrant=False) for pair in pairs]
