"""``python -m airflow_provider_agents.local``: start the runtime and keep it running until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from airflow_provider_agents.local.images import parse_images
from airflow_provider_agents.local.objects import write_atomically
from airflow_provider_agents.local.runtime import AlreadyRunningError, LocalKubernetes
from airflow_provider_agents.local.sandbox import SandboxUnavailableError


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; exits with code 2 if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_agents.local",
        description="Serve the Kubernetes API for pods on a loopback port, and run pods as local processes.",
    )
    add = parser.add_argument
    add(
        "--data", type=Path, required=True, metavar="DIR",
        help="folder of objects, volumes and logs; DIR/kubeconfig is for clients, DIR/token is what they send",
    )  # fmt: skip
    add(
        "--ready-file", type=Path, metavar="FILE",
        help='gets {"url": …, "kubeconfig": …} as soon as the API answers',
    )  # fmt: skip
    add("--port", type=int, default=0, help="0 (default) takes a free one")
    add(
        "--image", action="append", default=[], metavar="IMAGE=COMMAND",
        help="what a container of this image runs if it names no command; IMAGE may be *",
    )  # fmt: skip
    add(
        "--image-path", action="append", default=[], metavar="IMAGE=DIR[:DIR]",
        help="folders that go before the PATH of containers of this image",
    )  # fmt: skip
    add("--sandbox", choices=("none", "bubblewrap"), default="none")
    add(
        "--sandbox-read", action="append", default=[], type=Path, metavar="DIR",
        help="folder that containers under bubblewrap may read besides the system's and the images'",
    )  # fmt: skip
    add(
        "--sandbox-hide", action="append", default=[], type=Path, metavar="DIR",
        help="folder that containers under bubblewrap may not see, besides --data and the home folder",
    )  # fmt: skip
    add("--pod-security", choices=("restricted", "none"), default="restricted")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT, then end all pods."""
    runtime = LocalKubernetes(
        options.data,
        parse_images(options.image, options.image_path),
        port=options.port,
        sandbox=options.sandbox,
        pod_security=options.pod_security,
        readable=options.sandbox_read,
        hidden=options.sandbox_hide,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with runtime:
        if options.ready_file:
            ready = {"url": runtime.url, "kubeconfig": str(runtime.kubeconfig_file)}
            write_atomically(options.ready_file, json.dumps(ready))
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    """Start the runtime; return its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(parse(arguments)))
    except (AlreadyRunningError, SandboxUnavailableError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
