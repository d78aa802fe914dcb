"""The rooms that know Ray: rollout actors, the discriminator actor, the learner group, and the cluster they live on.

Ray reads its environment when it is imported, so what a cluster of our own needs is said here, before any module of
this room imports it. Whatever the user has set stays.
"""

import os
import secrets

if "RAY_ADDRESS" not in os.environ:
    # Left to itself Ray 2.60 writes a token file into the user's home. A token that lives as long as this process keeps
    # other users of the machine out just as well, and leaves nothing behind.
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Keeps every port on loopback, on Linux too; asking `ray.init` for 127.0.0.1 does not.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
