"""The log of decisions: rows are only added, whoever writes and whatever breaks."""

from __future__ import annotations

import csv
import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from selfseg.domain.errors import FileFormatError, ProjectError, UsageError
from selfseg.review.decisions import Decision, Tally, tally
from selfseg.review.log import FILE, ReviewLog
from selfseg.review.tables import log_table, trainable, training_table, write_log_table

APPROVED = Decision("a", "approved", "Ada", "2026-05-04T03:02:01+00:00", file="a.seg.nrrd")
EDITED = replace(
    APPROVED,
    case="b",
    verdict="edited",
    comment="tumour, missed",
    changes={"tumour": 0.25},
    sha256_before="00",
    sha256_after="11",
    file="b.seg.nrrd",
    software="test 1",
)
REJECTED = replace(EDITED, verdict="rejected", sha256_after=None, file=None, changes={})


@pytest.fixture
def log(tmp_path: Path) -> ReviewLog:
    return ReviewLog.of(tmp_path)


def test_nothing_is_written_before_the_first_decision(log: ReviewLog) -> None:
    log.check()
    assert log.decisions() == ()
    assert log.source() == ("", "")
    assert not log.path.exists()


def test_rows_come_back_in_their_order_and_the_last_one_counts(log: ReviewLog) -> None:
    written = [log.add(entry) for entry in (APPROVED, EDITED, replace(REJECTED, reviewer="Bo"))]
    assert [entry.number for entry in written] == [1, 2, 3]
    assert ReviewLog(log.path).decisions() == tuple(written)
    assert log.latest() == {"a": written[0], "b": written[2]}
    assert trainable(log.latest()) == (written[0],)
    log.check()


@pytest.mark.parametrize(
    "statement", ["UPDATE decisions SET comment = 'x'", "DELETE FROM decisions"]
)
def test_rows_cannot_be_changed(log: ReviewLog, statement: str) -> None:
    log.add(APPROVED)
    with pytest.raises(sqlite3.IntegrityError, match="never"), sqlite3.connect(log.path) as other:
        other.execute(statement)
    assert len(log.decisions()) == 1


def test_where_images_and_model_are(log: ReviewLog) -> None:
    log.set_source("/images", "liver@1")
    log.set_source("/other", "liver@2")
    assert log.source() == ("/other", "liver@2")
    assert log.decisions() == ()


def test_an_empty_file_is_a_new_log(log: ReviewLog) -> None:
    log.path.touch()  # what is left when SQLite is killed before it writes
    assert log.decisions() == ()
    log.add(APPROVED)
    assert len(log.decisions()) == 1


def test_damage_is_refused_and_left_alone(log: ReviewLog) -> None:
    log.path.write_bytes(b"this is no database, but long enough to look like one" * 40)
    before = log.path.read_bytes()
    for use in (log.decisions, log.check, lambda: log.add(APPROVED), log.source):
        with pytest.raises(FileFormatError, match="damaged"):
            use()
    assert log.path.read_bytes() == before


