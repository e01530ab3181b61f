"""The Helm chart: rendered by Helm, held against Kubernetes' and KEDA's published schemas, and closed by default."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from chart import CHART, GoUnavailable, Rendered, Schemas, find_go, make_renderer, render

from dispatcher.config import Settings
from dispatcher.telemetry.catalogue import METRICS

pytestmark = pytest.mark.timeout(420)  # of the first test, which builds Helm's packages

LEAST: dict[str, Any] = {
    "image": {"repository": "registry.example/shop", "tag": "1.2.3"},
    "app": "shop",
    "broker": "kafka://kafka-1:9093,kafka-2:9094",
}
FULL: dict[str, Any] = LEAST | {
    "image": {"repository": "registry.example:5000/shop", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "kafka": {
        "saslMechanism": "SCRAM-SHA-512",
        "username": "shop",
        "passwordSecret": {"name": "shop-kafka"},
        "caSecret": {"name": "kafka-ca"},
    },
    "env": {"DISPATCH_MAX_POLL_RECORDS": 100, "REGION": "eu"},
    "secretEnv": {"API_KEY": {"name": "shop", "key": "api-key"}},
    "drain": 60,
    "autoscaling": {
        "enabled": True,
        "maxReplicas": 12,
        "prometheusAddress": "http://prometheus.monitoring:9090",
        "triggerAuthentication": "prometheus",
    },
    "networkPolicy": {
        "kafkaTo": [{"ipBlock": {"cidr": "10.0.0.0/16"}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"port": 443, "protocol": "TCP"}]}],
    },
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/shop"}},
    "podLabels": {"team": "shop"},
    "podAnnotations": {"note": "x"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "priorityClassName": "events",
}


@pytest.fixture(scope="session")
def go() -> str:
    """Go; the reason why there is none skips a test, and fails it in CI."""
    try:
        return find_go()
    except GoUnavailable as error:
        _cannot(error)


@pytest.fixture(scope="session")
def program(go: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Helm's renderer."""
    try:
        return make_renderer(go, tmp_path_factory.mktemp("helm"))
    except GoUnavailable as error:
        _cannot(error)


