"""Networks of the user's own, held to their contract before a run or a sweep starts.

The contracts themselves stand beside the networks: `rlgan.generators.testing`, `rlgan.discriminators.testing`.
"""

from __future__ import annotations

from rlgan.config.config import Config
from rlgan.discriminators.plugin import require_sound as require_sound_discriminator
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.extensions import plugins_in
from rlgan.generators.plugin import require_sound as require_sound_generator


def require_sound_networks(config: Config, space: SequenceSpace) -> None:
    """See to it that every network of the user's own keeps its contract; each is looked at once a process.

    Args:
        config: of the run, or what a sweep varies.
        space: of the task's sequences.

    Raises:
        ConfigError: a contract is broken; names the plug-in and the promise.
        PluginError: a network cannot be built, or raises.
    """
    for plugin in plugins_in(config):
        require_sound_generator(plugin, space)
        require_sound_discriminator(plugin, space)
