"""``python -m demo.model``: the stand-in model as a program."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from demo.model.script import Script, ScriptError
from demo.model.server import HOST, StandInModel
from demo.scenario import SCRIPT


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.model",
        description="Play a script as Anthropic's Messages API and OpenAI's Responses API.",
    )
    parser.add_argument(
        "--ready-file", type=Path, required=True, help='gets {"url": …} as JSON once the server listens'
    )
    parser.add_argument("--host", default=HOST, help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="TCP port (default: a free one)")
    parser.add_argument(
        "--script",
        type=Path,
        action="append",
        help="YAML or JSON (default: the sample's script); of several the scenes of the first are tried first",
    )
    parser.add_argument(
        "--api-key", help="key that Anthropic requests must bear (default: none is asked for)"
    )
    parser.add_argument(
        "--openai-api-key", help="key that OpenAI requests must bear (default: none is asked for)"
    )
    options = parser.parse_args(arguments)
    try:
        script = Script.load(*(options.script or [SCRIPT]))
        model = StandInModel(
            script,
            api_key=options.api_key,
            openai_api_key=options.openai_api_key,
            host=options.host,
            port=options.port,
        )
        asyncio.run(_serve(model, options.ready_file))
    except (ScriptError, OSError) as error:
        print(f"stand-in model: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(model: StandInModel, ready_file: Path) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with model:
        _write_atomically(ready_file, json.dumps({"url": model.url}))
        await stopped.wait()


def _write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees all of it or no file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
