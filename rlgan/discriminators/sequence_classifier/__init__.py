"""A model of `transformers` as discriminator: an encoder or a causal language model with one logit.

Where weights come from and which of them are trained is `rlgan.layers.pretrained`, what the model reads is `reading`.
"""

from .network import SequenceClassifierDiscriminator
from .settings import SequenceClassifier

__all__ = ["SequenceClassifier", "SequenceClassifierDiscriminator"]
