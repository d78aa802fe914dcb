"""A causal language model of `transformers` as generator: from a folder, from the hub, or with random weights.

Which libraries it takes is the extra `lm`; they are imported where a network is built. Nothing here reads text: tokens
and chat templates are `rlgan.envs.model_tokens`.
"""

from .network import CausalLMGenerator
from .settings import CausalLM, FreshWeights, LoRA, WholeModel

__all__ = ["CausalLM", "CausalLMGenerator", "FreshWeights", "LoRA", "WholeModel"]
