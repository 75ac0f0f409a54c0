"""`vocabulary show` and `vocabulary check`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.program import Cli, assert_refused


def test_a_vocabulary_is_shown_saved_edited_and_checked(cli: Cli, tmp_path: Path) -> None:
    listed = cli("vocabulary", "show", cwd=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert {"scenes", "ucf-crime"} <= set(listed.stdout.split())
    shown = cli("vocabulary", "show", "scenes", cwd=tmp_path)
    edited = shown.stdout.replace('"scenes"', '"yard"').replace('name = "running"', 'name = "running"\nlabel = "Run"')
    (tmp_path / "my.toml").write_text(edited, encoding="utf-8")
    checked = cli("vocabulary", "check", "my.toml", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == "ok: my.toml: vocabulary 'yard', 8 classes, 20 phrases, 13 normal phrases\n"
    again = cli("vocabulary", "show", "my.toml", cwd=tmp_path)
    assert again.stdout == edited
    (tmp_path / "my.toml").write_text(edited.replace("label =", "lable ="), encoding="utf-8")
    line = 1 + edited[: edited.index('label = "Run"')].count("\n")
    bad = cli("vocabulary", "check", "my.toml", cwd=tmp_path)
    assert_refused(bad, 2, rf"my.toml, line {line}: classes\[7\]: unknown key 'lable'", "did you mean 'label'")
    assert_refused(cli("vocabulary", "check", "no.toml", cwd=tmp_path), 2, "no.toml does not exist", "check the path")
    assert_refused(cli("vocabulary", "show", "scene", cwd=tmp_path), 2, "'scene'", "did you mean 'scenes'")
