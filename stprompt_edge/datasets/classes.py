"""`classes.csv` (video,label): what happens in the abnormal videos of data sets whose lists say only that they are.

ROOT/classes.csv is optional; with it, every abnormal video must have its class.
"""

from __future__ import annotations

from pathlib import Path

from stprompt_edge.datasets.reading import Labels, Line, Unique, read_table
from stprompt_edge.datasets.terms import ABNORMAL
from stprompt_edge.errors import UsageError
from stprompt_edge.vocabulary import NORMAL_CLASS

CLASSES = "classes.csv"


class ClassList:
    """The classes of a data set's videos.

    Raises:
        UsageError: classes.csv cannot be read, names a video twice or a class that the vocabulary does not have.
    """

    def __init__(self, root: Path, labels: Labels) -> None:
        self.labels = labels
        self._path = root / CLASSES
        self._classes: dict[str, tuple[str, Line]] | None = None
        if self._path.is_file():
            unique = Unique()
            self._classes = {}
            for row in read_table(self._path, ("video", "label")):
                unique.add(row["video"], row)
                self._classes[row["video"]] = (labels.label(row["label"], row), row)

    def label(self, name: str, abnormal: bool, where: object) -> str:
        """`normal`, the class, or `abnormal` where there is no classes.csv. Raises UsageError if the two disagree."""
        found, row = (self._classes or {}).get(name, (None, None))
        if found is not None and abnormal == (found == NORMAL_CLASS):
            what = f"{row}: '{name}' is {found}, {where} says {'abnormal' if abnormal else 'normal'}"
            raise UsageError(what, remedy="make the two files agree")
        if not abnormal:
            return self.labels.label(NORMAL_CLASS, where)
        if self._classes is None:
            return self.labels.label(ABNORMAL, where)
        if found is None:
            raise UsageError(f"{where}: '{name}' is not in {self._path}", remedy="add its class there")
        return found
