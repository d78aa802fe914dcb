"""A causal language model of `transformers` as generator: from a folder, from the hub, or with random weights.

Where weights come from and which of them are trained is `rlgan.layers.pretrained`. Nothing here reads text: tokens and
chat templates are `rlgan.envs.model_tokens`.
"""

from .network import CausalLMGenerator
from .settings import CausalLM

__all__ = ["CausalLM", "CausalLMGenerator"]
