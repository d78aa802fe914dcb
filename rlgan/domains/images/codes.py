"""Tokens as pixels and pixels as tokens: what a run keeps of its images' networks, as plain data."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rlgan.base.errors import ConfigError
from rlgan.base.weights import bytes_of
from rlgan.envs.drawing import Drawing
from rlgan.envs.sequence_space import SequenceSpace

from .classifier import Classifier
from .vq_vae import Sizes, VqVae

PLUGIN = "images"
"""Name of the plug-in of kind "drawing"."""
_VQ_VAE, _CLASSIFIER, _HEADER = "vq_vae.", "classifier.", "rlgan"


class ImageCodes:
    """The trained networks of a task `images`: a `Drawing`.

    Args:
        network: the VQ-VAE.
        classes: names of the classes, in the order of the classifier's logits.
        classifier: of images; None where images have no classes.

    Attributes:
        network: likewise, without gradients; who changes it copies it before.
        classes: likewise.
        classifier: likewise.
    """

    plugin = PLUGIN

    def __init__(self, network: VqVae, classes: Sequence[str] = (), classifier: Classifier | None = None) -> None:
        self.network, self.classes, self.classifier = network, tuple(classes), classifier

    @property
    def sizes(self) -> Sizes:
        """Of images and layers."""
        return self.network.sizes

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name → weight, of both networks."""
        found = {f"{_VQ_VAE}{name}": one for name, one in self.network.state_dict().items()}
        if self.classifier is not None:
            found |= {f"{_CLASSIFIER}{name}": one for name, one in self.classifier.state_dict().items()}
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of sizes, classes and weights."""
        digest = hashlib.sha256(self.description.encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(bytes_of(tensor).data)
        return digest.hexdigest()

    @property
    def description(self) -> str:
        """Sizes and classes as JSON."""
        facts = {"sizes": asdict(self.sizes), "classes": self.classes, "classifier": self.classifier is not None}
        return json.dumps(facts, sort_keys=True)

    def as_bytes(self) -> bytes:
        """A file of safetensors, with sizes, classes and the digest in its header."""
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        # One entry, for several have no order: the same networks are the same bytes.
        return save(tensors, {_HEADER: json.dumps({"description": self.description, "digest": self.digest})})

    def kept(self) -> dict[str, Any]:
        """See `Drawing.kept`: the same file, in base 64."""
        return {"safetensors": base64.b64encode(self.as_bytes()).decode()}

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """(n, T) int64 of texts, which are the numbers of tokens with spaces between them."""
        return torch.tensor([[int(name) for name in text.split()] for text in texts])

    def pixels(self, texts: Sequence[str]) -> Tensor:
        """(n, C, H, W) float32 from 0 to 1 of texts."""
        return self.network.pixels_of(self.tokens(texts))

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """What sets of images are compared by: the classifier's features, or means and maxima of z_e without one.

        Args:
            pixels: (n, C, H, W) float32 from 0 to 1.

        Returns:
            (n, 32) float32, or (n, 2 D).
        """
        if self.classifier is not None:
            return self.classifier.features(pixels)
        encoded = self.network.encode(pixels)
        return torch.cat([encoded.mean(1), encoded.amax(1)], dim=1)

    @torch.no_grad()
    def classes_of(self, pixels: Tensor) -> list[str]:
        """The most likely class of each of n images; of a task with classes."""
        assert self.classifier is not None
        return [self.classes[label] for label in self.classifier(pixels).argmax(1).tolist()]

    def pictures(self, texts: Sequence[str]) -> NDArray[np.uint8]:
        """See `Drawing.pictures`."""
        levels = (self.pixels(texts) * 255.0).round().to(torch.uint8)
        return (levels.squeeze(1) if self.sizes.channels == 1 else levels.permute(0, 2, 3, 1)).numpy()


def codes_of(content: bytes) -> ImageCodes:
    """What `ImageCodes.as_bytes` wrote.

    Raises:
        ValueError: the content is damaged, or of other networks.
    """
    try:
        head = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        header = json.loads(head["__metadata__"][_HEADER])
        facts, tensors, digest = json.loads(header["description"]), load(content), header["digest"]
        network = VqVae(Sizes(**facts["sizes"]))
        classifier = Classifier(network.sizes.channels, len(facts["classes"])) if facts["classifier"] else None
        for prefix, part in ((_VQ_VAE, network), (_CLASSIFIER, classifier)):
            if part is not None:
                part.load_state_dict({name.removeprefix(prefix): tensors[name] for name in tensors if prefix in name})
                part.eval().requires_grad_(False)
        codes = ImageCodes(network, facts["classes"], classifier)
    except (AttributeError, LookupError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if codes.digest != digest:
        raise ValueError(f"the digest is {codes.digest}, expected {digest}")
    return codes


def drawing(kept: Mapping[str, Any]) -> ImageCodes:
    """The plug-in `images` of kind "drawing": what `ImageCodes.kept` returned.

    Raises:
        ValueError: the data is damaged.
    """
    return codes_of(base64.b64decode(kept["safetensors"]))


def require_codes(drawing: Drawing | None, who: str) -> ImageCodes:
    """The networks of a task `images`.

    Args:
        drawing: of the task.
        who: needs them, for the message.

    Raises:
        ConfigError: the task has none.
    """
    if not isinstance(drawing, ImageCodes):
        raise ConfigError(
            f"{who}: needs sequences that are drawn as images. Use it with task images.", code="images_no_task"
        )
    return drawing


def codes_in(space: SequenceSpace, who: str) -> ImageCodes:
    """The same of the sequences of a task; see `require_codes`."""
    return require_codes(space.drawing, who)
