"""Any scoring function of SMILES as a reward: MolScore's, an oracle of TDC, one of yours.

# mine.py                                       rlgan train reinvent --reward mine.py:activity
from molscore import MolScore
from rlgan.domains.molecules import oracle

activity = oracle(MolScore("task").score)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rlgan.base.errors import ConfigError, PluginError

from .chemistry import canonical
from .rewards import Log, value_of

_WHO = "molecules.oracle"
_ENOUGH = 20  # molecules: if so many have no score, the function is wrong and not they


def oracle(score: Any, *, one_by_one: bool = False) -> Callable[..., list[float]]:
    """A reward function of a scoring function.

    It is called with canonical SMILES, each once in a process: what was asked before, however it is written, is
    remembered. A text that is no molecule is worth 0 and not asked. If a call raises, its molecules are asked one by
    one, and the one that raises is worth 0, as is one without a finite number; the first is reported, and the shares of
    both kinds are logged as `invalid_share` and `failed_share`.

    Args:
        score: a list of SMILES → a list of scores, higher is better; or an object with such a method `score`. It must
            give a molecule the same score each time.
        one_by_one: whether it is a function of one SMILES string.

    Returns:
        A reward function. It raises `PluginError` where none of the first 20 molecules has a score, for then the
        function is wrong, or used in a wrong way.

    Raises:
        ConfigError: it cannot be called.
    """
    call = score if callable(score) else getattr(score, "score", None)
    if not callable(call):
        raise ConfigError(
            f"{_WHO}: {score!r} cannot be called and has no method score. Give a function of a list of SMILES strings.",
            code="oracle_not_callable",
        )
    known: dict[str, float | None] = {}

    def reward(completions: Sequence[str], log_metric: Log = None, **columns: object) -> list[float]:
        names = [canonical(text) for text in completions]
        new = [name for name in dict.fromkeys(names) if name is not None and name not in known]
        known.update(zip(new, _scores(call, new, one_by_one), strict=True))
        if len(known) >= _ENOUGH and all(one is None for one in known.values()):
            raise PluginError(
                f"{_WHO}: the scoring function has no finite score for any of the first {len(known)} molecules; the "
                "log says what it did for the first one. It must take a list of SMILES strings, or one string with "
                "one_by_one=True, and return a number for each.",
                code="oracle_always_fails",
                fields={"molecules": len(known)},
            )
        if log_metric is not None and names:
            log_metric("invalid_share", sum(name is None for name in names) / len(names))
            log_metric("failed_share", sum(name is not None and known[name] is None for name in names) / len(names))
        values = [None if name is None else known[name] for name in names]
        return [0.0 if value is None else value for value in values]

    return reward


def _scores(call: Callable[..., Any], names: list[str], one_by_one: bool) -> list[float | None]:
    """Scores of molecules, None where there is none."""
    if one_by_one:
        return [value_of(name, call) for name in names]
    if not names:
        return []
    try:
        found = list(call(list(names)))
    except Exception:  # one of them: each is asked alone, which tells whose fault it is
        return [value_of(name, lambda one: _only(call, one)) for name in names]
    if len(found) != len(names):
        raise PluginError(
            f"{_WHO}: the scoring function returned {len(found)} scores for {len(names)} molecules. Return one for "
            "each, in their order.",
            code="oracle_returned",
            fields={"returned": len(found), "molecules": len(names)},
        )
    values = dict(zip(names, found, strict=True))
    return [value_of(name, lambda one: values[one]) for name in names]


def _only(call: Callable[..., Any], name: str) -> float:
    (found,) = call([name])
    return float(found)
