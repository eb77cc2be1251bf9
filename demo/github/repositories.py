"""Bare git repositories, driven by git's own plumbing."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from demo.github.git_program import GitError, run_git
from demo.github.git_values import ZERO, ChangedFile, Commit, MergeResult, Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUEUED_HEAD = (
    "Branches that are queued for merging cannot be updated. To modify this branch, dequeue the associated pull"
    " request."
)
_LOCKED = "locked-heads"
_UPDATE_HOOK = f"""#!/bin/sh
if [ "$3" != {ZERO} ] && grep -qxF "$1" "$GIT_DIR/{_LOCKED}" 2>/dev/null; then
    echo "error: GH006: Protected branch update failed for $1." >&2
    echo "error: {QUEUED_HEAD}" >&2
    exit 1
fi
"""

CACHED_COMMITS = 4096
CACHED_BYTES = 100_000
"""Longest answer that is kept."""
_ID = re.compile(r"[0-9a-f]{40}")

_FIELDS = "%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"
_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


class BareRepository:
    """One bare repository.

    Callers hold the repository's lock around changes of refs; each change is a compare-and-swap as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heads: dict[str, str] | None = None
        self._commits: OrderedDict[str, Commit] = OrderedDict()
        self._merges: OrderedDict[tuple[str, str], MergeResult] = OrderedDict()
        self._answers: OrderedDict[tuple[str, ...], bytes] = OrderedDict()

    async def git(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (0,),
    ) -> bytes:
        """Run git on this repository; see :func:`run_git`."""
        values = {"GIT_DIR": str(self.path), **(environment or {})}
        return await run_git(*arguments, stdin=stdin, environment=values, accept=accept)

    async def ask(self, *arguments: str, ids: tuple[str, ...], stdin: bytes = b"") -> bytes:
        """Run git where the answer follows from objects alone; those never change, so that it is asked once.

        :param ids: the objects. One that is no whole id may be a branch: then git is asked each time.
        """
        key = (*arguments, stdin.decode(errors="surrogateescape"))
        if key in self._answers:
            return self._answers[key]
        out = await self.git(*arguments, stdin=stdin)
        # A commit that is missing may still come.
        lasting = not out.endswith(b" missing\n") or all(one in self._commits for one in ids)
        if lasting and len(out) <= CACHED_BYTES and all(_ID.fullmatch(one) for one in ids):
            self._answers[key] = out
            while len(self._answers) > CACHED_COMMITS:
                self._answers.popitem(last=False)
        return out

    async def create(self, default_branch: str) -> None:
        """Make the repository, served as GitHub serves its own."""
        await run_git("init", "--quiet", "--bare", f"--initial-branch={default_branch}", str(self.path))
        settings = {
            "http.receivepack": "true",
            "uploadpack.allowFilter": "true",
            "uploadpack.allowAnySHA1InWant": "true",
            "receive.hideRefs": "refs/pull",
            "receive.denyDeleteCurrent": "refuse",
            "receive.maxInputSize": str(1 << 30),
            "gc.auto": "0",
            "core.logAllRefUpdates": "false",
        }
        lines: dict[str, list[str]] = {}
        for key, value in settings.items():
            section, name = key.split(".", 1)
            lines.setdefault(section, []).append(f"\t{name} = {value}\n")
        with (self.path / "config").open("a") as config:
            for section, entries in lines.items():
                config.write(f"[{section}]\n" + "".join(entries))
        hook = self.path / "hooks" / "update"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(_UPDATE_HOOK)
        hook.chmod(0o755)

    async def lock_heads(self, branches: Iterable[str]) -> None:
        """Refuse pushes to these branches from now on, and to no others."""
        text = "".join(f"refs/heads/{branch}\n" for branch in branches)
        if self.path.is_dir():
            await asyncio.to_thread((self.path / _LOCKED).write_text, text)

    async def refs(self, prefix: str = "refs/heads") -> dict[str, str]:
        """Return the object id of every ref below ``prefix``, by full name."""
        out = await self.git("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        pairs = (line.split(" ", 1) for line in out.decode().splitlines())
        return {name: oid for oid, name in pairs}

    async def resolve(self, revision: str) -> str | None:
        """Return the id of the commit that ``revision`` names, or ``None``."""
        if not revision or revision.startswith("-") or "\x00" in revision or "\n" in revision:
            return None
        if revision in self._commits:
            return revision
        out = await self.git("rev-parse", "--quiet", "--verify", f"{revision}^{{commit}}", accept=(0, 1, 128))
        return out.decode().strip() or None

    async def entry(self, revision: str, path: str, kind: str) -> str | None:
        """Return the id of the file (``blob``) or folder (``tree``) at ``path``, or ``None``."""
        if "\n" in path or "\n" in revision:
            return None
        query = f"{revision}:{path}\n".encode()
        out = await self.ask("cat-file", "--batch-check", ids=(revision,), stdin=query)
        words = out.decode(errors="replace").split()
        return words[0] if words[1:2] == [kind] else None

    async def branch(self, name: str) -> str | None:
        """Return the tip of a branch, or ``None``."""
        heads = self._heads
        if heads is None:
            heads = self._heads = await self.refs()
        return heads.get(f"refs/heads/{name}")

    def heads_changed(self) -> None:
        """Note that branches were moved by another hand, e.g. by ``git receive-pack``."""
        self._heads = None

    async def update_ref(self, ref: str, new: str, old: str) -> bool:
        """Move ``ref`` from ``old`` (:data:`ZERO`: it must not exist) to ``new`` (:data:`ZERO`: delete it).

        Returns whether it was still at ``old``.
        """
        arguments = ("update-ref", "-d", ref, old) if new == ZERO else ("update-ref", ref, new, old)
        try:
            await self.git(*arguments)
        except GitError:
            return False
        finally:
            self.heads_changed()
        return True

    async def force_ref(self, ref: str, new: str) -> None:
        """Point a ref of the server's own (``refs/pull/…``) at ``new``."""
        await self.git("update-ref", ref, new)

    async def commit(self, oid: str) -> Commit:
        """Return one commit.

        :raises GitError: there is none.
        """
        if oid not in self._commits:
            await self.log("--no-walk", oid)
        return self._commits[oid]

    async def log(self, *arguments: str) -> list[Commit]:
        """Return the commits that ``git log`` lists for ``arguments``, newest first."""
        out = await self.git("log", "-z", f"--format={_FIELDS}", *arguments, "--")
        values = out.decode(errors="replace").removesuffix("\x00").split("\x00")
        commits = []
        for start in range(0, len(values) - 9, 10):
            oid, tree, parents, an, ae, at, cn, ce, ct, message = values[start : start + 10]
            commit = Commit(
                oid=oid,
                tree=tree,
                parents=tuple(parents.split()),
                author=Signature(name=an, email=ae),
                authored_date=datetime.fromisoformat(at),
                committer=Signature(name=cn, email=ce),
                committed_date=datetime.fromisoformat(ct),
                message=message.rstrip("\n"),
            )
            commits.append(commit)
            self._commits[oid] = commit
        while len(self._commits) > CACHED_COMMITS:
            self._commits.popitem(last=False)
        return commits

    async def count(self, base: str, head: str) -> int:
        """Return how many commits ``head`` has that ``base`` has not."""
        return int(await self.ask("rev-list", "--count", head, f"^{base}", ids=(base, head)))

    async def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        out = await self.git("rev-list", "--max-count=1", ancestor, f"^{descendant}")
        return not out.strip()

    async def merge_base(self, one: str, other: str) -> str | None:
        out = await self.git("merge-base", one, other, accept=(0, 1))
        return out.decode().split("\n", 1)[0] or None

    async def merge_tree(self, ours: str, theirs: str) -> MergeResult:
        """Merge two commits without touching any ref."""
        key = (ours, theirs)
        if key not in self._merges:
            arguments = ("merge-tree", "--write-tree", "--no-messages", "--name-only", "-z", ours, theirs)
            out = await self.git(*arguments, accept=(0, 1))
            tree, *conflicts = [part for part in out.decode(errors="replace").split("\x00") if part]
            self._merges[key] = MergeResult(tree=tree, conflicts=tuple(dict.fromkeys(conflicts)))
            while len(self._merges) > CACHED_COMMITS:
                self._merges.popitem(last=False)
        return self._merges[key]

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
        """Write a commit and return its id; no ref moves."""
        committer = committer or author
        environment = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
        }
        if authored is not None:
            environment["GIT_AUTHOR_DATE"] = authored.isoformat()
        flags = [word for parent in parents for word in ("-p", parent)]
        out = await self.git("commit-tree", tree, *flags, stdin=message.encode(), environment=environment)
        return out.decode().strip()

    async def write_files(
        self, parent: str | None, files: Mapping[str, str | None], message: str, author: Signature
    ) -> str:
        """Write a commit on top of ``parent`` that sets each path to a text, or removes it where that is
        ``None``; return its id.
        """
        with tempfile.TemporaryDirectory(prefix="index-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if parent is not None:
                await self.git("read-tree", parent, environment=index)
            entries = b""
            for path, text in files.items():
                if text is None:
                    entries += f"0 {ZERO}\t{path}".encode() + b"\x00"
                    continue
                oid = (await self.git("hash-object", "-w", "--stdin", stdin=text.encode())).decode().strip()
                entries += f"100644 {oid}\t{path}".encode() + b"\x00"
            await self.git("update-index", "-z", "--index-info", stdin=entries, environment=index)
            tree = (await self.git("write-tree", environment=index)).decode().strip()
        return await self.commit_tree(tree, (parent,) if parent else (), message, author=author)

    async def import_folder(self, folder: Path, message: str, author: Signature) -> str:
        """Write a first commit of the files in ``folder`` (its ``.gitignore`` is heeded); return its id."""
        with tempfile.TemporaryDirectory(prefix="index-") as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), "GIT_WORK_TREE": str(folder)}
            await self.git(
                "-C", str(folder), "-c", "core.bare=false", "add", "--all", ".", environment=environment
            )
            tree = (await self.git("write-tree", environment=environment)).decode().strip()
        return await self.commit_tree(tree, (), message, author=author)

    async def blob(self, revision: str, path: str) -> bytes | None:
        """Return a file's content at ``revision``, or ``None``."""
        oid = await self.entry(revision, path, "blob")
        return await self.git("cat-file", "blob", oid) if oid else None

    async def list_tree(self, revision: str, path: str) -> list[tuple[str, str, str, int]]:
        """Return type, object id, name and size of each entry of a folder; empty where it is no folder."""
        tree = await self.entry(revision, path, "tree")
        if tree is None:
            return []
        out = await self.git("ls-tree", "-z", "--long", tree)
        entries = []
        for line in out.decode(errors="replace").split("\x00"):
            if line:
                facts, name = line.split("\t", 1)
                _, kind, oid, size = facts.split()
                entries.append((kind, oid, name, 0 if size == "-" else int(size)))
        return entries

    async def changed_files(self, base: str, head: str) -> list[ChangedFile]:
        """Return what differs between the merge base of the two commits and ``head``."""
        range_, ids = f"{base}...{head}", (base, head)
        listed = await self.ask("diff", "-z", "--name-status", "--find-renames", range_, ids=ids)
        counted = await self.ask("diff", "-z", "--numstat", "--no-renames", range_, ids=ids)
        names, counts = listed.decode(errors="replace"), counted.decode(errors="replace")
        numbers: dict[str, tuple[int, int]] = {}
        for line in counts.split("\x00"):
            if line:
                added, deleted, path = line.split("\t", 2)
                numbers[path] = (int(added) if added != "-" else 0, int(deleted) if deleted != "-" else 0)
        words = {"A": "added", "D": "removed", "R": "renamed", "C": "copied"}
        parts = iter(names.split("\x00"))
        files = []
        for code in parts:
            if not code:
                continue
            previous = next(parts) if code[0] in "RC" else None
            path = next(parts)
            additions, deletions = numbers.get(path, (0, 0))
            status = words.get(code[0], "modified")
            files.append(
                ChangedFile(
                    path=path, previous_path=previous, status=status, additions=additions, deletions=deletions
                )
            )
        return files

    async def diff(self, base: str, head: str, *paths: str) -> str:
        """Return the unified diff from the merge base of the two commits to ``head``."""
        out = await self.ask("diff", f"{base}...{head}", "--", *paths, ids=(base, head))
        return out.decode(errors="replace")

    async def map_line(self, old: str, new: str, path: str, line: int) -> int | None:
        """Return where ``line`` of ``path`` at ``old`` stands at ``new``; ``None`` when it was changed."""
        if old == new:
            return line
        out = await self.git("diff", "--unified=0", "--no-renames", old, new, "--", path)
        offset = 0
        for match in _HUNK.finditer(out.decode(errors="replace")):
            start, length = int(match[1]), int(match[2] or 1)
            added = int(match[4] or 1)
            if length and start <= line < start + length:
                return None
            if line < start or (not length and line <= start):
                break
            offset += added - length
        return line + offset
