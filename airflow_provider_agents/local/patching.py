"""The three kinds of patch: JSON patch, merge patch and strategic merge patch."""

from __future__ import annotations

import copy
from typing import Any

from airflow_provider_agents.local.api_errors import ApiError, Json, bad_request

_MERGE_KEYS = {
    "ownerReferences": "uid",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "conditions": "type",
}
"""Lists of objects that a strategic merge patch merges by a key; every other list is replaced."""

_MERGED_SETS = {"finalizers"}


def apply_patch(item: Json, patch: Any, content_type: str) -> Json:
    """Return ``item`` with ``patch`` applied; ``item`` is left as it is.

    :param content_type: the media type of the request, which tells the kind of patch.
    :raises ApiError: 415 for an unknown kind; 400 or 422 for a patch that does not fit.
    """
    match content_type:
        case "application/json-patch+json":
            if not isinstance(patch, list):
                raise bad_request("a JSON patch is a list of operations")
            return _json_patch(item, patch)
        case "application/merge-patch+json":
            patched = _merge(item, _as_object(patch))
        case "application/strategic-merge-patch+json":
            patched = _strategic(item, _as_object(patch))
        case _:
            known = "application/json-patch+json, -/merge-patch+json, -/strategic-merge-patch+json"
            message = f"the body of the request was in an unknown format: use one of {known}"
            raise ApiError(415, "UnsupportedMediaType", message)
    return patched


def _as_object(patch: Any) -> Json:
    if not isinstance(patch, dict):
        raise bad_request("a merge patch is an object")
    return patch


def _merge(target: Any, patch: Json) -> Json:
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _merge(result.get(key), value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _strategic(target: Any, patch: Json) -> Json:
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [entry for entry in result.get(name) or [] if entry not in value]
        elif key.startswith("$"):
            continue  # $setElementOrder and $retainKeys only order or narrow what is merged anyway
        elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = _strategic(result.get(key), value)
        elif isinstance(value, list) and key in _MERGE_KEYS:
            result[key] = _merge_list(result.get(key) or [], value, _MERGE_KEYS[key])
        elif isinstance(value, list) and key in _MERGED_SETS:
            known = result.get(key) or []
            result[key] = [*known, *(entry for entry in value if entry not in known)]
        else:
            result[key] = copy.deepcopy(value)
    return result


def _merge_list(target: list[Json], patch: list[Json], merge_key: str) -> list[Json]:
    if any(entry.get("$patch") == "replace" for entry in patch):
        return [copy.deepcopy(entry) for entry in patch if "$patch" not in entry]
    result = list(target)
    for entry in patch:
        if merge_key not in entry:
            raise bad_request(f"an entry of the list in the patch does not name its {merge_key}")
        at = next((i for i, known in enumerate(result) if known.get(merge_key) == entry[merge_key]), None)
        if entry.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(_strategic({}, entry))
        else:
            result[at] = _strategic(result[at], entry)
    return result


def _json_patch(item: Json, operations: list[Json]) -> Json:
    result: Any = copy.deepcopy(item)
    for operation in operations:
        try:
            result = _apply_operation(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            message = f"the server rejected our request: operation {operation!r} does not fit: {error}"
            raise ApiError(422, "Invalid", message) from error
    if not isinstance(result, dict):
        raise bad_request("the patch leaves no object")
    return result


def _apply_operation(document: Any, operation: Json) -> Any:
    kind, path = operation["op"], _pointer(operation["path"])
    match kind:
        case "add":
            return _write(document, path, copy.deepcopy(operation["value"]), insert=True)
        case "replace":
            _read(document, path)
            return _write(document, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            return _remove(document, path)
        case "test":
            if _read(document, path) != operation["value"]:
                raise ValueError("the test failed")
            return document
        case "copy" | "move":
            source = _pointer(operation["from"])
            value = copy.deepcopy(_read(document, source))
            document = _remove(document, source) if kind == "move" else document
            return _write(document, path, value, insert=True)
        case _:
            raise ValueError(f"unknown operation {kind!r}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _read(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _write(document: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _read(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif insert:
        at = len(parent) if last == "-" else int(last)
        if not 0 <= at <= len(parent):
            raise IndexError(f"no position {at}")
        parent.insert(at, value)
    else:
        parent[int(last)] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent, last = _read(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[int(last)]
    else:
        del parent[last]
    return document
