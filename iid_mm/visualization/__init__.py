# SPDX-License-Identifier: Apache-2.0
"""Pictures: the visualizer, plots of scores, grids of samples."""

from iid_mm.visualization.dataset_grid import dataset_grid, evenly_chosen
from iid_mm.visualization.drawing import add_caption, draw_boxes, fit_image, image_grid
from iid_mm.visualization.forgery_visualizer import ForgeryVisualizer
from iid_mm.visualization.plots import plot_roc, plot_score_histograms
from iid_mm.visualization.prediction_grid import prediction_grid
from iid_mm.visualization.score_pictures import score_pictures

__all__ = [
    'ForgeryVisualizer',
    'add_caption',
    'dataset_grid',
    'draw_boxes',
    'evenly_chosen',
    'fit_image',
    'image_grid',
    'plot_roc',
    'plot_score_histograms',
    'prediction_grid',
    'score_pictures',
]
