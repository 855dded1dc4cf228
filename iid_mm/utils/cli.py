# SPDX-License-Identifier: Apache-2.0
"""Shared parts of the command line tools."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from iid_mm.errors import InputError, StoppedError
from iid_mm.utils.files import printable
from iid_mm.utils.user_errors import PEER_ENDED, user_message

if TYPE_CHECKING:
    from mmengine.config import Config

# MMEngine, which loads torch, is imported only by the functions that need it.

PATIENCE = 5.0
"""Seconds that a process waits for the first one of its machine to report an error that both met."""


def run_tool(main: Callable[[], int | None], after: str = '') -> int:
    """Run a tool and turn errors that a user can fix into one message.

    Args:
        main: The tool; returns its exit status or None for success.
        after: Sentence added after failures of the system: what is kept and how to continue.

    Returns:
        The exit status: 1 after an error that a user can fix, see
        :func:`~iid_mm.utils.user_errors.user_message`, whose message goes to stderr, in distributed runs once
        a machine; 75 if training was asked to stop, and saved; 130 after Ctrl+C. Set the environment variable
        ``IID_DEBUG=1`` to see the traceback instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal cannot encode must not end the work.
            stream.reconfigure(errors='backslashreplace')
    try:
        status = main() or 0
    except StoppedError as stopped:
        tell(str(stopped), sys.stderr)
        status = stopped.status
    except KeyboardInterrupt:
        if os.environ.get('IID_DEBUG') == '1':
            raise
        tell('interrupted', sys.stderr)
        status = 130
    except Exception as error:
        with _children_may_end():
            text = user_message(error, after)
            if text is None or os.environ.get('IID_DEBUG') == '1':
                raise
            _report(text)
        status = 1
    # Not after defects: the other processes may be working.
    _leave_process_group(status)
    return status


def _report(text: str) -> None:
    """Print an error that ends the tool, in distributed runs once a machine."""
    if text == PEER_ENDED:
        # The launcher ends all processes when the first one exits, which should be the one that met the
        # error; that one may have to wait for its loader workers.
        time.sleep(6 * PATIENCE)
    elif os.environ.get('LOCAL_RANK', '0') != '0':
        # Most errors are met by all processes. The first one then exits, and its launcher ends this one.
        time.sleep(PATIENCE)
    print('error: ' + '\n'.join(map(printable, text.split('\n'))), file=sys.stderr)


@contextmanager
def _children_may_end() -> Iterator[None]:
    """Keep PyTorch's handler from raising a second error when a worker ends while the first is reported."""
    if not hasattr(signal, 'SIGCHLD') or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print a line, in distributed runs once a machine.

    Args:
        text: The line.
        file: Stream; None: stdout.
    """
    if os.environ.get('LOCAL_RANK', '0') == '0':
        print(text, file=file or sys.stdout)


def _leave_process_group(status: int) -> None:
    """End the communication of distributed runs, and with it the process.

    Threads of a process group may outlive the interpreter's state and sometimes abort the process at its end
    ("terminate called without an active exception"), after all work was done. So it is ended here.
    """
    distributed = sys.modules.get('torch.distributed')
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return
    several = distributed.get_world_size() > 1
    distributed.destroy_process_group()
    if several:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    from mmengine.config import DictAction

    class Options(DictAction):
        def __call__(
            self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *args: Any
        ) -> None:
            for value in values:
                key, equals, _ = value.partition('=')
                if not (key.strip() and equals):
                    raise InputError(
                        f'--cfg-options {value}: give KEY=VALUE, e.g. train_dataloader.batch_size=32'
                    )
                try:
                    super().__call__(parser, namespace, [value], *args)
                except AssertionError as error:
                    raise InputError(f'--cfg-options {value}: brackets do not match') from error

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='override config values, e.g. train_dataloader.batch_size=32',
    )


def add_trust_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--trust-checkpoint``, see :func:`~iid_mm.utils.checkpoint.load_checkpoint_file`."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='allow the checkpoint to run code; only for files from a source you trust',
    )


def add_model_options(parser: argparse.ArgumentParser, *, nargs: str | None = None) -> None:
    """Add the options of tools that load a model: config, checkpoint, config values, trust, device.

    Args:
        parser: The parser.
        nargs: ``'?'`` where config and checkpoint may be left out.
    """
    parser.add_argument('config', nargs=nargs, help='config file')
    parser.add_argument('checkpoint', nargs=nargs, help='checkpoint file')
    parser.add_argument('--device', default='cpu')
    add_trust_option(parser)
    add_config_options(parser)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tools that run a model: work directory, config values, launcher."""
    parser.add_argument('--work-dir', help='folder for logs and results (default: work_dirs/<config>)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # torchrun sets LOCAL_RANK; older launchers pass this argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def load_run_config(args: argparse.Namespace) -> Config:
    """Load the config of a run and apply the options of :func:`add_run_options`.

    Args:
        args: Also has ``config``, the path of the config.

    Returns:
        The config, with launcher and work directory.

    Raises:
        FileNotFoundError: If there is no such config.
    """
    from iid_mm.utils.config import load_config

    # MMEngine uses the GPU of this number, and sets it for torchrun only.
    variable = {'slurm': 'SLURM_LOCALID', 'mpi': 'OMPI_COMM_WORLD_LOCAL_RANK'}.get(args.launcher, '')
    os.environ.setdefault('LOCAL_RANK', os.environ.get(variable, str(args.local_rank)))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        # PyTorch refuses persistent workers without workers; --cfg-options often sets num_workers=0 alone.
        if name in cfg and cfg[name] and cfg[name].get('num_workers') == 0:
            cfg[name].persistent_workers = False
    return cfg
