"""rlgan: adversarial training of discrete-sequence generators as distributed reinforcement learning.

    import rlgan

    run = rlgan.train("seqgan", data=lines, reward=my_function)
    run.sample(5, temperature=0.9)

The names below come from `rlgan.api` when they are first used. Importing rlgan, or any module of it, changes nothing of
the process: no variable, warning filter, logger, thread count or signal handler.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlgan import callbacks as callbacks
    from rlgan import presets as presets
    from rlgan.api import Run as Run
    from rlgan.api import compare as compare
    from rlgan.api import discriminator_reward as discriminator_reward
    from rlgan.api import load as load
    from rlgan.api import recommend as recommend
    from rlgan.api import train as train
    from rlgan.api import tune as tune
    from rlgan.config.config import Config as Config
    from rlgan.extensions import register as register

__version__ = "0.1.0"

_PLACES = {
    "Config": "rlgan.config.config",
    "Run": "rlgan.api",
    "callbacks": "",
    "compare": "rlgan.api",
    "discriminator_reward": "rlgan.api",
    "load": "rlgan.api",
    "presets": "",
    "recommend": "rlgan.api",
    "register": "rlgan.extensions",
    "train": "rlgan.api",
    "tune": "rlgan.api",
}

__all__ = [
    "Config",
    "Run",
    "__version__",
    "callbacks",
    "compare",
    "discriminator_reward",
    "load",
    "presets",
    "recommend",
    "register",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: what stands behind most of them takes seconds."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name) if _PLACES[name] else import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, in which `train` stays the function: the script rlgan/train.py is a submodule of the same name."""

    @property
    def train(self) -> Any:
        """See `rlgan.api.train`."""
        return __getattr__("train")

    @train.setter
    def train(self, module: ModuleType) -> None:
        """What the import system does with a submodule that was imported: it has its place in `sys.modules`."""


sys.modules[__name__].__class__ = _Package
