"""The helpers of the operators' tests serve here, too."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[1] / "operators"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
