"""One container of a pod in the checkout benchmark: the gateway, or a runner that makes one checkout.

``python checkout_runner.py gateway SECONDS | checkout``
"""

from __future__ import annotations

import os
import sys


def gateway(history_delay: float) -> int:
    """Serve as a pod's gateway does; ``history_delay``: seconds until it fetches the whole history."""
    from agent_runner.gateway import mirror, server

    mirror.HISTORY_DELAY_SECONDS = history_delay
    return server.main()


def checkout() -> int:
    """Say that all is imported, wait for the word, and make the checkout."""
    from agent_runner.checkout import prepare
    from agent_runner.contract import StepSpec
    from agent_runner.deadline import Deadline
    from agent_runner.environment import Environment
    from agent_runner.gateway_address import GatewayAddress
    from agent_runner.git import Git
    from agent_runner.process import Supervision
    from agent_runner.reaper import Reaper
    from agent_runner.stop import StopRequest

    environment = Environment.read(os.environ)
    stop = StopRequest()
    supervision = Supervision(stop, Reaper(), Deadline.after(100))
    address = GatewayAddress(environment.gateway_url_file, stop)
    address.wait(supervision.deadline)
    spec = StepSpec.from_json(environment.spec_file.read_text())
    git = Git(environment, supervision, address, spec.repository)
    print("ready", flush=True)
    sys.stdin.readline()
    prepare(git, spec)
    return 0


if __name__ == "__main__":
    sys.exit(gateway(float(sys.argv[2])) if sys.argv[1] == "gateway" else checkout())
