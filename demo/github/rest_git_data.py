"""REST: git's own objects, with which commits are made without a clone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError, not_found
from demo.github.forge import require, signature
from demo.github.git_program import GitError
from demo.github.pushes import move_branch
from demo.github.rest import Call, Endpoint, answer
from demo.github.rest_views import api

if TYPE_CHECKING:
    from aiohttp import web

    from demo.github.repositories import BareRepository

_MODES = {"100644": "blob", "100755": "blob", "120000": "blob", "040000": "tree", "160000": "commit"}


async def get_git_commit(call: Call) -> web.StreamResponse:
    repository, sha = call.repository, call.request.match_info["sha"]
    if await repository.git.resolve(sha) != sha:
        raise not_found()
    return answer(await _commit(call, sha))


async def create_git_commit(call: Call) -> web.StreamResponse:
    repository, body = call.repository, await call.body()
    require(repository, call.user, "write")
    message, tree, parents = body.get("message"), body.get("tree"), body.get("parents") or []
    if not isinstance(message, str) or not message:
        raise ApiError(422, 'Invalid request.\n\n"message" wasn\'t supplied.')
    if not isinstance(tree, str) or await _kind(call, tree) != "tree":
        raise ApiError(422, "Tree SHA does not exist")
    for parent in parents:
        if not isinstance(parent, str) or await _kind(call, parent) != "commit":
            raise ApiError(422, "Parent SHA does not exist or is not a commit object")
    sha = await repository.git.commit_tree(tree, tuple(parents), message, author=signature(call.user))
    return answer(await _commit(call, sha), 201)


async def get_tree(call: Call) -> web.StreamResponse:
    return answer(await _tree(call, call.request.match_info["sha"]))


async def create_tree(call: Call) -> web.StreamResponse:
    repository, body = call.repository, await call.body()
    require(repository, call.user, "write")
    base, entries = body.get("base_tree"), body.get("tree")
    if not isinstance(entries, list) or not entries:
        raise ApiError(422, 'Invalid request.\n\n"tree" wasn\'t supplied.')
    if base is not None and (not isinstance(base, str) or await _kind(call, base) not in ("tree", "commit")):
        raise ApiError(422, "base_tree is not a valid tree oid")
    tree = ""
    if isinstance(base, str):
        found = await repository.git.git("rev-parse", "--verify", f"{base}^{{tree}}")
        tree = found.decode().strip()
    for entry in entries:
        path, mode, oid = await _entry(call, entry)
        tree = await _replaced(repository.git, tree, path.split("/"), mode, oid)
    return answer(await _tree(call, tree), 201)


async def update_ref(call: Call) -> web.StreamResponse:
    repository, branch, body = call.repository, call.request.match_info["branch"], await call.body()
    require(repository, call.user, "write")
    sha, old = body.get("sha"), await repository.git.branch(branch)
    if old is None:
        raise ApiError(422, "Reference does not exist")
    if not isinstance(sha, str) or await repository.git.resolve(sha) != sha:
        raise ApiError(422, "Object does not exist")
    if body.get("force") is not True and not await repository.git.is_ancestor(old, sha):
        raise ApiError(422, "Update is not a fast forward")
    await move_branch(call.forge, repository, call.user, branch, sha, expected=old)
    name = repository.full_name
    target = {"type": "commit", "sha": sha, "url": api(call.forge, "repos", name, "git", "commits", sha)}
    return answer(
        {
            "ref": f"refs/heads/{branch}",
            "url": api(call.forge, "repos", name, "git", "refs", "heads", branch),
            "object": target,
        }
    )


async def _kind(call: Call, name: str) -> str:
    """Return what kind of object a name stands for; empty where it is none."""
    if "\n" in name:
        return ""
    query = f"{name}\n".encode()
    out = await call.repository.git.ask("cat-file", "--batch-check", ids=(name,), stdin=query)
    words = out.decode(errors="replace").split()
    return words[1] if len(words) == 3 else ""


async def _entry(call: Call, entry: Any) -> tuple[str, str, str | None]:
    """Return path, mode and object of an entry that a client sent; without an object it is taken away."""
    values = entry if isinstance(entry, dict) else {}
    path, mode = values.get("path"), values.get("mode")
    if not isinstance(path, str) or not path or path.startswith(("/", "-")) or mode not in _MODES:
        raise ApiError(422, "tree.path or tree.mode is invalid")
    if "content" in values:
        data = str(values["content"]).encode()
        written = await call.repository.git.git("hash-object", "-w", "--stdin", stdin=data)
        return path, mode, written.decode().strip()
    oid = values.get("sha")
    if oid is None:
        return path, mode, None
    if not isinstance(oid, str) or await _kind(call, oid) != _MODES[mode]:
        raise ApiError(422, f"tree.sha {oid} is not a valid {_MODES[mode]}")
    return path, mode, oid


async def _replaced(git: BareRepository, tree: str, names: list[str], mode: str, oid: str | None) -> str:
    """Write the tree with another object at the end of ``names``, or none there; return its id.

    :param tree: empty: there was none.
    """
    listed = (await git.git("ls-tree", "-z", tree)).decode() if tree else ""
    entries = {line.split("\t", 1)[1]: line.split("\t", 1)[0] for line in listed.split("\x00") if line}
    name, *rest = names
    if rest:
        _, kind, inner = entries.get(name, "- - -").split()
        mode, oid = "040000", await _replaced(git, inner if kind == "tree" else "", rest, mode, oid)
    entries.pop(name, None)
    if oid is not None:
        entries[name] = f"{mode} {_MODES[mode]} {oid}"
    lines = "".join(f"{facts}\t{path}\x00" for path, facts in entries.items())
    return (await git.git("mktree", "-z", stdin=lines.encode())).decode().strip()


async def _commit(call: Call, sha: str) -> dict[str, Any]:
    commit = await call.repository.git.commit(sha)
    name = call.repository.full_name
    people = {
        word: {"name": who.name, "email": who.email, "date": at.isoformat()}
        for word, who, at in (
            ("author", commit.author, commit.authored_date),
            ("committer", commit.committer, commit.committed_date),
        )
    }
    return {
        "sha": sha,
        "url": api(call.forge, "repos", name, "git", "commits", sha),
        "message": commit.message,
        **people,
        "tree": {"sha": commit.tree, "url": api(call.forge, "repos", name, "git", "trees", commit.tree)},
        "parents": [
            {"sha": parent, "url": api(call.forge, "repos", name, "git", "commits", parent)}
            for parent in commit.parents
        ],
    }


async def _tree(call: Call, sha: str) -> dict[str, Any]:
    name = call.repository.full_name
    try:
        out = await call.repository.git.ask("ls-tree", "-z", "--long", sha, ids=(sha,))
    except GitError:
        raise not_found() from None
    entries = []
    for line in out.decode(errors="replace").split("\x00"):
        if line:
            facts, path = line.split("\t", 1)
            mode, kind, oid, size = facts.split()
            more = {} if size == "-" else {"size": int(size)}
            entries.append({"path": path, "mode": mode, "type": kind, "sha": oid, **more})
    return {
        "sha": sha,
        "url": api(call.forge, "repos", name, "git", "trees", sha),
        "tree": entries,
        "truncated": False,
    }


_GIT = "/repos/{owner}/{repo}/git"

ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", _GIT + "/commits/{sha}", get_git_commit),
    ("POST", _GIT + "/commits", create_git_commit),
    ("GET", _GIT + "/trees/{sha}", get_tree),
    ("POST", _GIT + "/trees", create_tree),
    ("PATCH", _GIT + "/refs/heads/{branch:.+}", update_ref),
)
