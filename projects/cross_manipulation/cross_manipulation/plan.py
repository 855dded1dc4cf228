# SPDX-License-Identifier: Apache-2.0
"""The runs of a cross-manipulation protocol, checked before the first of them is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmengine.config import Config

from cross_manipulation.child_config import merged, options_delta, run_delta, write_child
from cross_manipulation.data_facts import LOADERS, LoaderFacts, loader_facts
from cross_manipulation.matrix import Column
from cross_manipulation.run_state import RunState
from cross_manipulation.settings import Tree, differences, run_settings
from cross_manipulation.train_sets import TrainSet, check_known, every_subset, leave_one_out, parse_train_sets
from iid_mm.errors import InputError
from iid_mm.utils.config import load_config
from iid_mm.utils.files import write_json
from iid_mm.utils.finished import read_record

PROTOCOL = 'protocol.json'
Kind = Literal['leave-one-out', 'one-vs-rest', 'num-seen', 'train-sets']
MAX_NAMED = 5


@dataclass(frozen=True)
class ProtocolOptions:
    """What the user asks for.

    Attributes:
        configs: Configs; each is one section of the table.
        kind: How the training sets are made.
        train_sets: For 'train-sets': the sets, manipulations joined by ``+``.
        num_seen: For 'num-seen': how many manipulations each run is trained on.
        methods: Manipulations of the protocol; None: all that have training videos.
        test_methods: Manipulations to test on; None: ``methods`` if given, else all that have test videos.
        seeds: Seeds; each is one run.
        work_dir: Folder of everything that is made; None: ``work_dirs/cross_<kind>``.
        cfg_options: Values that replace those of all configs.
        processes: Processes that train a run together, one a GPU.
        flags: Options for ``tools/train.py``.
        select: 'best' on the validation split or 'last'.
        how: How the frames of a video make its score.
        keep: Which checkpoints of finished runs stay.
        overwrite: Replace what was made with other settings.
    """

    configs: Sequence[Path]
    kind: Kind = 'leave-one-out'
    train_sets: Sequence[str] = ()
    num_seen: int = 1
    methods: Sequence[str] | None = None
    test_methods: Sequence[str] | None = None
    seeds: Sequence[int] = (0,)
    work_dir: Path | None = None
    cfg_options: Mapping[str, Any] = field(default_factory=dict)
    processes: int = 1
    flags: Sequence[str] = ()
    select: str = 'best'
    how: str = 'mean'
    keep: str = 'best-and-last'
    overwrite: bool = False


@dataclass(frozen=True)
class Arm:
    """One of the user's configs.

    Attributes:
        name: Its name in tables.
        path: Its file.
        cfg: Its content, ``cfg_options`` entered.
        facts: What its data loaders read, by name of the loader.
    """

    name: str
    path: Path
    cfg: Config
    facts: Mapping[str, LoaderFacts]


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        arm: The config.
        train_set: The manipulations it is trained on.
        seed: The seed.
        config: Its own config file.
        delta: What that changes in the arm's config.
        state: Its folder.
    """

    arm: Arm
    train_set: TrainSet
    seed: int
    config: Path
    delta: Tree
    state: RunState

    @property
    def key(self) -> tuple[str, str, int]:
        """Identifies the run within the plan."""
        return (self.arm.name, self.train_set.slug, self.seed)

    @property
    def title(self) -> str:
        """Name of the run in messages."""
        return f'{self.arm.name}, trained on {self.train_set.label}, seed {self.seed}'


@dataclass(frozen=True)
class Plan:
    """All runs of a protocol.

    Attributes:
        options: The user's options.
        work_dir: Folder of everything that is made.
        arms: The configs.
        train_sets: Rows of the matrix.
        columns: Columns of the matrix.
        runs: Seed by seed, so that an unfinished table has all its rows early.
    """

    options: ProtocolOptions
    work_dir: Path
    arms: Sequence[Arm]
    train_sets: Sequence[TrainSet]
    columns: Sequence[Column]
    runs: Sequence[Run]

    @property
    def decisive(self) -> Tree:
        """What a work directory stands for; seeds and configs may be added to it."""
        return {
            'kind': self.options.kind,
            'train_sets': [list(train_set.methods) for train_set in self.train_sets],
            'test_methods': [column.name for column in self.columns],
            'select': self.options.select,
        }

    def write(self) -> None:
        """Write the configs and what the work directory stands for.

        Raises:
            InputError: A config cannot be written as a child of the user's.
        """
        # First, so that a folder whose configs could not all be written is known for what it is.
        write_json(self.work_dir / PROTOCOL, self.decisive)
        for run in self.runs:
            base = merged(run.arm.cfg, run.delta)
            options = options_delta(run.arm.path, self.options.cfg_options)
            delta = merged(Config(options), run.delta).to_dict()
            write_child(run.arm.path, run.config, delta, _notes(run, self), base)


