"""The examples, applied to an AWS of moto's: a second plan is empty, the dispatcher calls the function through what was
deployed, and nothing is left afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from moto_aws import moto_aws
from terraform_cli import ROOT, Terraform, needs_terraform

pytestmark = pytest.mark.timeout(400)  # one command has taken a minute beside seven other jobs

EXAMPLE = "examples/complete"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAMOTO", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1"}
REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
FLAGS = ("-no-color", "-input=false", "-parallelism=20")
HOUSEHOLD = {"income": "Under 15K"}


class Deployed(NamedTuple):
    """What was applied."""

    terraform: Terraform
    url: str
    before: dict[str, set[str]]
    outputs: dict[str, Any]

    def client(self, service: str) -> Any:
        """One of AWS."""
        return client(self.url, service)

    def containers(self) -> dict[str, dict[str, Any]]:
        """Of the task definition that the service runs."""
        ecs = self.client("ecs")
        [service] = ecs.describe_services(cluster=self.outputs["cluster_arn"], services=[self.outputs["service_name"]])[
            "services"
        ]
        assert service["taskDefinition"] == self.outputs["task_definition_arn"]
        definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        return {each["name"]: each for each in definition["containerDefinitions"]}


def client(url: str, service: str) -> Any:
    """One of AWS."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=KEYS["AWS_REGION"],
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )


def found(url: str) -> dict[str, set[str]]:
    """What there is at AWS, by kind. Other tests of this process may have left something."""
    iam, ecs, ec2 = client(url, "iam"), client(url, "ecs"), client(url, "ec2")
    autoscaling = client(url, "application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")
    clusters = ecs.describe_clusters(clusters=ecs.list_clusters()["clusterArns"])["clusters"]
    return {
        "roles": {each["RoleName"] for each in iam.list_roles()["Roles"]},
        "policies": {each["PolicyName"] for each in iam.list_policies(Scope="Local")["Policies"]},
        "functions": {each["FunctionName"] for each in client(url, "lambda").list_functions()["Functions"]},
        # A deleted one is shown as inactive for a while.
        "clusters": {each["clusterName"] for each in clusters if each["status"] == "ACTIVE"},
        "brokers": {each["ClusterName"] for each in client(url, "kafka").list_clusters()["ClusterInfoList"]},
        "logs": {each["logGroupName"] for each in client(url, "logs").describe_log_groups()["logGroups"]},
        "alarms": {each["AlarmName"] for each in client(url, "cloudwatch").describe_alarms()["MetricAlarms"]},
        "vpcs": {each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"]},
        "addresses": {each["PublicIp"] for each in ec2.describe_addresses()["Addresses"]},
        "topics": {each["TopicArn"] for each in client(url, "sns").list_topics()["Topics"]},
        "targets": {each["ResourceId"] for each in autoscaling["ScalableTargets"]},
    }


def package(archive: Path) -> None:
    """Make the function's package as its page says, but for pydantic, which is the machine's."""
    folder = archive.with_suffix("")
    repository = ROOT.parent
    shutil.copytree(repository / "bindings", folder / "bindings", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "functions" / "check_limit" / "function.py", folder)
    shutil.make_archive(str(folder), "zip", folder)


def provide(where: Path, **variables: Any) -> None:
    """Say the values of variables; and let the provider give up early what moto lacks: with its 25 attempts that takes minutes."""
    (where / "terraform.tfvars.json").write_text(json.dumps(variables))
    had = "provider" in (where / "main.tf").read_text().replace("required_providers", "")
    (where / ("test_override.tf" if had else "test.tf")).write_text('provider "aws" {\n  max_retries = 2\n}\n')


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The complete example, applied."""
    needs_terraform()
    folder = tmp_path_factory.mktemp("complete")
    with moto_aws() as url:
        terraform = Terraform(folder, AWS_ENDPOINT_URL=url, AWS_EC2_METADATA_DISABLED="true", **KEYS)
        where = terraform.tree / EXAMPLE
        package(where / "check_limit.zip")
        provide(where, image=f"{REGISTRY}/shop:1.0.0", collector_image=f"{REGISTRY}/aws-otel-collector:v0.43.3")
        terraform.init(EXAMPLE)
        before = found(url)
        terraform.run(EXAMPLE, "apply", "-auto-approve", *FLAGS)
        yield Deployed(terraform, url, before, terraform.outputs(EXAMPLE))


def test_a_second_plan_changes_nothing(deployed: Deployed) -> None:
    """What is applied is what the modules say: nothing flaps from one plan to the next."""
    deployed.terraform.run(EXAMPLE, "plan", "-detailed-exitcode", *FLAGS)


def test_more_tasks_and_another_share_of_spot_replace_nothing(deployed: Deployed) -> None:
    """The running service takes both as an update, and so does its scalable target: nothing is deleted to be made anew."""
    where = deployed.terraform.tree / EXAMPLE
    override = where / "tasks_override.tf"
    override.write_text(
        'locals {\n  tasks = { min = 3, max = 6 }\n}\n\nmodule "dispatcher" {\n  spot_percent = 25\n}\n'
    )
    try:
        deployed.terraform.run(EXAMPLE, "plan", "-out=tasks.plan", *FLAGS)
        plan = json.loads(deployed.terraform.run(EXAMPLE, "show", "-json", "tasks.plan"))
    finally:
        override.unlink()
    actions = {each["address"]: each["change"]["actions"] for each in plan["resource_changes"]}
    assert not [address for address, each in actions.items() if "delete" in each]
    assert actions["module.dispatcher.aws_ecs_service.this"] == ["update"]
    assert actions["module.dispatcher.aws_appautoscaling_target.this"] == ["update"]


def dispatch(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    """A command of the dispatcher, with this environment and none of the machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISPATCH_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**kept, "PYTHONPATH": str(ROOT.parent), "NO_COLOR": "1", **environment},
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_tasks_environment_is_settings_of_the_dispatcher(deployed: Deployed, tmp_path: Path) -> None:
    """Every variable that the task is given is one that ``dispatch`` knows and takes, with the value that was meant."""
    given = {each["name"]: each["value"] for each in deployed.containers()["dispatcher"]["environment"]}
    shutil.copy(ROOT / EXAMPLE / "dispatch.toml", tmp_path)
    shown = json.loads(dispatch(tmp_path, given, "config", "show", str(ROOT.parent / "functions"), "-o", "json"))
    settings = {each["setting"]: each for each in shown}
    assert settings["broker"]["value"] == f"kafka://{deployed.outputs['bootstrap_servers']}"
    assert settings["kafka.sasl_mechanism"]["value"] == "AWS_MSK_IAM"
    assert settings["functions.check_limit.target"]["value"]["qualifier"] == "live"


