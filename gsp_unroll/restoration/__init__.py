"""One call for a signal with gaps: which prior, how much of it, and how far to trust the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .choice import SURE, Candidate, Choice, Fixed, HoldOut
from .explain import Explanation
from .one_call import Restoration, restore
from .places import OnGlobe, place_graph
from .readings import Readings
from .trend import AboutPlane, PlaneGLR

if TYPE_CHECKING:
    from .imputer import GraphImputer

__all__ = [
    "AboutPlane",
    "Candidate",
    "Choice",
    "Explanation",
    "Fixed",
    "GraphImputer",
    "HoldOut",
    "OnGlobe",
    "PlaneGLR",
    "Readings",
    "Restoration",
    "SURE",
    "place_graph",
    "restore",
]


def __getattr__(name: str) -> Any:
    """`GraphImputer` derives from a class of scikit-learn, which is optional."""
    if name != "GraphImputer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .imputer import GraphImputer
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("sklearn"):
            raise
        raise ImportError(
            "Got no package scikit-learn. Expected it for GraphImputer. "
            "Install it with pip install 'gsp_unroll[sklearn]', or call restore."
        ) from None
    return GraphImputer