def _notes(run: Run, plan: Plan) -> list[str]:
    """The comment on top of a run's config."""
    flags = ''.join(f' {flag}' for flag in plan.options.flags)
    script = 'python tools/train.py' if plan.options.processes == 1 else 'tools/dist_train.sh'
    tool = f'PYTHONPATH=projects/cross_manipulation {script}'
    count = '' if plan.options.processes == 1 else f' {plan.options.processes}'
    selected = (
        'The best checkpoint is chosen on validation videos of these manipulations alone.'
        if plan.options.select == 'best'
        else 'The last checkpoint is taken.'
    )
    return [
        f'{run.arm.name}: trained on {", ".join(run.train_set.methods)}; seed {run.seed}.',
        selected,
        f'Written by projects/cross_manipulation/run.py. By hand: {tool} {run.config}{count}{flags}',
    ]


def make_plan(options: ProtocolOptions) -> Plan:
    """Check what was asked for and lay out the runs; nothing is written.

    Args:
        options: What the user asks for.

    Returns:
        The plan.

    Raises:
        FileNotFoundError: A config or an index is missing.
        InputError: Something does not fit; the message says what.
    """
    _check_numbers(options)
    arms = _arms(options)
    train_sets = _train_sets(options, arms)
    columns = _columns(options, arms)
    for arm in arms:
        for train_set in train_sets:
            for loader in LOADERS[:2]:
                arm.facts[loader].check(train_set.methods, arm.name)
        arm.facts[LOADERS[2]].check([column.method for column in columns], arm.name)
    work_dir = options.work_dir or Path('work_dirs') / f'cross_{options.kind.replace("-", "_")}'
    runs = [
        _run(options, arm, train_set, seed, columns, work_dir)
        for seed in options.seeds
        for train_set in train_sets
        for arm in arms
    ]
    plan = Plan(options, work_dir, arms, train_sets, columns, runs)
    _check_work_dir(plan)
    return plan


def _check_numbers(options: ProtocolOptions) -> None:
    if not options.configs:
        raise InputError('no config is given')
    if not options.seeds or min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        raise InputError(f'seeds={list(options.seeds)}: give each seed once, from 0')
    if options.processes < 1:
        raise InputError(f'processes={options.processes}: at least one process trains a run')


def _arms(options: ProtocolOptions) -> list[Arm]:
    """Read the configs and their indices."""
    arms: list[Arm] = []
    for path in options.configs:
        cfg = load_config(path, dict(options.cfg_options))
        facts = {loader: loader_facts(cfg, loader) for loader in LOADERS}
        if wrong := [loader for loader in LOADERS[:2] if facts[loader].split == 'test']:
            raise InputError(
                f"{path}: {', '.join(wrong)} reads the split 'test', which is for the metrics alone; "
                'give it its own split'
            )
        hook: dict[str, Any] = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        if options.select == 'best' and (
            not isinstance(hook.get('save_best'), str) or hook['save_best'] == 'auto'
        ):
            raise InputError(
                f'{path}: default_hooks.checkpoint.save_best={hook.get("save_best")!r} does not name one '
                "metric to choose the checkpoint by; set it to 'forgery/video_auc' or select the last one"
            )
        arms.append(Arm(path.stem, path, cfg, facts))
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        raise InputError(
            f'configs {", ".join(map(str, options.configs))}: two have the same name, which names their '
            'section and folder; rename one'
        )
    first = arms[0].facts['test_dataloader']
    for arm in arms[1:]:
        if other := first.videos ^ arm.facts['test_dataloader'].videos:
            raise InputError(
                f'{arms[0].name} and {arm.name} read different test videos (e.g. {min(other)!r}), so their '
                'metrics cannot be compared; point both at the same prepared data'
            )
    return arms


