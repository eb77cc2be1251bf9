"""Repositories in memory, with the interface of :class:`~demo.github.repositories.BareRepository`.

For tests that play thousands of histories: no process, no file. Commits have ids, parents, messages and real
content; merges are three-way, but by whole files: two sides that changed one file differently conflict. git
itself cannot fetch from or push to such a repository, and no workflow job can check it out.
"""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from demo.github import clock
from demo.github.git_program import GitError
from demo.github.git_values import ZERO, ChangedFile, Commit, MergeResult, Signature
from demo.github.repositories import BareRepository

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

Files = dict[str, str]


class SyntheticRepository(BareRepository):
    """One repository in memory."""

    def __init__(self, default_branch: str = "main") -> None:
        super().__init__(Path("/nonexistent"))
        self.default_branch = default_branch
        self._refs: dict[str, str] = {}
        self._trees: dict[str, Files] = {}
        self._history: dict[str, Commit] = {}

    async def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (0,),
    ) -> bytes:
        """Refuse: there is no git here.

        :raises GitError: always.
        """
        raise GitError(f"A synthetic repository has no git: {' '.join(arguments[:2])}")

    async def create(self, default_branch: str) -> None:
        self.default_branch = default_branch

    async def refs(self, prefix: str = "refs/heads") -> dict[str, str]:
        start = prefix.rstrip("/") + "/"
        return {name: oid for name, oid in sorted(self._refs.items()) if name.startswith(start)}

    async def resolve(self, revision: str) -> str | None:
        for name in (revision, f"refs/heads/{revision}", f"refs/{revision}"):
            if name in self._refs:
                return self._refs[name]
        if len(revision) < 7 or not set(revision) <= set("0123456789abcdef"):
            return None
        found = [oid for oid in self._history if oid.startswith(revision)]
        return found[0] if len(found) == 1 else None

    async def branch(self, name: str) -> str | None:
        return self._refs.get(f"refs/heads/{name}")

    async def update_ref(self, ref: str, new: str, old: str) -> bool:
        if self._refs.get(ref, ZERO) != old or (new != ZERO and new not in self._history):
            return False
        if new == ZERO:
            del self._refs[ref]
        else:
            self._refs[ref] = new
        return True

    async def force_ref(self, ref: str, new: str) -> None:
        self._find(new)
        self._refs[ref] = new

    async def commit(self, oid: str) -> Commit:
        return self._find(oid)

    async def log(self, *arguments: str) -> list[Commit]:
        """List commits for the arguments that the stand-in uses: ``--reverse``, ``--topo-order``,
        ``--no-merges``, ``--no-walk``, ``--max-count=N``, commits and ``^commits``.

        :raises GitError: for any other option or an unknown commit.
        """
        options = {argument for argument in arguments if argument.startswith("-")}
        limits = [option for option in options if option.startswith("--max-count=")]
        if unknown := options - set(limits) - {"--reverse", "--topo-order", "--no-merges", "--no-walk"}:
            raise GitError(f"A synthetic log knows no {', '.join(sorted(unknown))}.")
        tips = [self._named(word) for word in arguments if word[0] not in "-^"]
        if "--no-walk" in options:
            return [self._find(oid) for oid in tips]
        hidden = self._ancestors(*(self._named(word[1:]) for word in arguments if word[0] == "^"))
        shown = self._ancestors(*tips) - hidden
        commits = list(self._newest_first(shown))
        if "--no-merges" in options:
            commits = [commit for commit in commits if len(commit.parents) < 2]
        if limits:
            commits = commits[: int(limits[0].partition("=")[2])]
        return commits[::-1] if "--reverse" in options else commits

    async def count(self, base: str, head: str) -> int:
        return len(self._ancestors(self._named(head)) - self._ancestors(self._named(base)))

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self._named(ancestor) in self._ancestors(self._named(descendant))

    async def merge_base(self, one: str, other: str) -> str | None:
        common = self._ancestors(self._named(one)) & self._ancestors(self._named(other))
        best = next(iter(self._newest_first(common)), None)
        return best.oid if best else None

    async def merge_tree(self, ours: str, theirs: str) -> MergeResult:
        one, other = self._find(self._named(ours)), self._find(self._named(theirs))
        base = await self.merge_base(one.oid, other.oid)
        before = self._trees[self._find(base).tree] if base else {}
        left, right = self._trees[one.tree], self._trees[other.tree]
        merged: Files = {}
        conflicts = []
        for path in sorted({*before, *left, *right}):
            was, mine, yours = before.get(path), left.get(path), right.get(path)
            if mine != yours and was not in (mine, yours):
                conflicts.append(path)
            kept = yours if mine == was else mine
            if kept is not None:
                merged[path] = kept
        return MergeResult(tree=self._tree(merged), conflicts=tuple(conflicts))

    async def commit_tree(
        self,
        tree: str,
        parents: tuple[str, ...],
        message: str,
        *,
        author: Signature,
        committer: Signature | None = None,
        authored: datetime | None = None,
    ) -> str:
        if tree not in self._trees:
            raise GitError(f"not a valid object name {tree}")
        for parent in parents:
            self._find(parent)
        committer, now = committer or author, clock.active().now().replace(microsecond=0)
        authored = authored or now
        words = [tree, *parents, message, author.name, committer.name, authored.isoformat(), now.isoformat()]
        oid = _hash("commit", words)
        self._history.setdefault(
            oid,
            Commit(
                oid=oid,
                tree=tree,
                parents=parents,
                author=author,
                authored_date=authored,
                committer=committer,
                committed_date=now,
                message=message.rstrip("\n"),
            ),
        )
        return oid

    async def write_files(
        self, parent: str | None, files: Mapping[str, str | None], message: str, author: Signature
    ) -> str:
        tree = dict(self._trees[self._find(parent).tree]) if parent else {}
        for path, text in files.items():
            if text is None:
                tree.pop(path, None)
            else:
                tree[path] = text
        return await self.commit_tree(self._tree(tree), (parent,) if parent else (), message, author=author)

    async def import_folder(self, folder: Path, message: str, author: Signature) -> str:
        files = await asyncio.to_thread(_texts, folder)
        return await self.import_files(files, message, author)

    async def import_files(self, files: Mapping[str, str], message: str, author: Signature) -> str:
        """Write a first commit of ``files`` (text by path); return its id."""
        return await self.commit_tree(self._tree(dict(files)), (), message, author=author)

    async def entry(self, revision: str, path: str, kind: str) -> str | None:
        files = await self._files(revision)
        if files is None:
            return None
        path = path.strip("/")
        if kind == "blob":
            return _hash("blob", [files[path]]) if path in files else None
        inside = _below(files, path)
        return self._tree(inside) if inside or not path else None

    async def blob(self, revision: str, path: str) -> bytes | None:
        text = (await self._files(revision) or {}).get(path)
        return None if text is None else text.encode()

    async def list_tree(self, revision: str, path: str) -> list[tuple[str, str, str, int]]:
        inside = _below(await self._files(revision) or {}, path.strip("/"))
        entries: dict[str, tuple[str, str, str, int]] = {}
        for name, text in sorted(inside.items()):
            first, slash, _ = name.partition("/")
            if slash:
                entries[first] = ("tree", self._tree(_below(inside, first)), first, 0)
            else:
                entries[first] = ("blob", _hash("blob", [text]), first, len(text.encode()))
        return list(entries.values())

    async def changed_files(self, base: str, head: str) -> list[ChangedFile]:
        before, after = await self._sides(base, head)
        files = []
        for path in sorted({*before, *after}):
            old, new = before.get(path), after.get(path)
            if old == new:
                continue
            lines = list(difflib.unified_diff((old or "").splitlines(), (new or "").splitlines(), n=0))[2:]
            files.append(
                ChangedFile(
                    path=path,
                    previous_path=None,
                    status="added" if old is None else "removed" if new is None else "modified",
                    additions=sum(line.startswith("+") for line in lines),
                    deletions=sum(line.startswith("-") for line in lines),
                )
            )
        return files

    async def diff(self, base: str, head: str, *paths: str) -> str:
        before, after = await self._sides(base, head)
        out = []
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path) and (not paths or path in paths):
                out.append(f"diff --git a/{path} b/{path}\n")
                old, new = ((files.get(path) or "").splitlines(True) for files in (before, after))
                lines = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
                out += [x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n" for x in lines]
        return "".join(out)

    async def map_line(self, old: str, new: str, path: str, line: int) -> int | None:
        texts = [(await self._files(oid) or {}).get(path) for oid in (old, new)]
        if texts[0] == texts[1]:
            return line
        before, after = ((text or "").splitlines() for text in texts)
        for block in difflib.SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
            if block.a <= line - 1 < block.a + block.size:
                return line + block.b - block.a
        return None

    def _find(self, oid: str) -> Commit:
        if oid not in self._history:
            raise GitError(f"bad object {oid}")
        return self._history[oid]

    def _named(self, revision: str) -> str:
        """Return the commit id that a full id or ref stands for.

        :raises GitError: there is none.
        """
        oid = self._refs.get(revision) or self._refs.get(f"refs/heads/{revision}") or revision
        return self._find(oid).oid

    async def _files(self, revision: str) -> Files | None:
        oid = await self.resolve(revision)
        return self._trees[self._history[oid].tree] if oid else None

    async def _sides(self, base: str, head: str) -> tuple[Files, Files]:
        start = await self.merge_base(base, head)
        before = self._trees[self._find(start).tree] if start else {}
        return before, self._trees[self._find(self._named(head)).tree]

    def _tree(self, files: Files) -> str:
        oid = _hash("tree", sorted(files.items()))
        self._trees.setdefault(oid, files)
        return oid

    def _ancestors(self, *oids: str) -> set[str]:
        """Return the commits with all that they descend from."""
        found: set[str] = set()
        waiting = list(oids)
        while waiting:
            oid = waiting.pop()
            if oid not in found:
                found.add(oid)
                waiting.extend(self._find(oid).parents)
        return found

    def _newest_first(self, oids: set[str]) -> Iterator[Commit]:
        """Give commits before their parents; the later written first where both may come."""
        return (self._history[oid] for oid in reversed(self._history) if oid in oids)


def _texts(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _below(files: Files, folder: str) -> Files:
    start = f"{folder}/" if folder else ""
    return {path[len(start) :]: text for path, text in files.items() if path.startswith(start)}


def _hash(kind: str, value: object) -> str:
    return hashlib.sha1(f"{kind}\0{json.dumps(value)}".encode(), usedforsecurity=False).hexdigest()
