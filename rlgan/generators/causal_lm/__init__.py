"""A causal language model of `transformers` as generator: from a folder, from the hub, or with random weights."""

from .network import CausalLMGenerator
from .settings import CausalLM, FreshWeights, LoRA, WholeModel

__all__ = ["CausalLM", "CausalLMGenerator", "FreshWeights", "LoRA", "WholeModel"]
