"""What answers requests for text, where a registered generator is served. MLflow runs this file: nothing is unpickled.

It is logged with the model, and so is the package that it imports; `registry` puts both there. Never import it.
"""

from __future__ import annotations

import math
import secrets
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from rlgan.base.errors import ConfigError
from rlgan.storage.export import load_run_generator

_MOST = 10_000  # sequences a request: a stranger's typing error must not take the server's memory


class ServedGenerator(PythonModel):
    """Draws sequences, and shows them as text."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the generator.

        Raises:
            CheckpointError: it is damaged.
        """
        self._generator = load_run_generator(Path(context.artifacts["weights"]).parent, trust_code=True)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a request.

        Args:
            context: of the model.
            model_input: column `num_sequences`; several rows ask for their sum.
            params: `temperature` divides the logits; `top_k` and `top_p` keep the likeliest tokens, see
                `rlgan.generators.Draw`. The same `seed` gives the same text; without one, each request draws its own.

        Returns:
            Column `text`, a row a sequence.

        Raises:
            MlflowException: a value is out of range, which the server answers with status 400.
        """
        given = params or {}
        counts = [int(count) for count in model_input["num_sequences"]]
        if not counts or min(counts) < 1 or sum(counts) > _MOST:
            raise MlflowException.invalid_parameter_value(
                f"num_sequences is {counts}: must be whole numbers of at least 1, with a total of at most "
                f"{_MOST:,}. Send several requests for more."
            )
        temperature = given.get("temperature")
        if temperature is None or not 0.0 < temperature < math.inf:
            raise MlflowException.invalid_parameter_value(
                f"temperature is {temperature}: must be a positive number. Remove it to use the registered one."
            )
        seed = given.get("seed")
        seed = secrets.randbits(63) if seed is None else seed
        cut = {name: given.get(name) for name in ("top_k", "top_p")}
        try:
            drawn = self._generator.sample(sum(counts), temperature, seed, **cut)
        except ConfigError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame({"text": drawn})


set_model(ServedGenerator())
