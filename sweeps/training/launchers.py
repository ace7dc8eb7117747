"""What other launchers of processes say in the environment: that this one is a rank of theirs."""

import os

LAUNCHERS = ("SLURM_STEP", "PMI_", "PMIX_", "OMPI_", "TORCHELASTIC_", "JSM_", "KUBEFLOW_")
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MASTER_ADDR",
         "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS",
         "SLURM_NTASKS_PER_NODE", "SLURM_NPROCS")  # fmt: skip


def scrub_environment() -> None:
    """Removes it: Lightning would take the worker for one rank of their job, already when it is imported.

    What a batch system says of the job stays, as the user's code may look for its data in `SLURM_TMPDIR`.
    """
    for name in list(os.environ):
        if name.startswith(LAUNCHERS) or name in RANKS:
            del os.environ[name]
