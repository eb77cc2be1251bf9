"""A stand-in for Anthropic's Messages API and OpenAI's Responses API that plays a script instead of running
a model.
"""

from demo.model.script import Script, ScriptError
from demo.model.server import StandInModel

__all__ = ["Script", "ScriptError", "StandInModel"]
