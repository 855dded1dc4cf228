# SPDX-License-Identifier: Apache-2.0
"""Generator of a small synthetic set in the native layout of FaceForensics++."""

from iid_mm.toy.clip import Clip, Factors, Forgery, RenderedClip
from iid_mm.toy.config import FakePlan, ToyConfig, draw_splits, plan_fakes, plan_genuine
from iid_mm.toy.factors import Camera, Expression, Light, Pose, draw_expressions, draw_poses
from iid_mm.toy.generate import generate_toy_set, make_clip, make_fake
from iid_mm.toy.identity import Identity
from iid_mm.toy.manipulations import METHODS, manipulate
from iid_mm.toy.render import render_frame
from iid_mm.toy.scene import Background

__all__ = [
    'METHODS',
    'Background',
    'Camera',
    'Clip',
    'Expression',
    'Factors',
    'FakePlan',
    'Forgery',
    'Identity',
    'Light',
    'Pose',
    'RenderedClip',
    'ToyConfig',
    'draw_expressions',
    'draw_poses',
    'draw_splits',
    'generate_toy_set',
    'make_clip',
    'make_fake',
    'manipulate',
    'plan_fakes',
    'plan_genuine',
    'render_frame',
]
