"""Molecules, written as SMILES or SELFIES: rewards, measures of distributions, and scores within a budget of calls.

    rlgan train seqgan_rloo --data my.smi --tokens smiles --evaluation.metrics molecules --reward logit --reward qed

`rewards` has the properties that a molecule may be rewarded by, `mpo` the objectives of several properties of GuacaMol,
and `oracles` makes a reward of any scoring function of SMILES; `filters` keeps an optimiser from writing one scaffold
only; `distribution` is the metric `molecules`, after MOSES and GuacaMol; `budget` counts what an optimiser asks. They
need rdkit (extra `molecules`). `drawing` has the picture of a grid of structures.

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
from .filters import ScaffoldBuckets as ScaffoldBuckets
from .mpo import mpo as mpo
from .oracles import oracle as oracle
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
    "ScaffoldBuckets",
    "auc_top",
    "canonical",
    "isomer",
    "logp",
    "median",
    "molecule",
    "molecules",
    "mpo",
    "oracle",
    "penalised_logp",
    "qed",
    "rediscovery",
    "scaffold",
    "selfies_of",
    "similarity",
    "smiles_of",
    "synthesisability",
]
