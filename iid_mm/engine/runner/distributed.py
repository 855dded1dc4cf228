# SPDX-License-Identifier: Apache-2.0
"""Distributed runs: processes on machines without a GPU, and synchronized batch norm."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
from torch import distributed as dist

from iid_mm.errors import InputError

LAUNCHER_VARIABLES = {
    'slurm': {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'},
    'mpi': {
        'RANK': 'OMPI_COMM_WORLD_RANK',
        'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
        'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
    },
}
"""Environment variables in which launchers set what torchrun sets in RANK, WORLD_SIZE and LOCAL_RANK."""

DEFAULT_PORT = '29500'


def join_cpu_processes(launcher: str, dist_cfg: dict[str, Any] | None = None) -> bool:
    """Join the other processes of a run through gloo where there is no GPU.

    MMEngine would select a CUDA device whatever the backend is; it keeps a process group that exists.

    Args:
        launcher: What started the processes: 'none', 'pytorch' (torchrun), 'slurm' or 'mpi'.
        dist_cfg: The config's ``env_cfg.dist_cfg``; only its ``timeout`` (seconds) and, with Slurm, ``port``
            are used here.

    Returns:
        Whether the processes were joined; False on machines with a GPU and for launcher 'none'.

    Raises:
        InputError: If the launcher did not start this process, or the address of the first one is unknown.
    """
    if launcher == 'none' or torch.cuda.is_available() or dist.is_initialized():
        return False
    dist_cfg = dist_cfg or {}
    os.environ.update(_variables(launcher, dist_cfg))
    timeout = dist_cfg.get('timeout')
    dist.init_process_group('gloo', timeout=None if timeout is None else timedelta(seconds=timeout))
    return True


def _variables(launcher: str, dist_cfg: dict[str, Any]) -> dict[str, str]:
    """What torchrun would have set."""
    names = LAUNCHER_VARIABLES.get(launcher, {'RANK': 'RANK', 'WORLD_SIZE': 'WORLD_SIZE'})
    if missing := sorted(set(names.values()) - set(os.environ)):
        raise InputError(
            f'--launcher {launcher}: {", ".join(missing)} is not set, so {launcher} did not start this '
            'process; use tools/dist_train.sh or tools/slurm_train.sh, or --launcher none'
        )
    found = {name: os.environ[theirs] for name, theirs in names.items()}
    if launcher != 'pytorch':
        found['MASTER_PORT'] = str(dist_cfg.get('port') or os.environ.get('MASTER_PORT', DEFAULT_PORT))
    if 'MASTER_ADDR' not in os.environ:
        if launcher != 'slurm':
            raise InputError(
                f'--launcher {launcher}: MASTER_ADDR is not set; set it to the host of the first process, '
                'e.g. 127.0.0.1 on a single machine'
            )
        found['MASTER_ADDR'] = _first_slurm_host()
    if 'MASTER_PORT' not in {**os.environ, **found}:
        raise InputError(f'--launcher {launcher}: MASTER_PORT is not set; set it to a free port, e.g. 29500')
    return found


def _first_slurm_host() -> str:
    """Host of the first process of a Slurm job."""
    command = ['scontrol', 'show', 'hostnames', os.environ.get('SLURM_NODELIST', '')]
    try:
        hosts = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(
            f'--launcher slurm: {" ".join(command)!r} failed ({error}); set MASTER_ADDR'
        ) from error
    if not hosts:
        raise InputError(f'--launcher slurm: {" ".join(command)!r} names no machine; set MASTER_ADDR')
    return hosts[0]


def check_sync_bn(sync_bn: Any) -> None:
    """Check the config's ``sync_bn`` of a distributed run before the model is converted.

    Args:
        sync_bn: 'torch', 'mmcv', or None for batch norm over each process's own samples.

    Raises:
        InputError: If the value is unknown, or its layers are not available on this device.
    """
    if sync_bn is None:
        return
    if sync_bn not in ('torch', 'mmcv'):
        raise InputError(f"sync_bn={sync_bn!r}: must be 'torch', 'mmcv' or None")
    if not torch.cuda.is_available():
        raise InputError(
            f'sync_bn={sync_bn!r} needs a GPU in every process, and none was found: PyTorch has no '
            'synchronized batch norm for CPUs; set sync_bn=None, or use group norm '
            "(norm_cfg=dict(type='GN', num_groups=32))"
        )
    if sync_bn == 'mmcv' and not hasattr(import_module('mmcv.ops'), 'SyncBatchNorm'):
        raise InputError("sync_bn='mmcv': mmcv is installed without compiled operators; use sync_bn='torch'")
