"""What a person reads after an extraction."""

from pathlib import Path

from stprompt_edge.cli.extract import extraction_report
from stprompt_edge.features.extraction import Extraction
from tests.cli.program import text_of


def test_the_report_of_an_extraction() -> None:
    done = Extraction(
        written=3,
        skipped=4,
        unreadable=(("b.mp4", "b.mp4 is empty (0 bytes)"),),
        warned=(("a.mp4", "file is truncated: 3 of about 9 frames decoded"),),
        missing=("x.mp4", "y.mp4"),
        left=2,
    )
    assert text_of(extraction_report(done, Path("f"))).splitlines() == [
        "extracted 3 videos, 4 were there already, wrote f",
        "extracted as far as it goes: a.mp4: file is truncated: 3 of about 9 frames decoded",
        "left out b.mp4: b.mp4 is empty (0 bytes)",
        "left out 2 listed videos that are not there, the first is x.mp4",
        "interrupted with 2 videos left: the same command goes on with them",
    ]
    whole = Extraction(written=1, skipped=0, unreadable=())
    assert text_of(extraction_report(whole, Path("f"))).splitlines() == [
        "extracted 1 videos, 0 were there already, wrote f"
    ]
