# SPDX-License-Identifier: Apache-2.0
"""Registries of the package, nested under mmdet's of the same name, or MMEngine's where mmdet has none.

mmdet builds bare names such as ``DeltaXYWHBBoxCoder`` inside its heads. A bare name is looked up in the
current scope, then in its parents; nested under mmdet, the scope ``iid_mm`` finds such names. Each registry
lists the modules that fill it, so that a broken import is reported itself and not as "not in the registry".
"""

from __future__ import annotations

from mmdet import registry as _mmdet
from mmengine.registry import FUNCTIONS as _MMENGINE_FUNCTIONS
from mmengine.registry import Registry

SCOPE = 'iid_mm'


def _nest(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


# Data: modules, not the package, which imports none of them.
DATASETS = _nest(_mmdet.DATASETS, 'iid_mm.datasets.forgery_dataset')
DATA_SAMPLERS = _nest(
    _mmdet.DATA_SAMPLERS,
    'iid_mm.datasets.resumable_sampler',
    'iid_mm.datasets.balanced_sampler',
    'iid_mm.datasets.whole_batch_sampler',
)
TRANSFORMS = _nest(_mmdet.TRANSFORMS, 'iid_mm.datasets.transforms')
# MMEngine looks collate functions up in its own registry: configs name them with the scope.
FUNCTIONS = _nest(_MMENGINE_FUNCTIONS, 'iid_mm.datasets.transforms')

# Models
MODELS = _nest(_mmdet.MODELS, 'iid_mm.models')
MODEL_WRAPPERS = _nest(_mmdet.MODEL_WRAPPERS, 'iid_mm.models')
WEIGHT_INITIALIZERS = _nest(_mmdet.WEIGHT_INITIALIZERS, 'iid_mm.models')
TASK_UTILS = _nest(_mmdet.TASK_UTILS, 'iid_mm.models')

# Training
RUNNERS = _nest(_mmdet.RUNNERS, 'iid_mm.engine')
RUNNER_CONSTRUCTORS = _nest(_mmdet.RUNNER_CONSTRUCTORS, 'iid_mm.engine')
LOOPS = _nest(_mmdet.LOOPS, 'iid_mm.engine')
HOOKS = _nest(_mmdet.HOOKS, 'iid_mm.engine')
LOG_PROCESSORS = _nest(_mmdet.LOG_PROCESSORS, 'iid_mm.engine')
OPTIMIZERS = _nest(_mmdet.OPTIMIZERS, 'iid_mm.engine')
OPTIM_WRAPPERS = _nest(_mmdet.OPTIM_WRAPPERS, 'iid_mm.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _nest(_mmdet.OPTIM_WRAPPER_CONSTRUCTORS, 'iid_mm.engine')
PARAM_SCHEDULERS = _nest(_mmdet.PARAM_SCHEDULERS, 'iid_mm.engine')

# Evaluation and visualization
METRICS = _nest(_mmdet.METRICS, 'iid_mm.evaluation')
EVALUATOR = _nest(_mmdet.EVALUATOR, 'iid_mm.evaluation')
VISUALIZERS = _nest(_mmdet.VISUALIZERS, 'iid_mm.visualization')
VISBACKENDS = _nest(_mmdet.VISBACKENDS, 'iid_mm.visualization')
