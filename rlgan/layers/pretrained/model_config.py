"""What a model that somebody trained is, as its config.json says."""

from __future__ import annotations

from typing import Any

from rlgan.base.errors import DataError
from rlgan.base.pretrained import HubModel, ModelFolder, read_config, require_language_models


def causal_config(source: ModelFolder | HubModel) -> dict[str, Any]:
    """The architecture of a model, as JSON.

    Raises:
        ConfigError: a library is missing.
        DataError: its folder has none, or it is no causal language model.
    """
    found = read_config(source)
    _require_causal(found, source.shown)
    return _of_architecture(found)


def classifier_config(source: ModelFolder | HubModel) -> dict[str, Any]:
    """The architecture of a model that can judge a text, as JSON.

    Raises:
        ConfigError: a library is missing.
        DataError: its folder has none, or transformers has no classifier of this architecture.
    """
    found = read_config(source)
    require_language_models(f"model {source.shown}")
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN

    name = found.get("model_type")
    if name not in KNOWN or found.get("is_encoder_decoder"):
        own = " by code of its own, which is not executed" if "auto_map" in found else ""
        raise DataError(
            f"{source.shown}: its architecture is {name!r}{own}, which is neither an encoder nor a causal language "
            "model that transformers has a classifier of. Give a model such as BERT, RoBERTa, Llama, Qwen2 or GPT-2.",
            code="model_not_a_classifier",
            fields={"path": source.shown, "model_type": name},
        )
    return _of_architecture(found)


def _of_architecture(config: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing of the architecture, so that two copies of a model are the same."""
    return {name: value for name, value in config.items() if name not in ("_name_or_path", "transformers_version")}


def _require_causal(config: dict[str, Any], shown: str) -> None:
    require_language_models(f"model {shown}")
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as KNOWN

    name, asked = config.get("model_type"), config.get("architectures") or []
    causal = {one for found in KNOWN.values() for one in ((found,) if isinstance(found, str) else found)}
    if name not in KNOWN:
        own = " with its own code, which rlgan does not execute" if "auto_map" in config else ""
        raise DataError(
            (
                f"{shown}: has the architecture {name!r}{own}. transformers does not know it as a causal language "
                "model. Give a model such as Llama, Qwen2, Mistral or GPT-2."
            ),
            code="architecture_unknown",
            fields={"uri": shown},
        )
    if asked and not causal.intersection(asked):
        raise DataError(
            (
                f"{shown}: contains {', '.join(map(str, asked))}, which is not a causal language model. Give a model "
                "whose architecture ends in ForCausalLM or LMHeadModel."
            ),
            code="not_causal_model",
            fields={"uri": shown},
        )
