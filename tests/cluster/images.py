"""Makes container images without a container engine: docker-archive tars of one layer each.

usage: images.py DIRECTORY DEBIAN    (DEBIAN: the unpacked packages busybox-static and libmath-bigint-perl)
"""

import os
import platform
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../infra"))
from archive import archive, layer  # noqa: E402 (it is found there)


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
