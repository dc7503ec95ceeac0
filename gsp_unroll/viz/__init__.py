"""Pictures of graphs, iterations, trainings and results, and what they tell: on matplotlib (extra
`demo`). Every function draws on axes that it is given and returns them."""

from .clouds import draw_clouds
from .diagnosis import Diagnosis, Finding, diagnose
from .graphs import draw_graph, draw_map
from .iterations import draw_iterations, objectives, residuals
from .layer_run import LayerRun
from .panels import draw_panels
from .response import SpectralResponse, draw_response, spectral_response
from .training import draw_parameters, draw_training

__all__ = [
    "Diagnosis",
    "Finding",
    "LayerRun",
    "SpectralResponse",
    "diagnose",
    "draw_clouds",
    "draw_graph",
    "draw_iterations",
    "draw_map",
    "draw_panels",
    "draw_parameters",
    "draw_response",
    "draw_training",
    "objectives",
    "residuals",
    "spectral_response",
]
