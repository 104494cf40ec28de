"""Makes container images without a container engine: docker-archive tars of one layer each.

usage: images.py DIRECTORY DEBIAN    (DEBIAN: the unpacked packages busybox-static and libmath-bigint-perl)
"""

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tarfile


def layer(files, links, directories):
    """A layer of files (source, target), symbolic links (to, name) and empty directories."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in directories:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for source, target in files:
            tar.add(source, arcname=target)
        for to, name in links:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.SYMTYPE
            entry.linkname = to
            tar.addfile(entry)
    return buffer.getvalue()


def archive(path, tag, content, config):
    """Writes an image of one layer."""
    diff = hashlib.sha256(content).hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{diff}"]}
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    image = json.dumps({"architecture": architecture, "os": "linux", "config": config, "rootfs": rootfs}).encode()
    name = hashlib.sha256(image).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": [f"{diff}/layer.tar"]}]).encode()
    with tarfile.open(f"{path}.part", "w") as tar:
        for member, data in ((name, image), (f"{diff}/layer.tar", content), ("manifest.json", manifest)):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    os.replace(f"{path}.part", path)


def busybox(debian):
    [program] = [path for path in (f"{debian}/bin/busybox", f"{debian}/usr/bin/busybox") if os.path.exists(path)]
    applets = subprocess.check_output([program, "--list"], text=True).split()
    return [(program, "bin/busybox")], [("busybox", f"bin/{name}") for name in applets if name != "busybox"]


def perl(debian):
    words = subprocess.check_output(["ldd", "/usr/bin/perl"], text=True).split()
    libraries = sorted({word for word in words if word.startswith("/")})
    machine = f"/usr/lib/{platform.machine()}-linux-gnu"
    folders = [f"{machine}/perl-base", f"{machine}/perl", "/usr/share/perl"]
    files = [("/usr/bin/perl", "usr/bin/perl"), (f"{debian}/usr/share/perl5", "usr/share/perl5")]
    files += [(folder, folder[1:]) for folder in folders]
    return files + [(os.path.realpath(library), library[1:]) for library in libraries]


def main():
    directory, debian = sys.argv[1:]
    files, links = busybox(debian)
    plain = layer(files, links, ["bin", "etc", "tmp"])
    sleep = {"Entrypoint": ["/bin/sleep", "2000000000"], "Env": ["PATH=/bin"]}
    archive(f"{directory}/pause.tar", "localhost/pause:1", plain, sleep)
    shell = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}
    archive(f"{directory}/busybox.tar", "docker.io/library/busybox:latest", plain, shell)
    whole = layer(files + perl(debian), links, ["bin", "etc", "tmp", "usr", "usr/bin"])
    program = {"Cmd": ["perl"], "Env": ["PATH=/usr/bin:/bin"]}
    archive(f"{directory}/perl.tar", "docker.io/library/perl:latest", whole, program)


main()
