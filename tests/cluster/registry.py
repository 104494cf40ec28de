"""A registry of images on loopback: serves docker-archive tars to whoever pulls, and takes nothing.

usage: registry.py PORT DIRECTORY    (DIRECTORY: of the tars; docker.io/library/perl:latest is served as library/perl:latest)

Only what a pull asks for: the manifest by tag and by digest, and the blobs. Whatever is below `private/` wants a password that
nobody has.
"""

import hashlib
import json
import pathlib
import sys
import tarfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DOCKER = "application/vnd.docker"
MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
BLOB = "application/octet-stream"


def read_images(directory):
    """What is served: path -> (media type, content)."""
    served = {"/v2/": ("application/json", b"{}")}
    for path in pathlib.Path(directory).glob("*.tar"):
        with tarfile.open(path) as tar:

            def blob(member, media_type, repository):
                content = tar.extractfile(member).read()
                digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
                served[f"/v2/{repository}/blobs/{digest}"] = (BLOB, content)
                return {"mediaType": media_type, "size": len(content), "digest": digest}

            for image in json.load(tar.extractfile("manifest.json")):
                for name in image["RepoTags"]:
                    host, _, repository = name.rpartition(":")[0].partition("/")
                    if host != "docker.io":
                        continue
                    manifest = {
                        "schemaVersion": 2,
                        "mediaType": MANIFEST,
                        "config": blob(image["Config"], f"{DOCKER}.container.image.v1+json", repository),
                        "layers": [blob(layer, f"{DOCKER}.image.rootfs.diff.tar", repository) for layer in image["Layers"]],
                    }
                    content = json.dumps(manifest).encode()
                    for reference in (name.rpartition(":")[2], f"sha256:{hashlib.sha256(content).hexdigest()}"):
                        served[f"/v2/{repository}/manifests/{reference}"] = (MANIFEST, content)
    return served


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served = {}

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith("/v2/private/"):
            self.answer(401, "application/json", self.error("UNAUTHORIZED"), {"WWW-Authenticate": 'Basic realm="registry"'})
        elif path in self.served:
            media_type, content = self.served[path]
            self.answer(200, media_type, content, {"Docker-Content-Digest": f"sha256:{hashlib.sha256(content).hexdigest()}"})
        else:
            self.answer(404, "application/json", self.error("MANIFEST_UNKNOWN"), {})

    do_HEAD = do_GET

    @staticmethod
    def error(code):
        return json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()

    def answer(self, status, media_type, content, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Type": media_type, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def main():
    port, directory = sys.argv[1:]
    Registry.served = read_images(directory)
    ThreadingHTTPServer.request_queue_size = 128  # many pods pull at the same moment
    ThreadingHTTPServer(("127.0.0.1", int(port)), Registry).serve_forever()


main()
