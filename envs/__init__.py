"""The world: what a sequence is, how it begins and ends, where real ones come from. No trainer, no Ray.

Imported as `rlgan.envs`.
"""

from __future__ import annotations
