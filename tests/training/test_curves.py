import csv
import errno
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from stprompt_edge import files
from stprompt_edge.errors import EnvironmentFailure
from stprompt_edge.training.curves import PICTURE_NAME, TABLE_NAME, EpochFigures, curves_chart, draw_curves, write_table
from tests.reports.drawn import axes_of, legend, line


def figures(count: int, *, validation: bool) -> list[EpochFigures]:
    return [
        EpochFigures(
            epoch=epoch,
            train={"ranking": 1 / (epoch + 1), "total": 2 / (epoch + 1)},
            validation={"ranking": 0.5, "total": 3 / (epoch + 1)} if validation else None,
            validation_auc=0.75 if validation else None,
            best=epoch != 1,
        )
        for epoch in range(count)
    ]


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_the_table(tmp_path: Path, count: int, validation: bool) -> None:
    write_table(tmp_path, figures(count, validation=validation))
    with (tmp_path / TABLE_NAME).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "train_ranking",
        "train_total",
        "validation_ranking",
        "validation_total",
        "validation_auc",
        "best",
    ]
    assert [row["epoch"] for row in rows] == [str(n + 1) for n in range(count)]
    assert [row["best"] for row in rows] == ["1", "0", "1"][:count]
    assert float(rows[-1]["train_total"]) == pytest.approx(2 / count, rel=1e-5)
    assert rows[0]["validation_total"] == ("3" if validation else "")
    assert rows[0]["validation_auc"] == ("0.75" if validation else "")


@pytest.mark.parametrize("validation", [True, False])
def test_the_curves_are_the_table(validation: bool) -> None:
    panels = axes_of(curves_chart(figures(3, validation=validation)))
    titles = ["loss", "parts of the training loss", "AUC of whole videos held out"]
    assert [axes.get_title() for axes in panels] == titles[: 3 if validation else 2]
    assert line(panels[0], "training") == ([1, 2, 3], [2, 1, 2 / 3])
    assert line(panels[1], "ranking") == ([1, 2, 3], [1, 1 / 2, 1 / 3])
    if validation:
        assert line(panels[0], "validation") == ([1, 2, 3], [3, 3 / 2, 1])
        assert line(panels[2], "_child0") == ([1, 2, 3], [0.75] * 3)
        assert legend(panels[0]) == ["training", "validation"]
    for axes in panels:
        assert axes.lines[-1].get_xdata()[0] == 3  # the best epoch
        assert axes.get_xlabel() == "epoch"


@pytest.mark.parametrize(("validation", "panels"), [(True, 3), (False, 2)])
def test_the_picture(tmp_path: Path, validation: bool, panels: int) -> None:
    draw_curves(tmp_path, figures(3, validation=validation))
    image = cv2.imread(str(tmp_path / PICTURE_NAME))
    assert image is not None
    assert image.shape[1] == panels * 680
    assert len({tuple(pixel) for pixel in image.reshape(-1, 3)}) > 20  # something is drawn
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE_NAME]


def test_nothing_is_drawn_of_no_epoch(tmp_path: Path) -> None:
    draw_curves(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path, figures(1, validation=True))
    before = (tmp_path / TABLE_NAME).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(files.os, "fsync", full)
    for write in (write_table, draw_curves):
        with pytest.raises(EnvironmentFailure, match="disk full while writing"):
            write(tmp_path, figures(2, validation=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {TABLE_NAME: before}
