# SPDX-License-Identifier: Apache-2.0
"""Images and plots: the visualizer, plots of scores, grids of samples."""

from iid_mm.visualization.drawing import draw_boxes, fit_image
from iid_mm.visualization.forgery_visualizer import ForgeryVisualizer
from iid_mm.visualization.image_grid import add_caption, image_grid
from iid_mm.visualization.sample_grids import dataset_grid, localization_grid, prediction_grid
from iid_mm.visualization.score_plots import plot_roc, plot_score_histograms, score_plots

__all__ = [
    'ForgeryVisualizer',
    'add_caption',
    'dataset_grid',
    'draw_boxes',
    'fit_image',
    'image_grid',
    'localization_grid',
    'plot_roc',
    'plot_score_histograms',
    'prediction_grid',
    'score_plots',
]
