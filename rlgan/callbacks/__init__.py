"""Callbacks that ship: a run shown in TensorBoard or Weights & Biases, beside metrics.jsonl and MLflow.

    rlgan.train("seqgan", data=lines, callbacks=[rlgan.callbacks.TensorBoard()])
    rlgan train seqgan --data lines.txt --callbacks tensorboard

Each needs its package, an extra of the same name. Names and units of metrics are those of docs/metrics.md.
"""

from rlgan.training.callbacks import Callback as Callback
from rlgan.training.callbacks import Stop as Stop

from .tensorboard import TensorBoard as TensorBoard
from .weights_and_biases import WandB as WandB

__all__ = ["Callback", "Stop", "TensorBoard", "WandB"]
