"""Images as tokens: the VQ-VAE beside its equations, folders of PNG files, critics of pixels, pictures of a run."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlgan.base.errors import CheckpointError, ConfigError, DataError, PluginError, ShapeError
from rlgan.base.weights import weights_of
from rlgan.config.config import Config, Workers
from rlgan.config.paths import override
from rlgan.discriminators import build_discriminator
from rlgan.discriminators.plugin import PluginDiscriminator, require_sound
from rlgan.domains.images import Images, PairPixelCritic, PixelCritic, critic, images, perplexity, vq_vae
from rlgan.domains.images.codes import ImageCodes, codes_of, drawing
from rlgan.domains.images.critic import SelfAttention
from rlgan.domains.images.vq_vae import (
    Codebook,
    Sizes,
    Training,
    VqVae,
    codebook_term,
    commitment_term,
    nearest,
    straight_through,
)
from rlgan.envs.drawing import drawing_of, kept_drawing
from rlgan.envs.tasks import Task, build_task
from rlgan.envs.testing import check_task
from rlgan.evaluation.own_metric import OwnMetric
from rlgan.evaluation.own_metrics import OwnMetrics
from rlgan.generators import LSTM, build_generator
from rlgan.report.picture_grid import grid_of, write_grid
from rlgan.runs.publishing import real_beside
from rlgan.storage.export import save_run_generator
from rlgan.training.trainer import Trainer
from rlgan.workers.assembly import build_parts
from tests.support.commands import ask, write_config
from tests.support.errors import refused
from tests.support.on_ray import assert_same
from tests.support.runs import assert_ends_alike, small, stop_after
from tests.support.tiny import TASK, finish, numbers, of_pairs

Image = pytest.importorskip("PIL.Image")

SMALL = {"codes": 6, "hidden": 4, "code_width": 3, "epochs": 2}
SIZES = Sizes(channels=1, height=8, width=8, num_codes=6, scale=2, hidden=4, code=3)


def write_pngs(folder: Path, number: int = 20, size: int = 8, mode: str = "L", seed: int = 0) -> Path:
    """Noisy bars, upright in half of the files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        array = rng.integers(0, 60, (size, size))
        place = rng.integers(1, size - 1)
        array[(slice(None), place) if index % 2 else (place, slice(None))] = 250
        Image.fromarray(array.astype(np.uint8)).convert(mode).save(folder / f"{index:03}.png")
    return folder


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Two classes of 20 images."""
    write_pngs(tmp_path / "pngs" / "bars", seed=1)
    write_pngs(tmp_path / "pngs" / "stripes", seed=2)
    return tmp_path / "pngs"


def made(folder: Path, tmp_path: Path, **options: Any) -> Task:
    return images(**({"path": str(folder), "cache": str(tmp_path / "cache")} | SMALL | options))


# ---------------------------------------------------------------------------- the VQ-VAE


def test_the_nearest_code_is_the_one_of_least_distance_by_hand() -> None:
    codebook = torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    # Distances of (2, 2): √8, √(1 + 4) = √5, √(1 + 4) = √5; the first of the equal ones is taken.
    assert nearest(torch.tensor([[2.0, 2.0], [0.4, 0.0], [0.6, 0.0]]), codebook).tolist() == [1, 0, 2]


def test_the_gradient_of_reconstruction_is_that_with_respect_to_the_codes() -> None:
    torch.manual_seed(0)
    network = VqVae(SIZES)
    pixels = torch.rand(3, 1, 8, 8)
    encoded = network.encode(pixels).detach().requires_grad_()
    tokens = nearest(encoded.detach().flatten(0, 1), network.codebook.codes)
    quantised = network.codebook.codes[tokens].view_as(encoded).detach().requires_grad_()
    (through,) = torch.autograd.grad(
        functional.mse_loss(network.decode(straight_through(encoded, quantised)), pixels), encoded
    )
    (direct,) = torch.autograd.grad(functional.mse_loss(network.decode(quantised), pixels), quantised)
    torch.testing.assert_close(straight_through(encoded, quantised), quantised, rtol=0.0, atol=1e-6)
    assert float(direct.abs().sum()) > 0
    torch.testing.assert_close(through, direct, rtol=1e-4, atol=1e-7)


def test_the_second_term_moves_codes_alone_and_the_third_encodings_alone() -> None:
    encoded = torch.tensor([[1.0, 2.0]], requires_grad=True)
    codes = torch.tensor([[0.0, 4.0]], requires_grad=True)
    for term, moved, still in ((codebook_term, codes, encoded), (commitment_term, encoded, codes)):
        value = term(encoded, codes)
        assert value.item() == pytest.approx(2.5)  # (1² + 2²) / 2
        found, none = torch.autograd.grad(value, (moved, still), allow_unused=True)
        assert none is None
        # d/dx of (x - y)² / 2 numbers is x - y.
        torch.testing.assert_close(found, (moved - still).detach())


def test_moving_averages_worked_by_hand() -> None:
    book = Codebook(2, 1)
    book.put(torch.tensor([0, 1]), torch.tensor([[1.0], [5.0]]))
    book.average(torch.tensor([[2.0], [4.0]]), torch.tensor([0, 0]), decay=0.5)
    # N_0 = .5·1 + .5·2 = 1.5, m_0 = .5·1 + .5·6 = 3.5; N_1 = .5·1 = .5, m_1 = .5·5 = 2.5, so that e_1 stays.
    assert book.counts.tolist() == [1.5, 0.5] and book.sums.flatten().tolist() == [3.5, 2.5]
    torch.testing.assert_close(book.codes.detach().flatten(), torch.tensor([3.5 / 1.5, 5.0]))


def test_perplexity_is_the_exponential_of_the_entropy() -> None:
    assert perplexity(torch.tensor([5, 5, 5, 5])) == pytest.approx(4.0)
    assert perplexity(torch.tensor([7, 0, 0])) == pytest.approx(1.0)
    # H = .75 ln(4/3) + .25 ln 4 = .5623
    assert perplexity(torch.tensor([3, 1])) == pytest.approx(math.exp(0.5623), abs=1e-3)
    assert perplexity(torch.zeros(3)) == 0.0


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_training_lowers_the_error_and_is_the_same_from_the_same_seed(update: vq_vae.Update) -> None:
    pixels = (torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    pixels[::2] = pixels[::2].cummax(2).values
    errors = {}
    for epochs in (1, 15):
        network = vq_vae.train(pixels, SIZES, Training(epochs=epochs, batch=8, update=update))
        errors[epochs] = float((network.pixels_of(network.tokens_of(pixels)) - pixels).square().mean())
    assert errors[15] < 0.9 * errors[1]
    torch.manual_seed(123)
    again = vq_vae.train(pixels, SIZES, Training(epochs=15, batch=8, update=update))
    other = vq_vae.train(pixels, SIZES, Training(epochs=15, batch=8, update=update, seed=1))
    assert ImageCodes(again).digest == ImageCodes(network).digest != ImageCodes(other).digest


def test_codes_that_nothing_is_nearest_to_are_put_where_encodings_are() -> None:
    pixels = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    used = {}
    for settled in (0.0, 0.8):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vq_vae, "_SETTLED", settled)
            network = vq_vae.train(pixels, Sizes(1, 8, 8, 64, 2, 4, 3), Training(epochs=6, batch=16))
        used[settled] = len(network.tokens_of(pixels).unique())
    assert used[0.8] > used[0.0]


# ---------------------------------------------------------------------------- the task


def test_images_are_sequences_in_raster_order_and_come_back_as_pictures(classes: Path, tmp_path: Path) -> None:
    task = made(classes, tmp_path)
    check_task(task)
    assert (task.space.max_length, task.space.vocab_size, task.space.end_id) == (16, 6, None)
    codes = task.drawing
    assert isinstance(codes, ImageCodes) and task.space.drawing is codes
    # A token reaches the pixels of its neighbours and two beyond: of the first one rows and columns 0 to 5, of the
    # fourth one, which is the last of its row, rows 0 to 5 and columns 2 to 7.
    for place, left in ((0, 0), (3, 2)):
        changed = task.test[:1].clone()
        changed[0, place] = (changed[0, place] + 1) % 6
        one, other = codes.network.decode(codes.network.codebook.codes[torch.cat([task.test[:1], changed])])
        moved = (one - other).abs().squeeze(0)
        assert float(moved.sum()) > 0
        moved[:6, left : left + 6] = 0.0
        assert float(moved.sum()) == 0
    drawn = codes.pictures(task.decode(task.test))
    assert drawn.shape == (4, 8, 8) and drawn.dtype == np.uint8


def test_classes_are_conditions_by_the_names_of_subfolders(classes: Path, tmp_path: Path) -> None:
    task = made(classes, tmp_path, conditional=True)
    check_task(task)
    assert task.conditions is not None and task.space.condition is not None
    assert task.conditions.token_names == ("bars", "stripes") and task.space.condition.max_length == 1
    assert set(task.conditions.decode(task.conditions.train)) == {"bars", "stripes"}


def test_networks_are_trained_once_kept_as_data_and_checked(
    classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(classes, tmp_path)
    (file,) = (tmp_path / "cache" / "images").iterdir()
    assert file.suffix == ".safetensors"

    def fail(*_: Any) -> None:
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr("rlgan.domains.images.task.train", fail)
        again = made(classes, tmp_path)
        assert again.fingerprint() == first.fingerprint()
        with pytest.raises(AssertionError, match="trained again"):
            made(classes, tmp_path, seed=1)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with refused(DataError, "images_damaged_networks", {"path": file}):
        made(classes, tmp_path)
    file.unlink()
    assert made(classes, tmp_path).fingerprint() == first.fingerprint()


def test_a_decoder_that_differs_makes_another_task_though_its_tokens_are_the_same(
    classes: Path, tmp_path: Path
) -> None:
    task = made(classes, tmp_path)
    assert isinstance(task.drawing, ImageCodes)
    other = codes_of(task.drawing.as_bytes())
    with torch.no_grad():
        next(other.network.decoder.parameters()).add_(1.0)
    assert replace(task, drawing=other).fingerprint() != task.fingerprint()


def test_what_is_kept_of_a_drawing_makes_it_again_and_a_strangers_name_is_refused(
    classes: Path, tmp_path: Path
) -> None:
    task = made(classes, tmp_path)
    assert isinstance(task.drawing, ImageCodes)
    kept = json.loads(json.dumps(kept_drawing(task.drawing)))
    assert kept == kept_drawing(task.drawing) == kept_drawing(codes_of(task.drawing.as_bytes()))
    again = drawing_of(kept)
    assert isinstance(again, ImageCodes)
    texts = task.decode(task.test)
    assert np.array_equal(again.pictures(texts), task.drawing.pictures(texts))
    assert again.classes == ("bars", "stripes") and again.classifier is not None
    assert pickle.loads(pickle.dumps(task.drawing)).digest == again.digest  # how workers get it
    with refused(CheckpointError, "drawing_unknown", {"drawing": "os:system"}):
        drawing_of(kept | {"plugin": "os:system"})
    with refused(CheckpointError, "drawing_damaged"):
        drawing_of(kept | {"digest": "0"})
    with pytest.raises(ValueError):
        drawing({"safetensors": kept["data"]["safetensors"][:-400]})
    with pytest.raises(ValueError, match="digest"):
        codes_of(task.drawing.as_bytes().replace(b"digest", b"digesT", 1))
    assert drawing_of(None) is None


def test_a_collapsed_codebook_is_warned_of_once_with_its_perplexity(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlgan.domains.images.task._WARNED_OF", set())
    folder = tmp_path / "grey"
    folder.mkdir()
    for index in range(20):
        Image.fromarray(np.full((8, 8), 90 + (index == 0), np.uint8)).save(folder / f"{index}.png")
    line = "perplexity of the codebook 1.0 of 6 codes, 1 in use: it has collapsed"
    for _ in range(2):
        task = made(folder, tmp_path, scale=8)  # one token, the same for images that hardly differ
        assert any(line in note for note in task.notes)
    assert caplog.text.count(line) == 1


def test_colours_black_and_white_and_odd_sizes_are_read(tmp_path: Path) -> None:
    colours = made(write_pngs(tmp_path / "rgb", mode="RGB"), tmp_path)
    assert colours.drawing is not None
    assert colours.drawing.pictures(colours.decode(colours.test)).shape == (2, 8, 8, 3)
    made(write_pngs(tmp_path / "bits", mode="1"), tmp_path)
    odd = made(write_pngs(tmp_path / "odd", size=9), tmp_path)
    assert odd.space.max_length == 25  # filled up to 10 by 10


@pytest.mark.parametrize(
    ("second", "code", "named"),
    [({"size": 9}, "images_sizes", r"8x8 \(20: 000\.png.*9x9 \(3: 000\.png"), ({"mode": "RGB"}, "images_modes", "RGB")],
)
def test_images_of_several_sizes_or_modes_are_refused_by_their_names(
    second: dict[str, Any], code: str, named: str, tmp_path: Path
) -> None:
    write_pngs(tmp_path / "pngs" / "a")
    write_pngs(tmp_path / "pngs" / "b", number=3, **second)
    with refused(DataError, code, {"path": tmp_path / "pngs"}, match=named):
        made(tmp_path / "pngs", tmp_path)


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path: Path) -> None:
    for name in ("up", "across", ".ipynb_checkpoints"):
        write_pngs(tmp_path / "some" / name, number=12)
    (tmp_path / "some" / "up" / "._0.png").write_text("of a system")
    (tmp_path / "some" / "__MACOSX").mkdir()
    (tmp_path / "some" / "__MACOSX" / "1.png").write_text("of a system")
    task = made(tmp_path / "some", tmp_path, conditional=True)
    assert task.conditions is not None and task.conditions.token_names == ("across", "up")
    assert sum(map(len, (task.train, task.valid, task.test))) == 24
    assert f"images: left out 14 hidden PNG files in {tmp_path / 'some'}" in task.notes


def test_what_is_left_out_of_a_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    for name in ("up", "across"):
        write_pngs(folder / name, number=12)
    (folder / "rings").mkdir()
    (folder / "rings" / "1.jpg").write_text("of another kind")
    (folder / "nothing").mkdir()
    (folder / "up" / "notes.txt").write_text("of another kind")
    (folder / ".hidden").mkdir()
    task = made(folder, tmp_path, conditional=True)
    assert task.conditions is not None and task.conditions.token_names == ("across", "up")
    assert f"images: left out 2 files of another kind in {folder}: rings/1.jpg, up/notes.txt" in task.notes
    assert f"images: left out 2 subfolders without PNG files in {folder}: nothing, rings" in task.notes
    assert not any("left out" in note for note in made(folder / "across", tmp_path).notes)


def test_images_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    folder = write_pngs(tmp_path / "some", number=12)
    for file in folder.iterdir():
        file.write_bytes((folder / "000.png").read_bytes())
    with refused(DataError, "images_all_equal", {"path": str(folder)}):
        made(folder, tmp_path)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "000.png")
    notes = made(folder, tmp_path).notes  # all held-out images are the same, but have several colours
    assert any("of the pixel variance" in one for one in notes)
    for number, file in enumerate(sorted(folder.iterdir())):
        Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(file)
    notes = made(folder, tmp_path, held_out=0.1).notes  # one held-out image, of one colour
    assert any("cannot be said" in one for one in notes) and not any("pixel variance" in one for one in notes)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with refused(DataError, "images_empty_folder", {"path": empty}):
        made(empty, tmp_path)
    with refused(DataError, "images_no_folder", match="empty"):
        made(tmp_path / "emty", tmp_path)
    with refused(DataError, "images_too_few"):
        made(write_pngs(tmp_path / "few", number=5), tmp_path)
    with refused(DataError, "images_file_as_folder", match="is a file"):
        made(tmp_path / "few" / "000.png", tmp_path)
    (tmp_path / "few" / "text.png").write_text("no picture")
    with refused(DataError, "images_unreadable", {"path": tmp_path / "few" / "text.png"}):
        made(tmp_path / "few", tmp_path)
    with pytest.MonkeyPatch.context() as patch, refused(DataError, "images_unreadable", match="exceeds limit"):
        patch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 20)  # more than twice as many are refused by pillow
        made(write_pngs(tmp_path / "huge"), tmp_path)
    with refused(DataError, "images_mode"):
        made(write_pngs(tmp_path / "alpha", mode="RGBA"), tmp_path)
    with refused(DataError, "images_classes"):
        made(write_pngs(tmp_path / "one" / "class").parent, tmp_path)
    write_pngs(tmp_path / "two" / "first class")
    write_pngs(tmp_path / "two" / "second")
    with refused(DataError, "images_classes", match="first class"):
        made(tmp_path / "two", tmp_path)
    with refused(ConfigError, "images_no_classes"):
        made(write_pngs(tmp_path / "plain"), tmp_path, conditional=True)


@pytest.mark.parametrize(
    "option", [{"codes": 1}, {"scale": 3}, {"epochs": 0}, {"decay": 1.0}, {"codebook": "none"}, {"split_seed": -1}]
)
def test_wrong_options_are_refused(option: dict[str, Any]) -> None:
    ((name, value),) = option.items()
    with refused(ConfigError, "images_option", {f"task.options.{name}": value}):
        images(**option)


def test_what_needs_images_says_so_of_other_sequences() -> None:
    task = build_task(TASK)
    with refused(PluginError, "images_no_task", match=r"Use it with task images\.$"):
        OwnMetrics([OwnMetric(name="images")], task)
    with refused(ConfigError, "images_no_task", match=r"Use it with task images\.$"):
        build_discriminator(PluginDiscriminator(name="pixels"), task.space)


def test_without_a_package_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_pngs(tmp_path / "pngs")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    how = r"rlgan\[images\]|\.\[images\]"
    with refused(ConfigError, "package_missing", {"package": "sklearn"}, match=how):
        images()
    with refused(ConfigError, "package_missing", {"package": "PIL"}, match=how):
        images(path=str(tmp_path / "pngs"))


# ---------------------------------------------------------------------------- critics


def test_after_fifty_power_iterations_the_greatest_singular_value_is_one(classes: Path, tmp_path: Path) -> None:
    task = made(classes, tmp_path, conditional=True)
    torch.manual_seed(0)
    judge = PairPixelCritic(task.space, width=4).train()
    assert task.conditions is not None
    for _ in range(50):
        judge(task.train[:2], torch.ones(2, 16, dtype=torch.bool), task.conditions.train[:2])
    judge.eval()
    layers: list[tuple[str, Tensor]] = [
        (name, part.weight) for name, part in judge.named_modules() if hasattr(part, "parametrizations")
    ]
    assert len(layers) == 8  # three convolutions, query, key, value, output, classes
    for name, weight in layers:
        greatest = float(torch.linalg.matrix_norm(weight.flatten(1), ord=2))
        assert greatest == pytest.approx(1.0, abs=0.02), name


def test_attention_begins_as_the_identity_and_is_as_sagan_has_it() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(8).eval()
    states = torch.randn(2, 8, 2, 3)
    assert torch.equal(layer(states), states)
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    query, key, value = (part.weight.flatten(1) for part in (layer.query, layer.key, layer.value))
    biases = [part.bias for part in (layer.query, layer.key, layer.value)]
    for image, found in zip(states, layer(states), strict=True):
        points = image.flatten(1)
        q, k, v = (w @ points + b.unsqueeze(1) for w, b in zip((query, key, value), biases, strict=True))
        for i in range(6):  # a loop over positions, as the paper writes it
            shares = torch.softmax(torch.stack([q[:, i] @ k[:, j] for j in range(6)]), 0)
            o = sum(shares[j] * v[:, j] for j in range(6))
            torch.testing.assert_close(found.flatten(1)[:, i], points[:, i] + 0.5 * o)


@pytest.mark.parametrize("name", ["pixels", "pixel_pairs"])
def test_critics_keep_the_contract_and_judge_the_image_alone(name: str, classes: Path, tmp_path: Path) -> None:
    task = made(classes, tmp_path, conditional=True)
    settings = PluginDiscriminator.model_validate({"name": name, "options": {"width": 4}})
    assert settings.reads == ("pairs" if name == "pixel_pairs" else "sequences") and settings.reads_soft_rows
    require_sound(settings, task.space)
    judge = PixelCritic(task.space, width=4)
    assert not any(one.requires_grad for one in judge.pixels.vq_vae.parameters())
    with refused(ConfigError, "images_no_task"):
        critic.PixelCritic(build_task(TASK).space)
    with refused(ConfigError, "pixels_width", {"discriminator.options.width": 0}):
        (PairPixelCritic if name == "pixel_pairs" else PixelCritic)(task.space, width=0)


# ---------------------------------------------------------------------------- the metric


def test_the_distance_is_zero_for_the_same_images_and_grows_with_noise(classes: Path, tmp_path: Path) -> None:
    task = made(classes, tmp_path, conditional=True)
    real, known = task.decode(task.train), task.decode(task.test)
    prompts = task.conditions.decode(task.conditions.train) if task.conditions is not None else []
    same = Images()(real, real, real, prompts, task.drawing)
    assert same["memorised"] == 1.0
    assert same["fid_train"] == pytest.approx(0.0, abs=1e-3) and 0.0 <= same["class_match"] <= 1.0
    noise = task.decode(torch.randint(6, (32, 16), generator=torch.Generator().manual_seed(0)))
    apart = Images()(noise, real, known, [""] * 32, task.drawing)
    assert apart["fid"] > 1e-7 > abs(same["fid"]) and apart["memorised"] == 0.0 and "class_match" not in apart
    with refused(ConfigError, "images_no_task"):
        Images()(noise, real, known, [""] * 32, None)


def test_without_classes_images_are_compared_by_encodings(tmp_path: Path) -> None:
    task = made(write_pngs(tmp_path / "plain"), tmp_path)
    assert isinstance(task.drawing, ImageCodes) and task.drawing.classifier is None
    assert task.drawing.features(torch.rand(3, 1, 8, 8)).shape == (3, 6)
    texts = task.decode(task.train)
    assert Images()(texts, texts, texts, [""] * len(texts), task.drawing)["fid"] == pytest.approx(0.0, abs=1e-3)


# ---------------------------------------------------------------------------- pictures


def test_a_grid_has_every_picture_at_its_place() -> None:
    pictures = np.stack([np.full((24, 24), level, np.uint8) for level in (0, 50, 100)])
    grid = grid_of(pictures, columns=2)
    # Twice as large, 48 pixels, with 4 between them: 4 + 48 + 4 + 48 + 4.
    assert grid.shape == (108, 108)
    assert [int(grid[20, 20]), int(grid[20, 80]), int(grid[80, 20]), int(grid[80, 80])] == [0, 50, 100, 235]
    assert grid_of(np.zeros((1, 50, 60, 3), np.uint8)).shape == (58, 68, 3)
    with refused(ShapeError, "pictures_shape"):
        grid_of(np.zeros((0, 8, 8), np.uint8))


def test_a_grid_is_written_as_png(tmp_path: Path) -> None:
    write_grid(np.zeros((3, 50, 50), np.uint8), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * 54 + 4, 58) and image.mode == "L"


# ---------------------------------------------------------------------------- in a run


def of_images(folder: Path, tmp_path: Path, **changes: Any) -> Config:
    """A run of seconds: classes as conditions, a critic of pixels with hinge loss, mismatched pairs."""
    given = of_pairs()
    config = small(generator=given.generator, task=given.task, discriminator=given.discriminator, controls=())
    options = SMALL | {"path": str(folder), "cache": str(tmp_path / "cache"), "conditional": True}
    settings = {
        "task": {"kind": "plugin", "name": "images", "options": options},
        "discriminator": {"kind": "plugin", "name": "pixel_pairs", "options": {"width": 4}},
        "adversary": {"batch": 16, "sequences_per_round": 24, "mismatched": 1.0, "loss": {"kind": "hinge"}},
        "reward": {"kind": "logit"},
        "evaluation.metrics": ["images"],
    }
    return override(config, settings | changes)


@pytest.mark.heavy
@pytest.mark.integration
def test_a_run_of_images_is_resumed_drawn_and_sampled_as_pictures(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path / "config.json", of_images(classes, tmp_path))
    train = ("train", "quick", "--config", config, "--out")
    whole = tmp_path / "whole"
    assert ask(capsys, *train, whole).status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        assert ask(capsys, *train, tmp_path / "halves").status == 130
    assert ask(capsys, "train", "--resume", tmp_path / "halves").status == 0
    assert_ends_alike(whole, tmp_path / "halves")
    for name in ("pictures.png", "pictures_real.png"):
        assert (whole / name).read_bytes() == (tmp_path / "halves" / name).read_bytes()
    assert (whole / "report.html").read_text("utf-8").count("data:image/png") >= 4
    assert "own_images_class_match" in (whole / "table.txt").read_text("utf-8")
    columns = {name for row in json.loads((whole / "table.json").read_text("utf-8")) for name in row}
    own = {name for name in columns if name.startswith("own_images_")}
    assert own == {f"own_images_{name}" for name in ("fid", "fid_train", "memorised", "class_match")}  # no distances

    # The folder of images and what was kept of the networks are not needed for samples.
    for file in (tmp_path / "cache" / "images").iterdir():
        file.unlink()
    prompts = ("--prompt", "bars", "--prompt", "stripes")
    drawn = ask(capsys, "sample", "--run", whole, *prompts, "--out", tmp_path / "a.png")
    assert drawn.status == 0 and drawn.out == "" and "2 pictures" in drawn.err
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (2 * 52 + 4, 56)
    assert ask(capsys, "sample", "--run", whole, *prompts, "--out", tmp_path / "a.txt").status == 2
    assert "out_beside_stream" in ask(capsys, "sample", "--run", whole, *prompts, "--stream", "--out", "a.png").err
    reward = ask(capsys, "evaluate", "--run", whole)
    assert reward.status == 0, reward.err


def test_no_real_picture_is_shown_twice_but_for_its_class(classes: Path, tmp_path: Path) -> None:
    alone, given = made(classes, tmp_path), made(classes, tmp_path, conditional=True)
    assert torch.equal(real_beside(alone, 40), alone.test) and len(real_beside(alone, 3)) == 3
    assert torch.equal(real_beside(given, 7), torch.cat([given.test, given.test[:3]]))


def test_other_sequences_have_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, settings = build_task(TASK), LSTM(embedding=4, hidden=4)
    save_run_generator(tmp_path, settings, task, weights_of(build_generator(settings, task.space), 0).complete)
    answer = ask(capsys, "sample", "--run", tmp_path, "--out", tmp_path / "a.png")
    assert answer.status == 2 and "out_without_drawing" in answer.err


@pytest.mark.heavy
@pytest.mark.integration
@pytest.mark.ray
@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(classes: Path, tmp_path: Path, ray_session: None) -> None:
    config = of_images(classes, tmp_path)
    task = build_task(config.task)
    found = []
    for number in (0, 1, 2):
        workers = Workers(threads=1, shard_sequences=3, shard_fakes=7, chunk_rows=11, rollout=number)
        workers = workers.model_copy(update={"cpus_per_rollout": 0.2, "cpus_discriminator": 0.2})
        config = config.model_copy(update={"workers": workers})
        with build_parts(config, task) as parts:
            trainer = Trainer(config, task, parts)
            found.append(([numbers(unit) for unit in finish(trainer)], trainer.state()))
    for units, state in found[1:]:
        assert units == found[0][0]
        assert_same(state, found[0][1])