def _train_sets(options: ProtocolOptions, arms: Sequence[Arm]) -> list[TrainSet]:
    """Make the rows of the matrix."""
    facts = arms[0].facts['train_dataloader']
    known = facts.all_methods
    if options.methods is not None:
        check_known(options.methods, known, '--methods')
        _check_once(options.methods, '--methods')
    methods = list(options.methods or facts.methods)
    if options.kind == 'leave-one-out':
        return leave_one_out(methods)
    if options.kind == 'one-vs-rest':
        return every_subset(methods, 1)
    if options.kind == 'num-seen':
        return every_subset(methods, options.num_seen)
    if not options.train_sets:
        raise InputError('no training set is given')
    return parse_train_sets(options.train_sets, known)


def _columns(options: ProtocolOptions, arms: Sequence[Arm]) -> list[Column]:
    """Make the columns of the matrix."""
    facts = arms[0].facts['test_dataloader']
    wanted = options.test_methods or options.methods or facts.methods
    where = '--test-methods' if options.test_methods else '--methods'
    check_known(wanted, facts.all_methods, where)
    _check_once(wanted, where)
    several = len(facts.datasets) > 1
    columns: list[Column] = []
    for method in wanted:
        datasets = [dataset for dataset, other in facts.fakes if other == method]
        columns += [Column(f'{name}/{method}' if several else method, method) for name in datasets]
        if not datasets:
            # Refused below, together with what the test split has.
            columns.append(Column(method, method))
    return columns


def _check_once(names: Sequence[str], where: str) -> None:
    if len(set(names)) < len(names):
        raise InputError(f'{where} {" ".join(names)}: name each manipulation once')


def _run(
    options: ProtocolOptions,
    arm: Arm,
    train_set: TrainSet,
    seed: int,
    columns: Sequence[Column],
    work_dir: Path,
) -> Run:
    place = Path(arm.name) / train_set.slug / f'seed_{seed}'
    directory = work_dir / 'runs' / place
    delta = run_delta(
        arm.cfg,
        train_methods=train_set.methods,
        test_methods=list(dict.fromkeys(column.method for column in columns)),
        seed=seed,
        work_dir=directory,
        select=options.select,
        keep_all=options.keep == 'all',
    )
    cfg = merged(arm.cfg, delta)
    settings = run_settings(
        cfg,
        {loader: arm.facts[loader].digest for loader in LOADERS},
        processes=options.processes,
        flags=list(options.flags),
    )
    # Not below runs/: MMEngine writes the whole config under the same name into the folder of a run.
    config = work_dir / 'configs' / arm.name / f'{train_set.slug}_seed_{seed}.py'
    return Run(arm, train_set, seed, config, delta, RunState(directory, settings))


def _check_work_dir(plan: Plan) -> None:
    """Refuse a folder that stands for something else."""
    folder = plan.work_dir
    if folder.exists() and not folder.is_dir():
        raise InputError(f'--work-dir {folder} is a file; name a folder')
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    stored = read_record(folder / PROTOCOL)
    if not stored:
        raise InputError(f'--work-dir {folder} holds other files; name a new or an empty folder')
    if plan.options.overwrite:
        return
    remedy = 'name another --work-dir, or give --overwrite to start anew what has changed'
    if lines := differences(stored, plan.decisive):
        raise InputError(f'--work-dir {folder} holds another protocol ({_some(lines)}); {remedy}')
    changed = [run for run in plan.runs if run.state.status() == 'changed']
    if changed:
        raise InputError(
            f'--work-dir {folder}: {len(changed)} of {len(plan.runs)} runs were made with other settings, '
            f'such as {changed[0].title} ({_some(changed[0].state.changes())}); {remedy}'
        )


def _some(lines: Sequence[str]) -> str:
    more = f'; and {len(lines) - MAX_NAMED} more' if len(lines) > MAX_NAMED else ''
    return '; '.join(lines[:MAX_NAMED]) + more
