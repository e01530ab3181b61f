"""Draw the pictures of the documentation: one SVG each, written to docs/assets.

Each paints its own ground and follows the reader's light or dark scheme, so it can be read on any page. Nothing is
told by colour alone: what is done has a tick, what failed a cross, what waits a dashed line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

ASSETS = Path(__file__).parent.parent / "docs" / "assets"
WIDTH = 760

STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de } text { fill: #1f2328; font: 14px system-ui, sans-serif }
  .small { font-size: 12px; fill: #59636e } .strong { font-weight: 600 } .code { font-family: monospace }
  .line { stroke: #59636e; fill: none } .tip { fill: #59636e }
  .plain { fill: #f6f8fa; stroke: #818b98 } .run { fill: #ddf4ff; stroke: #0969da }
  .done { fill: #dafbe1; stroke: #1a7f37 } .failed { fill: #ffebe9; stroke: #cf222e }
  .wait { fill: #fff8c5; stroke: #9a6700; stroke-dasharray: 4 3 } .gone { fill: none; stroke: #818b98; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .small { fill: #9198a1 }
    .line { stroke: #9198a1 } .tip { fill: #9198a1 }
    .plain { fill: #212830; stroke: #9198a1 } .run { fill: #0c2d6b; stroke: #58a6ff }
    .done { fill: #033a16; stroke: #3fb950 } .failed { fill: #67060c; stroke: #f85149 }
    .wait { fill: #341a00; stroke: #d29922 } .gone { stroke: #9198a1 }
  }
"""


