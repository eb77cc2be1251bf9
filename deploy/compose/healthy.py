"""Health check of one of Airflow's components, asked at the api-server: exit code 0 exactly if it is healthy.

``airflow jobs check`` says the same, but starts a whole Airflow each time.
"""

from __future__ import annotations

import json
import sys
import urllib.request

TIMEOUT_SECONDS = 5.0


def main(component: str, url: str) -> int:
    """Ask, and return the exit code.

    :param component: ``metadatabase``, ``scheduler``, ``triggerer`` or ``dag_processor``.
    :param url: root address of the api-server.
    """
    # The services talk to each other directly, whatever proxy the machine has.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/api/v2/monitor/health", timeout=TIMEOUT_SECONDS) as answer:
            state = (json.load(answer).get(component) or {}).get("status")
    except (OSError, ValueError) as error:
        sys.stdout.write(f"the api-server does not answer: {error}\n")
        return 1
    sys.stdout.write(f"{component}: {state}\n")
    return 0 if state == "healthy" else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: healthy.py COMPONENT URL")
    sys.exit(main(*sys.argv[1:]))
