"""The Kubernetes manifests, and their validation against the schemas of Kubernetes. `make check` runs this module."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

KUBERNETES = Path(__file__).parents[2] / "deploy/kubernetes"
FILES = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
OVERLAYS = sorted(
    path.parent for path in KUBERNETES.glob("overlays/*/*/*.yaml") if "kind: Kustomization" in path.read_text()
)
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest version with `sleep` in preStop, and the newest one that has a schema."""
CUSTOM_KINDS = {"ServiceMonitor"}
"""Kinds without a schema of Kubernetes."""

Resource = dict[str, Any]


def load(path: Path) -> Resource:
    """Return the resource in a file."""
    resource: Resource = yaml.safe_load(path.read_text("utf-8"))
    return resource


def renderer() -> list[str] | None:
    """Return the command that renders a directory with kustomize, None if it is not installed."""
    commands = (["kubectl", "kustomize"], ["kustomize", "build"])
    return next((command for command in commands if shutil.which(command[0])), None)


def render(directory: Path) -> list[Resource]:
    """Return the resources of an overlay, as `kubectl apply -k` sends them."""
    command = renderer()
    assert command is not None
    rendered = subprocess.run([*command, directory], check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own overlay
    return list(yaml.safe_load_all(rendered.stdout))


def schema_errors(resource: Resource) -> list[str]:
    """Return the first difference from the schema of each version, unknown fields included."""
    errors = []
    for version in VERSIONS if resource["kind"] not in CUSTOM_KINDS else ():
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(map(str, error.path))
            errors.append(f"{resource['kind']} {path}: {error.message} (Kubernetes {version})")
        except kubernetes_validate.SchemaNotFoundError as error:
            errors.append(error.message)
    return errors


def main() -> None:
    """Validate the files, and the overlays if kustomize is installed. Exit with status 1 if one is invalid."""
    resources = [load(path) for path in FILES]
    if renderer():
        resources += [resource for overlay in OVERLAYS for resource in render(overlay)]
    else:
        sys.stdout.write("kubectl and kustomize are not installed, so only the files are validated\n")
    if errors := [error for resource in resources for error in schema_errors(resource)]:
        sys.exit("\n".join(errors))


if __name__ == "__main__":
    main()
