"""Series of many places: windows, clocks, gaps, and a network that fills them or looks ahead."""

from .clock import DailyMean, clock_features
from .correlation import correlation_points
from .forecast import LinearForecast
from .gaps import block_gaps, collinear_runs, scattered_gaps
from .network import SeriesNetwork
from .warm import moved_on
from .windows import Standardization, chronological_split, sliding_windows

__all__ = [
    "DailyMean",
    "LinearForecast",
    "SeriesNetwork",
    "Standardization",
    "block_gaps",
    "chronological_split",
    "clock_features",
    "collinear_runs",
    "correlation_points",
    "moved_on",
    "scattered_gaps",
    "sliding_windows",
]
