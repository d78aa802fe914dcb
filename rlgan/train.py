"""The main job: `python rlgan/train.py [PRESET] [options]`, the same as `rlgan train` once installed.

Works from an uninstalled checkout, as a lone copied file beside an installed package (what `ray submit` makes of it),
and as part of the package.
"""

import sys
from pathlib import Path

# A script's own folder comes first on the path, where our modules would shadow others of the same name. What belongs
# there is the folder that holds the package, if this file lies in a checkout.
_HERE = Path(__file__).resolve().parent
if __name__ == "__main__" and sys.path and Path(sys.path[0]).resolve() == _HERE:
    if (_HERE / "__init__.py").exists():
        sys.path[0] = str(_HERE.parent)
    else:
        del sys.path[0]

from rlgan.base.threads_wait import spin_briefly  # noqa: E402

if __name__ == "__main__":
    spin_briefly()
    from rlgan.cli.main import main  # it imports torch, which reads how threads wait

    sys.exit(main(["train", *sys.argv[1:]]))
