"""Plain pages for a person with a browser. All text that people wrote is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.check_state import CheckRun
from demo.github.control import loopback_only
from demo.github.errors import not_found
from demo.github.merging import merge_state
from demo.github.state import Issue, PullRequest, Repository, Subject

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from demo.github.forge import Forge

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f2328}
a{color:#0969da;text-decoration:none}a:hover{text-decoration:underline}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #d1d9e0}
pre,.body{white-space:pre-wrap;overflow-wrap:anywhere;background:#f6f8fa;border-radius:6px;padding:.75rem;margin:.25rem 0}
pre{font:12px/1.45 ui-monospace,monospace}.body{font:inherit}
table{border-collapse:collapse;width:100%}td{padding:.25rem .5rem .25rem 0;vertical-align:top;border-bottom:1px solid #eaeef2}
code{font:12px ui-monospace,monospace}.muted{color:#59636e}
.state{border-radius:1rem;padding:.1rem .6rem;color:#fff;background:#59636e;font-size:.85rem}
.OPEN,.SUCCESS{background:#1a7f37}.MERGED{background:#8250df}.CLOSED,.FAILURE,.TIMED_OUT,.STARTUP_FAILURE{background:#cf222e}
"""
SHOWN_MUTATIONS = 100


class Pages:
    """Repository, issue, pull request and job log."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def routes(self) -> list[web.RouteDef]:
        base = "/{owner}/{repo}"
        return [
            web.get("/", self._index),
            web.get(base, self._repository),
            web.get(base + "/issues/{number:\\d+}", self._issue),
            web.get(base + "/pull/{number:\\d+}", self._pull),
            web.get(base + "/actions/runs/{suite:\\d+}/job/{id:\\d+}", self._job),
            web.get(base + "/runs/{id:\\d+}", self._job),
        ]

    async def _index(self, request: web.Request) -> web.StreamResponse:
        loopback_only(request)
        names = [repository.full_name for repository in self._forge.store.repositories.values()]
        return _page(
            "Repositories", "<ul>" + "".join(f"<li>{_link('/' + n, n)}</li>" for n in names) + "</ul>"
        )

    def _found(self, request: web.Request) -> Repository:
        loopback_only(request)
        info = request.match_info
        repository = self._forge.store.repository(f"{info['owner']}/{info['repo']}")
        if repository is None:
            raise not_found()
        return repository

    async def _repository(self, request: web.Request) -> web.StreamResponse:
        repository = self._found(request)
        branches = await repository.git.refs()
        rows = [(escape(ref.removeprefix("refs/heads/")), _code(oid)) for ref, oid in branches.items()]
        subjects = sorted([*repository.issues.values(), *repository.pulls.values()], key=lambda s: -s.number)
        body = [
            "<h2>Issues and pull requests</h2>",
            _table([(_state(s.state), _link(_path(s), f"#{s.number} {s.title}")) for s in subjects]),
            "<h2>Branches</h2>",
            _table(rows),
            self._history(repository, None),
        ]
        return _page(repository.full_name, *body)

    async def _issue(self, request: web.Request) -> web.StreamResponse:
        repository = self._found(request)
        subject = repository.subject(int(request.match_info["number"]))
        if subject is None:
            raise not_found()
        if isinstance(subject, PullRequest):
            raise web.HTTPFound(_path(subject))
        return _page(
            f"{subject.title} #{subject.number}",
            self._opening(subject),
            _comments(subject),
            self._history(repository, subject.number),
        )

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        repository = self._found(request)
        pull = repository.pulls.get(int(request.match_info["number"]))
        if pull is None:
            raise not_found()
        commits = await repository.git.log("--reverse", pull.head_ref_oid, f"^{pull.base_ref_oid}")
        rows = [(_code(c.oid), escape(c.message.split("\n", 1)[0]), escape(c.author.name)) for c in commits]
        diff = await repository.git.diff(pull.base_ref_oid, pull.head_ref_oid)
        branches = f"{escape(pull.head_ref_name)} → {escape(pull.base_ref_name)}"
        merged = f", merged as {_code(pull.merge_commit_oid)}" if pull.merge_commit_oid else ""
        status = escape(await merge_state(pull)) if pull.state == "OPEN" else ""
        draft = " draft" if pull.is_draft else ""
        return _page(
            f"{pull.title} #{pull.number}",
            f"<p class=muted>{branches} {status}{draft}{merged}</p>",
            self._opening(pull),
            "<h2>Checks</h2>",
            _table([_check_row(run) for run in repository.check_runs(pull.head_ref_oid)]),
            _table(
                [(_state(s.state), escape(s.context)) for s in repository.latest_statuses(pull.head_ref_oid)]
            ),
            "<h2>Commits</h2>",
            _table(rows),
            _reviews(pull),
            _comments(pull),
            f"<h2>Changes</h2><pre>{escape(diff[:200_000])}</pre>",
            self._history(repository, pull.number),
        )

    async def _job(self, request: web.Request) -> web.StreamResponse:
        repository = self._found(request)
        run = self._forge.store.find(CheckRun, int(request.match_info["id"]))
        if run is None or run.suite.repository is not repository:
            raise not_found()
        return _page(
            run.name,
            f"<p>{_state(run.conclusion or run.status)} {escape(run.title or '')} {_code(run.suite.head_sha)}</p>",
            f"<pre>{escape(run.summary or '')}</pre>" if run.summary else "",
            f"<h2>Log</h2><pre>{escape(run.log or 'Not there yet.')}</pre>",
        )

    def _opening(self, subject: Subject) -> str:
        labels = ", ".join(escape(label.name) for label in subject.labels)
        return (
            f"<p>{_state(subject.state)} <b>{escape(subject.author.login)}</b> {_time(subject.created_at)}"
            f" <span class=muted>{labels}</span></p><div class=body>{escape(subject.body)}</div>"
        )

    def _history(self, repository: Repository, number: int | None) -> str:
        entries: list[dict[str, Any]] = [
            entry
            for entry in self._forge.mutations.entries
            if entry["repository"] == repository.full_name and number in (None, entry["number"])
        ]
        rows = [
            (str(e["seq"]), escape(e["kind"]), escape(e["actor"]), _code(str(e["details"].get("sha", ""))))
            for e in entries[-SHOWN_MUTATIONS:]
        ]
        return "<h2>History</h2>" + _table(rows)


def _page(title: str, *parts: str) -> web.Response:
    html = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>{''.join(parts)}</html>"
    )
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=html, content_type="text/html", headers=headers)


def _path(subject: Issue | PullRequest | Subject) -> str:
    page = "pull" if isinstance(subject, PullRequest) else "issues"
    return f"/{subject.repository.full_name}/{page}/{subject.number}"


def _link(address: str, text: str) -> str:
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table of cells that are HTML already."""
    lines = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{''.join(lines)}</table>"


