"""The image and the cluster's resources, checked offline: nothing is built or applied here."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.kubeflow.compile import S3_VARIABLES
from tests.serving.test_deploy import by_hand, by_kubectl, one

PROJECT = Path(__file__).parents[2]
DEPLOY = PROJECT / "pipeline" / "deploy"
INSTRUCTIONS = [
    shlex.split(line, comments=True)
    for line in (PROJECT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]


def instructions(name: str) -> list[list[str]]:
    return [words for instruction, *words in INSTRUCTIONS if instruction == name]


def test_the_base_image_is_pinned():
    assert {words[0] for words in instructions("FROM")} == {"python:3.11.14-slim-bookworm"}


def test_the_packages_come_before_the_code():
    copies = [words for words in instructions("COPY") if not words[0].startswith("--from")]
    assert copies == [["requirements.lock", "."], [".", "."]]
    names = [instruction for instruction, *_ in INSTRUCTIONS]
    install = next(
        i for i, words in enumerate(INSTRUCTIONS) if "--requirement" in words and words[0] == "RUN"
    )
    assert names[:install].count("COPY") == 1
    assert "--require-hashes" in INSTRUCTIONS[install]


def test_what_is_taken_out_again_is_locked():
    locked = set(re.findall(r"^([\w-]+)==", (PROJECT / "requirements.lock").read_text(), re.M))
    (install,) = [words for words in instructions("RUN") if "uninstall" in words]
    after = install[install.index("uninstall") + 2 :]
    removed = after[: after.index("&&")]
    assert removed
    assert set(removed) <= locked


def test_it_runs_as_nobody():
    ((user,),) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    names = [instruction for instruction, *_ in INSTRUCTIONS]
    assert "RUN" not in names[names.index("USER") :]


def test_only_what_the_code_needs_goes_to_the_builder():
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    kept = {line[1:] for line in lines if line.startswith("!")}
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = {name.split(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    assert kept == packages | {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"}
    for path in kept:
        assert (PROJECT / path).exists()


@pytest.fixture(scope="module", params=[by_hand, by_kubectl], ids=["by hand", "by kubectl"])
def kustomize(request: pytest.FixtureRequest) -> Callable[[Path], list[dict[str, Any]]]:
    if request.param is by_kubectl and not shutil.which("kubectl"):
        pytest.skip("no kubectl here")
    return request.param


@pytest.fixture(scope="module")
def resources(kustomize) -> list[dict[str, Any]]:
    return kustomize(DEPLOY)


@pytest.fixture(scope="module")
def launcher(kustomize) -> dict[str, Any]:
    (config_map,) = kustomize(DEPLOY / "launcher")
    return config_map


def test_the_resources_are_valid(resources, launcher):
    # No ConfigMap: the launcher's may be another pipeline's already.
    assert {resource["kind"] for resource in resources} == {
        "PersistentVolumeClaim",
        "Role",
        "RoleBinding",
        "Secret",
        "ServiceAccount",
    }
    for resource in (*resources, launcher):
        kubernetes_validate.validate(resource, "1.37", strict=True)
        assert resource["metadata"]["namespace"] == "kubeflow"


def test_the_account_may_what_the_launcher_needs_and_no_more(resources, launcher):
    account, role, binding = (
        one(resources, kind) for kind in ("ServiceAccount", "Role", "RoleBinding")
    )
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], "kubeflow")
    secret = one(resources, "Secret")
    granted = {
        (resource, name)
        for rule in role["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
    }
    assert ("configmaps", launcher["metadata"]["name"]) in granted
    assert ("secrets", secret["metadata"]["name"]) in granted
    assert ("secrets", "*") not in granted
    assert not any("*" in rule["verbs"] for rule in role["rules"])


def test_the_launcher_finds_its_keys(resources, launcher):
    secret = one(resources, "Secret")
    providers = yaml.safe_load(launcher["data"]["providers"])
    scheme = launcher["data"]["defaultPipelineRoot"].partition("://")[0]
    reference = providers[scheme]["default"]["credentials"]["secretRef"]
    assert reference["secretName"] == secret["metadata"]["name"]
    keys = {reference["accessKeyKey"], reference["secretKeyKey"]}
    assert keys < set(secret["stringData"]) == set(S3_VARIABLES)
    endpoint = providers[scheme]["default"]["endpoint"]
    assert secret["stringData"]["endpoint"] == f"https://{endpoint}"


def test_no_key_is_in_the_repository(resources):
    data = one(resources, "Secret")["stringData"]
    assert data["accesskey"] == data["secretkey"] == "replace-me"


def test_the_guide_names_the_claim(resources):
    claim = one(resources, "PersistentVolumeClaim")["metadata"]["name"]
    account = one(resources, "ServiceAccount")["metadata"]["name"]
    guide = (PROJECT / "docs" / "kubeflow.md").read_text()
    assert f"--volume {claim}:/models" in guide
    assert f"--service-account {account}" in guide
    assert "kubectl apply -k pipeline/deploy/launcher" in guide