def test_a_page_that_is_broken_is_found_when_the_folder_is_opened(log: ReviewLog) -> None:
    for number in range(15):
        log.add(replace(EDITED, case=f"case {number}", comment="x" * 3000))
    data = bytearray(log.path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    log.path.write_bytes(data)
    with pytest.raises(FileFormatError, match="damaged"):
        ReviewLog(log.path).check()
    assert log.path.read_bytes() == data


def test_a_newer_log_is_refused_and_left_alone(log: ReviewLog) -> None:
    log.add(APPROVED)
    with sqlite3.connect(log.path) as other:
        other.execute("PRAGMA user_version = 2")
    before = log.path.read_bytes()
    for use in (log.decisions, lambda: log.add(EDITED)):
        with pytest.raises(FileFormatError, match="newer"):
            use()
    assert log.path.read_bytes() == before


def test_a_database_of_somebody_else_is_refused(log: ReviewLog) -> None:
    with sqlite3.connect(log.path) as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(FileFormatError, match="no review log"):
        log.add(APPROVED)


def test_a_locked_log_says_so(log: ReviewLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfseg.review.log.WAIT_SECONDS", 0.05)
    log.add(APPROVED)
    holder = sqlite3.connect(log.path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ProjectError, match="cannot be used now") as caught:
        log.add(EDITED)
    assert "locked" in caught.value.found
    holder.execute("ROLLBACK")
    holder.close()
    log.add(EDITED)
    assert len(log.decisions()) == 2


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="cannot be used now"):
        ReviewLog.of(tmp_path / "gone").add(APPROVED)


def test_a_row_that_nobody_can_have_written(log: ReviewLog) -> None:
    log.add(APPROVED)
    with sqlite3.connect(log.path) as other:
        other.execute("DROP TRIGGER decisions_stay")
        other.execute("UPDATE decisions SET changes = '[1'")
    with pytest.raises(FileFormatError, match="damaged"):
        log.decisions()


def test_two_reviewers_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    people = [context.Process(target=_write, args=(tmp_path, name)) for name in ("Ada", "Bo")]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
        assert person.exitcode == 0
    found = ReviewLog.of(tmp_path).decisions()
    assert len(found) == 40
    assert [entry.number for entry in found] == list(range(1, 41))
    assert sorted(entry.comment for entry in found if entry.reviewer == "Bo") == sorted(
        f"Bo {number}" for number in range(20)
    )


def _write(folder: Path, name: str) -> None:
    for number in range(20):
        ReviewLog.of(folder).add(
            replace(APPROVED, case=f"{number}", reviewer=name, comment=f"{name} {number}")
        )


def test_a_decision_needs_a_reviewer_and_a_verdict() -> None:
    for wrong in ({"reviewer": " "}, {"verdict": "maybe"}, {"case": ""}):
        with pytest.raises(UsageError, match="no decision"):
            replace(APPROVED, **wrong)


def test_tally_counts_cases_that_are_there_once() -> None:
    latest = {"a": APPROVED, "b": EDITED, "gone": replace(EDITED, case="gone")}
    counts = tally(["a", "b", "c"], latest)
    assert counts == Tally(3, approved=1, edited=1)
    assert (counts.decided, counts.open, counts.corrected_share) == (2, 1, 0.5)
    assert counts.many_corrected
    assert Tally(3).corrected_share is None
    assert not Tally(10, approved=8, edited=2).many_corrected


def test_the_log_as_a_table(log: ReviewLog, tmp_path: Path) -> None:
    log.add(APPROVED)
    log.add(replace(EDITED, comment='=HYPERLINK("x")\nsecond line'))
    write_log_table(tmp_path / "log.csv", log.decisions())
    text = (tmp_path / "log.csv").read_text(encoding="utf-8-sig")
    first, second = csv.DictReader(text.splitlines(keepends=True))
    assert (first["number"], first["case"], first["decision"]) == ("1", "a", "approved")
    assert second["comment"] == '\'=HYPERLINK("x")\nsecond line'
    assert second["changed"] == "tumour 0.2500"
    assert second["sha256_after"] == "11"
    assert log_table(()).startswith("number,case,decision,reviewer,time,comment,changed")


def test_training_table_leaves_out_what_cannot_be_trained_on(tmp_path: Path) -> None:
    reviewed = tmp_path / "reviewed"
    reviewed.mkdir()
    for name in ("a", "b"):
        (reviewed / f"{name}.seg.nrrd").touch()
    latest = {"a": APPROVED, "b": EDITED, "c": replace(REJECTED, case="c")}
    images = {name: (tmp_path / f"{name}.nii",) for name in "abc"}
    rows = training_table(latest, images, reviewed).splitlines()
    assert rows[0] == "case,image,segmentation"
    assert rows[1:] == [f"{name},{tmp_path / name}.nii,{name}.seg.nrrd" for name in "ab"]
    assert training_table(latest, images, reviewed, ["CT"]).startswith("case,image_CT,seg")
    two = dict.fromkeys("ab", (tmp_path / "x", tmp_path / "y"))
    assert training_table(latest, two, reviewed).startswith("case,image_0,image_1,")
    with pytest.raises(ProjectError, match="no case to train on"):
        training_table({}, images, reviewed)
    with pytest.raises(ProjectError, match="different numbers"):
        training_table(latest, {**images, "b": two["b"]}, reviewed)
    (reviewed / "b.seg.nrrd").unlink()
    with pytest.raises(ProjectError, match="is missing"):
        training_table(latest, images, reviewed)


def test_the_file_has_the_name_that_is_documented(tmp_path: Path) -> None:
    assert ReviewLog.of(tmp_path).path.name == FILE == "review.sqlite"
