"""A run whose rollouts are computed by workers, on this machine or on all machines of a cluster.

    python examples/cluster.py --workers 2                  on the CPUs of this machine
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- python examples/cluster.py --workers 8

Run the second command in a checkout; it sends the job to the head of a running cluster (`ray up cluster-local.yaml`
starts one on your own machines; docs/operations.md). The job runs on the head and writes its files there. To keep them,
use `--storage` with a mounted folder or a URI such as s3://BUCKET/runs.

SeqGAN's Monte Carlo search completes each prefix of each name eight times. That is nearly all of the work, and it is
distributed over the workers. Their number changes no result: the last line is the same for any --workers, even if a
worker is killed during the run (try it).

Prints the seconds per update and how many of them were rollouts, the final metrics of the run, and its folder.
"""

from __future__ import annotations

import argparse

from corpus import names

import rlgan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--workers", type=int, default=2, help="rollout workers, a CPU each; 0 computes all in this process"
    )
    parser.add_argument("--storage", help="mounted folder or URI where the run is kept, too")
    options = parser.parse_args()
    run = rlgan.train(
        "seqgan-quick",
        data=names(),
        tokens="char",
        workers={"rollout": options.workers, "cpus_per_rollout": 0.5, "cpus_discriminator": 0.5},
        schedule={"mle_epochs": 10, "discriminator_rounds": 2, "adversarial_updates": 10},
        evaluation={"temperatures": [1.0], "final_sequences": 1000},
        controls=["mle_continued"],
        storage=options.storage,
    )
    updates = run.metrics[run.metrics["phase"] == "adversarial"]
    rollouts = updates["timing/rollouts_s"].mean()
    print(f"{options.workers} workers: {rollouts:.1f} s of rollouts an update; the run is in {run.source}")
    row = run.table.iloc[-1]
    print(f"NLL_gen {float(row['nll_gen'])!r}, BLEU-2 {float(row['bleu_2'])!r}")


if __name__ == "__main__":
    main()
