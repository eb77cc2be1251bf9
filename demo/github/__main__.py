"""``python -m demo.github``: run the stand-in until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
from pathlib import Path

from demo.github.app_tokens import AppRegistration
from demo.github.server import DEFAULT_LOGIN, HOST, StandInGitHub


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.github", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of its own, emptied at the start unless --keep is given",
    )
    parser.add_argument("--ready-file", type=Path, required=True, help="where to write the address as JSON")
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument(
        "--url", default="", help="root address as others reach it (default: that of the host and the port)"
    )
    parser.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="[LOGIN=]TOKEN",
        help=f"token and whose it is (default: {DEFAULT_LOGIN}); may be repeated. Without any, a random one"
        " is made and written to the ready file.",
    )
    parser.add_argument("--mergeability-delay", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--check-timeout", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write every change to the folder before it is answered, and go on from what is there",
    )
    app = parser.add_argument_group("GitHub App", "registered and installed on all repositories")
    app.add_argument("--app-id", help="by default there is no App")
    app.add_argument("--app-key", type=Path, metavar="PEM", help="the App's public key")
    app.add_argument("--app-installation-id", type=int, default=1)
    app.add_argument("--app-token-seconds", type=float, default=3600.0, help="how long its tokens live")
    given = parser.parse_args(arguments)
    if bool(given.app_id) != bool(given.app_key):
        parser.error("--app-id and --app-key go together")
    return given


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = StandInGitHub(
        arguments.data,
        host=arguments.host,
        port=arguments.port,
        url=arguments.url,
        mergeability_delay=arguments.mergeability_delay,
        check_timeout=arguments.check_timeout,
        keep=arguments.keep,
        on_crash=lambda: os.kill(os.getpid(), signal.SIGKILL),
    )
    for given in arguments.token:
        login, separator, token = given.rpartition("=")
        server.add_token(login if separator else DEFAULT_LOGIN, token)
    if arguments.app_id:
        server.add_app(
            AppRegistration(
                app_id=arguments.app_id,
                public_key=arguments.app_key.read_text(),
                installation_id=arguments.app_installation_id,
                token_seconds=arguments.app_token_seconds,
            )
        )
    made = {} if arguments.token else {"token": server.add_token()}
    async with server:
        announce(arguments.ready_file, {"url": server.url, **made})
        await stop.wait()


def announce(path: Path, facts: dict[str, str]) -> None:
    """Write ``facts`` at once as a whole, readable by the owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(facts) + "\n")
    partial.replace(path)


def main() -> None:
    """Run the stand-in."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(parse_arguments()))


if __name__ == "__main__":
    main()
