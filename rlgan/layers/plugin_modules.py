"""Networks of the user's own: the class that a plug-in names, how it is built, and how its methods are called.

A plug-in of a network is a class derived from `torch.nn.Module`, or a function that says by its annotation which such
class it returns. Either is called with the task's `SequenceSpace` as `space`, and with the plug-in's options. Nothing
here knows what the network is for: that is the adapters', in `rlgan.generators` and `rlgan.discriminators`.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rlgan.base.errors import ConfigError, PluginError
from rlgan.envs.sequence_space import SequenceSpace
from rlgan.extensions import Loaded, Plugin, TimedPlugin, check_options, in_time, own_lines, refusal


def described(plugin: Plugin) -> str:
    """How messages name a plug-in."""
    return f"{plugin.plugin_kind} plug-in {plugin.name!r}"


def module_class(plugin: Plugin, loaded: Loaded) -> type[nn.Module]:
    """The class of the networks that a plug-in makes; it is built with the options of the plug-in.

    Raises:
        ConfigError: it is no class of networks and no function that names one, or does not take its options.
    """
    found = loaded.object
    if inspect.isfunction(found):
        made = _returned(plugin, found)
    elif inspect.isclass(found):
        made = found
    else:
        made = None
    if made is None or not issubclass(made, nn.Module):
        raise ConfigError(
            f"{described(plugin)}: is {_what(found)}. Name a class derived from torch.nn.Module, or a function "
            "with the return annotation of such a class: def make(space, ...) -> MyModule.",
            code="plugin_is_no_module",
            fields={"plugin": plugin.name},
        )
    if getattr(made, "forward", nn.Module.forward) is nn.Module.forward:
        raise ConfigError(
            f"{described(plugin)}: {made.__name__} has no method forward. Add one.",
            code="plugin_has_no_forward",
            fields={"plugin": plugin.name},
        )
    signature = inspect.signature(found)
    if "space" not in signature.parameters:
        raise ConfigError(
            f"{described(plugin)}: has no parameter 'space', which provides the vocabulary size and the maximum "
            f"length. Write {found.__name__}({'self, ' if inspect.isclass(found) else ''}space, ...)."
            if not inspect.isclass(found)
            else (
                f"{described(plugin)}: has no parameter 'space', which provides the vocabulary size and the maximum "
                "length. Write def __init__(self, space, ...)."
            ),
            code="plugin_needs_space",
        )
    check_options(plugin, signature, ("space",))
    return made


def parameters_of(method: Callable[..., Any]) -> list[str]:
    """Names of what a method of a class is called with, without `self`."""
    return list(inspect.signature(method).parameters)[1:]


def require_parameters(plugin: Plugin, method: Callable[..., Any], named: tuple[str, ...], allowed: str) -> None:
    """Refuse a method that has other parameters than these, which may have defaults beside them.

    Args:
        plugin: for the message.
        method: of the network's class.
        named: in their order.
        allowed: the forms that there are, as a sentence part.

    Raises:
        ConfigError: one is missing, or another one has no default.
    """
    parameters = list(inspect.signature(method).parameters.values())[1:]
    names = [one.name for one in parameters]
    others = [
        one.name
        for one in parameters[len(named) :]
        if one.default is one.empty and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    if tuple(names[: len(named)]) != named or others:
        raise ConfigError(
            f"{described(plugin)}: its method is {method.__name__}({', '.join(['self', *names])}). Write {allowed}.",
            code="plugin_method_parameters",
            fields={"plugin": plugin.name},
        )


def build_module(plugin: TimedPlugin, space: SequenceSpace) -> nn.Module:
    """The network of a plug-in, initialised from torch's global random state.

    Raises:
        PluginError: building it raises, or gives something else than a network of the class that it names.
    """
    loaded = plugin.load()
    expected = module_class(plugin, loaded)
    try:
        with in_time(plugin.timeout_s, lambda: plugin.late("building it"), loaded.path):
            module = loaded.object(space=space, **plugin.options)
    except PluginError:
        raise
    except Exception as error:  # a user's own code may raise anything
        raise refusal(described(plugin), error, ConfigError) or raised(plugin, "building it", error) from error
    if not isinstance(module, expected):
        raise PluginError(
            f"{described(plugin)}: returned {_what(module)}, but its annotation is {expected.__name__}. Return the "
            "annotated class.",
            code="plugin_made_other_class",
            fields={"plugin": plugin.name},
        )
    return module


def raised(plugin: Plugin, doing: str, error: Exception) -> PluginError:
    """The error of code of the user's own that raised, with the lines of the user's file."""
    path = plugin.load().path
    return PluginError(
        f"{described(plugin)}: {doing} raised {type(error).__name__}: {error}. Fix it.{own_lines(error, path)}",
        code="plugin_network_raised",
        fields={"plugin": plugin.name},
    )


class OwnModule(nn.Module):
    """A user's network in the hands of an adapter, which calls it through this.

    Args:
        plugin: whose network is built.
        space: the task's sequences.

    Attributes:
        module: the network.
        plugin: whose it is.
    """

    def __init__(self, plugin: TimedPlugin, space: SequenceSpace) -> None:
        super().__init__()
        self.plugin = plugin
        self._path = plugin.load().path
        self.module = build_module(plugin, space)
        self._uses_dropout = True
        self._rates = {name: part.dropout for name, part in self.module.named_modules() if isinstance(part, nn.RNNBase)}

    def forward(self, *arguments: Any) -> Any:
        """What the network returns.

        Raises:
            PluginError: it raises.
        """
        return self.call("forward", *arguments)

    def call(self, method: str, *arguments: Any) -> Any:
        """What a method of the network returns; `forward` is called as networks are, with their hooks.

        Raises:
            PluginError: it raises, or does not return in time.
        """
        called = self.module if method == "forward" else getattr(self.module, method)
        plugin = self.plugin

        def late() -> str:
            return plugin.late(f"{method} of tensors {_shapes(arguments)}")

        try:
            with in_time(plugin.timeout_s, late, self._path):
                return called(*arguments)
        except (torch.OutOfMemoryError, PluginError):
            raise
        except Exception as error:  # a user's own code may raise anything
            raise raised(plugin, f"{method} of tensors {_shapes(arguments)}", error) from error

    def checked(self, found: Any, shape: tuple[int, ...], what: str) -> Tensor:
        """Logits as float32.

        Args:
            found: what the network returned.
            shape: that they must have.
            what: the dimensions in words, "(B, T, V)".

        Raises:
            PluginError: they are something else.
        """
        if not isinstance(found, Tensor) or not found.is_floating_point() or tuple(found.shape) != shape:
            raise PluginError(
                f"{described(self.plugin)}: returned {_what(found)} for logits {what}, which must have shape "
                f"{shape} here. Return a float tensor of that shape.",
                code="plugin_logits_shape",
                fields={"plugin": self.plugin.name},
            )
        return found.float()

    def use_dropout(self, enabled: bool) -> None:
        """Switch everything off or on, within training mode, that makes it compute otherwise in training.

        Without it the network is in evaluation mode, but for recurrent layers, which have no gradient in it on a GPU:
        they stay in training mode, without dropout.
        """
        self._uses_dropout = enabled
        self.train(self.training)

    def train(self, mode: bool = True) -> OwnModule:
        """Training or evaluation mode; see `use_dropout`."""
        super().train(mode)
        is_quiet = mode and not self._uses_dropout
        if is_quiet:
            self.module.eval()
        for name, rate in self._rates.items():
            part = self.module.get_submodule(name)
            assert isinstance(part, nn.RNNBase)
            part.dropout = 0.0 if is_quiet else rate
            if is_quiet:
                part.train()
        return self

    def frozen(self) -> OwnModule:
        """A copy in evaluation mode, which nobody learns."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnModule:
        # The settings are frozen, and their source need not be looked for again.
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        for name, value in self.__dict__.items():
            copied.__dict__[name] = value if name == "plugin" else copy.deepcopy(value, memo)
        return copied