def _state(word: str) -> str:
    return f'<span class="state {escape(word)}">{escape(word.lower().replace("_", " "))}</span>'


def _code(oid: str | None) -> str:
    return f"<code>{escape((oid or '')[:12])}</code>"


def _time(value: datetime) -> str:
    return f"<span class=muted>{value:%Y-%m-%d %H:%M:%S} UTC</span>"


def _check_row(run: CheckRun) -> tuple[str, ...]:
    path = f"/{run.suite.repository.full_name}/runs/{run.database_id}"
    return _state(run.conclusion or run.status), _link(path, run.name), escape(run.title or "")


def _comments(subject: Subject) -> str:
    parts = [
        f"<p><b>{escape(c.author.login)}</b> {_time(c.created_at)}</p><div class=body>{escape(c.body)}</div>"
        for c in subject.comments
    ]
    return "<h2>Comments</h2>" + "".join(parts)


def _reviews(pull: PullRequest) -> str:
    parts = [
        f"<p>{_state(r.state)} <b>{escape(r.author.login)}</b> {_time(r.submitted_at)} {_code(r.commit_oid)}</p>"
        + (f"<div class=body>{escape(r.body)}</div>" if r.body else "")
        for r in pull.reviews
    ]
    for thread in pull.threads:
        place = f"{thread.path}:{thread.original_line}" if thread.original_line else thread.path
        settled = " resolved" if thread.is_resolved else ""
        remarks = "".join(
            f"<div class=body><b>{escape(c.author.login)}</b> {escape(c.body)}</div>" for c in thread.comments
        )
        parts.append(f"<p><code>{escape(place)}</code>{settled}</p>{remarks}")
    return "<h2>Reviews</h2>" + "".join(parts)
