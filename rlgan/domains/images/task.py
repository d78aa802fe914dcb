"""The task `images`: images as sequences of the tokens of a VQ-VAE, in raster order."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from rlgan.base.activity import advance, stage
from rlgan.base.errors import CheckpointError, ConfigError, DataError
from rlgan.base.files import write_atomically
from rlgan.base.threads import torch_threads
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.envs.tasks import Conditions, Task

from . import classifier
from .codes import ImageCodes, codes_of
from .reading import Images, digits, folder, refuse, scaled
from .vq_vae import Sizes, Training, Update, perplexity, train

_LOG = logging.getLogger(__name__)
_CACHE = "RLGAN_CACHE"
_FORMAT = 1  # of the training: it changes when other weights come out of the same images and options
_WARNED_OF: set[str] = set()  # digests of networks
_COLLAPSED = 0.1  # of the codes: a perplexity below it is reported


def images(
    path: str = "",
    conditional: bool = False,
    codes: int = 32,
    scale: int = 2,
    hidden: int = 24,
    code_width: int = 8,
    epochs: int = 25,
    commitment: float = 0.25,
    decay: float = 0.99,
    codebook: Update = "ema",
    held_out: float = 0.1,
    split_seed: int = 0,
    seed: int = 0,
    cache: str = "",
) -> Task:
    """Images as tokens: a VQ-VAE is trained on the training split once, and kept.

    Args:
        path: of a folder of PNG files of one size and mode, perhaps in a subfolder for each class; "": the digits of
            scikit-learn.
        conditional: whether each image is given the name of its class.
        codes: number of codes V.
        scale: pixels of a side for each token: 1, 2, 4 or 8. Sides are filled up with black to a multiple of it.
        hidden: channels of the VQ-VAE.
        code_width: numbers of a code.
        epochs: of the VQ-VAE.
        commitment: β, weight of the term that keeps encodings near codes.
        decay: γ of the moving averages of the codebook.
        codebook: how it learns, ema or gradient.
        held_out: fraction of the images for validation, and as many for testing.
        split_seed: of the random splits.
        seed: of the VQ-VAE and of the classifier.
        cache: folder where trained networks are kept; "": what the variable RLGAN_CACHE names, or ~/.cache/rlgan.

    Raises:
        ConfigError: a bad option, or scikit-learn or pillow is not installed.
        DataError: the folder cannot be used, or what is kept is damaged.
    """
    for name, value, is_good, allowed in (
        ("codes", codes, codes >= 2, "at least 2"),
        ("scale", scale, scale in (1, 2, 4, 8), "1, 2, 4 or 8"),
        ("hidden", hidden, hidden >= 1, "at least 1"),
        ("code_width", code_width, code_width >= 1, "at least 1"),
        ("epochs", epochs, epochs >= 1, "at least 1"),
        ("commitment", commitment, commitment > 0, "above 0"),
        ("decay", decay, 0.0 < decay < 1.0, "above 0 and below 1"),
        ("codebook", codebook, codebook in ("ema", "gradient"), "ema or gradient"),
        ("held_out", held_out, 0.0 < held_out < 0.5, "above 0 and below 0.5"),
        ("split_seed", split_seed, split_seed >= 0, "at least 0"),
    ):
        if not is_good:
            raise refuse(name, value, allowed, "images_option")
    found = scaled(folder(path) if path else digits(), scale)
    if conditional and found.labels is None:
        raise ConfigError(
            f"task.options.conditional=True: the images of {path} have no classes. Put them into a subfolder for each "
            "class, or set it to false.",
            code="images_no_classes",
            fields={"task.options.conditional": True},
        )
    number = int(len(found.pixels) * held_out)
    if number < 1 or len(found.pixels) - 2 * number < 2:
        raise DataError(
            f"{path or 'digits'}: has {len(found.pixels)} images, too few for a training split and two held-out ones "
            f"of {held_out:g} each. Give more images, or raise held_out.",
            code="images_too_few",
            fields={"path": path, "task.options.held_out": held_out},
        )
    if bool((found.pixels == found.pixels[0]).all()):
        raise DataError(
            f"{path}: its {len(found.pixels)} images all have the same pixels, so there is nothing to learn. Give "
            "different images.",
            code="images_all_equal",
            fields={"path": path},
        )
    order = torch.from_numpy(np.random.default_rng(split_seed).permutation(len(found.pixels)))
    rows = {"test": order[:number], "valid": order[number : 2 * number], "train": order[2 * number :]}
    channels, height, width = found.pixels.shape[1:]
    sizes = Sizes(channels, height, width, codes, scale, hidden, code_width)
    how = Training(epochs=epochs, commitment=commitment, decay=decay, update=codebook, seed=seed)
    trained, notes = _networks(_part(found, rows["train"]), sizes, how, cache)
    with torch_threads(1):  # sums are rounded by it, and the nearest code may be another
        tokens = {split: trained.network.tokens_of(found.pixels[some]) for split, some in rows.items()}
    notes += _quality(trained, found.pixels[rows["test"]])
    notes += _usage(torch.bincount(tokens["train"].flatten(), minlength=codes), codes, trained.digest)
    conditions = None
    if conditional:
        assert found.labels is not None
        labels = {split: found.labels[some].unsqueeze(1) for split, some in rows.items()}
        of_classes = SequenceSpace(len(found.classes), 1)
        conditions = Conditions(of_classes, labels["train"], labels["valid"], labels["test"], found.classes)
    return Task(
        name="images",
        space=SequenceSpace(codes, sizes.length),
        train=tokens["train"],
        valid=tokens["valid"],
        test=tokens["test"],
        token_names=tuple(map(str, range(codes))),
        notes=(
            f"images: {len(rows['train'])} for training, {number} for validation, {number} for testing",
            *found.notes,
            *notes,
        ),
        conditions=conditions,
        measures=frozenset({"text"}),
        drawing=trained,
    )


def _part(images: Images, rows: torch.Tensor) -> Images:
    labels = None if images.labels is None else images.labels[rows]
    return Images(images.pixels[rows].contiguous(), labels, images.classes)


def _networks(images: Images, sizes: Sizes, how: Training, cache: str) -> tuple[ImageCodes, list[str]]:
    """The networks of images: kept ones, or trained now and kept; and lines for the log."""
    place = Path(cache or os.environ.get(_CACHE) or "~/.cache/rlgan").expanduser() / "images"
    path = place / f"{_key(images, sizes, how)}.safetensors"
    if path.is_file():
        try:
            return codes_of(path.read_bytes()), [f"images: networks of {path}"]
        except ValueError as error:
            raise DataError(
                f"{path}: is damaged ({error}). Remove it, and the networks are trained again.",
                code="images_damaged_networks",
                fields={"path": str(path)},
            ) from None
    with stage("vq-vae", "VQ-VAE of the images", "epoch", how.epochs):
        network = train(images.pixels, sizes, how, advance)
    judge = None
    if images.labels is not None:
        judge = classifier.train(images.pixels, images.labels, len(images.classes), how.seed)
    codes = ImageCodes(network, images.classes, judge)
    try:
        place.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda beside: beside.write_bytes(codes.as_bytes()))
    except (OSError, CheckpointError) as error:
        return codes, [f"images: networks trained, but not kept for the next run: {error}".splitlines()[0]]
    return codes, [f"images: networks trained, and kept in {path}"]


def _key(images: Images, sizes: Sizes, how: Training) -> str:
    """Tells what networks were trained on, and how."""
    facts = {"sizes": asdict(sizes), "how": asdict(how), "classes": images.classes, "format": _FORMAT}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(images.pixels.numpy().data)
    if images.labels is not None:
        digest.update(images.labels.numpy().data)
    return digest.hexdigest()[:32]


def _quality(codes: ImageCodes, pixels: torch.Tensor) -> list[str]:
    """How much the tokens keep of held-out images."""
    if bool(pixels.min() == pixels.max()):  # whose variance rounding may leave above 0
        return ["images: held-out images have one colour only, so what tokens lose of them cannot be said"]
    rebuilt = codes.network.pixels_of(codes.network.tokens_of(pixels))
    error = float((rebuilt - pixels).square().mean() / pixels.var(correction=0))
    return [f"images: tokens lose {error:.1%} of the pixel variance of held-out images"]


def _usage(counts: torch.Tensor, codes: int, digest: str) -> list[str]:
    """How many codes are used; a collapsed codebook is warned of, once in a process, where the task is built often."""
    found = perplexity(counts)
    line = f"images: perplexity of the codebook {found:.1f} of {codes} codes, {int((counts > 0).sum())} in use"
    if found < max(_COLLAPSED * codes, 1.5):
        line += (
            ": it has collapsed, so that images lose most of what distinguishes them. Use more epochs, other images, "
            "or fewer codes"
        )
        if digest not in _WARNED_OF:
            _WARNED_OF.add(digest)
            _LOG.warning(line)
    return [line]
