"""terraform/modules/kafka-topics on a real Kafka: what it makes is enough for a dispatcher, and nothing of it is too much."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka_acls import change
from kafka_provider import ROOT, Terraform
from kafka_server import USER_WITHOUT_RIGHTS, WORKER, KafkaCluster
from rights import App, Rule, source

from dispatcher.brokers.kafka import KafkaBroker, KafkaSettings
from dispatcher.core.record import Outgoing, TopicPartition
from dispatcher.errors import BrokerRefused

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

MODULE = ROOT / "terraform" / "modules" / "kafka-topics"
GIVEN = ("-input=false", "-no-color", "-var=kafka_admin_password=nobodys")
USER, PASSWORD = WORKER
OPERATOR, OPERATORS_PASSWORD = USER_WITHOUT_RIGHTS
#: What the README's block is overridden with: this cluster's address, its users and its single broker.
_OVERRIDE = """
provider "kafka" {
  bootstrap_servers = ["%s"]
  tls_enabled       = false
  sasl_mechanism    = null
  sasl_username     = null
  sasl_password     = null
}

module "topics" {
  principal           = "User:%s"
  operators           = ["User:%s"]
  partitions          = 1
  replication_factor  = 1
  min_insync_replicas = 1
  streams             = {}
}
"""
_OUTPUTS = """
output "topics" { value = module.topics.topics }
output "acls" { value = module.topics.acls }
"""
_PAGES = {"README": MODULE / "README.md", "docs": ROOT / "docs" / "deploy" / "kafka.md"}


def lay_out(folder: Path, page: Path) -> None:
    """A folder as the page has its reader make: its block, and the module at the place that the block names."""
    [block] = re.findall(r"^```hcl\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    place = folder / "terraform" / "modules" / "kafka-topics"
    shutil.copytree(MODULE, place, ignore=shutil.ignore_patterns(".terraform*"))
    (folder / "main.tf").write_text(block)


class Place:
    """An app whose topics and rights Terraform has made."""

    def __init__(self, terraform: Terraform, cluster: KafkaCluster, app: App) -> None:
        self.terraform, self.cluster, self.app = terraform, cluster, app
        self.topics: dict[str, int] = {}
        self.acls: list[Rule] = []

    def apply(self) -> None:
        """Apply the README's block for this app's manifest, and see that a second plan is empty."""
        folder = self.terraform.folder
        lay_out(folder, _PAGES["README"])
        (folder / "main_override.tf").write_text(_OVERRIDE % (self.cluster.bootstrap(), USER, OPERATOR))
        (folder / "outputs.tf").write_text(_OUTPUTS)
        (folder / "manifest.json").write_text(self.app.manifest.to_json())
        self.terraform("get", "-no-color")
        self.terraform("apply", "-auto-approve", *GIVEN)
        self.terraform("plan", "-detailed-exitcode", *GIVEN)  # 2 when there is something to do
        self.topics, self.acls = self.terraform.output("topics"), self.terraform.output("acls")

    def settings(self) -> KafkaSettings:
        """How the dispatcher's user connects."""
        return KafkaSettings.parse(
            servers=self.cluster.bootstrap("sasl"),
            security_protocol="SASL_PLAINTEXT",
            username=USER,
            password=PASSWORD,
        )


@pytest.fixture(scope="module")
async def owner(kafka_cluster: KafkaCluster) -> AsyncIterator[KafkaBroker]:
    """A broker with all rights."""
    async with KafkaBroker(kafka_cluster.bootstrap()) as broker:
        yield broker


@pytest.fixture(scope="module")
async def place(
    terraform: Terraform, kafka_cluster: KafkaCluster, owner: KafkaBroker, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """The module, applied."""
    app = App(tmp_path_factory.mktemp("apps"), uuid.uuid4().hex[:8], owner)
    made = Place(terraform, kafka_cluster, app)
    await asyncio.to_thread(made.apply)
    return made


def test_the_module_is_valid_and_its_own_tests_pass(terraform: Terraform, tmp_path: Path) -> None:
    """Terraform fmt has nothing to change, and the .tftest.hcl files, which ask no broker, hold."""
    copy = tmp_path / "kafka-topics"
    shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns(".terraform*"))
    assert terraform("fmt", "-check", "-recursive", "-diff", where=copy) == ""
    terraform("get", "-no-color", where=copy)
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", terraform("test", "-no-color", where=copy))