def test_events_reach_the_function_through_the_deployed_alias(deployed: Deployed, tmp_path: Path) -> None:
    """A dispatcher with the task's own settings, but for Kafka, which is a log of its own here, calls what the target names: the
    version behind the alias runs the package that was deployed, and what it returns is produced.
    """
    given = {each["name"]: each["value"] for each in deployed.containers()["dispatcher"]["environment"]}
    target = json.loads(given["DISPATCH_FUNCTIONS__CHECK_LIMIT__TARGET"])
    assert f"{target['function']}:{target['qualifier']}" == deployed.outputs["alias_arn"]
    target["endpoint_url"] = deployed.url
    environment = {name: value for name, value in given.items() if not name.startswith("DISPATCH_KAFKA__")} | KEYS
    environment |= {
        "DISPATCH_BROKER": f"embedded:{tmp_path / 'log.db'}",
        "DISPATCH_DATA": str(tmp_path / "data"),
        "DISPATCH_MONITORING": "none",
        "DISPATCH_FUNCTIONS__CHECK_LIMIT__TARGET": json.dumps(target),
    }
    shutil.copy(ROOT / EXAMPLE / "dispatch.toml", tmp_path)
    # As the task does that a person runs once.
    [made] = json.loads(deployed.outputs["make_streams"])["overrides"]["containerOverrides"]
    dispatch(tmp_path, environment, *made["command"])
    order = {"order_id": 1, "household_id": 7, "time": "2026-11-01T12:00:00", "household": HOUSEHOLD, "total": 50.0}
    orders = [{**order, "spent_this_month": 420.0}, {**order, "order_id": 2, "spent_this_month": 10.0}]
    (tmp_path / "orders.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in orders))
    dispatch(tmp_path, environment, "send", "orders.enriched", "orders.jsonl", "--key", "household_id")
    functions = str(ROOT.parent / "functions")
    dispatch(tmp_path, environment, "run", functions, "--only", "check_limit", "--until-caught-up")
    tailed = dispatch(tmp_path, environment, "streams", "tail", "limits.breached", "-o", "jsonl")
    values = [json.loads(line)["value"] for line in tailed.splitlines()]
    assert [(each["order_id"], each["spent"]) for each in values] == [(1, 470.0)]


def test_what_is_deployed_is_allowed_what_it_needs(deployed: Deployed) -> None:
    """The alias lets in the task's role alone; that role's policies name the alias and the cluster's own topics."""
    function, alias = deployed.outputs["alias_arn"].split(":")[6:]
    policy = json.loads(deployed.client("lambda").get_policy(FunctionName=function, Qualifier=alias)["Policy"])
    iam = deployed.client("iam")
    role = iam.get_role(RoleName="shop-task")["Role"]["Arn"]
    [statement] = policy["Statement"]
    assert statement["Action"] == "lambda:InvokeFunction"
    assert statement["Principal"] in (role, {"AWS": role})  # moto has the former, AWS the latter
    document = iam.get_role_policy(RoleName="shop-task", PolicyName="task")["PolicyDocument"]
    resources = {each["Sid"]: each["Resource"] for each in document["Statement"]}
    assert resources["InvokeTargets"] == deployed.outputs["alias_arn"]
    [attached] = iam.list_attached_role_policies(RoleName="shop-task")["AttachedPolicies"]
    version = iam.get_policy_version(PolicyArn=attached["PolicyArn"], VersionId="v1")["PolicyVersion"]["Document"]
    written = next(each["Resource"] for each in version["Statement"] if each["Sid"] == "Write")
    topics = deployed.outputs["network"]["cluster_arn"].replace(":cluster/", ":topic/")
    assert f"{topics}/orders.enriched.check_limit.dead" in written
    assert all(each.startswith(f"{topics}/") for each in written)
    operator = json.loads(deployed.outputs["make_streams"])["overrides"]["taskRoleArn"]
    assert operator == iam.get_role(RoleName="shop-operator")["Role"]["Arn"]
    version = iam.get_policy_version(PolicyArn=deployed.outputs["operator_policy_arn"], VersionId="v1")["PolicyVersion"]
    allowed = {each["Sid"]: each["Resource"] for each in version["Document"]["Statement"]}
    assert allowed["MakeAndFillStreams"] == f"{topics}/orders.enriched"


def test_destroy_leaves_nothing(deployed: Deployed) -> None:
    """All of it was there, and all of it is gone."""
    made = found(deployed.url)
    assert [kind for kind in made if not made[kind] - deployed.before[kind]] == []
    deployed.terraform.run(EXAMPLE, "destroy", "-auto-approve", "-refresh=false", *FLAGS)
    after = found(deployed.url)
    assert {kind: left for kind in after if (left := after[kind] - deployed.before[kind])} == {}


def test_the_other_examples_are_applied_too(deployed: Deployed) -> None:
    """In the network that each account has; side by side, because most of the time is the provider's waiting."""
    ec2 = deployed.client("ec2")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    vpc = subnets[0]["VpcId"]
    named = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    [group] = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    servers = "kafka-1.example:9093"
    arn = "arn:aws:kafka:eu-west-1:123456789012:cluster/shop/0a1b2c3d-1"
    own: dict[str, dict[str, Any]] = {
        "minimal": {"msk": {"bootstrap_servers": servers, "cluster_arn": arn, "security_group_id": group["GroupId"]}},
        "existing-kafka": {
            "bootstrap_servers": servers,
            "password_secret": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:kafka-AbCdEf:password::",
            "broker_cidr_blocks": ["10.9.0.0/16"],
        },
    }

    def apply(example: str) -> None:
        where = f"examples/{example}"
        common = {
            "name": example,
            "image": f"{REGISTRY}/shop:1.0.0",
            "vpc_id": vpc,
            "subnet_ids": [subnets[0]["SubnetId"]],
        }
        provide(deployed.terraform.tree / where, **common, **own[example])
        deployed.terraform.init(where)
        deployed.terraform.run(where, "apply", "-auto-approve", *FLAGS)

    with ThreadPoolExecutor() as pool:
        list(pool.map(apply, own))
    for example in own:
        [service] = deployed.client("ecs").describe_services(cluster=example, services=[example])["services"]
        assert service["status"] == "ACTIVE"
