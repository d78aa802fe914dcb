"""Every value that a search may try is a value of the real configuration."""

from __future__ import annotations

import pytest

from rlgan.envs.errors import ConfigError
from rlgan.overrides import override, to_dict
from rlgan.presets import seqgan
from rlgan.trainable import VARIED
from rlgan.tuning import AXES, param_space


@pytest.mark.parametrize("path", AXES)
def test_every_value_of_an_axis_constructs(path: str) -> None:
    for value in AXES[path].examples():
        changed = to_dict(override(seqgan(), {path: value}))
        node = changed
        for name in path.split("."):
            node = node[name]
        assert node == value or node["kind"] == value


def test_param_space_keeps_the_base_and_adds_priors() -> None:
    space = param_space(seqgan(), ["reward", "optimizers.generator.lr"])
    assert {name: value for name, value in space.items() if not name.startswith(VARIED)} == to_dict(seqgan())
    assert [name for name in space if name.startswith(VARIED)] == [
        VARIED + "reward",
        VARIED + "optimizers.generator.lr",
    ]


def test_unknown_axis_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"baselin: not an axis.*Did you mean 'baseline'"):
        param_space(seqgan(), ["baselin"])
