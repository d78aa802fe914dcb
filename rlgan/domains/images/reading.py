"""Images and their classes: the digits of scikit-learn, or a folder of PNG files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlgan.base.errors import ConfigError, DataError, nearest
from rlgan.base.extras import require_package
from rlgan.envs.reading import count, the_first

EXTRA = "images"
"""The extra with what reads images."""
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MODES = {"1": "L", "L": "L", "RGB": "RGB"}  # of files → of what is read
_NUM_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Images:
    """A set of images.

    Attributes:
        pixels: (n, C, H, W) float32 from 0 to 1.
        labels: (n,) int64; None where there are no classes.
        classes: their names.
        notes: lines for the log: what was left out.
    """

    pixels: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def digits() -> Images:
    """The 1,797 digits of scikit-learn, 8 by 8 pixels of 17 grey levels.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    require_package("sklearn", "task images", EXTRA)
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = torch.from_numpy(found.images / 16.0).float().unsqueeze(1)
    return Images(pixels, torch.from_numpy(found.target).long(), _DIGITS)


def folder(path: str) -> Images:
    """PNG files of one size and mode: in the folder itself, or in a subfolder for each class.

    Hidden files and folders, which systems and editors leave behind (`._1.png`, `.ipynb_checkpoints`, `__MACOSX`), are
    left out and counted; other files that are no PNG files, and subfolders without any, too.

    Raises:
        ConfigError: pillow is not installed.
        DataError: there is no such folder, it has no PNG files, or files differ in size or mode or cannot be read.
    """
    require_package("PIL", "task images", EXTRA)
    root = Path(path).expanduser()
    if root.is_file():
        raise DataError(
            f"{path}: is a file. Give the folder of the PNG files.", code="images_file_as_folder", fields={"path": path}
        )
    if not root.is_dir():
        there = [one.name for one in root.parent.iterdir()] if root.parent.is_dir() else []
        raise DataError(
            f"{path}: the folder does not exist.{nearest(root.name, there)} Give a folder of PNG files.",
            code="images_no_folder",
            fields={"path": path},
        )
    everything = sorted(root.rglob("*"))
    found = [one for one in everything if one.suffix.lower() == ".png" and one.is_file()]
    visible = [one for one in everything if not any(map(_is_hidden, one.relative_to(root).parts))]
    seen = set(visible)
    files = [one for one in found if one in seen]
    notes = tuple(_left_out(root, path, len(found) - len(files), visible, files))
    if not files:
        raise DataError(
            f"{path}: contains no PNG files. Give a folder of them, or one with a subfolder of them for each class.",
            code="images_empty_folder",
            fields={"path": path},
        )
    places = [file.parent.relative_to(root).as_posix() for file in files]
    arrays = _arrays(files, path)
    _require_alike(files, [array.shape for array in arrays], path)
    stacked = torch.from_numpy(np.stack(arrays)).float() / 255.0
    pixels = stacked.unsqueeze(1) if stacked.dim() == 3 else stacked.permute(0, 3, 1, 2).contiguous()
    classes = tuple(dict.fromkeys(places))
    if classes == (".",):
        return Images(pixels, None, (), notes)
    _require_classes(classes, files, path)
    return Images(pixels, torch.tensor([classes.index(place) for place in places]), classes, notes)


