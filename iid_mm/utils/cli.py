# SPDX-License-Identifier: Apache-2.0
"""What every command line tool shares."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from iid_mm.errors import InputError, MissingExtraError
from iid_mm.utils.files import printable

if TYPE_CHECKING:
    from mmengine.config import Config

# MMEngine, which loads torch, is imported by those functions only that need it.

USER_ERRORS = (InputError, FileNotFoundError, MissingExtraError)

PATIENCE = 5.0
"""Seconds that a process leaves to the first one of its machine to tell an error that both met."""


def run_tool(main: Callable[[], int | None]) -> int:
    """Run a tool and turn the errors a user can mend into one message.

    Args:
        main: The tool; returns its exit status or None for success.

    Returns:
        The exit status: 1 after an :class:`~iid_mm.errors.InputError`, a missing file, a missing extra
        or an unknown name in a config, whose message goes to stderr, in distributed runs once a machine. Set
        the environment variable ``IID_DEBUG=1`` to see the traceback instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding does not know must not end the work.
            stream.reconfigure(errors='backslashreplace')
    try:
        status = main() or 0
    except (*USER_ERRORS, KeyError) as error:
        # A name in a config that no registry knows is a KeyError to MMEngine; others are defects.
        is_unknown_name = isinstance(error, KeyError) and 'is not in the' in str(error)
        if os.environ.get('IID_DEBUG') == '1' or not (is_unknown_name or isinstance(error, USER_ERRORS)):
            raise
        text = str(error.args[0]) if is_unknown_name else _without_worker_trace(str(error))
        if os.environ.get('LOCAL_RANK', '0') != '0':
            # Most errors are met by all processes. The first one then ends, and its launcher this one.
            time.sleep(PATIENCE)
        print('error: ' + '\n'.join(map(printable, text.split('\n'))), file=sys.stderr)
        status = 1
    # Not after defects: the other processes may be in the midst of something.
    _leave_process_group()
    return status


def _leave_process_group() -> None:
    """End the communication of distributed runs before the interpreter ends.

    Otherwise threads of the process group may outlive the interpreter's state, which aborts the process
    ("terminate called without an active exception") after all work was done.
    """
    distributed = sys.modules.get('torch.distributed')
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    from mmengine.config import DictAction

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='values that replace those of the config, e.g. train_dataloader.batch_size=32',
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tools that run a model: work directory, config values, launcher."""
    parser.add_argument('--work-dir', help='where logs and results go; default work_dirs/<config>')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torchrun sets LOCAL_RANK; older launchers pass this argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_run_config(args: argparse.Namespace) -> Config:
    """Read the config of a run and enter what :func:`add_run_options` has parsed.

    Args:
        args: Also has ``config``, the path of the config.

    Returns:
        The config, with launcher and work directory.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    from iid_mm.utils.config import load_config

    # MMEngine wraps the model for the GPU of this number, and sets it for torchrun only.
    variable = {'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}.get(args.launcher, '')
    os.environ.setdefault('LOCAL_RANK', os.environ.get(variable, str(args.local_rank)))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        # PyTorch refuses to keep workers that are not there; --cfg-options often sets num_workers=0 alone.
        if name in cfg and cfg[name] and cfg[name].get('num_workers') == 0:
            cfg[name].persistent_workers = False
    return cfg


def _without_worker_trace(message: str) -> str:
    """Reduce an error that a data loader's worker sent, traceback and all, to its own message."""
    if 'Original Traceback' not in message:
        return message
    return message.rstrip().splitlines()[-1].split(': ', 1)[-1]
