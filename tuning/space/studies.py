"""Studies: which settings a sweep varies, around which configuration, and the ready ones.

A study of your own is a TOML file, or a Python file that sets `STUDY`:

    description = "does a longer memory of fakes help?"
    preset = "quick"
    [changes]                                   # of the preset, for all trials
    "schedule.adversarial_updates" = 100
    [axes]
    "discriminator.dropout" = "all"             # what stands beside the setting
    "schedule.d_steps" = [1, 2, 4]
    "adversary.buffer" = ["null", 10000]
    "optimizers.discriminator.lr" = {log_uniform = [1e-4, 1e-2]}
    [bundles.capacity]                          # settings that change together
    small = {"discriminator.windows" = [1, 2, 3], "discriminator.filters" = [32, 32, 32]}
    large = {"discriminator.windows" = [1, 2, 3, 5], "discriminator.filters" = [128, 128, 128, 128]}
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlgan.base.errors import ConfigError, nearest
from rlgan.base.search_priors import Choice, LogUniform, Prior, Uniform, read_prior
from rlgan.config.config import Config
from rlgan.config.paths import axis_path, check_value, merge, override
from rlgan.envs.tasks import TaskSettings
from rlgan.presets.registry import draft, override_draft

from .ready import READY
from .spaces import Axis, Bundle, Space, option_of_plugin, reachable, space

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Study:
    """What is varied, around what.

    Attributes:
        name: as it is asked for.
        description: the question, in a line.
        preset: of the base configuration.
        axes: paths, or `PATH.*` for all below a path → prior; None takes what stands beside the setting.
        changes: of the preset, for all trials.
        bundles: settings that change together.
    """

    name: str
    description: str
    preset: str
    axes: Mapping[str, Prior | None]
    changes: Mapping[str, Any] = field(default_factory=dict)
    bundles: tuple[Bundle, ...] = ()

    def space(
        self, task: TaskSettings | None, changes: Mapping[str, Any], sizes: Mapping[str, Any] | None = None
    ) -> Space:
        """The space on a task.

        Args:
            task: None takes the preset's.
            changes: of the base, by the user; a dimension among them no longer varies.
            sizes: of the base, by the data, where neither the study nor the user says otherwise; None for the preset's.

        Returns:
            With controls, which are run beside a sweep and not in each trial, taken out of the base.

        Raises:
            ConfigError: a dimension that does not exist, a value that its setting does not allow, or a base that is
                contradictory.
        """
        base = override_draft(draft(self.preset, task), merge(sizes or {}, {"controls": [], **self.changes, **changes}))
        if base.generator.prefix_features is not None and base.discriminator is not None:
            raise ConfigError(
                f"study {self.name}: trials share generators that are pretrained without a discriminator, but "
                f"generator={base.generator.kind!r} has to learn beside the discriminator whose features it reads. Use "
                "another preset, or start single runs.",
                code="study_of_leaked_features",
                fields={"study": self.name, "generator": base.generator.kind},
            )
        fixed = {axis_path(path.replace("-", "_")) for path in changes}
        options = self._options_of_plugins(base)
        whole = space(base, [path for path in self.axes if path not in options], self.bundles)
        chosen = tuple(
            self._with_own_prior(base, axis)
            for axis in (*whole.axes, *options.values())
            if not any(axis.path == path or axis.path.startswith(f"{path}.") for path in fixed)
        )
        for bundle in self.bundles:
            for label, option in bundle.options.items():
                try:
                    override(base, option)
                except ConfigError as error:
                    raise ConfigError(
                        f"study {self.name}, bundle {bundle.name}, {label}: {error}",
                        code="study_bundle",
                        fields={"study": self.name},
                    ) from None
        if not chosen and not self.bundles:
            raise ConfigError(
                f"study {self.name}: nothing varies, because every dimension is fixed. Leave at least one free.",
                code="study_varies_nothing",
                fields={"study": self.name},
            )
        return replace(whole, axes=chosen)

    def _options_of_plugins(self, base: Config) -> dict[str, Axis]:
        found = {}
        for path, prior in self.axes.items():
            axis = option_of_plugin(base, path, Choice(()) if prior is None else prior)
            if axis is None:
                continue
            if prior is None:
                raise ConfigError(
                    f"study {self.name}: {path}: is an option of a plug-in, so its range is unknown. Give its "
                    "values, or an interval, in the study.",
                    code="study_plugin_option",
                    fields={"study": self.name},
                )
            found[path] = axis
        return found

    def as_begun(self, whole: Space, begun: Mapping[str, str]) -> Space:
        """The space of a sweep that began earlier, perhaps with a version that had fewer variants and settings.

        What stands beside a setting is taken as it was when the sweep began, so that what it proposes next does not
        depend on what was added since. What the study itself says is not: whoever compares finds that it has changed.

        Args:
            whole: of this study, as it is now.
            begun: name of each dimension → its prior as text, in the order in which values were drawn.

        Raises:
            ConfigError: a value of then is not allowed now.
            ValueError: a text is no prior.
        """
        kept: list[Axis] = []
        for axis in whole.axes:
            if axis.name not in begun:
                continue
            if self.axes.get(axis.path) is not None:
                kept.append(axis)
                continue
            then = replace(axis, prior=read_prior(begun[axis.name]))
            for value in then.prior.examples():
                try:
                    check_value(axis.path, dict(axis.only_if), value)
                except ConfigError as error:
                    raise ConfigError(
                        f"{error} The sweep began with it. Use the same version of rlgan as then, or start a new "
                        "sweep.",
                        code="study_of_older_version",
                    ) from None
            kept.append(then)
        order = {name: place for place, name in enumerate(begun)}
        kept.sort(key=lambda axis: order[axis.name])
        then_reachable = set(reachable(kept, whole.base))
        # What the study names and a point of then could have: the study was changed.
        named = [axis for axis in whole.axes if axis.name not in begun and axis.path in self.axes]
        return replace(whole, axes=(*kept, *(axis for axis in named if {*axis.only_if} <= then_reachable)))

    def _with_own_prior(self, base: Config, axis: Axis) -> Axis:
        prior = self.axes.get(axis.path)
        if prior is None:
            return axis
        if isinstance(prior, Choice):
            # As text, for a tuple would come back from a file as a list, and be another value.
            prior = Choice(tuple(_as_text(value) for value in prior.values))
        is_option = option_of_plugin(base, axis.path, prior) is not None
        for value in prior.examples():
            try:
                if is_option:
                    override(base, {axis.path: value})
                else:
                    check_value(axis.path, dict(axis.only_if), value)
            except ConfigError as error:
                raise ConfigError(
                    f"study {self.name}: {error}", code="study_setting", fields={"study": self.name}
                ) from None
        return replace(axis, prior=prior)


def _as_text(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else value


_BUDGET = {"schedule.adversarial_updates": 60}


def _study(name: str, paths: tuple[str, ...], priors: Mapping[str, Prior] | None = None) -> Study:
    return Study(name, READY[name], "quick", {**dict.fromkeys(paths), **(priors or {})}, _BUDGET)


STUDIES = {
    study.name: study
    for study in (
        _study(
            "reward_baseline",
            ("reward", "credit", "credit.num_rollouts", "baseline", "baseline.*", "optimizers.generator.lr"),
        ),
        _study(
            "discriminator",
            (
                "discriminator",
                "discriminator.*",
                "adversary.*",
                "optimizers.discriminator.lr",
                "optimizers.discriminator.weight_decay",
                "schedule.discriminator_rounds",
                "schedule.d_steps",
                "schedule.d_epochs",
            ),
        ),
        replace(
            _study(
                "from_scratch",
                (
                    "reward",
                    "credit.gamma",
                    "baseline",
                    "baseline.decay",
                    "schedule.g_batch",
                    "discriminator.dropout",
                    "discriminator.layer_norm",
                    "adversary.l2_all",
                    "optimizers.generator.lr",
                    "optimizers.discriminator.lr",
                ),
                # Sequences are judged as a whole and rewarded at their end, or each token is: two of the four pairs.
                {
                    "discriminator": Choice(("cnn_highway", "causal_lstm")),
                    "discriminator.hidden": Choice((64, 128)),
                    "credit": Choice(("terminal", "reward_to_go")),
                },
            ),
            changes={
                "schedule.mle_epochs": 0,
                "schedule.mle_patience": None,
                "schedule.teacher_forcing": "none",
                "schedule.adversarial_updates": 300,
            },
        ),
        _study(
            "stability",
            (
                "schedule.g_steps",
                "schedule.g_batch",
                "schedule.d_steps",
                "schedule.d_epochs",
                "schedule.discriminator_rounds",
                "schedule.teacher_forcing",
                "schedule.teacher_forcing.*",
                "objective.loss_normaliser",
                "optimizers.generator.lr",
                "optimizers.discriminator.lr",
            ),
        ),
        _study(
            "everything",
            ("reward", "credit.*", "credit", "baseline", "baseline.*", "objective.*", "schedule.*", "adversary.*",
             "discriminator", "discriminator.*", "optimizers.*"),
        ),
    )
}  # fmt: skip
"""The ready studies by name."""


def load_study(name_or_file: str) -> Study:
    """A ready study by its name, or one's own from a file.

    Args:
        name_or_file: name, or path of a .toml or .py file.

    Raises:
        ConfigError: there is none, or the file is no study.
    """
    if name_or_file in STUDIES:
        return STUDIES[name_or_file]
    path = Path(name_or_file)
    if path.suffix not in (".toml", ".py"):
        raise ConfigError(
            f"{name_or_file}: not a study. Studies are {', '.join(STUDIES)}, or your own file in .toml or .py."
            f"{nearest(name_or_file, STUDIES)}",
            code="unknown_study",
            fields={"name": name_or_file},
        )
    if not path.is_file():
        raise ConfigError(f"{path}: no such file.", code="study_no_such_file", fields={"path": path})
    if path.suffix == ".py":
        try:
            study = runpy.run_path(str(path)).get("STUDY")
        except Exception as error:  # a user's own code may raise anything
            raise ConfigError(
                f"{path}: raised {type(error).__name__}: {error}. Fix it, and try again.",
                code="study_raised",
                fields={"path": path},
            ) from error
        if not isinstance(study, Study):
            raise ConfigError(
                f"{path}: does not set STUDY to a rlgan.tuning.Study (it has {type(study).__name__}).",
                code="study_sets_nothing",
                fields={"path": path},
            )
        return study
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as TOML ({error}).", code="study_not_toml", fields={"path": path}
        ) from None
    return _from_toml(path, values)


_FIELDS = ("description", "preset", "axes", "changes", "bundles")


def _from_toml(path: Path, values: Mapping[str, Any]) -> Study:
    for name, value in values.items():
        if name not in _FIELDS:
            raise ConfigError(
                f"{path}: {name}: no such field; fields are {', '.join(_FIELDS)}.{nearest(name, _FIELDS)}",
                code="study_field",
                fields={"path": path},
            )
        wanted = str if name in ("description", "preset") else dict
        if not isinstance(value, wanted):
            raise ConfigError(
                f"{path}: {name}={value!r}: must be {'text' if wanted is str else 'a table'}.",
                code="study_field_type",
                fields={name: value, "path": path},
            )
    bundles = values.get("bundles", {})
    for name, options in bundles.items():
        if not isinstance(options, dict) or not options or not all(isinstance(one, dict) for one in options.values()):
            raise ConfigError(
                f"{path}: bundles.{name}: must be a table of label = {{path = value, ...}}.",
                code="study_bundles",
                fields={"path": path},
            )
    return Study(
        name=path.stem,
        description=values.get("description", path.stem),
        preset=values.get("preset", "quick"),
        axes={name: _prior(path, name, value) for name, value in values.get("axes", {}).items()},
        changes=values.get("changes", {}),
        bundles=tuple(Bundle(name, options) for name, options in bundles.items()),
    )


def _prior(path: Path, name: str, value: Any) -> Prior | None:
    if value == "all":
        return None
    if isinstance(value, list) and value:
        return Choice(tuple(value))
    if isinstance(value, dict) and len(value) == 1:
        ((kind, ends),) = value.items()
        if isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) and ends[0] < ends[1]:
            low, high = map(float, ends)
            if kind == "uniform":
                return Uniform(low, high)
            if kind == "log_uniform" and low > 0:
                return LogUniform(low, high)
    raise ConfigError(
        f'{path}: axes.{name}={value!r}: must be "all", a list of values, {{uniform = [LOW, HIGH]}} or '
        "{log_uniform = [LOW, HIGH]} with LOW < HIGH, and LOW > 0 for the second.",
        code="study_axis",
        fields={f"axes.{name}": value, "path": path},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
