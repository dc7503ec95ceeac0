"""Inside PyTorch Geometric: transforms of its `Data`, and our solvers called as its layers are."""

from .learn_graph import LearnGraph
from .restore_features import RestoreFeatures
from .restore_signal import RestoreSignal

__all__ = ["LearnGraph", "RestoreFeatures", "RestoreSignal"]
