"""Compiles the C++ kernels while the package is built or installed.

Where no compiler is found, or it fails, the installation goes on without them and says so: the
kernels written in PyTorch serve instead.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileKernels(BuildHookInterface):
    """Adds one shared library per instruction set to the wheel, or to the source tree of an
    editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        if self.target_name != "wheel":
            return
        script = Path(self.root, "gsp_unroll", "kernels", "compile.py")
        spec = importlib.util.spec_from_file_location("compile_kernels", script)
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            libraries = build.compile_libraries()
        except build.CannotCompile as reason:
            self.app.display_warning(f"gsp_unroll: no compiled kernels, {reason}")
            return
        # the libraries know nothing of Python: one wheel per platform serves every version
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{build.platform_tag()}"
        for path in libraries:
            build_data["force_include"][str(path)] = str(path.relative_to(self.root))
