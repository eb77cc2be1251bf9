"""``agent-runner run | gateway | gateway-ready | check-image | sweep-cache``: the programs of the agent image."""

from __future__ import annotations

import sys

USAGE = "usage: agent-runner run | gateway | gateway-ready | check-image [OPTION…] | sweep-cache [OPTION…]"


def main(arguments: list[str] | None = None) -> int:
    """Run one of the programs and return its exit code; 64 for a wrong command line."""
    match sys.argv[1:] if arguments is None else arguments:
        case ["run"]:
            from agent_runner.run import main as run

            return run()
        case ["gateway"]:
            from agent_runner.gateway.server import main as gateway

            return gateway()
        case ["gateway-ready"]:
            from agent_runner.gateway.ready import main as ready

            return ready()
        case ["check-image", *options]:
            from agent_runner.check_image import main as check_image

            return check_image(options)
        case ["sweep-cache", *options]:
            from agent_runner.cache_sweep import main as sweep

            return sweep(options)
        case _:
            print(USAGE, file=sys.stderr)  # noqa: T201 - a command line
            return 64


if __name__ == "__main__":
    sys.exit(main())