@pytest.mark.parametrize("page", _PAGES)
def test_the_block_of_each_page_is_valid(terraform: Terraform, tmp_path: Path, page: str) -> None:
    """As it stands, with nothing declared beside it: the module is where it says, the provider is named, and so is each variable."""
    lay_out(tmp_path, _PAGES[page])
    shutil.copy2(ROOT / "terraform" / "examples" / "gcp" / "manifest.json", tmp_path)
    assert terraform("fmt", "-check", "-diff", where=tmp_path) == ""
    terraform("get", "-no-color", where=tmp_path)
    terraform("validate", "-no-color", where=tmp_path)
    required = terraform("providers", "-no-color", where=tmp_path)
    assert set(re.findall(r"provider\[\S+/(\S+/\S+)\]", required)) == {"mongey/kafka"}


async def test_a_stream_stays_when_the_last_function_on_it_goes(place: Place, tmp_path: Path) -> None:
    """The plan stops at a stream, and deletes none; let go of by `terraform state rm` it is left where it is, and what was the
    function's own goes."""
    folder = tmp_path / "later"
    await asyncio.to_thread(shutil.copytree, place.terraform.folder, folder)
    manifest = json.loads(place.app.manifest.to_json())
    manifest["functions"] = [each for each in manifest["functions"] if each["name"] != "check"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run = partial(asyncio.to_thread, partial(place.terraform, where=folder))
    stream = f'module.topics.kafka_topic.stream["checked-{place.app.mark}"]'
    refused = [json.loads(line) for line in (await run("plan", "-json", *GIVEN, codes=(1,))).splitlines()]
    [error] = [each["diagnostic"] for each in refused if each["@level"] == "error"]
    assert error["summary"] == "Instance cannot be destroyed"
    assert stream in error["detail"]
    await run("state", "rm", stream)
    planned = [json.loads(line) for line in (await run("plan", "-json", *GIVEN)).splitlines()]
    deleted = {
        each["change"]["resource"]["resource_key"]
        for each in planned
        if each["type"] == "planned_change" and each["change"]["resource"]["resource_type"] == "kafka_topic"
    }
    assert deleted == {f"orders-{place.app.mark}.check.{kind}" for kind in ("dead", "retry")}


async def test_a_dispatcher_works_under_exactly_these_rights(place: Place, owner: KafkaBroker, tmp_path: Path) -> None:
    """Events, retries in place and by topic, dead letters, results, redrives, pauses by command and its own, and the count of dead
    letters all work as that user. In apps that lack one right each, something does not: none is there in vain."""
    rules = [rule for rule in place.acls if rule["principal"] == f"User:{USER}"]
    assert len(rules) == 17
    admin = place.cluster.bootstrap()
    lacking: dict[int, App] = {}
    for number, left_out in enumerate(rules):
        app = App(tmp_path, uuid.uuid4().hex[:8], owner)
        await app.make_topics(place.topics, place.app)
        await change(admin, app.own([each for each in rules if each is not left_out], place.app), allowed=True)
        lacking[number] = app
    stop = asyncio.Event()
    async with KafkaBroker(place.settings()) as broker:
        apps = [place.app, *lacking.values()]
        tasks = [asyncio.create_task(app.work(broker, stop)) for app in apps]
        try:
            async with asyncio.timeout(90):
                while place.app.reached < set(place.app.goals()):
                    await asyncio.sleep(0.1)
                # The others have begun at the same time; what they may do, they have done when they stand still.
                before = None
                while before != (now := [len(app.reached) for app in lacking.values()]):
                    before = now
                    await asyncio.sleep(4)
        except TimeoutError:
            pytest.fail(f"never reached: {sorted(set(place.app.goals()) - place.app.reached)}")
        finally:
            stop.set()
            await asyncio.gather(*tasks, return_exceptions=True)
    in_vain = [rules[number] for number, app in lacking.items() if app.reached >= set(app.goals())]
    assert in_vain == []
    # And what the other rights are for goes on.
    assert all(app.reached for app in lacking.values())


async def test_everything_else_is_refused(place: Place) -> None:
    """The user may not write to what it consumes, read what it writes, or join another group."""
    mark, app = place.app.mark, place.app.app
    async with KafkaBroker(place.settings()) as broker:
        producer = await broker.producer()
        for topic in (f"orders-{mark}", f"orders-{mark}.check.retry", f"_dispatch.journal.{app}"):
            with pytest.raises(BrokerRefused):
                await producer.send(Outgoing(topic=topic, value=b"{}"))
        await producer.close()
        for group in (f"{app}.other", "rights", f"{app}.check2", f"{app}.check.replay-1"):
            with pytest.raises(BrokerRefused):
                await broker.committed(group, [TopicPartition(f"orders-{mark}", 0)])


#: What an operator types, and the rights of his that it needs; FN is the function, APP and MARK the app's.
OPERATIONS: list[tuple[tuple[str, ...], set[str]]] = [
    (
        ("dlq", "redrive", "check", "app.py", "--yes"),
        {
            *("Read orders-MARK.check.dead", "Write orders-MARK.check.retry", "Read APP.check.*"),
            "Write _dispatch.journal.APP",
        },
    ),
    (("dlq", "operations"), {"Read _dispatch.journal.APP"}),
    (("groups", "reset", "check", "--to", "earliest", "--yes"), {"Read APP.check"}),
    (("functions", "pause", "check", "--reason", "a test"), {"Write _dispatch.control.APP"}),
    (("functions", "history", "check"), {"Read _dispatch.control.APP"}),
    (
        ("replay", "check", "app.py", "--from", "earliest", "--yes"),
        {"Read orders-MARK", "Write checked-MARK", "Write orders-MARK.check.dead"},
    ),
]


async def test_an_operator_works_under_exactly_his_rights(place: Place, owner: KafkaBroker, dispatch: Any) -> None:
    """Redrive, reset, pause and replay work as the operator; without any one of his rights the command that it is for says which
    one is missing."""
    app = place.app
    dispatch.write("app.py", source(app.mark))
    environment = {
        "DISPATCH_BROKER": f"kafka://{place.cluster.bootstrap('sasl')}",
        "DISPATCH_APP": app.app,
        "DISPATCH_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DISPATCH_KAFKA__USERNAME": OPERATOR,
        "DISPATCH_KAFKA__PASSWORD": OPERATORS_PASSWORD,
    }
    rules = {
        f"{rule['operation']} {rule['resource_name']}{'*' if rule['pattern'] == 'Prefixed' else ''}": rule
        for rule in place.acls
        if rule["principal"] == f"User:{OPERATOR}"
    }
    owners = {"DISPATCH_BROKER": f"kafka://{place.cluster.bootstrap()}", "DISPATCH_APP": app.app}
    for words in (
        ("functions", "resume", "check"),
        ("send", f"orders-{app.mark}", "-"),
        ("run", "app.py", "--only", "check", "--until-caught-up"),
    ):
        await asyncio.to_thread(dispatch, *words, stdin='{"do": "reject"}\n', **owners)
    dispatch.environ |= environment
    used = set()
    for words, needed in OPERATIONS:
        names = {name.replace("APP", app.app).replace("MARK", app.mark) for name in needed}
        used |= names
        for name in sorted(names):
            await change(place.cluster.bootstrap(), [rules[name]], allowed=False)
            done = dispatch.start(*words)
            resource = re.escape(name.partition(" ")[2].removesuffix(".*"))
            # A right that is missing takes Describe with it, which some commands ask for first.
            refusal = rf"[A-Z]+ on the (topic|group) {resource}"
            await asyncio.to_thread(done.until, partial(done.said, refusal), f"the refusal without {name}")
            done.process.terminate()
            await change(place.cluster.bootstrap(), [rules[name]], allowed=True)
        done = await asyncio.to_thread(dispatch, *words)
        assert done.code in {0, 1}, done
        assert "error" not in done.stderr or words[0] == "replay", done.stderr
    # The other functions have the same ones.
    assert {re.sub("loose|halting", "check", name) for name in rules} == used
