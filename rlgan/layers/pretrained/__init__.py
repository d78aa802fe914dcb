"""Models of `transformers`, as generators and discriminators share them: sizes, files, adapters.

Where files are found is `rlgan.base.pretrained`. The libraries are the extra `lm`; they are imported where a network is
built. Code that comes with a model is never executed.
"""

from .files import load_files, plain_name, save_adapter
from .model_config import causal_config, classifier_config
from .networks import (
    adapters_off,
    add_nothing,
    base_model,
    built,
    fresh_architecture,
    keep_untrained_in,
    stored_architecture,
    with_adapters,
)
from .quiet import quiet
from .settings import FreshClassifier, FreshModel, FreshWeights, LoRA, TrainedPart, WholeModel

__all__ = [
    "FreshClassifier",
    "FreshModel",
    "FreshWeights",
    "LoRA",
    "TrainedPart",
    "WholeModel",
    "adapters_off",
    "add_nothing",
    "base_model",
    "built",
    "causal_config",
    "classifier_config",
    "fresh_architecture",
    "keep_untrained_in",
    "load_files",
    "plain_name",
    "quiet",
    "save_adapter",
    "stored_architecture",
    "with_adapters",
]
