"""The discriminator of a run as a reward function, in one line.

reward = reward_of_run("runs/mine")
env = gymnasium.make("rlgan.envs:rlgan/Token-v0", space=reward.space, reward_function=reward)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from rlgan.base.errors import CheckpointError, ConfigError, PluginError, nearest
from rlgan.config.paths import from_kept
from rlgan.envs.tasks.encoding import encode_texts
from rlgan.extensions import admit, plugins_in, reading_a_folder
from rlgan.policy.adversarial_reward import AdversarialReward
from rlgan.policy.logit_maps import DiscriminatorReward
from rlgan.policy.reward_base import LogitMap
from rlgan.policy.rewards import RewardSettings
from rlgan.policy.text_reward import TextEncoding
from rlgan.storage.checkpoint import CHECKPOINTS, CONFIG, LoadedCheckpoint, load_at, load_latest, read_run_config
from rlgan.storage.discriminator_export import (
    DISCRIMINATOR_FILES,
    ExportedDiscriminator,
    exported_discriminator,
    load_run_discriminator,
)
from rlgan.storage.export import GENERATOR_FILES
from rlgan.tracking import fetch

_MAPS: dict[str, LogitMap] = {one.kind: one for one in (member() for member in get_args(DiscriminatorReward))}


def reward_of_run(
    source: str | Path,
    reward: LogitMap | str | None = None,
    tracking_uri: str | None = None,
    *,
    trust_code: bool = False,
) -> AdversarialReward:
    """The discriminator of a run as a reward function.

    Args:
        source: folder of a run, folder of one of its checkpoints, or models:/NAME/VERSION of a registered model.
        reward: map of the logit, or its name: "logit" is the raw one; None takes the run's own.
        tracking_uri: of the MLflow server that has the model; None takes MLFLOW_TRACKING_URI, else runs/mlruns.db.
        trust_code: whether the code of a discriminator that is somebody's own may be executed as it came along; without
            it the file of that code must be where it was, with the same content. Read it first.

    Returns:
        The reward function, with the `space` of its sequences, and `decode`, which shows them as text.

    Raises:
        CheckpointError: there is no discriminator, or it cannot be read; or it is code that is not at hand, or may not
            be executed unasked.
        ConfigError: no such map; or none is asked for, and the run's reward is no map of the logit alone.
        TrackingError: the server cannot be reached, or has no such model.
    """
    exported = _exported(str(source), tracking_uri, trust_code)
    chosen = _map_of_run(exported, str(source)) if reward is None else _map_named(reward)
    return AdversarialReward(
        exported.network.scorer(),
        exported.space,
        chosen,
        exported.token_names,
        exported.joining,
        exported.condition_names,
        partial(_encoding, exported, source),
        f"discriminator_{Path(str(source)).name}",
        exported.network.named_weights(),
    )


def _encoding(exported: ExportedDiscriminator, source: str | Path) -> TextEncoding:
    """How texts become what a discriminator judges.

    Raises:
        ConfigError: that is not known.
    """
    space, reading, tokens = exported.space, exported.reading, exported.model_tokens
    task = None
    if tokens is None and (Path(source) / CONFIG).exists():
        task = from_kept(read_run_config(Path(source))).task
    elif tokens is None:
        raise ConfigError(
            f"{source}: says how ids are shown as text, but not how texts become ids. Give the folder of the run.",
            code="reward_without_config",
            fields={"path": str(source)},
        )
    names, joining = exported.token_names, exported.joining

    def completions(texts: Sequence[str]) -> Tensor:
        return encode_texts(task, names, joining, space, texts, tokens, cuts=True)

    if space.condition is None:
        return TextEncoding(space, completions, None)
    if reading is None:
        raise ConfigError(
            f"{source}: its conditions are tokens without a text. Call the reward with tokens, mask and conditions.",
            code="reward_of_no_text",
            fields={"path": str(source)},
        )
    return TextEncoding(space, completions, partial(reading.conditions, path="prompts"))


def _exported(source: str, tracking_uri: str | None, trust_code: bool) -> ExportedDiscriminator:
    if source.startswith("models:/"):
        with _fetched(tracking_uri, source) as folder:
            return load_run_discriminator(folder, trust_code=trust_code)
    folder = Path(source)
    if folder.parent.name == CHECKPOINTS and not (folder / CONFIG).exists():
        return _of_checkpoint(folder.parent.parent, load_at(folder), trust_code)
    if (folder / DISCRIMINATOR_FILES[1]).exists():
        return load_run_discriminator(folder, trust_code=trust_code)
    # Versions up to 0.1.0 wrote it into checkpoints alone.
    read_run_config(folder)
    return _of_checkpoint(folder, load_latest(folder), trust_code)


@contextmanager
def _fetched(tracking_uri: str | None, model: str) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(fetch(tracking_uri, model, DISCRIMINATOR_FILES))
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} A model version has a discriminator only if its run trained one and was registered by this "
                "version of rlgan or a later one. Otherwise give the folder of the run.",
                code="version_without_discriminator",
            ) from None
        yield folder


def _of_checkpoint(run_dir: Path, checkpoint: LoadedCheckpoint, trust_code: bool) -> ExportedDiscriminator:
    config = from_kept(read_run_config(run_dir))
    state = checkpoint.state.get("discriminator")
    if config.discriminator is None or state is None:
        raise CheckpointError(
            f"{run_dir}: has no discriminator (discriminator is none). Give the folder of a run that trains one.",
            code="run_without_discriminator",
            fields={"path": run_dir},
        )
    admit(plugins_in(config.discriminator), run_dir, str(run_dir), trust_code=trust_code)
    names = run_dir / GENERATOR_FILES[1]
    try:
        return exported_discriminator(
            config.discriminator,
            config.reward.model_dump(mode="json"),
            json.loads(names.read_text("utf-8")),
            state["weights"],
        )
    except PluginError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its discriminator cannot be read ({error}).",
            code="discriminator_unreadable",
            fields={"path": checkpoint.path},
        ) from None


def _map_of_run(exported: ExportedDiscriminator, source: str) -> LogitMap:
    choice = f'Choose one by name: {", ".join(_MAPS)}; reward="logit" is the raw logit.'
    try:
        with reading_a_folder():
            settings = TypeAdapter(RewardSettings).validate_python(exported.reward)
    except ValidationError as error:
        raise ConfigError(
            f"{source}: its reward {dict(exported.reward)} cannot be read ({error}). {choice}",
            code="exported_reward_unreadable",
            fields={"source": source},
        ) from None
    chosen = settings.logit_map
    if not settings.is_elementwise or chosen is None:
        raise ConfigError(
            f"{source}: its reward={settings.kind!r} is not a map of the discriminator's logit. {choice}",
            code="exported_reward_no_map",
            fields={"reward": settings.kind, "source": source},
        )
    return chosen


def _map_named(reward: LogitMap | str) -> LogitMap:
    if not isinstance(reward, str):
        return reward
    if reward not in _MAPS:
        raise ConfigError(
            f"reward={reward!r}: is not a map of a discriminator's logit. Maps are "
            f"{', '.join(_MAPS)}.{nearest(reward, _MAPS)}",
            code="reward_is_no_map",
            fields={"reward": reward},
        )
    return _MAPS[reward]
