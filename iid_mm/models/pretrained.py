# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights at addresses that may not be reachable."""

from __future__ import annotations

import logging
from http.client import HTTPException
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log
from torch import nn

from iid_mm.utils.checkpoint import WEB, fetch_checkpoint

WARNING = (
    'PRETRAINED WEIGHTS NOT LOADED: {url} cannot be reached ({reason}). {module} STARTS FROM RANDOM '
    'WEIGHTS, and its results will not match the published ones. Download the file and pass its path as '
    'init_cfg.checkpoint, or set init_cfg=None to silence this warning.'
)


def drop_unreachable_weights(model: nn.Module) -> list[str]:
    """Remove pretrained initializations whose URL cannot be reached, and warn.

    In distributed training only the main process tries, and all processes use its result.

    Args:
        model: A model; entries of type 'Pretrained' with such an http(s) URL are removed from its modules'
            ``init_cfg`` in place.

    Returns:
        The URLs that could not be reached.
    """
    failed: dict[str, str | None] = {}
    for module in model.modules():
        init_cfg = getattr(module, 'init_cfg', None)
        entries = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
        kept = []
        for entry in entries:
            url = _url_of(entry)
            if url is not None and url not in failed:
                failed[url] = _try_fetch(url)
            if url is None or failed[url] is None:
                kept.append(entry)
                continue
            text = WARNING.format(url=url, reason=failed[url], module=type(module).__name__)
            print_log(text, logger='current', level=logging.WARNING)
        if len(kept) < len(entries):
            module.init_cfg = kept or None  # type: ignore[assignment]
    return [url for url, reason in failed.items() if reason is not None]


def _url_of(entry: dict[str, Any]) -> str | None:
    checkpoint = entry.get('checkpoint')
    is_url = isinstance(checkpoint, str) and checkpoint.startswith(WEB)
    return checkpoint if entry.get('type') == 'Pretrained' and is_url else None


def _try_fetch(url: str) -> str | None:
    """Download the file to the local cache; return None or the reason why that failed."""
    reason: list[str | None] = [None]
    if is_main_process():
        try:
            fetch_checkpoint(url)
        except (OSError, HTTPException) as error:
            reason = [str(error)]
    broadcast_object_list(reason)
    return reason[0]
