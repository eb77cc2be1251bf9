"""How many histories are played: ``LANDING_HISTORIES``, by default as many as every ``make contract`` has time for.

The default ones are the same each time; other numbers draw other histories each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_QUICK = 150
_ASKED = int(os.environ.get("LANDING_HISTORIES", "0"))
SECONDS = 120 + _ASKED
"""Bound of one test: histories that fail are made smaller, which takes its time too."""
_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def profile(share: float = 1.0) -> settings:
    """Return the settings of a property.

    :param share: part of the histories that it is given.
    """
    return settings(
        deadline=None,
        derandomize=not _ASKED,
        database=None,
        print_blob=bool(_ASKED),
        max_examples=max(int((_ASKED or _QUICK) * share), 1),
        suppress_health_check=_QUIET,
        # Not `explain`: it traces every line, which takes four times as long.
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
