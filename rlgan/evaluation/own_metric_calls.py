"""Calls of a user's own metric, and what they must return: figures of texts, a picture, names of what texts stand for.

Each ends in time, and what it raises is told with the lines of the metric that raised it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rlgan.base.errors import PluginError, nearest
from rlgan.extensions import RaisedError, as_number, brief, call_in_time, own_lines, refusal
from rlgan.report.html import svg_size

from .own_metric import GAP, OwnMetric, described


def picture(metric: OwnMetric, call: Callable[[], Any], path: str) -> str:
    """What a metric draws."""
    who = described(metric)
    try:
        found = call_in_time(
            call,
            metric.timeout_s,
            lambda: f"{who}: draw did not return within timeout_s={metric.timeout_s:g} seconds. Make it return.",
        )
    except RaisedError as raised:
        error = raised.error
        raise refusal(who, error) or PluginError(
            f"{who}: draw raised {type(error).__name__}: {error}. Fix it.{own_lines(error, path)}",
            code="metric_draw_raised",
            fields={"plugin": who},
        ) from error
    if not isinstance(found, str) or svg_size(found) is None:
        raise PluginError(
            f"{who}: draw returned {brief(found)}. Return an SVG as text, whose first element has a width and a height "
            "in pixels.",
            code="metric_draw_returned",
            fields={"plugin": who},
        )
    return found


def identified(metric: OwnMetric, call: Callable[[], Any], path: str, number: int) -> list[str | None]:
    """What a metric takes texts for."""
    who = described(metric)
    try:
        found = call_in_time(
            call,
            metric.timeout_s,
            lambda: f"{who}: identify did not return within timeout_s={metric.timeout_s:g} seconds. Make it return.",
        )
    except RaisedError as raised:
        error = raised.error
        raise refusal(who, error) or PluginError(
            f"{who}: identify raised {type(error).__name__}: {error}. Fix it.{own_lines(error, path)}",
            code="metric_identify_raised",
            fields={"plugin": who},
        ) from error
    is_list = isinstance(found, list | tuple) and len(found) == number
    if not is_list or not all(one is None or isinstance(one, str) for one in found):
        raise PluginError(
            f"{who}: identify returned {brief(found)} for {number} texts. Return a list with a name for each, or None.",
            code="metric_identify_returned",
            fields={"plugin": who},
        )
    return list(found)


def figures_of(metric: OwnMetric, call: Callable[[], Any], path: str, number: int) -> dict[str, float]:
    """What a metric returns, by the names of its figures."""
    who = described(metric)
    try:
        returned = call_in_time(
            call,
            metric.timeout_s,
            lambda: (
                f"{who}: did not return within timeout_s={metric.timeout_s:g} seconds for {number} texts. Raise "
                "its timeout_s (evaluation.metrics.N.timeout_s, where N counts metrics from 0), or make it return."
            ),
        )
    except RaisedError as raised:
        error = raised.error
        raise refusal(who, error) or PluginError(
            f"{who}: raised {type(error).__name__}: {error} for {number} texts. Fix it.{own_lines(error, path)}",
            code="metric_raised",
            fields={"plugin": who},
        ) from error
    name = metric.figure
    many = isinstance(returned, Mapping)
    if many and not returned:
        raise PluginError(
            f"{who}: returned an empty dictionary for {number} texts. Return a number, or numbers with names.",
            code="metric_empty",
            fields={"plugin": metric.name},
        )
    if metric.directions and not many:
        raise PluginError(
            f"{who}: returned {brief(returned)}, but declares the directions of values with names. Return a "
            "dictionary, or remove `directions`.",
            code="metric_directions_of_one",
            fields={"plugin": who},
        )
    values = [(f"{name}_{key}", one) for key, one in returned.items()] if many else [(name, returned)]
    found: dict[str, float] = {}
    for key, value in values:
        if many and key.endswith(GAP):
            raise PluginError(
                f"{who}: returned the key {key.removeprefix(f'{name}_')!r}, but the ending {GAP!r} is reserved for "
                "the distance from real sequences. Rename the key.",
                code="metric_key_ends_with_gap",
                fields={"plugin": who},
            )
        if metric.directions and (value_name := key.removeprefix(f"{name}_")) not in metric.directions:
            raise PluginError(
                f"{who}: returned {value_name!r}, whose direction it does not declare; declared are "
                f"{', '.join(metric.directions)}.{nearest(value_name, list(metric.directions))} Add it to "
                "`directions`.",
                code="metric_direction_missing",
                fields={"plugin": who, "key": value_name},
            )
        if key in found:
            raise PluginError(
                f"{who}: returned two values with the key {key!r}: keys are compared as text. Rename one of them.",
                code="metric_key_twice",
                fields={"plugin": who},
            )
        read = as_number(value)
        if read is None:
            raise PluginError(
                f"{who}: returned {brief(value)}{'' if key == name else f' as {key!r}'} for {number} texts. Return a "
                "finite number, or a dictionary of them.",
                code="metric_value",
                fields={"plugin": who},
            )
        found[key] = read
    return found
