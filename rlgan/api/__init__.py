"""The Python face: a run begun, loaded, looked at and sampled from, in a line each.

    run = rlgan.train("seqgan", data=lines, reward=my_function)
    run.sample(5, temperature=0.9)

It does what the command line does, by the same code. What is public here is named in `rlgan` too. Nothing below is
imported with `rlgan` itself; Ray only where something is trained, pandas and matplotlib only where they are asked for.
"""

from .data import DATA_FILE as DATA_FILE
from .loading import compare as compare
from .loading import discriminator_reward as discriminator_reward
from .loading import load as load
from .recommending import Recommendation as Recommendation
from .recommending import Recommendations as Recommendations
from .recommending import recommend as recommend
from .runs import Run as Run
from .training import train as train
from .tuning import tune as tune
from .words import in_python as in_python
