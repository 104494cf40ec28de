"""What is made of the Helm chart: the base of the Kustomize overlays, and the table of values in the chart's README."""

import difflib
import json
import pathlib
import re
import subprocess
import sys

import yaml

INFRA = pathlib.Path(__file__).resolve().parent.parent
CHART = INFRA / "helm/runjob"
BASE = INFRA / "kustomize/base/runjob.yaml"
README = CHART / "README.md"
BEGIN, END = "<!-- values: written by infra/render -->\n", "<!-- end -->\n"


def template(release, namespace, *arguments):
    """What helm makes of the chart. Fails with helm's own words."""
    command = ["helm", "template", release, str(CHART), "--namespace", namespace, *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def base():
    text = template("runjob", "runjob", "--values", str(INFRA / "kustomize/values.yaml"))
    # Helm manages nothing there.
    text = re.sub(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", text, flags=re.M)
    text = re.sub(r"^# Source: .*\n", "", text, flags=re.M)
    return "# Written by infra/render, of the Helm chart.\n" + text


def documented():
    """(path, default, comment) of each value that has a comment. A value without one is covered by what it is a part of."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    found, comment, path = [], [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        key = re.match(r"^( *)([A-Za-z]+):", line)
        if line.lstrip().startswith("#"):
            comment.append(line.strip().lstrip("#").strip())
        elif key:
            path = path[: len(key[1]) // 2] + [key[2]]
            if comment:
                value = values
                for part in path:
                    value = value[part]
                found.append((".".join(path), value, " ".join(comment)))
            comment = []
        elif not line.strip():
            comment = []
    return found


def table():
    lines = ["| value | default | |", "|---|---|---|"]
    for path, default, comment in documented():
        default = "" if default == "" else f"`{default if isinstance(default, str) else json.dumps(default)}`"
        lines.append(f"| `{path}` | {default} | {comment.rstrip('.').replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def readme():
    before, rest = README.read_text().split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END, 1)[1]


def main():
    check = sys.argv[1:] == ["--check"]
    stale = False
    try:
        made = {BASE: base(), README: readme()}
    except subprocess.CalledProcessError as error:
        sys.exit(f"render: {' '.join(error.cmd)}: {error.stderr}")
    for file, text in made.items():
        present = file.read_text() if file.exists() else ""
        if check and present != text:
            stale = True
            name = str(file.relative_to(INFRA.parent))
            sys.stdout.writelines(difflib.unified_diff(present.splitlines(True), text.splitlines(True), name, "as it should be"))
        elif present != text:
            file.write_text(text)
    if stale:
        sys.exit("render: stale: run infra/render")


if __name__ == "__main__":
    main()
