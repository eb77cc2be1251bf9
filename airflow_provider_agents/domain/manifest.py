"""Manifests: files that start runs, as ``airflow agents run -f`` reads them.

A document is a ``CodingTask`` (``agents.wearn.dev/v1alpha1``), or, without ``kind``, the plain form: the fields of
:class:`~airflow_provider_agents.domain.coding_task_request.CodingTaskRequest` with an optional ``name``. The id of
a run is made of the manifest's name and of what it asks for, so that applying it again starts nothing again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
from airflow_provider_agents.domain.manifest_documents import split_documents
from airflow_provider_agents.domain.manifest_fields import API_VERSION, KIND, CodingTaskManifest, Name
from airflow_provider_agents.domain.manifest_mapping import Mapped, map_manifest
from airflow_provider_agents.domain.model_faults import fault_lines
from airflow_provider_agents.domain.yaml_source import MAX_BYTES, validate

if TYPE_CHECKING:
    from airflow_provider_agents.domain.yaml_source import Document

RUN_PREFIX, PLAIN_PREFIX = "manifest__", "yaml__"
"""Of the ids of the runs that manifests start: of a ``CodingTask``, and of the plain form."""

_NAME = TypeAdapter(Name)
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a manifest is held to: the options of ``[agents]`` that it may name, but not change."""

    namespace: str = "agent-system"
    secret: str = "agent-secrets"
    credentials: str = "secret"
    """``secret``, or ``connections``."""
    service_account: str = "agent-runner"
    max_attempts: int = 3
    """Most attempts that the graph has."""
    forge_host: str | None = None
    """Host of GitHub's web pages, e.g. ``github.com``; ``None``: not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskManifest:
    """One document, as the run that it asks for."""

    name: str
    """Empty for a plain document without one."""
    conf: dict[str, Any]
    """Of the run: the fields that the document sets."""
    run_id: str
    family: str
    """What the run ids of all versions of this manifest begin with; empty: it has no name."""
    place: str
    """``task.yaml:1``: where the document begins."""
    origin: str = ""
    """Where the task came from, where that is no issue: ``chat 17 of kim``."""
    notes: tuple[str, ...] = ()
    """What does not do here what it does elsewhere, each with its place."""


def read_manifest(
    text: str, file: str, installation: Installation | None = None
) -> tuple[list[TaskManifest], list[str]]:
    """Read a file of manifests.

    :param file: name of the file for people; every fault and note begins with it and the line.
    :return: the manifests in order, and all faults; with any fault nothing of the file should be started.
    """
    installation = installation or Installation()
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        return [], [f"{file}:1: is larger than {MAX_BYTES // 1024} KB"]
    manifests: list[TaskManifest] = []
    faults: list[str] = []
    documents = split_documents(text, file)
    if not documents:
        return [], [f"{file}:1: holds no manifest"]
    for document in documents:
        manifest, found = _read(document, installation)
        faults += found
        if manifest is not None:
            twin = next((other for other in manifests if other.run_id == manifest.run_id), None)
            if twin is not None:
                faults.append(f"{manifest.place}: is the same task as in {twin.place}")
            manifests.append(manifest)
    return manifests, faults


def _read(document: Document, installation: Installation) -> tuple[TaskManifest | None, list[str]]:
    if document.faults:
        return None, list(document.faults)
    if "kind" not in document.value:
        return _plain(document)
    kind, version = document.value["kind"], document.value.get("apiVersion")
    if kind != KIND:
        return None, [f"{document.place(('kind',))}: kind: is {kind!r}; {KIND} is taken"]
    if "apiVersion" in document.value and version != API_VERSION:
        return None, [
            f"{document.place(('apiVersion',))}: apiVersion: is {version!r}; {API_VERSION} is taken"
        ]
    if "status" in document.value:
        where = document.place(("status",))
        return None, [f"{where}: status: is written by a controller; leave it out of a manifest"]
    manifest, faults = validate(CodingTaskManifest, document)
    if manifest is None:
        return None, faults
    mapped = map_manifest(manifest, document, installation)
    conf, more = _conf(mapped, document)
    if "repository" not in mapped.values:  # what is wrong with its URL is said already
        more = [each for each in more if not each[1].startswith("repository: ")]
    if found := sorted([*mapped.faults, *more], key=lambda fault: fault[0]):
        return None, [f"{document.file}:{line}: {fault}" for line, fault in found]
    name = manifest.metadata.name
    namespace = manifest.metadata.namespace or installation.namespace
    family = f"{RUN_PREFIX}{namespace}__{_short(name)}__"
    # Of the specification as written: what the mapping makes of it may change with a release, the task does not.
    return TaskManifest(
        name=name,
        conf=conf,
        run_id=family + _hash(document.value["spec"]),
        family=family,
        place=document.place((next(iter(document.value)),)),
        origin=mapped.origin,
        notes=tuple(f"{document.file}:{line}: {note}" for line, note in sorted(mapped.notes)),
    ), []


def _plain(document: Document) -> tuple[TaskManifest | None, list[str]]:
    values = dict(document.value)
    if meant := [key for key in ("apiVersion", "metadata", "spec") if key in values]:
        return None, [
            f"{document.place((meant[0],))}: kind: is missing; with {meant[0]} it is `kind: {KIND}`"
        ]
    name = values.pop("name", "")
    faults = []
    if name != "":
        try:
            _NAME.validate_python(name)
        except ValidationError:
            faults.append(
                f"{document.place(('name',))}: name: should be small letters, digits, `-` and `.` (given: {name!r})"
            )
    mapped = Mapped(values=values, paths={key: (key,) for key in values})
    conf, found = _conf(mapped, document)
    faults += [f"{document.file}:{line}: {fault}" for line, fault in found]
    if faults:
        return None, faults
    family = f"{PLAIN_PREFIX}{_short(str(name))}__" if name else ""
    return TaskManifest(
        name=str(name),
        conf=conf,
        run_id=(family or PLAIN_PREFIX) + _hash(values),
        family=family,
        place=document.place((next(iter(document.value)),)),
    ), []


def _conf(mapped: Mapped, document: Document) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """Return the conf as the trigger form's params take it, and what is wrong with it, with the lines."""
    try:
        request = CodingTaskRequest.model_validate(mapped.values)
    except ValidationError as error:
        faults = []
        for path, text in fault_lines(CodingTaskRequest, mapped.values, error):
            field, _, message = text.partition(": ")
            where = mapped.paths.get(str(path[0]) if path else field.split(".")[0])
            if where is None:
                faults.append((document.line(path), text))
            else:
                rest = path[1:] if path else ()
                shown = ".".join(str(part) for part in (*where, *rest))
                faults.append((document.line((*where, *rest)), f"{shown}: {message}"))
        return {}, faults
    given = {name for name, value in mapped.values.items() if value is not None}
    return request.model_dump(mode="json", include=given), []


def name_of(run_id: str) -> str:
    """Return the name of the manifest that a run was started from; empty: it was not, or had none."""
    for prefix in (RUN_PREFIX, PLAIN_PREFIX):
        if run_id.startswith(prefix):
            named, _, _ = run_id.removeprefix(prefix).rpartition("__")
            return named.partition("__")[2] if prefix == RUN_PREFIX else named
    return ""


def _short(name: str) -> str:
    """Return a name that leaves room in a run id of 250 characters."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}-{_hash(name)}"


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
