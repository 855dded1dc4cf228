# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters in a frozen backbone."""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from mmpretrain.models.peft import LoRAModel
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from iid_mm.errors import InputError
from iid_mm.models.pretrained import drop_unreachable_weights
from iid_mm.registry import MODELS
from iid_mm.utils.typing import ConfigType

CHECKSUM = 'base_checksum'


@MODELS.register_module()
class LoRABackbone(LoRAModel):
    """mmpretrain's LoRA wrapper, made safe to train and to load.

    Linear layers get low-rank adapters (Hu et al., arXiv 2106.09685); everything else in the backbone is
    frozen, including the running statistics of batch norms. Differences from
    :class:`mmpretrain.models.peft.LoRAModel`:

    * Every target must match a linear layer; the parent accepts one match among all targets.
    * Pretrained weights are read by ``init_weights``, as in other backbones, so that a checkpoint with all
      weights loads without them; weights at a URL that cannot be reached are left out, with a warning.
    * A checkpoint that holds only the adapters identifies their frozen weights by a checksum. Loading them
      onto other weights, which would silently give nonsense, is an error.

    Args:
        module: Config of the backbone.
        targets: Which layers get adapters: the ends of their names (``attn.qkv``) or regular expressions for
            the whole names, or dictionaries with either as ``layer`` and optionally ``rank``, ``alpha`` and
            ``drop_rate``. (The parent's key ``type`` would be taken for something that a config builds.)
        rank: Rank of the adapters.
        alpha: Their scale times the rank.
        drop_rate: Dropout on the adapters' input.
        store_base: Whether checkpoints also hold the frozen weights. Without them they are small, and the
            pretrained file is needed wherever they are loaded.

    Raises:
        InputError: If a target is missing, is no regular expression, matches no linear layer or has unknown
            settings, or a rank is below 1, or if the frozen weights are neither pretrained nor stored.
    """

    def __init__(
        self,
        module: ConfigType,
        targets: Sequence[str | ConfigType],
        rank: int = 8,
        alpha: int = 16,
        drop_rate: float = 0.0,
        store_base: bool = True,
    ) -> None:
        # Not the parent's constructor, which initializes or downloads the frozen weights at once.
        super(LoRAModel, self).__init__()
        self.targets = _targets(targets, rank)
        self.module_cfg = copy.deepcopy(module)
        self.module = MODELS.build(module)
        if not store_base and not self.module.init_cfg:
            raise InputError(
                'store_base=False needs module.init_cfg with pretrained weights: nothing else would bring '
                'the frozen weights back; give it, or set store_base=True'
            )
        self.module.init_cfg = None
        _check_targets(self.module, self.targets)
        self.rank, self.alpha, self.drop_rate = rank, alpha, drop_rate
        self.store_base = store_base
        self.apply_lora()
        self._set_lora_trainable()
        self.register_buffer(CHECKSUM, torch.zeros((), dtype=torch.int64))
        self._register_state_dict_hooks()

    def train(self, mode: bool = True) -> LoRABackbone:
        """Switch between training and evaluation; frozen batch norms keep their statistics."""
        super().train(mode)
        for module in self.module.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter in the wrapped backbone.

        Args:
            param_name: Name of the parameter.
            prefix: Prefix of its name, before the name within this module.

        Returns:
            The depth and the number of depths.
        """
        depth, number = self.module.get_layer_depth(param_name, f'{prefix}module.')
        return int(depth), int(number)

    @property
    def has_unstored_weights(self) -> bool:
        """Whether there are weights that no checkpoint holds."""
        return not self.store_base

    def init_weights(self) -> None:
        """Initialize or read the frozen weights, once.

        Raises:
            InputError: If pretrained weights cannot be reached and checkpoints would not hold others.
        """
        if self.is_init:
            return
        plain = MODELS.build(copy.deepcopy(self.module_cfg))
        if (lost := drop_unreachable_weights(plain)) and not self.store_base:
            raise InputError(
                f'store_base=False needs the pretrained weights of {lost[0]}, which cannot be reached; '
                'download the file and pass its path as module.init_cfg.checkpoint, or set store_base=True'
            )
        plain.init_weights()
        weights = plain.state_dict()
        own = self.module.state_dict()
        self.module.load_state_dict(
            {key: weights.get(key.replace('.original_layer.', '.'), value) for key, value in own.items()}
        )
        getattr(self, CHECKSUM).fill_(self._checksum())
        self._is_init = True

    def _checksum(self) -> int:
        """CRC-32 of all frozen weights."""
        checksum = 0
        for name, weight in sorted(self.module.state_dict().items()):
            if '.lora_' not in name:
                checksum = zlib.crc32(weight.detach().cpu().contiguous().numpy().tobytes(), checksum)
        return checksum

    def _register_state_dict_hooks(self) -> None:
        """Replace the parent's hooks, which also drop weights of other modules."""
        if self.store_base:
            return
        self._register_state_dict_hook(_drop_frozen)
        self.register_load_state_dict_pre_hook(_check_frozen)
        self.register_load_state_dict_post_hook(_forgive_frozen)