def _returned(plugin: Plugin, function: Callable[..., Any]) -> type[Any] | None:
    """The class that a function says it returns; None where it says none."""
    try:
        found = typing.get_type_hints(function).get("return")
    except Exception as error:  # annotations are the user's own code, too
        raise ConfigError(
            f"{described(plugin)}: its annotations cannot be read ({type(error).__name__}: {error}). Fix them.",
            code="plugin_annotations",
            fields={"plugin": plugin.name},
        ) from None
    return found if inspect.isclass(found) else None


def _shapes(arguments: tuple[Any, ...]) -> str:
    return ", ".join(f"{tuple(one.shape)}" for one in arguments if isinstance(one, Tensor))


def _what(found: object) -> str:
    if isinstance(found, Tensor):
        return f"a tensor {tuple(found.shape)} of {str(found.dtype).removeprefix('torch.')}"
    if inspect.isclass(found):
        return f"the class {found.__name__}, which is not derived from torch.nn.Module"
    if inspect.isfunction(found):
        returns = inspect.signature(found).return_annotation
        if returns is inspect.Signature.empty:
            return f"the function {found.__name__}, which has no return annotation"
        return f"the function {found.__name__}, whose return annotation is {inspect.formatannotation(returns)}"
    return f"an object of {type(found).__name__}"


_kept: set[tuple[str, SequenceSpace]] = set()


def require_kept(plugin: Plugin, space: SequenceSpace, check: Callable[[], None]) -> None:
    """Run the contract check of a network, unless this process has found that it is kept.

    Args:
        plugin: whose network it is.
        space: the task's sequences.
        check: raises AssertionError where a promise is broken.

    Raises:
        ConfigError: it is broken; names the plug-in and the promise.
        PluginError: the network cannot be built or raises.
    """
    key = plugin.model_dump_json(), space
    if key in _kept:
        return
    try:
        check()
    except AssertionError as error:
        raise ConfigError(
            f"{described(plugin)}: {error}. Fix it.", code="plugin_contract", fields={"plugin": plugin.name}
        ) from None
    except (ConfigError, PluginError):
        raise
    except Exception as error:  # between the calls of the network there may be errors of what it returned
        raise raised(plugin, "its contract check", error) from error
    _kept.add(key)
