"""``git push`` through the gateway: read, judge, note, forward, note what the forge said."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from agent_runner.contract import Push
from agent_runner.gateway.forge import ForgeError, answer_headers
from agent_runner.gateway.held_answer import HeldAnswer
from agent_runner.gateway.own_url import git_root
from agent_runner.gateway.push_policy import Verdict, judge, protected_paths_verdict, refusal_text
from agent_runner.gateway.push_report import RESULT_TYPE, PushReportReader, acceptance, refusal
from agent_runner.gateway.push_request import PushRequest, PushRequestError, PushRequestReader, printable
from agent_runner.gateway.quarantine import Quarantine, QuarantineError
from agent_runner.gateway.relay import AnswerBrokenError, RequestBody, relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.forge import Forge
    from agent_runner.gateway.journal import Journal
    from agent_runner.gateway.push_request import Command

log = logging.getLogger(__name__)

_PUSH_TYPE = "application/x-git-receive-pack-request"
_SECTION_SECONDS = 60.0


class PushBody(Protocol):
    """The body of a push on its way to the forge: as the client sends it, or from disk."""

    @property
    def complete(self) -> bool:
        """Whether all of it was read."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def drain(self) -> bool:
        """Read the rest of the client's request away; return whether its end was reached."""


class PushProxy:
    """Lets a push pass where the policy allows it, one at a time.

    Every push is in the journal before it is sent. Where the forge's answer to it is lost, or this process
    was killed before it came, the forge is asked later where the branch is.

    Where there are protected paths, a push is written to disk first and looked at; else it streams.

    :param scratch: folder of the gateway's own.
    """

    def __init__(self, config: GatewayConfig, forge: Forge, journal: Journal, *, scratch: Path) -> None:
        self._quarantine = (
            Quarantine(scratch / "quarantine", config.protected_paths)
            if config.push and config.protected_paths
            else None
        )
        self._config = config
        self._forge = forge
        self._journal = journal
        self._lock = asyncio.Lock()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST …/git-receive-pack``."""
        if request.content_type != _PUSH_TYPE:
            return web.Response(status=415, text=f"agent gateway: Content-Type {_PUSH_TYPE} is needed\n")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return web.Response(status=415, text="agent gateway: a compressed push is not read here\n")
        reader = PushRequestReader()
        try:
            async with asyncio.timeout(_SECTION_SECONDS):
                wanted = await _read(request, reader)
        except (PushRequestError, TimeoutError) as error:
            reason = str(error) or "the list of refs did not come in time"
            self._journal.refusal(f"push: {reason}")
            log.warning("push refused: %s", printable(reason))
            return await self._plain(request, reader.raw, 403, reason)
        if wanted is None:
            # The lone flush that git sends to try its credentials ahead of a chunked push.
            return web.Response(body=b"", content_type=RESULT_TYPE, headers={"Cache-Control": "no-cache"})
        if not wanted.reports_status:
            self._journal.refusal("push: without report-status")
            return await self._plain(
                request,
                wanted.raw,
                403,
                "a push must ask for report-status, else git could not say if it failed",
            )
        async with self._lock:
            return await self._judged(request, wanted)

    async def settle(self) -> None:
        """Find out the fate of pushes whose answer was lost, by asking where the branch is."""
        async with self._lock:
            await self._settle()

    async def _judged(self, request: web.Request, wanted: PushRequest) -> web.StreamResponse:
        body = RequestBody(request, wanted.raw)
        if any(command.old == sent.new for command in wanted.commands for sent in self._journal.unsettled):
            await self._settle()
        verdict = judge(wanted, self._config, self._journal.own_commits)
        if verdict is not None:
            note = refusal_text(wanted, verdict)
            self._journal.refusal(note)
            log.warning("refused: %s", note)
            return await self._refuse(wanted, body, verdict.reasons, verdict.advice)
        (command,) = wanted.commands
        if self._quarantine is None:
            return await self._send(request, wanted, command, body, None)
        return await self._examined(self._quarantine, request, wanted, command, body)

    async def _examined(
        self,
        quarantine: Quarantine,
        request: web.Request,
        wanted: PushRequest,
        command: Command,
        body: RequestBody,
    ) -> web.StreamResponse:
        url = f"{git_root(request)}/{self._config.repository}.git"
        waiting: HeldAnswer | None = None
        try:
            async with AsyncExitStack() as stack:
                held = await stack.enter_async_context(
                    quarantine.hold(body, wanted.pack_offset, request.content_length)
                )
                waiting = await stack.enter_async_context(HeldAnswer(request, side_band=wanted.side_band))
                found = await quarantine.examine(held, command, url)
                if not found:
                    return await self._send(request, wanted, command, held, waiting)
        except QuarantineError as fault:
            verdict = Verdict((fault.reason,), fault.advice)
            note = f"{refusal_text(wanted, verdict)}: {fault.advice}"
        else:
            verdict = protected_paths_verdict(found)
            note = f"protected_paths: {refusal_text(wanted, verdict)}"
        self._journal.refusal(note)
        log.warning("refused: %s", note)
        return await self._refuse(wanted, body, verdict.reasons, verdict.advice, waiting)

    async def _send(
        self,
        request: web.Request,
        wanted: PushRequest,
        command: Command,
        body: PushBody,
        waiting: HeldAnswer | None,
    ) -> web.StreamResponse:
        push = Push(ref=command.ref, old=command.old, new=command.new)
        self._journal.push_sent(push)
        if self._journal.fault:
            return await self._refuse(
                wanted, body, ["the gateway cannot write its ledger"], self._journal.fault, waiting
            )
        try:
            answer = await self._forge.send(
                "POST", "git-receive-pack", client_headers=request.headers, protocol=None, data=body
            )
        except ForgeError as error:
            return await self._unanswered(wanted, body, push, error, waiting)
        return await self._answered(request, wanted, body, push, answer, waiting)

    async def _answered(
        self,
        request: web.Request,
        wanted: PushRequest,
        body: PushBody,
        push: Push,
        answer: aiohttp.ClientResponse,
        waiting: HeldAnswer | None,
    ) -> web.StreamResponse:
        begun = await waiting.take() if waiting else None
        response = begun or web.StreamResponse(status=200, headers=answer_headers(answer))
        reader = PushReportReader(side_band=wanted.side_band)
        noted = False

        def observe(chunk: bytes) -> None:
            nonlocal noted
            reader.feed(chunk)
            if reader.report.complete and not noted:
                # Before the client learns of it: its next push may come at once.
                noted = True
                self._note(push, reader)

        async with answer:
            try:
                await relay(request, response, answer, observe=observe, to_the_end=True)
            except AnswerBrokenError as error:
                log.warning("push %s: the forge's answer broke off: %s", _brief(push), error)
        if not noted:
            await self._lost(push, body)
        await body.drain()
        return response

    def _note(self, push: Push, reader: PushReportReader) -> None:
        report = reader.report
        if report.unpacked and push.ref in report.accepted:
            log.info("pushed %s", _brief(push))
            self._journal.push_accepted(push)
            return
        reason = report.rejected.get(push.ref, "the forge could not unpack it")
        log.warning("push %s: rejected by the forge: %s", _brief(push), printable(reason))
        self._journal.push_rejected(push, reason)

    async def _unanswered(
        self,
        wanted: PushRequest,
        body: PushBody,
        push: Push,
        error: ForgeError,
        waiting: HeldAnswer | None,
    ) -> web.StreamResponse:
        log.warning("push %s: %s", _brief(push), error)
        if not error.uncertain:
            self._journal.push_rejected(push, str(error))
        elif await self._lost(push, body):
            await body.drain()
            return await _result(acceptance(wanted), waiting)
        return await self._refuse(wanted, body, ["the forge did not take it"], str(error), waiting)

    async def _lost(self, push: Push, body: PushBody) -> bool:
        """Find out what became of a push whose answer was lost; return whether it was made."""
        if not body.complete:
            # Not asked: a commit that somebody else put there meanwhile would be taken for ours.
            self._journal.push_rejected(push, "its pack was not sent to the end")
            return False
        await self._settle()
        return push.new in self._journal.own_commits

    async def _settle(self) -> None:
        for push in self._journal.unsettled:
            try:
                commit = await self._forge.commit_of(push.ref)
            except ForgeError as error:
                log.warning("push %s: outcome unknown: %s", _brief(push), error)
                return
            if commit == push.new:
                log.info("pushed %s (the forge has it)", _brief(push))
                self._journal.push_accepted(push)
            elif commit != (None if push.old == "0" * 40 else push.old):
                self._journal.push_rejected(push, f"the branch is at {commit or 'no commit'}")
            # Still at the old commit: the forge may yet be at work on it.

    async def _refuse(
        self,
        wanted: PushRequest,
        body: PushBody,
        reasons: list[str] | tuple[str, ...],
        advice: str,
        waiting: HeldAnswer | None = None,
    ) -> web.StreamResponse:
        whole = await body.drain()
        response = await _result(refusal(wanted, reasons, f"agent gateway: {advice}"), waiting)
        if not whole:
            response.force_close()
        return response

    async def _plain(self, request: web.Request, head: bytes, status: int, reason: str) -> web.Response:
        whole = await RequestBody(request, head).drain()
        response = web.Response(status=status, text=f"agent gateway: {printable(reason)}\n")
        if not whole:
            response.force_close()
        return response


async def _read(request: web.Request, reader: PushRequestReader) -> PushRequest | None:
    """Read up to the end of the commands; ``None`` for the lone flush."""
    while chunk := await request.content.readany():
        if (wanted := reader.feed(chunk)) is not None:
            return wanted
    if reader.is_probe:
        return None
    raise PushRequestError("the request ends before its list of refs does")


async def _result(body: bytes, waiting: HeldAnswer | None) -> web.StreamResponse:
    begun = await waiting.take() if waiting else None
    if begun is None:
        return web.Response(body=body, content_type=RESULT_TYPE, headers={"Cache-Control": "no-cache"})
    await begun.write(body)
    await begun.write_eof()
    return begun


def _brief(push: Push) -> str:
    return f"{printable(push.ref)} {push.old[:12]}..{push.new[:12]}"
