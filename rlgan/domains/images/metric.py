"""How near generated images are to real ones: the metric `images`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rlgan.envs.drawing import Drawing
from rlgan.metrics.frechet import frechet_distance, gaussian_of

from .codes import ImageCodes, require_codes


class Images:
    """The metric `images`: a Fréchet distance in the features of a small classifier, as FID is one in Inception's.

    Both sides are decoded from tokens, so that what the VQ-VAE loses is on both. Values are comparable only for the
    same networks and the same number of images (Heusel et al. 2017; Chong & Forsyth 2020).
    """

    directions: ClassVar[Mapping[str, str]] = {
        "fid": "min",
        "fid_train": "beside",
        "memorised": "min",
        "class_match": "max",
    }

    def __call__(
        self,
        texts: Sequence[str],
        references: Sequence[str],
        training: Sequence[str],
        prompts: Sequence[str],
        drawing: Drawing | None,
    ) -> dict[str, float]:
        """Figures of a generator.

        Args:
            texts: n generated images.
            references: held-out images.
            training: images that the generator learned from.
            prompts: n names of classes that they were given, or "".
            drawing: of the task.

        Returns:
            fid: squared Fréchet distance of `texts` from `references`. fid_train: the same of n images of `training`,
            or of all where there are fewer: what real images have. memorised: share of `texts` that are in `training`,
            token for token. class_match: share whose most likely class is the one that was given; only with classes.

        Raises:
            ConfigError: the task is not `images`.
        """
        codes = require_codes(drawing, "metric images")
        pixels = codes.pixels(texts)
        real = gaussian_of(_features(codes, references))
        known = set(training)
        figures = {
            "fid": frechet_distance(gaussian_of(codes.features(pixels).numpy()), real),
            "fid_train": frechet_distance(gaussian_of(_features(codes, training[: len(texts)])), real),
            "memorised": sum(text in known for text in texts) / len(texts),
        }
        if codes.classifier is not None and any(prompts):
            found = codes.classes_of(pixels)
            figures["class_match"] = sum(map(str.__eq__, found, prompts)) / len(texts)
        return figures


def _features(codes: ImageCodes, texts: Sequence[str]) -> NDArray[np.float32]:
    return codes.features(codes.pixels(texts)).numpy()
