"""`rlgan oracle convert ...` and `rlgan oracle generate ...`: a file for --oracle-params."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rlgan.base.errors import ConfigError

from .options import positive_int

if TYPE_CHECKING:
    import numpy as np


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what the verb takes."""
    ways = parser.add_subparsers(dest="way", metavar="WAY", required=True)
    convert = ways.add_parser(
        "convert",
        help="convert the parameters that were published with SeqGAN, a pickle (only its arrays are read)",
        allow_abbrev=False,
    )
    convert.add_argument(
        "pickle", type=Path, metavar="FILE.pkl", help="path of save/target_params.pkl from LantaoYu/SeqGAN"
    )
    convert.add_argument("out", type=Path, metavar="OUT.npz", help="file to write")
    generate = ways.add_parser(
        "generate", help="create an oracle of the same shape with all parameters drawn from N(0,1)", allow_abbrev=False
    )
    generate.add_argument("out", type=Path, metavar="OUT.npz", help="file to write")
    generate.add_argument("--seed", type=_seed, default=0, help="random seed (default 0)")
    generate.add_argument("--vocab-size", type=positive_int, default=None, metavar="V", help="default 5000")
    generate.add_argument("--embedding", type=positive_int, default=None, metavar="E", help="default 32")
    generate.add_argument("--hidden", type=positive_int, default=None, metavar="H", help="default 32")


def run(options: argparse.Namespace, overrides: dict[str, str]) -> int:
    """Write the file; see `VerbModule`."""
    _require_new_npz(options.out)
    if options.way == "convert":
        from rlgan.envs.tasks.published_oracle import read_published_parameters

        parameters: Mapping[str, np.ndarray] = read_published_parameters(options.pickle)
        origin = f"from {options.pickle}"
    else:
        parameters, origin = _drawn(options), f"drawn from N(0,1) with seed {options.seed}"
    _write(options.out, parameters)
    vocab_size, embedding = parameters["embedding"].shape
    print(
        f"{options.out}: LSTM over {vocab_size} tokens, embedding {embedding}, hidden {len(parameters['bi'])}; "
        f"parameters {origin}"
    )
    print(f"rlgan train seqgan --oracle-params {options.out}")
    return 0


def _drawn(options: argparse.Namespace) -> Mapping[str, np.ndarray]:
    """The parameters that a task without a file draws with the same seed and sizes."""
    from rlgan.envs.tasks import LSTMOracle
    from rlgan.envs.tasks.oracle import DEFAULT_EMBEDDING, DEFAULT_HIDDEN, DEFAULT_VOCAB_SIZE
    from rlgan.envs.tasks.published_oracle import PUBLISHED_ORDER

    oracle = LSTMOracle.random(
        options.vocab_size or DEFAULT_VOCAB_SIZE,
        options.embedding or DEFAULT_EMBEDDING,
        options.hidden or DEFAULT_HIDDEN,
        1,
        options.seed,
    )
    return {name: oracle.parameters[name].numpy() for name in PUBLISHED_ORDER}


def _require_new_npz(out: Path) -> None:
    if out.suffix != ".npz":
        raise ConfigError(
            f"OUT {out}: must end in .npz, the format that --oracle-params reads. Rename it.", code="oracle_out_suffix"
        )
    if out.exists():
        raise ConfigError(
            f"OUT {out}: already exists. Use another file name, or remove the file first.", code="oracle_out_exists"
        )
    if not out.parent.is_dir():
        raise ConfigError(
            f"OUT {out}: the folder {out.parent} does not exist. Create it first, or use another one.",
            code="oracle_out_folder",
        )


def _write(out: Path, parameters: Mapping[str, np.ndarray]) -> None:
    import numpy as np

    from rlgan.base.files import write_atomically

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **parameters)

    write_atomically(out, write)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, at least 0 and below 2^63")
    return int(text)