def _left_out(root: Path, path: str, num_hidden: int, visible: Sequence[Path], files: Sequence[Path]) -> Iterator[str]:
    """Lines about what stands in a folder and is not read."""
    if num_hidden:
        yield f"images: left out {count(num_hidden, 'hidden PNG file')} in {path}"
    used = {*files, *(above for file in files for above in file.parents)}
    rest = [one for one in visible if one not in used]
    for noun, which, some in (
        ("file", "of another kind", [one for one in rest if one.is_file()]),
        ("subfolder", "without PNG files", [one for one in rest if one.is_dir()]),
    ):
        if some:
            names = the_first([one.relative_to(root).as_posix() for one in some], _NUM_SHOWN)
            yield f"images: left out {count(len(some), noun)} {which} in {path}: {names}"


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _arrays(files: Sequence[Path], path: str) -> list[np.ndarray]:
    """(H, W) or (H, W, 3) uint8 of each file."""
    from PIL import Image

    arrays, modes = [], []
    for file in files:
        try:
            with Image.open(file) as image:
                modes.append(image.mode)
                arrays.append(np.asarray(image.convert(_MODES.get(image.mode, "L"))))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{file}: cannot be read as a PNG ({error}). Remove or replace it.",
                code="images_unreadable",
                fields={"path": str(file)},
            ) from None
    by_mode: dict[str, list[Path]] = defaultdict(list)
    for file, mode in zip(files, modes, strict=True):
        by_mode[mode].append(file)
    if len(by_mode) > 1:
        raise DataError(
            f"{path}: its files have several modes: {_listed(by_mode)}. Convert them all to one, L or RGB.",
            code="images_modes",
            fields={"path": path, "files": [str(some[0]) for some in by_mode.values()]},
        )
    mode = modes[0]
    if mode not in _MODES:
        raise DataError(
            f"{path}: its files have the mode {mode}; L (grey), RGB and 1 (black and white) are read. Convert them.",
            code="images_mode",
            fields={"path": path, "mode": mode},
        )
    return arrays


def _require_alike(files: Sequence[Path], shapes: Sequence[tuple[int, ...]], path: str) -> None:
    by_size: dict[str, list[Path]] = defaultdict(list)
    for file, shape in zip(files, shapes, strict=True):
        by_size[f"{shape[1]}x{shape[0]}"].append(file)
    if len(by_size) > 1:
        raise DataError(
            f"{path}: its files have several sizes: {_listed(by_size)}. Scale or crop them all to one.",
            code="images_sizes",
            fields={"path": path, "files": [str(some[0]) for some in by_size.values()]},
        )


def _require_classes(classes: Sequence[str], files: Sequence[Path], path: str) -> None:
    """Every file stands in a subfolder, two at least, whose names are words."""
    bad = [name for name in classes if name == "." or name.split() != [name]]
    if bad or len(classes) < 2:
        what = (
            f"{files[0]} is not in a subfolder, but others are"
            if "." in bad
            else f"the name of the subfolder {bad[0]!r} has spaces"
            if bad
            else f"{classes[0]!r} is the only subfolder"
        )
        raise DataError(
            f"{path}: {what}. Use a subfolder for each of at least two classes, named by one word, or none at all.",
            code="images_classes",
            fields={"path": path},
        )


def _listed(groups: dict[str, list[Path]]) -> str:
    """What there is, the most frequent first, each with names of files."""
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    counted = Counter({name: len(some) for name, some in ordered})
    shown = [
        f"{name} ({counted[name]}: {the_first([one.name for one in some], _NUM_SHOWN)})"
        for name, some in ordered[:_NUM_SHOWN]
    ]
    return ", ".join(shown) + (f", and {len(ordered) - _NUM_SHOWN} more" if len(ordered) > _NUM_SHOWN else "")


def scaled(images: Images, scale: int) -> Images:
    """The same with black pixels below and to the right, until both sides are multiples of `scale`."""
    height, width = images.pixels.shape[2:]
    missing = (-height % scale, -width % scale)
    if missing == (0, 0):
        return images
    pixels = torch.nn.functional.pad(images.pixels, (0, missing[1], 0, missing[0]))
    return Images(pixels, images.labels, images.classes, images.notes)


def refuse(option: str, value: object, allowed: str, code: str) -> ConfigError:
    """The error of an option of the task."""
    return ConfigError(
        f"task.options.{option}={value!r}: must be {allowed}.", code=code, fields={f"task.options.{option}": value}
    )
