"""The prompt cache between conversations: what several of them begin with, such as the text of a rule.

Within a conversation the cache follows from the request itself (:mod:`demo.model.usage`); here is the only thing that
the stand-in remembers, so that a bill shows whether a prompt was laid out to be cached.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.model.usage import Usage

LIFETIME_SECONDS = 300.0
MOST_ENTRIES = 1_000
_LEAST_TOKENS = 1_024
_LEAST_TOKENS_OF = (("opus", 4_096), ("haiku", 4_096))
"""By a word of the model's name: tokens below which nothing is cached."""


class PromptCache:
    """Beginnings of prompts that were sent lately, by model.

    :param clock: tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def used(self, body: Mapping[str, Any], usage: Usage) -> Usage:
        """Return the usage of a request, of which so far everything that is marked counts as written.

        Below the model's least size nothing is cached; what was sent within the last minutes is read.
        """
        marked = usage.cache_creation
        model = str(body.get("model"))
        if not marked or usage.cache_read:
            return usage
        least = next((tokens for word, tokens in _LEAST_TOKENS_OF if word in model.lower()), _LEAST_TOKENS)
        if marked < least:
            return replace(usage, input=usage.input + marked, cache_creation=0)
        key, now = (model, _beginning(body)), self._clock()
        fresh = self._known.pop(key, float("-inf")) >= now
        self._known[key] = now + LIFETIME_SECONDS
        while len(self._known) > MOST_ENTRIES:
            self._known.popitem(last=False)
        return replace(usage, cache_creation=0, cache_read=marked) if fresh else usage


def _beginning(body: Mapping[str, Any]) -> str:
    """Return a digest of everything up to the last mark, and of the form of the answer, which is part of it."""
    blocks: list[Any] = list(body.get("tools") or ())
    contents = [body.get("system"), *(message.get("content") for message in body.get("messages") or ())]
    for content in contents:
        blocks += content if isinstance(content, list) else [content]
    last = max(
        (at for at, block in enumerate(blocks) if isinstance(block, Mapping) and block.get("cache_control")),
        default=-1,
    )
    text = json.dumps([body.get("output_config"), blocks[: last + 1]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
