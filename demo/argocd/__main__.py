"""``python -m demo.argocd``: run the stand-in until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
from pathlib import Path

from demo.argocd.server import HOST, StandInArgoCd


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.argocd", description=__doc__)
    parser.add_argument(
        "--ready-file", type=Path, required=True, help="where to write address and token as JSON"
    )
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--token", default="", help="of the account airflow; default: a random one")
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="serve https; goes with --key")
    parser.add_argument("--key", type=Path, metavar="PEM")
    given = parser.parse_args(arguments)
    if bool(given.certificate) != bool(given.key):
        parser.error("--certificate and --key go together")
    return given


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tls = None
    if arguments.certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    server = StandInArgoCd(host=arguments.host, port=arguments.port, tls=tls)
    token = server.add_token(token=arguments.token or None)
    async with server:
        _announce(arguments.ready_file, {"url": server.url, "token": token})
        await stop.wait()


def _announce(path: Path, facts: dict[str, str]) -> None:
    """Write ``facts`` at once as a whole, readable by the owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(facts) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    asyncio.run(serve(parse_arguments()))
