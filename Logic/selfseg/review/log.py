"""`review.sqlite`: every decision of every reviewer, in the order in which they arrived.

Rows are only added, never changed: triggers in the file itself refuse anything else. Several
people may write to one log at a time. The journal is SQLite's classic one, because its
write-ahead log does not work on network folders; each call opens the file and closes it again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ..domain.errors import FileFormatError, ProjectError, SelfsegError, UsageError
from .decisions import Decision

FILE = "review.sqlite"

VERSION = 1
"""Kept in SQLite's `user_version`."""

APPLICATION_ID = 0x53534752
""""SSGR", kept in SQLite's `application_id`: tells our logs from other SQLite files."""

WAIT_SECONDS = 10.0
"""How long to wait for another reviewer's write, which takes milliseconds."""

_TABLES = f"""
CREATE TABLE decisions (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('approved', 'edited', 'rejected')),
    comment TEXT NOT NULL,
    reviewer TEXT NOT NULL,
    time TEXT NOT NULL,
    sha256_before TEXT NOT NULL,
    sha256_after TEXT,
    file TEXT,
    changes TEXT NOT NULL,
    software TEXT NOT NULL
);
CREATE INDEX decisions_by_case ON decisions (case_id, number);
CREATE TABLE sources (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    images TEXT NOT NULL,
    model TEXT NOT NULL
);
CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are never changed: add another one'); END;
CREATE TRIGGER decisions_are_kept BEFORE DELETE ON decisions
BEGIN SELECT RAISE(ABORT, 'decisions are never deleted: add another one'); END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""

_COLUMNS = (
    "case_id, verdict, reviewer, time, comment, sha256_before, sha256_after, file, changes, "
    "software, number"
)

T = TypeVar("T")


class ReviewLog:
    """The log of a folder. It is made with the first row; before that it is empty.

    Args:
        path: the SQLite file.

    Every method raises:
        FileFormatError: the file is damaged, of another kind, or of a newer version. It is left
            as it is.
        ProjectError: it cannot be read or written now: rights, space, or it is locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._checked = False

    @classmethod
    def of(cls, folder: Path) -> ReviewLog:
        """The log of a folder of segmentations."""
        return cls(folder / FILE)

    def check(self) -> None:
        """Looks through the whole file for damage."""
        self._read(lambda connection: True, True, whole=True)

    def add(self, decision: Decision) -> Decision:
        """Adds a row; it is on disk when this returns.

        Returns:
            the decision with its number.
        """
        values = (
            decision.case,
            decision.verdict,
            decision.reviewer,
            decision.time,
            decision.comment,
            decision.sha256_before,
            decision.sha256_after,
            decision.file,
            json.dumps(dict(decision.changes), ensure_ascii=False),
            decision.software,
        )
        with self._writing() as connection:
            cursor = connection.execute(
                "INSERT INTO decisions (case_id, verdict, reviewer, time, comment, sha256_before, "
                "sha256_after, file, changes, software) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            number = cursor.lastrowid
        return replace(decision, number=number)

    def decisions(self) -> tuple[Decision, ...]:
        """Every row, the oldest first."""
        return self._read(
            lambda connection: tuple(
                _decision(row)
                for row in connection.execute(
                    f"SELECT {_COLUMNS} FROM decisions ORDER BY number"  # noqa: S608 - constant
                )
            ),
            (),
        )

    def latest(self) -> dict[str, Decision]:
        """The last decision about each case that has one; clocks play no part."""
        return {decision.case: decision for decision in self.decisions()}

    def set_source(self, images: str, model: str) -> None:
        """Remembers where the images and the model lie, for whoever opens the folder next."""
        with self._writing() as connection:
            connection.execute("INSERT INTO sources (images, model) VALUES (?, ?)", (images, model))

    def source(self) -> tuple[str, str]:
        """Where images and model were last; "" where nobody has said."""

        def last(connection: sqlite3.Connection) -> tuple[str, str]:
            row = connection.execute(
                "SELECT images, model FROM sources ORDER BY number DESC LIMIT 1"
            ).fetchone()
            return ("", "") if row is None else (str(row[0]), str(row[1]))

        return self._read(last, ("", ""))

    def _read(
        self, ask: Callable[[sqlite3.Connection], T], nothing: T, *, whole: bool = False
    ) -> T:
        if not self.path.exists():
            return nothing
        with self._connected() as connection:
            if self._version(connection) == 0:
                return nothing
            if whole or not self._checked:
                self._find_damage(connection)
            try:
                return ask(connection)
            except (ValueError, TypeError, AttributeError, UsageError) as error:
                raise self._damaged(f"{type(error).__name__}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is in the file afterwards, or nothing."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                if self._version(connection) == 0:
                    for statement in _statements(_TABLES):
                        connection.execute(statement)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            ) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._error(error) from error

    def _version(self, connection: sqlite3.Connection) -> int:
        """The version of the file; 0 for one that is empty.

        Raises:
            FileFormatError: it is newer, or no log.
        """
        (kind,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if kind == 0 and version == 0:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables == 0:
                return 0
        if kind != APPLICATION_ID:
            raise FileFormatError(
                "the file is no review log",
                expected="a SQLite file that selfseg has made",
                found="a SQLite file of another program",
                cure="move it elsewhere; a new log is begun with the next decision",
                path=self.path,
            )
        if version != VERSION:
            raise FileFormatError(
                "the review log was written by a newer selfseg",
                expected=f"version {VERSION} or older",
                found=f"version {version}",
                cure="update SelfConfiguringSegmentation; the log is left as it is",
                path=self.path,
            )
        return int(version)

    def _find_damage(self, connection: sqlite3.Connection) -> None:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise self._damaged(found)
        self._checked = True

    def _error(self, error: sqlite3.Error) -> SelfsegError:
        if isinstance(error, sqlite3.OperationalError | sqlite3.IntegrityError):
            reason = str(error)
            locked = "locked" in reason or "busy" in reason
            return ProjectError(
                "the review log cannot be used now",
                expected="a file with the right to read and write, and nobody else writing for "
                f"{WAIT_SECONDS:g} s",
                found=reason,
                cure="try again; on a network folder without file locks, copy the folder to a "
                "local disk"
                if locked
                else "check the folder's rights and the free space, or copy the folder to a place "
                "where you may write",
                path=self.path,
            )
        return self._damaged(str(error))

    def _damaged(self, reason: str) -> FileFormatError:
        return FileFormatError(
            "the review log is damaged",
            expected="a SQLite file that selfseg has made",
            found=reason,
            cure="restore it from a copy, or move it elsewhere: a new log is begun with the next "
            "decision. It is left as it is",
            path=self.path,
        )


def _statements(script: str) -> list[str]:
    """The statements of a script: `executescript` would commit the transaction they belong to."""
    found, part = [], ""
    for line in script.splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


def _decision(row: tuple[object, ...]) -> Decision:
    case, verdict, reviewer, time, comment, before, after, file, changes, software, number = row
    return Decision(
        case=str(case),
        verdict=verdict,  # type: ignore[arg-type]  # the table's CHECK allows nothing else
        reviewer=str(reviewer),
        time=str(time),
        comment=str(comment),
        sha256_before=str(before),
        sha256_after=None if after is None else str(after),
        file=None if file is None else str(file),
        changes={str(name): float(dice) for name, dice in json.loads(str(changes)).items()},
        software=str(software),
        number=int(str(number)),
    )
