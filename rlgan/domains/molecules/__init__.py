"""Molecules, written as SMILES or SELFIES: rewards, measures of distributions, and scores within a budget of calls.

    rlgan train seqgan_rloo --data my.smi --tokens smiles --evaluation.metrics molecules --reward logit --reward qed

`rewards` has the properties that a molecule may be rewarded by, `distribution` the metric `molecules`, after MOSES and
GuacaMol; `budget` counts what an optimiser asks. They need rdkit (extra `molecules`).

Nothing is written to standard error for a text that is no molecule: generators write many.
"""

from .budget import Budget as Budget
from .budget import auc_top as auc_top
from .chemistry import canonical as canonical
from .chemistry import molecule as molecule
from .chemistry import scaffold as scaffold
from .chemistry import selfies_of as selfies_of
from .chemistry import smiles_of as smiles_of
from .distribution import Molecules as Molecules
from .rewards import isomer as isomer
from .rewards import logp as logp
from .rewards import median as median
from .rewards import penalised_logp as penalised_logp
from .rewards import qed as qed
from .rewards import rediscovery as rediscovery
from .rewards import similarity as similarity
from .rewards import synthesisability as synthesisability
from .task import molecules as molecules

__all__ = [
    "Budget",
    "Molecules",
    "auc_top",
    "canonical",
    "isomer",
    "logp",
    "median",
    "molecule",
    "molecules",
    "penalised_logp",
    "qed",
    "rediscovery",
    "scaffold",
    "selfies_of",
    "similarity",
    "smiles_of",
    "synthesisability",
]
