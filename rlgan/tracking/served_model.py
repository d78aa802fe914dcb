"""What answers requests for text, where a registered generator is served. MLflow runs this file: nothing is unpickled.

It is logged with the model, and so is the package that it imports; `registry` puts both there. Never import it.
"""

from __future__ import annotations

import json
import math
import secrets
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from rlgan.base.errors import ConfigError, DataError
from rlgan.generators import Draw
from rlgan.storage.export import NUMBER, Decoding, asked_by, load_run_generator

_MOST = 10_000  # sequences a request: a stranger's typing error must not take the server's memory


class ServedGenerator(PythonModel):
    """Draws sequences, and shows them as text."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the generator.

        Raises:
            CheckpointError: it is damaged.
        """
        folder = Path(context.artifacts["weights"]).parent
        self._generator = load_run_generator(folder, trust_code=True)
        self._asks = asked_by(json.loads(Path(context.artifacts["description"]).read_text("utf-8")))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a request.

        Args:
            context: of the model.
            model_input: column `num_sequences`, of which several rows ask for their sum; or, of a generator that is
                given something, `prompt` of a language model and `source` of others, a text each.
            params: `temperature` divides the logits; `top_k` and `top_p` keep the likeliest tokens, see
                `rlgan.generators.Draw`. The same `seed` gives the same text; without one, each request draws its own.

        Returns:
            Column `text`, a row a sequence.

        Raises:
            MlflowException: a value is out of range, which the server answers with status 400.
        """
        given = params or {}
        temperature = given.get("temperature")
        if temperature is None or not 0.0 < temperature < math.inf:
            raise MlflowException.invalid_parameter_value(
                f"temperature is {temperature}: must be a positive number. Remove it to use the registered one."
            )
        seed = given.get("seed")
        seed = secrets.randbits(63) if seed is None else seed
        cut = {name: given.get(name) for name in ("top_k", "top_p")}
        try:
            if self._asks == NUMBER:
                drawn = self._generator.sample(_number(model_input), temperature, seed, **cut)
            else:
                decoding = Decoding(Draw(temperature, **cut))
                drawn = self._generator.answer(self._sources(model_input), self._asks, decoding, seed)[0]
        except (ConfigError, DataError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame({"text": drawn})

    def _sources(self, model_input: pd.DataFrame) -> list[str]:
        sources = [str(one) for one in model_input[self._asks]]
        if not 0 < len(sources) <= _MOST:
            raise MlflowException.invalid_parameter_value(
                f"{self._asks}: there are {len(sources)}; must be from 1 to {_MOST:,}. Send several requests for more."
            )
        return sources


def _number(model_input: pd.DataFrame) -> int:
    """How many sequences a request asks for."""
    counts = [int(count) for count in model_input[NUMBER]]
    if not counts or min(counts) < 1 or sum(counts) > _MOST:
        raise MlflowException.invalid_parameter_value(
            f"num_sequences is {counts}: must be whole numbers of at least 1, with a total of at most "
            f"{_MOST:,}. Send several requests for more."
        )
    return sum(counts)


set_model(ServedGenerator())