def _targets(given: Sequence[str | ConfigType], rank: int) -> list[dict[str, Any]]:
    """Convert targets into the parent's form, in which ``type`` names the layers."""
    if isinstance(given, str) or not given:
        raise InputError(f"targets={given!r}: list the layers that get adapters, e.g. ['attn.qkv']")
    targets = []
    for number, target in enumerate(given):
        settings: dict[str, Any] = {'layer': target} if isinstance(target, str) else dict(target)
        if not isinstance(settings.get('layer'), str):
            raise InputError(f"targets[{number}]={target!r} has no 'layer', the name of the layers")
        if unknown := sorted(set(settings) - {'layer', 'rank', 'alpha', 'drop_rate'}):
            raise InputError(
                f'targets[{number}] has unknown settings {", ".join(unknown)}; besides layer there are rank, '
                'alpha and drop_rate'
            )
        try:
            re.compile(settings['layer'])
        except re.error as error:
            raise InputError(
                f'targets[{number}]={settings["layer"]!r} is no regular expression: {error}; give the end of '
                "the layers' names, e.g. 'attn.qkv', or one such as r'.*qkv'"
            ) from error
        if (value := settings.get('rank', rank)) < 1:
            raise InputError(f'rank={value!r} of target {settings["layer"]!r}: must be at least 1')
        targets.append({'type': settings.pop('layer'), **settings})
    return targets


def _check_targets(backbone: nn.Module, targets: Sequence[dict[str, Any]]) -> None:
    linear = [name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    for target in targets:
        wanted = target['type']
        if not any(re.fullmatch(wanted, name) or name.endswith(wanted) for name in linear):
            there = f'it has none, {type(backbone).__name__} is not made of linear layers'
            if linear:
                ends = ', '.join(sorted({name.rpartition('.')[2] for name in linear}))
                there = f'their names end in {ends}, for instance {linear[0]!r}'
            raise InputError(f'targets: {wanted!r} names no linear layer of the backbone; {there}')


def _drop_frozen(module: LoRABackbone, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    for key in list(state_dict):
        if key.startswith(f'{prefix}module.') and '.lora_' not in key:
            del state_dict[key]


def _check_frozen(module: LoRABackbone, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Refuse adapters of other frozen weights."""
    if not module.is_init:
        module.init_weights()
    stored, own = state_dict.get(prefix + CHECKSUM), getattr(module, CHECKSUM)
    if stored is not None and int(stored) != int(own):
        raise InputError(
            f'the checkpoint holds adapters for other frozen weights (checksum {int(stored):08x}) than this '
            f'model has ({int(own):08x}); point module.init_cfg.checkpoint of the LoRABackbone to the '
            'pretrained file that it was trained with'
        )


def _forgive_frozen(module: LoRABackbone, incompatible_keys: Any) -> None:
    keys = incompatible_keys.missing_keys
    keys[:] = [key for key in keys if '.module.' not in f'.{key}' or '.lora_' in key]
