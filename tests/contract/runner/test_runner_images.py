"""The real Claude Code program opens an image that the runner saved beside the checkout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pod as stand_ins
import pytest
from test_runner_claude import PROGRAM, Model, ModelHandler, text, tool

sys.path.insert(0, str(Path(__file__).parents[1]))

from attachments_world import png

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Claude Code is not installed")


class ImageHandler(ModelHandler):
    """Also has the one image of the ticket."""

    def do_GET(self) -> None:  # noqa: N802
        if self.path == f"/{stand_ins.NONCE}/attachments/1":
            self._send(200, "image/png", png(40, 30))
        else:
            super().do_GET()


class ImageModel(Model):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.RequestHandlerClass = ImageHandler


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[stand_ins.Pod]:
    made = stand_ins.make_pod(tmp_path / "pod", stand_ins.make_forge(tmp_path / "template"), ImageModel)
    made.variables["AGENT_CLAUDE_PROGRAM"] = str(PROGRAM)
    yield made
    made.git_server.shutdown()
    made.git_server.server_close()


@pytest.mark.parametrize("step", ["plan", "implement"])
def test_agent_opens_an_image_of_the_ticket(pod: stand_ins.Pod, step: str) -> None:
    model = pod.git_server
    assert isinstance(model, ImageModel)
    path = pod.root / "workspace" / "attachments" / "attachment-1-login-1a2b3c4d.png"
    model.turns.extend([tool("Read", file_path=str(path)), text("It is blue.")])
    ran = pod.run(pod.spec(step, images=("login-1a2b3c4d",)))
    assert ran.result.summary == "It is blue.", ran.log
    first, second = (json.dumps(model.asked[n]["messages"]) for n in (0, 1))
    assert str(path) in first
    assert '"type": "image"' not in first
    assert '"type": "image"' in second
    assert '"media_type": "image/' in second
