"""One call for a signal with gaps: which prior, how much of it, and how far to trust the result."""

from .choice import SURE, Candidate, Choice, Fixed, HoldOut
from .explain import Explanation
from .places import OnGlobe, place_graph
from .readings import Readings
from .restore import Restoration, restore

__all__ = [
    "Candidate",
    "Choice",
    "Explanation",
    "Fixed",
    "HoldOut",
    "OnGlobe",
    "Readings",
    "Restoration",
    "SURE",
    "place_graph",
    "restore",
]
