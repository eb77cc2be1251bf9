"""The script's calls, written with Claude Code's tools, as calls of the tools that Codex offers.

What Codex offers depends on the model it believes to talk to: functions, custom tools with text as their
input, or a single tool that runs JavaScript, in which the others are functions.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.model.structured import STRUCTURED_OUTPUT

if TYPE_CHECKING:
    from demo.model.script import ToolCall

_SHELLS = ("exec_command", "shell_command", "shell")
_PATCH = "apply_patch"
_SCRIPT = "exec"
_YIELD_MS = 30_000
"""How long Codex waits for a command before the model hears that it is still running; the most it takes."""
_REPLACE = (
    "import pathlib, sys; path = pathlib.Path(sys.argv[1]); text = path.read_text(); "
    "sys.exit('not there exactly once') if text.count(sys.argv[2]) != 1 else "
    "path.write_text(text.replace(sys.argv[2], sys.argv[3]))"
)


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of one request."""

    shell: str | None = None
    """Name of the function that runs a command."""
    patch: bool = False
    """Patches are taken, by a tool of their own."""
    script: bool = False
    """A tool runs JavaScript, in which ``tools.exec_command`` and ``tools.apply_patch`` are."""
    structured: bool = False
    """The request asks for an answer after a schema."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Toolbox:
        """Read them from a request's body: from its tools, and from those that stand in its input."""
        names = set(_names(body.get("tools")))
        for item in body.get("input") or ():
            if isinstance(item, Mapping) and item.get("type") == "additional_tools":
                names |= set(_names(item.get("tools")))
        text = body.get("text")
        form = text.get("format") if isinstance(text, Mapping) else None
        return cls(
            shell=next((name for name in _SHELLS if ("function", name) in names), None),
            patch=("custom", _PATCH) in names,
            script=("custom", _SCRIPT) in names,
            structured=isinstance(form, Mapping) and form.get("type") == "json_schema",
        )

    def names(self) -> tuple[str, ...]:
        """Return which of Claude Code's tools can be translated."""
        usable = ("Bash", "Read", "Write", "Edit") if self.shell or self.script else ()
        return (*usable, STRUCTURED_OUTPUT) if self.structured else usable

    def item(self, call: ToolCall, call_id: str) -> dict[str, Any]:
        """Return ``call`` as an item of an answer.

        :param call: of one of :meth:`names`, other than ``StructuredOutput``.
        :param call_id: names the call in the next request.
        """
        patch = _patch(call) if self.patch or self.script else None
        command = _command(call)
        if self.script:
            source = (
                f'await tools.apply_patch({json.dumps(patch)});\ntext("Patched.");\n'
                if patch
                else f"const ran = await tools.exec_command({json.dumps(_arguments('exec_command', command))});\n"
                "text(ran.output);\n"
            )
            return _custom(call_id, _SCRIPT, source)
        if patch:
            return _custom(call_id, _PATCH, patch)
        name = self.shell or _SHELLS[0]
        return {
            "type": "function_call",
            "id": f"fc_{call_id}",
            "call_id": call_id,
            "name": name,
            "arguments": json.dumps(_arguments(name, command)),
            "status": "completed",
        }


def _names(tools: object) -> Iterator[tuple[str, str]]:
    """Yield type and name of each tool, those within namespaces included."""
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, Mapping):
            yield str(tool.get("type")), str(tool.get("name"))
            yield from _names(tool.get("tools"))


def _custom(call_id: str, name: str, text: str) -> dict[str, Any]:
    return {
        "type": "custom_tool_call",
        "id": f"ctc_{call_id}",
        "call_id": call_id,
        "name": name,
        "input": text,
        "status": "completed",
    }


def _arguments(function: str, command: str) -> dict[str, Any]:
    match function:
        case "exec_command":
            return {"cmd": command, "yield_time_ms": _YIELD_MS}
        case "shell":
            return {"command": ["bash", "-c", command]}
        case _:
            return {"command": command}


def _command(call: ToolCall) -> str:
    """Return a shell command that does what ``call`` does."""
    given = {name: str(value) for name, value in call.input.items()}
    path = shlex.quote(given.get("file_path", ""))
    match call.tool:
        case "Read":
            return f"cat -n {path}"
        case "Write":
            return f'mkdir -p "$(dirname {path})" && printf %s {shlex.quote(given["content"])} > {path}'
        case "Edit":
            return shlex.join(
                ["python3", "-c", _REPLACE, given["file_path"], given["old_string"], given["new_string"]]
            )
        case _:
            return given["command"]


def _patch(call: ToolCall) -> str | None:
    """Return a patch that does what ``call`` does, or ``None`` where whole lines do not do it."""
    given = {name: str(value) for name, value in call.input.items()}
    if call.tool == "Write" and given["content"].endswith("\n"):
        change = [f"*** Add File: {given['file_path']}", *_marked("+", given["content"])]
    elif (
        call.tool == "Edit" and given["old_string"].endswith("\n") and given["new_string"][-1:] in ("\n", "")
    ):
        change = [
            f"*** Update File: {given['file_path']}",
            "@@",
            *_marked("-", given["old_string"]),
            *_marked("+", given["new_string"]),
        ]
    else:
        return None
    return "\n".join(["*** Begin Patch", *change, "*** End Patch"])


def _marked(mark: str, text: str) -> list[str]:
    return [mark + line for line in text.split("\n")[:-1]]
