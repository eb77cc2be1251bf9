"""The sample ticket: where its parts are, and its repository as a git repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent / "sample"
REPOSITORY = SAMPLE / "repository"
"""The files of the sample repository's first commit."""
SCRIPT = SAMPLE / "script.yaml"
"""What the stand-in model says when the pipeline works on the sample ticket."""
ISSUE = SAMPLE / "issue.md"

GIT_TIMEOUT_SECONDS = 30


def issue() -> tuple[str, str]:
    """Return the sample ticket's title and body."""
    title, _, body = ISSUE.read_text(encoding="utf-8").partition("\n")
    return title.strip(), body.strip()


def create_repository(directory: Path, *, branch: str = "main") -> str:
    """Make ``directory`` a git repository whose one commit holds the sample, and return the commit's id.

    :raises FileExistsError: the directory is there already.
    :raises subprocess.CalledProcessError: git failed; its message is in ``stderr``.
    """
    shutil.copytree(REPOSITORY, directory, ignore=shutil.ignore_patterns("__pycache__", ".ruff_cache"))
    git(directory, "init", "--quiet", f"--initial-branch={branch}")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=Fill in form letters")
    return git(directory, "rev-parse", "HEAD")


def git(directory: Path, *arguments: str) -> str:
    """Run git as the sample's maintainer, untouched by this machine's settings; return what it prints."""
    maintainer = {"NAME": "Sample Maintainer", "EMAIL": "maintainer@example.invalid"}
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(directory),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **{f"GIT_{who}_{key}": value for who in ("AUTHOR", "COMMITTER") for key, value in maintainer.items()},
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_SECONDS,
    )
    return done.stdout.strip()
