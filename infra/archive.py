"""Container images without a container engine: docker-archive tars of one layer each, the same bytes for the same content."""

import hashlib
import io
import json
import os
import platform
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _plain(entry):
    """Without what tells of the machine that it was made on: owner, and when."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    return entry


def _add(tar, source, target):
    """A file, or a directory and all that is in it, in an order that is always the same."""
    tar.add(source, arcname=target, recursive=False, filter=_plain)
    if os.path.isdir(source) and not os.path.islink(source):
        for name in sorted(os.listdir(source)):
            _add(tar, f"{source}/{name}", f"{target}/{name}")


def layer(files=(), links=(), directories=(), texts=()):
    """A layer of files (source, target), symbolic links (to, name), empty directories, and files of a text (name, text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in directories:
            entry = _plain(tarfile.TarInfo(name))
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for source, target in files:
            _add(tar, source, target)
        for to, name in links:
            entry = _plain(tarfile.TarInfo(name))
            entry.type = tarfile.SYMTYPE
            entry.linkname = to
            tar.addfile(entry)
        for name, text in texts:
            entry = _plain(tarfile.TarInfo(name))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def archive(path, tag, content, config):
    """Writes an image of one layer."""
    diff = hashlib.sha256(content).hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{diff}"]}
    architecture = ARCHITECTURES[platform.machine()]
    image = json.dumps({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs}).encode()
    name = hashlib.sha256(image).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [f"{diff}/layer.tar"]}]).encode()
    with tarfile.open(f"{path}.part", "w") as tar:
        for member, data in ((name, image), (f"{diff}/layer.tar", content), ("manifest.json", manifest)):
            entry = _plain(tarfile.TarInfo(member))
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.replace(f"{path}.part", path)
