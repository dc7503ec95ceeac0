"""What versions of torch can capture."""

import pytest
import torch

needs_capture = pytest.mark.skipif(
    torch.__version__ < "2.11", reason="torch.compile before 2.11 cannot capture the layers"
)