@pytest.fixture(scope="session")
def schemas(go: str, tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """The published schemas."""
    try:
        return Schemas(go, tmp_path_factory.mktemp("schemas"))
    except GoUnavailable as error:
        _cannot(error)


def _cannot(error: GoUnavailable) -> Any:
    if os.environ.get("CI") == "true":
        pytest.fail(f"Helm's packages can't be had: {error}")
    pytest.skip(f"Helm's packages can't be had: {error}")


@pytest.fixture(scope="session")
def least(program: Path) -> Rendered:
    """With what must be said, and no more."""
    return render(program, LEAST)


@pytest.fixture(scope="session")
def full(program: Path) -> Rendered:
    """With all of it."""
    return render(program, FULL)


def pod_of(rendered: Rendered) -> dict[str, Any]:
    """The pod that the Deployment makes."""
    pod: dict[str, Any] = rendered.documents["Deployment"]["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("which", ["least", "full"])
def test_it_is_linted_and_valid(which: str, schemas: Schemas, request: pytest.FixtureRequest) -> None:
    """Helm's linter finds nothing but that there is no icon, and each document is as the published schema of its kind says."""
    rendered: Rendered = request.getfixturevalue(which)
    assert rendered.error == ""
    assert rendered.lint == ["[INFO] Chart.yaml: icon is recommended"]
    kinds = {"Deployment", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount"}
    assert rendered.documents.keys() == (kinds if which == "least" else kinds | {"ScaledObject"})
    assert [fault for document in rendered.documents.values() for fault in schemas.faults(document)] == []


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda d: d["spec"]["template"]["spec"].update(terminationGraceSeconds=1)),
        ("Deployment", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image=1)),
        ("Deployment", lambda d: d["spec"].pop("selector")),
        ("PodDisruptionBudget", lambda d: d["spec"].update(maxUnavailable={})),
        ("NetworkPolicy", lambda d: d["spec"]["egress"][0]["ports"][0].update(protocoll="TCP")),
        ("ScaledObject", lambda d: d["spec"].update(maxReplicas=3)),
        ("ScaledObject", lambda d: d["spec"]["triggers"][0]["metadata"].update(threshold=5)),
        ("ServiceAccount", lambda d: d.update(automountServiceAccountToken="no")),
    ],
)
def test_a_mistake_in_a_document_is_found(
    full: Rendered, schemas: Schemas, kind: str, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    """The control: a name that there is not, a wrong type and a missing field are each a fault."""
    document = copy.deepcopy(full.documents[kind])
    spoil(document)
    assert schemas.faults(document) != []


def test_a_mistake_in_a_template_is_found(program: Path, tmp_path: Path) -> None:
    """The other control: the linter and the renderer stop at a value that there is not."""
    chart = shutil.copytree(CHART, tmp_path / "dispatch")
    template = chart / "templates/serviceaccount.yaml"
    template.write_text(template.read_text().replace(".Values.serviceAccount.create", ".Values.serviceAcount.create"))
    rendered = render(program, LEAST, chart)
    assert "serviceAcount" in rendered.error
    assert any(line.startswith("[ERROR]") for line in rendered.lint)


@pytest.mark.parametrize("which", ["least", "full"])
def test_the_pod_is_restricted(which: str, request: pytest.FixtureRequest) -> None:
    """Kubernetes' Pod Security Standard "restricted", with the root read-only, and no token of the API's."""
    pod = pod_of(request.getfixturevalue(which))
    [container] = pod["containers"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys()
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret"}
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"]["memory"]


def test_the_user_is_that_of_the_image(least: Rendered) -> None:
    """The uid that the pod asks for is the one that the Dockerfile gives its files to, and the folders it may write are the image's."""
    dockerfile = (CHART.parent.parent.parent / "Dockerfile").read_text()
    context = pod_of(least)["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in dockerfile
    [container] = pod_of(least)["containers"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp", "/app/.dispatch"]  # noqa: S108
    assert "/app/.dispatch" in dockerfile


def test_the_grace_holds_the_drain(least: Rendered, full: Rendered) -> None:
    """A pod that is stopped has time for its drain and 20 s for the last commit; the default drain is the dispatcher's own."""
    for rendered, drain in ((least, Settings().drain), (full, 60)):
        pod = pod_of(rendered)
        values = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert float(values["DISPATCH_DRAIN"]) == drain
        assert pod["terminationGracePeriodSeconds"] == drain + 20
        assert "lifecycle" not in pod["containers"][0]


def test_the_probes_ask_what_the_process_serves(least: Rendered) -> None:
    """Alive by /livez, ready by /readyz, at the port at which the process is told to serve them."""
    [container] = pod_of(least)["containers"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    [port] = container["ports"]
    assert values["DISPATCH_MONITORING"] == f"0.0.0.0:{port['containerPort']}"
    asked = {name: container[name]["httpGet"] for name in ("livenessProbe", "readinessProbe", "startupProbe")}
    assert {name: each["path"] for name, each in asked.items()} == {
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
        "startupProbe": "/readyz",
    }
    assert {each["port"] for each in asked.values()} == {port["name"]}
    # Kubernetes' own second is short for a process that has all its functions to import.
    assert {container[name]["timeoutSeconds"] for name in asked} == {5}


def test_each_variable_is_a_setting(full: Rendered) -> None:
    """Every DISPATCH_ variable that the chart sets names a setting that there is."""
    document = json.loads((CHART.parent.parent.parent / "docs/schema/dispatch.schema.json").read_text())
    settings = document["properties"] | {
        f"kafka__{name}": value for name, value in document["definitions"]["KafkaOptions"]["properties"].items()
    }
    [container] = pod_of(full)["containers"]
    names = {each["name"] for each in container["env"] if each["name"].startswith("DISPATCH_")}
    assert {"DISPATCH_BROKER", "DISPATCH_KAFKA__PASSWORD"} <= names
    assert {name.removeprefix("DISPATCH_").lower() for name in names} <= settings.keys()


def test_secrets_are_references(full: Rendered) -> None:
    """The chart makes no Secret; what is secret comes from one that is there, by name and key, and is in no document."""
    assert "Secret" not in full.documents
    [container] = pod_of(full)["containers"]
    by_name = {each["name"]: each for each in container["env"]}
    assert by_name["DISPATCH_KAFKA__PASSWORD"] == {
        "name": "DISPATCH_KAFKA__PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "shop-kafka", "key": "password"}},
    }
    assert by_name["API_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "shop", "key": "api-key"}}
    assert by_name["DISPATCH_KAFKA__CA_FILE"]["value"] == "/etc/dispatch/ca/ca.crt"
    assert container["volumeMounts"][-1] == {"name": "ca", "mountPath": "/etc/dispatch/ca", "readOnly": True}


def test_everything_selects_the_pods(full: Rendered) -> None:
    """The Deployment, the budget, the network policy and the spread select the pods' labels, and the scaler the Deployment."""
    deployment = full.documents["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        full.documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        full.documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        pod_of(full)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == selectors[0] for selector in selectors)
    assert selectors[0].items() <= labels.items()
    assert labels["team"] == "shop"
    assert full.documents["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert pod_of(full)["serviceAccountName"] == full.documents["ServiceAccount"]["metadata"]["name"]


def test_it_scales_by_the_true_backlog(full: Rendered, least: Rendered) -> None:
    """KEDA asks Prometheus for the backlog of this app by a metric and labels that there are; then nothing else says how many there are."""
    spec = full.documents["ScaledObject"]["spec"]
    [trigger] = spec["triggers"]
    query = trigger["metadata"]["query"]
    promql_parser.parse(query)
    [metric] = [metric for name, metric in METRICS.items() if name in query]
    assert metric.name == "dispatch_backlog_events"
    assert {"app", "function", "stream", "partition"} <= set(metric.labels)
    assert 'app="shop"' in query
    assert (trigger["type"], trigger["metricType"], trigger["metadata"]["threshold"]) == (
        "prometheus",
        "AverageValue",
        "1000",
    )
    assert spec["minReplicaCount"] >= 1
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert "replicas" not in full.documents["Deployment"]["spec"]
    assert least.documents["Deployment"]["spec"]["replicas"] == 2


def test_the_network_is_closed_but_for_what_is_named(least: Rendered, full: Rendered) -> None:
    """Nobody reaches the pods unless named; they reach the cluster's name servers, the brokers' ports, and what is named."""
    closed = least.documents["NetworkPolicy"]["spec"]
    assert (closed["policyTypes"], closed["ingress"]) == (["Ingress", "Egress"], [])
    assert [[port["port"] for port in rule["ports"]] for rule in closed["egress"]] == [[53, 53], [9093, 9094]]
    assert closed["egress"][0]["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    ]
    assert "metricsFrom" in least.notes
    opened = full.documents["NetworkPolicy"]["spec"]
    assert [[port["port"] for port in rule["ports"]] for rule in opened["ingress"]] == [[9464]]
    assert opened["egress"][1]["to"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    assert opened["egress"][2]["ports"] == [{"port": 443, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"broker": "kafka://shop:hunter2@kafka:9093"}, "broker"),
        ({"broker": "embedded:log.db"}, "broker"),
        ({"app": ""}, "app"),
        ({"image": {"repository": "shop", "tag": "latest"}}, "tag"),
        ({"image": {"repository": "shop"}}, "image.tag or image.digest"),
        ({"env": {"DB_PASSWORD": "hunter2"}}, "DB_PASSWORD"),
        ({"env": {"DISPATCH_KAFKA__PASSWORD": "hunter2"}}, "DISPATCH_KAFKA__PASSWORD"),
        ({"env": {"DISPATCH_MONITORING": "9464"}}, "DISPATCH_MONITORING"),
        ({"kafka": {"password": "hunter2"}}, "password"),
        ({"arguments": ["functions/", "--workers=4"]}, "arguments"),
        ({"drain": 0}, "drain"),
        ({"replicaCount": 3}, "replicaCount"),
        ({"autoscaling": {"enabled": True, "minReplicas": 0}}, "minReplicas"),
        ({"autoscaling": {"enabled": True, "prometheusAddress": "http://p:9090"}}, "metricsFrom"),
        ({"autoscaling": {"enabled": True}, "networkPolicy": {"enabled": False}}, "prometheusAddress"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"kafka": {"saslMechanism": "AWS_MSK_IAM"}}, "169.254.170.23"),
    ],
)
def test_values_that_can_not_be_meant_are_refused(program: Path, values: dict[str, Any], said: str) -> None:
    """A password in the open, a name that there is not, and what would not work stop an installation, with what it is about."""
    assert said in render(program, LEAST | values).error


def test_what_must_be_said_is_asked_for(program: Path) -> None:
    """The chart's own values name no image, app or broker, and are refused as they are."""
    error = render(program, {}).error
    for name in ("image", "app", "broker"):
        assert re.search(rf"\b{name}\b", error), error


def test_the_values_of_the_page_are_valid(program: Path) -> None:
    """What docs/deploy/kubernetes.md has a reader write is an installation, with its second part one that scales, and with its third one
    on Amazon MSK, whose pods reach what gives them their credentials."""
    page = (CHART.parent.parent.parent / "docs/deploy/kubernetes.md").read_text()
    written = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)]
    assert len(written) == 3
    assert render(program, written[0]).error == ""
    assert "ScaledObject" in render(program, written[0] | written[1]).documents
    on_msk = render(program, written[0] | written[2])
    assert on_msk.error == ""
    rules = on_msk.documents["NetworkPolicy"]["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in rules] == [[53, 53], [9098], [443], [80]]


def test_each_value_is_described_by_the_schema() -> None:
    """values.yaml and values.schema.json name the same values, on every level."""

    def names(values: dict[str, Any], schema: dict[str, Any], at: str = "") -> None:
        known = schema["properties"].keys() - {"global"}
        assert values.keys() == known, at
        for name, value in values.items():
            inner = schema["properties"][name]
            if isinstance(value, dict) and "properties" in inner:
                names(value, inner, f"{at}.{name}")

    names(yaml.safe_load((CHART / "values.yaml").read_text()), json.loads((CHART / "values.schema.json").read_text()))