class Picture:
    """An SVG of a fixed width that is drawn from the top down."""

    def __init__(self, title: str, description: str, height: int) -> None:
        self.height = height
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
            f' width="{WIDTH}" height="{height}" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        ]

    def text(self, x: float, y: float, words: str, *, kind: str = "", anchor: str = "start") -> None:
        """Words that begin, end or are centred at ``x``, on the line ``y``."""
        name = f' class="{kind}"' if kind else ""
        self.parts.append(f'<text{name} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>')

    def box(self, x: float, y: float, width: float, words: str = "", kind: str = "plain", height: float = 26) -> None:
        """A box with words in its middle."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" stroke-width="1.5"/>'
        )
        if words:
            self.text(x + width / 2, y + height / 2 + 5, words, anchor="middle")

    def row(self, x: float, y: float, items: list[tuple[str, str, float]], gap: float = 4) -> float:
        """Boxes beside each other, each (words, kind, width); returns where the row ends."""
        for words, kind, width in items:
            if kind:
                self.box(x, y, width, words, kind)
            x += width + gap
        return x

    def line(self, *points: tuple[float, float], dashed: bool = False, arrow: bool = False) -> None:
        """A line through points; an arrow has its tip at the last."""
        path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(f'<path class="line" d="{path}" stroke-width="1.5"{dash}/>')
        if arrow:
            (x1, y1), (x2, y2) = points[-2:]
            length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
            dx, dy = (x2 - x1) / length, (y2 - y1) / length
            base, side = (x2 - 8 * dx, y2 - 8 * dy), (-4.5 * dy, 4.5 * dx)
            tip = [(x2, y2), (base[0] + side[0], base[1] + side[1]), (base[0] - side[0], base[1] - side[1])]
            self.parts.append(f'<polygon class="tip" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in tip)}"/>')

    def svg(self) -> str:
        """The whole of it."""
        return "\n".join([*self.parts, "</svg>", ""])


def order() -> Picture:
    """Order: what a failed event holds up."""
    p = Picture(
        "What a failed event holds up, by order",
        "One partition holds A1, B1, A2, C1, B2. A1 fails once. By key, only A2 waits for it. By partition, all wait."
        " Without order, none waits.",
        330,
    )
    p.text(20, 30, "In the partition, oldest first:")
    p.row(230, 13, [(name, "plain", 44) for name in ("A1", "B1", "A2", "C1", "B2")])
    p.text(486, 30, "(a letter is a key; A1 fails once)", kind="small")
    x, unit = 200, 53

    def lane(y: float, name: str, steps: list[tuple[int, int, str, str]]) -> None:
        p.text(x - 12, y + 18, name, anchor="end", kind="small")
        for start, length, words, kind in steps:
            p.box(x + start * unit, y, length * unit - 4, words, kind)

    p.text(20, 64, 'order="key"', kind="strong")
    lane(
        60,
        "key A",
        [(0, 1, "A1 ✗", "failed"), (1, 3, "A1 parked", "wait"), (4, 1, "A1 ✓", "done"), (5, 1, "A2 ✓", "done")],
    )
    lane(90, "key B", [(0, 1, "B1 ✓", "done"), (1, 1, "B2 ✓", "done")])
    lane(120, "key C", [(0, 1, "C1 ✓", "done")])
    p.text(20, 184, 'order="partition"', kind="strong")
    lane(
        194,
        "all of it",
        [
            (0, 1, "A1 ✗", "failed"),
            (1, 3, "A1 parked", "wait"),
            *((4 + i, 1, f"{name} ✓", "done") for i, name in enumerate(("A1", "B1", "A2", "C1", "B2"))),
        ],
    )
    p.text(20, 254, 'order="none"', kind="strong")
    lane(240, "", [(0, 1, "A1 ✗", "failed"), (1, 3, "A1 parked", "wait"), (4, 1, "A1 ✓", "done")])
    for i, name in enumerate(("B1", "A2", "C1", "B2")):
        p.box(x + i * unit, 270, unit - 4, f"{name} ✓", "done")
    p.line((x, 312), (x + 10 * unit, 312), arrow=True)
    p.text(20, 316, "time", kind="small")
    return p


def batch() -> Picture:
    """Batch: the three ways in which it closes."""
    p = Picture(
        "When a batch closes",
        "Batch(max_events=4, max_bytes=600, max_wait=0.5): one batch closes with its fourth event, one because the next event"
        " would make it larger than 600 bytes, one half a second after its first event.",
        214,
    )
    p.text(20, 30, "Batch(max_events=4, max_bytes=600, max_wait=0.5)", kind="code")
    p.text(20, 66, "max_events", kind="strong")
    p.row(150, 48, [("100 B", "run", 70)] * 4)
    p.text(460, 66, "the fourth event closes it")
    p.text(20, 110, "max_bytes", kind="strong")
    end = p.row(150, 92, [("300 B", "run", 100), ("250 B", "run", 88)])
    p.box(end + 10, 92, 80, "120 B", "gone")
    p.text(460, 110, "the next would be too much: it waits")
    p.text(20, 154, "max_wait", kind="strong")
    p.row(150, 136, [("100 B", "run", 70), ("", "", 30), ("100 B", "run", 70)])
    p.line((150, 176), (420, 176), arrow=True)
    p.text(150, 196, "first event is there", kind="small")
    p.text(420, 196, "0.5 s later", kind="small", anchor="end")
    p.text(460, 154, "time is up: it goes with what it has")
    return p


def retry() -> Picture:
    """Retry: attempts and waits."""
    p = Picture(
        "Attempts and waits of Retry(max_attempts=5, initial=1, multiplier=2)",
        "Five attempts. The longest waits between them are 1, 2, 4 and 8 seconds; with full jitter each is a random part of"
        " that. After the fifth failure the event goes to the dead letters.",
        200,
    )
    p.text(20, 30, "Retry(max_attempts=5, initial=1.0, multiplier=2.0)", kind="code")
    x = 20.0
    for number, wait in enumerate((1, 2, 4, 8), start=1):
        p.box(x, 52, 44, f"{number} ✗", "failed")
        width = 26 + 24 * wait
        p.box(x + 48, 52, width - 4, f"≤ {wait} s", "wait")
        x += 48 + width
    p.box(x, 52, 44, "5 ✗", "failed")
    p.line((x + 22, 80), (x + 22, 104), arrow=True)
    p.text(x + 44, 122, "dead letters", anchor="end", kind="strong")
    p.text(20, 112, "Each wait is a random part of what is shown (full jitter),")
    p.text(20, 132, "and no longer than max_delay.")
    p.text(20, 158, "While it is parked it holds its own lane; events of other keys pass.")
    p.text(20, 182, "Its attempts travel in the commit: a restart does not begin to count anew.", kind="small")
    return p


def dead_letter() -> Picture:
    """Dead letters: written first, committed after."""
    p = Picture(
        "The way into the dead letters",
        "An event whose attempts are used up is written to the dead-letter stream with headers that say where it came from"
        " and why. Only when the broker has acknowledged that is its offset committed.",
        206,
    )
    p.box(20, 44, 130, "orders/3@41", "plain", 34)
    p.line((152, 61), (182, 61), arrow=True)
    p.box(184, 44, 186, "check_limit: ✗ 5 times", "failed", 34)
    p.line((372, 61), (414, 61), arrow=True)
    p.text(392, 36, "1. write", anchor="middle", kind="small")
    p.box(416, 44, 324, "", "plain", 112)
    p.text(430, 66, "orders.check_limit.dead", kind="strong")
    p.text(430, 88, "key, value and headers as they were, and", kind="small")
    for y, words in (
        (106, "stream=orders partition=3 offset=41"),
        (122, "reason=attempts attempts=5 error-type=…"),
        (138, "first-failure=… last-failure=… redrives=0"),
    ):
        p.text(430, y, words, kind="small code")
    p.line((416, 140), (290, 140), (290, 82), arrow=True)
    p.text(352, 158, "2. acknowledged", anchor="middle", kind="small")
    p.line((230, 80), (85, 130), dashed=True, arrow=True)
    p.text(20, 148, "3. the offset is done,", kind="small")
    p.text(20, 164, "and may be committed", kind="small")
    p.text(
        20,
        192,
        "While the dead-letter stream is down, step 1 is repeated and 3 waits; other events go on.",
        kind="small",
    )
    return p


def limits() -> Picture:
    """Limits: high and low watermark."""
    p = Picture(
        "High and low watermark of one partition",
        "Events held rise to the partition's share of the limit; then no more are fetched until half of them are done; then"
        " fetching begins again.",
        230,
    )
    p.text(20, 28, "events held of one partition", kind="small")
    p.line((60, 190), (60, 40))
    p.line((60, 190), (730, 190), arrow=True)
    p.line((60, 70), (730, 70), dashed=True)
    p.line((60, 130), (730, 130), dashed=True)
    p.text(70, 63, "its share of Limits(held_events=…): fetch no more", kind="small")
    p.text(330, 147, "half of it: fetch again", kind="small")
    p.line((60, 190), (220, 70), (300, 130), (380, 70), (460, 130), (540, 70), (620, 130), (680, 90))
    p.text(
        20, 214, "Memory stays bounded whatever the backlog; the consumer keeps its place in the group all the time."
    )
    return p


def flow() -> Picture:
    """Concurrency, rate and time-outs."""
    p = Picture(
        "Concurrency, rate and timeout",
        "concurrency=3: three invocations run at a time and the fourth starts when one ends. rate=2: two invocations start"
        " in a second. timeout: an attempt that takes longer has failed.",
        300,
    )
    p.text(20, 30, "concurrency=3", kind="strong")
    for lane, steps in enumerate(
        ([(0, 3, "1 ✓"), (3, 4, "4 ✓")], [(0, 5, "2 ✓"), (5, 3, "6 ✓")], [(0, 4, "3 ✓"), (4, 2, "5 ✓"), (6, 3, "7 ✓")])
    ):
        for start, length, words in steps:
            p.box(150 + 46 * start, 14 + 28 * lane, 46 * length - 4, words, "done", 24)
    p.text(580, 52, "a fourth starts when", kind="small")
    p.text(580, 68, "one has ended", kind="small")
    p.text(20, 134, "rate=2", kind="strong")
    for second in range(4):
        p.line((150 + 130 * second, 112), (150 + 130 * second, 160), dashed=True)
        p.text(154 + 130 * second, 172, f"{second} s", kind="small")
        for i in range(2):
            p.box(156 + 130 * second + 62 * i, 122, 54, f"{2 * second + i + 1} ✓", "done")
    p.text(20, 152, "starts a second", kind="small")
    p.text(20, 214, "timeout=4", kind="strong")
    p.box(150, 196, 46 * 5, "an attempt", "run")
    p.line((380, 186), (380, 232))
    p.text(384, 246, "4 s: failed, one attempt used", kind="small")
    p.box(384, 196, 160, "a thread may go on", "gone")
    p.text(
        20,
        272,
        "An async function is cancelled at its timeout. A sync one runs in a thread, which Python can't stop:",
        kind="small",
    )
    p.text(20, 288, "it keeps its place and its lane until it ends.", kind="small")
    return p


def start() -> Picture:
    """Start: where a group begins."""
    p = Picture(
        "Where a function begins",
        "With a commit, at the commit, whatever start says. Without one: earliest at the first event, minus 2 hours at the"
        " first event of the last two hours, latest behind the last event.",
        222,
    )
    x, size = 40, 44
    for number in range(14):
        p.box(x + number * 48, 84, size, str(100 + number), "plain")
    p.text(20, 30, "no commit yet: start= decides", kind="strong")
    for offset, words, anchor in ((0, '"earliest"', "start"), (8, '"-2h"', "middle"), (14, '"latest"', "end")):
        at = x + offset * 48 + (size / 2 if offset < 14 else -2)
        p.line((at, 60), (at, 82), arrow=True)
        p.text(at if offset else x, 54, words, kind="code", anchor=anchor)
    p.line((x + 5 * 48 + size / 2, 146), (x + 5 * 48 + size / 2, 113), arrow=True)
    p.text(x + 5 * 48 + size / 2, 164, "the group has committed 105", anchor="middle")
    p.text(20, 204, "a commit: it goes on there, and start= has no say", kind="strong")
    return p


def offset_map() -> Picture:
    """The offset map: the worked example of the text."""
    p = Picture(
        "The offset map of one partition",
        "Offsets 100 to 109. 101 waits for its third attempt, 105 is running, 100, 102 to 104 and 106 to 109 are done."
        " The committed offset is 101; the metadata says that 102 to 104 and 106 to 109 are done and 101 has used 2 attempts.",
        190,
    )
    kinds = {101: ("wait", "parked"), 105: ("run", "runs")}
    for number in range(10):
        offset = 100 + number
        kind, words = kinds.get(offset, ("done", "✓"))
        p.box(40 + number * 68, 34, 62, str(offset), kind)
        p.text(71 + number * 68, 76, words, anchor="middle", kind="small")
    p.line((108 + 31, 116), (108 + 31, 84), arrow=True)
    p.text(40, 134, "committed offset: 101", kind="strong")
    p.text(40, 156, "metadata: 102 to 104 and 106 to 109 are done; 101 has used 2 attempts")
    p.text(40, 176, "After a crash, 101 and 105 run again, and nothing else.", kind="small")
    return p


def bisect() -> Picture:
    """Bisect: the poison stands alone."""
    p = Picture(
        "A failed batch is tried again in halves",
        "A batch of eight fails and nobody says which event. Halves of four: one is done, one fails. Halves of two: one is"
        " done, one fails. Alone, seven is done and eight, the poison, is the one that fails.",
        200,
    )
    rows = [
        [(range(1, 9), "failed")],
        [(range(1, 5), "done"), (range(5, 9), "failed")],
        [(range(5, 7), "done"), (range(7, 9), "failed")],
        [(range(7, 8), "done"), (range(8, 9), "failed")],
    ]
    for y, row in enumerate(rows):
        for numbers, kind in row:
            first, count = numbers[0], len(numbers)
            words = " ".join(map(str, numbers)) + (" ✓" if kind == "done" else " ✗")
            p.box(40 + (first - 1) * 56, 20 + 38 * y, count * 56 - 6, words, kind)
    for y, words in ((38, "all failed, nobody says which"), (76, "halves"), (114, "quarters"), (152, "alone: it is 8")):
        p.text(510, y, words, kind="small")
    p.text(40, 186, "Splitting uses no attempt. 8, alone, is now judged as any failed event is.", kind="small")
    return p


def rebalance() -> Picture:
    """Rebalance: drain, commit, hand over."""
    p = Picture(
        "A partition changes hands",
        "The old owner is told that the partition goes. It starts nothing more, finishes what runs within the drain time,"
        " commits once, and lets go. The new owner reads the commit and its metadata and runs only what was not done.",
        212,
    )
    p.text(20, 36, "old owner", kind="strong")
    p.row(120, 18, [("delivers", "run", 120), ("drains: nothing new starts", "wait", 210), ("commits", "done", 80)])
    p.text(20, 106, "new owner", kind="strong")
    p.row(548, 88, [("delivers the rest", "run", 150)])
    p.line((496, 46), (496, 101), (546, 101), arrow=True)
    p.text(488, 80, "committed offset and map", kind="small", anchor="end")
    p.line((244, 52), (244, 70))
    p.text(250, 68, "revoked", kind="small")
    p.line((120, 140), (730, 140), arrow=True)
    p.text(20, 144, "time", kind="small")
    p.text(20, 176, "What still runs when the drain time (25 s) is over runs again at the new owner.")
    p.text(20, 198, "Its late result at the old one completes nothing.", kind="small")
    return p


PICTURES: dict[str, Callable[[], Picture]] = {
    "order": order,
    "batch": batch,
    "retry": retry,
    "dead-letter": dead_letter,
    "limits": limits,
    "flow": flow,
    "start": start,
    "offset-map": offset_map,
    "bisect": bisect,
    "rebalance": rebalance,
}


def main(folder: Path = ASSETS) -> None:
    """Write all pictures into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
