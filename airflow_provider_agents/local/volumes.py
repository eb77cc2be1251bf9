"""The volumes of a pod, each a folder below the pod's own.

Secrets, config maps and the downward API are written as the kubelet writes them: the files are symbolic
links through ``..data``, which is exchanged in one step, so that a reader never sees half an update.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local import downward
from airflow_provider_agents.local.environment import Find, decoded, expand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_agents.local.api_errors import Json

DATA = "..data"
SOURCES = ("emptyDir", "secret", "configMap", "downwardAPI", "projected", "persistentVolumeClaim")
"""The kinds of volume that are served."""

Files = dict[str, tuple[bytes, int]]
"""Content and mode by path inside a volume."""


class VolumeNotReadyError(Exception):
    """A volume cannot be set up yet because what it refers to is missing."""


class PodVolumes:
    """The volumes of one pod.

    :param folder: where they are; made when they are set up.
    :param read_pod: returns the pod as it is now.
    :param find: returns an object of the pod's namespace.
    :param claim_folder: returns the folder of a claim, which outlives the pod.
    """

    def __init__(
        self,
        folder: Path,
        read_pod: Callable[[], Json],
        find: Find,
        claim_folder: Callable[[Json], Path],
    ) -> None:
        self._folder = folder
        self._read_pod = read_pod
        self._find = find
        self._claim_folder = claim_folder

    def set_up(self) -> None:
        """Make all volumes that a container mounts; one that none mounts is never looked at.

        :raises VolumeNotReadyError: if what a volume refers to is missing.
        """
        pod = self._read_pod()
        mounted = {
            mount["name"] for container in containers_of(pod) for mount in container.get("volumeMounts") or []
        }
        for volume in pod["spec"].get("volumes") or []:
            if volume["name"] in mounted:
                self._set_up(pod, volume)

    def refresh(self) -> None:
        """Write changed secrets, config maps, labels and annotations into their volumes.

        A source that has vanished leaves its volume as it is.
        """
        pod = self._read_pod()
        for volume in pod["spec"].get("volumes") or []:
            place = self._folder / volume["name"]
            if (place / DATA).is_symlink():
                try:
                    write_files(place, self._files(pod, volume))
                except VolumeNotReadyError:
                    continue

    def source(self, mount: Json, variables: Mapping[str, str]) -> Path:
        """Return the path in this machine of a mount, and make the folder that its ``subPath`` names.

        :param variables: the container's environment, for ``subPathExpr``.
        """
        pod = self._read_pod()
        volume = next(entry for entry in pod["spec"]["volumes"] if entry["name"] == mount["name"])
        place = self._place(volume)
        inside = mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)
        if inside:
            if PurePosixPath(inside).is_absolute() or ".." in PurePosixPath(inside).parts:
                raise VolumeNotReadyError(f"subPath {inside!r} leads out of the volume")
            base, place = place.resolve(), place / inside
            # Before anything is made: a container may have put a link there.
            if not place.resolve().is_relative_to(base):
                raise VolumeNotReadyError(f"subPath {inside!r} leads out of the volume")
            if not place.exists():
                place.mkdir(parents=True)
        return place

    def remove(self) -> None:
        """Remove the volumes. Claims stay."""
        remove_tree(self._folder)

    def _place(self, volume: Json) -> Path:
        if reference := volume.get("persistentVolumeClaim"):
            return self._claim_folder(self._claim(volume["name"], reference))
        return self._folder / str(volume["name"])

    def _claim(self, name: str, reference: Json) -> Json:
        claim = self._find("persistentvolumeclaims", reference["claimName"])
        if claim is None:
            raise VolumeNotReadyError(
                f'volume "{name}": persistentvolumeclaim "{reference["claimName"]}" not found'
            )
        return claim

    def _set_up(self, pod: Json, volume: Json) -> None:
        place = self._place(volume)
        if any(volume.get(kind) is not None for kind in ("emptyDir", "persistentVolumeClaim")):
            place.mkdir(parents=True, exist_ok=True)
            place.chmod(0o777)
            return
        try:
            files = self._files(pod, volume)
        except VolumeNotReadyError as error:
            raise VolumeNotReadyError(
                f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
            ) from error
        place.mkdir(parents=True, exist_ok=True)
        write_files(place, files)

    def _files(self, pod: Json, volume: Json) -> Files:
        if "projected" not in volume:
            return self._source_files(pod, volume, None)
        projected = volume["projected"]
        files: Files = {}
        for source in projected.get("sources") or []:
            files |= self._source_files(pod, source, projected.get("defaultMode", 0o644))
        return files

    def _source_files(self, pod: Json, source: Json, mode: int | None) -> Files:
        if (fields := source.get("downwardAPI")) is not None:
            default = fields.get("defaultMode", 0o644) if mode is None else mode
            return {
                item["path"]: (_downward(pod, item).encode(), _mode(item, default))
                for item in fields.get("items") or []
            }
        kind, resource, name_field = (
            ("secret", "secrets", "secretName" if mode is None else "name")
            if "secret" in source
            else ("configMap", "configmaps", "name")
        )
        reference: dict[str, Any] = source[kind]
        default = reference.get("defaultMode", 0o644) if mode is None else mode
        name = reference[name_field]
        item = self._find(resource, name)
        if item is None:
            if reference.get("optional"):
                return {}
            raise VolumeNotReadyError(f'{kind.lower()} "{name}" not found')
        data = decoded(item)
        if not reference.get("items"):
            return {key: (content, default) for key, content in data.items()}
        files: Files = {}
        for entry in reference["items"]:
            if entry["key"] in data:
                files[entry["path"]] = (data[entry["key"]], _mode(entry, default))
            elif not reference.get("optional"):
                raise VolumeNotReadyError(f"references non-existent {kind} key: {entry['key']}")
        return files


def containers_of(pod: Json) -> list[Json]:
    """Return all containers of a pod, init containers first."""
    return [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]


def write_files(place: Path, files: Files) -> None:
    """Make ``place`` hold exactly ``files``, exchanging all of them in one step; nothing if it does already."""
    current = place / DATA
    if current.is_symlink() and _read_files(current.resolve()) == files:
        return
    version = place / f"..{time.time_ns()}"
    version.mkdir(mode=0o755)
    for name, (content, mode) in files.items():
        path = version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    old = current.resolve() if current.is_symlink() else None
    new = place / f"{DATA}.new"
    new.symlink_to(version.name)
    new.replace(current)
    wanted = {PurePosixPath(name).parts[0] for name in files}
    for entry in wanted:
        link = place / entry
        if not link.is_symlink():
            link.symlink_to(Path(DATA) / entry)
    for link in place.iterdir():
        if not link.name.startswith("..") and link.name not in wanted:
            link.unlink()
    if old is not None:
        remove_tree(old)


def remove_tree(folder: Path) -> None:
    """Remove a folder even where a container has taken the right to write from parts of it.

    Two removals of one folder do not disturb each other.
    """

    def make_writable(_function: Callable[..., object], path: str, _: object) -> None:
        parent = Path(path).parent
        try:
            parent.chmod(parent.stat().st_mode | stat.S_IRWXU)
            if not Path(path).is_symlink() and Path(path).is_dir():
                Path(path).chmod(stat.S_IRWXU)
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.lexists(path):
                # Not ``function``, which may be the opening or listing of a folder that is gone since.
                Path(path).unlink()
        except OSError:
            return  # gone meanwhile, or not ours to remove

    shutil.rmtree(folder, onerror=make_writable)


def _read_files(folder: Path) -> Files:
    files: Files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            status = path.stat()
            files[str(path.relative_to(folder))] = (path.read_bytes(), stat.S_IMODE(status.st_mode))
    return files


def _mode(item: Json, default: int) -> int:
    mode = item.get("mode")
    return default if mode is None else int(mode)


def _downward(pod: Json, item: Json) -> str:
    if reference := item.get("fieldRef"):
        return downward.field_value(pod, reference["fieldPath"])
    reference = item["resourceFieldRef"]
    container = next(each for each in containers_of(pod) if each["name"] == reference["containerName"])
    return downward.resource_value(container, reference)


def is_inside(path: str) -> bool:
    """Say whether a path of a volume item stays inside the volume."""
    pure = PurePosixPath(path)
    return (
        bool(path)
        and not pure.is_absolute()
        and ".." not in pure.parts
        and not path.startswith(f"..{os.sep}")
    )
