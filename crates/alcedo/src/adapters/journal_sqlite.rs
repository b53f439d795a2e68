//! The journal in SQLite: WAL and `synchronous=FULL`, so that a record whose append returned survives a power cut.
//!
//! The daemon holds the only write connection, and the lock of the state directory. A newer journal is refused
//! untouched. Format: `records(app, seq, deploy, at, at_ms, event)`, one row a record, `event` as JSON
//! (`alcedo_core::event`); `user_version` is the format, `application_id` says whose file it is.

use crate::engine::ports::{EffectError, Journal};
use alcedo_core::AppName;
use alcedo_core::event::{FORMAT, Record};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// "alce", so that `file` and `sqlite3` tell whose it is.
const APPLICATION_ID: i32 = 0x616c_6365;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS records (
        app TEXT NOT NULL, seq INTEGER NOT NULL, deploy INTEGER, at TEXT NOT NULL, at_ms INTEGER NOT NULL,
        event TEXT NOT NULL, PRIMARY KEY (app, seq)
    ) WITHOUT ROWID, STRICT;";

/// The journal of every app of the host.
pub(crate) struct SqliteJournal {
    connection: Mutex<Connection>,
    path: PathBuf,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Written by a newer version.
    #[error("open {path}: it has format {found}, this version understands {FORMAT}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Somebody else's database.
    #[error("open {path}: it is not a journal of alcedo")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// SQLite's own word for it.
    #[error("open {path}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// What it holds does not fit together.
    #[error("open {path}: it is damaged ({found})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite's check found first.
        found: String,
    },
}

impl OpenError {
    /// Whether it may open once there is room on the disk.
    pub(crate) fn is_for_want_of_room(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
        let Self::Sqlite { source: rusqlite::Error::SqliteFailure(error, _), .. } = self else {
            return false;
        };
        matches!(error.code, DiskFull | CannotOpen | SystemIoFailure)
    }
}

impl SqliteJournal {
    /// Opens or makes the journal. Nothing is written to a file that is damaged, newer or not ours.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(sqlite)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(sqlite)?;
        refuse_foreign(&connection, path)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        connection.pragma_update(None, "user_version", FORMAT).map_err(sqlite)?;
        connection.execute_batch(SCHEMA).map_err(sqlite)?;
        Ok(Self { connection: Mutex::new(connection), path: path.to_owned() })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) -> EffectError {
        EffectError::Failed {
            what: format!("{what} {}", self.path.display()),
            detail: error.to_string(),
            hint: Some(format!(
                "is the disk full? df -h {}",
                self.path.parent().unwrap_or(&self.path).display()
            )),
        }
    }
}

fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(sqlite)?;
    if tables == 0 {
        return Ok(());
    }
    if number("application_id").map_err(sqlite)? != i64::from(APPLICATION_ID) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let found = u32::try_from(number("user_version").map_err(sqlite)?).unwrap_or(u32::MAX);
    if found > FORMAT {
        return Err(OpenError::Newer { path: path.to_owned(), found });
    }
    let check: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if check == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged { path: path.to_owned(), found: check })
    }
}

impl Journal for SqliteJournal {
    fn append(&self, app: &AppName, record: &Record) -> Result<(), EffectError> {
        let event = serde_json::to_string(&record.event).map_err(|e| self.failed("write", e))?;
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("INSERT INTO records (app, seq, deploy, at, at_ms, event) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
            .map_err(|e| self.failed("write", e))?;
        let deploy = record.deploy.map(|d| d.0.cast_signed());
        let row = params![
            app.as_str(),
            record.seq.cast_signed(),
            deploy,
            record.at,
            record.at_ms.cast_signed(),
            event
        ];
        statement.execute(row).map_err(|e| self.failed("write", e))?;
        Ok(())
    }

    fn read(&self, app: &AppName) -> Result<Vec<Record>, EffectError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached(
                "SELECT seq, deploy, at, at_ms, event FROM records WHERE app = ?1 ORDER BY seq",
            )
            .map_err(|e| self.failed("read", e))?;
        let rows = statement
            .query_map([app.as_str()], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Option<i64>>(1)?,
                    row.get::<_, String>(2)?,
                    row.get::<_, i64>(3)?,
                    row.get::<_, String>(4)?,
                ))
            })
            .map_err(|e| self.failed("read", e))?;
        let mut records = Vec::new();
        for row in rows {
            let (seq, deploy, at, at_ms, event) = row.map_err(|e| self.failed("read", e))?;
            let event = serde_json::from_str(&event)
                .map_err(|e| self.failed(&format!("read record {seq} of {app} in"), e))?;
            let deploy = deploy.map(|d| alcedo_core::DeployId(d.cast_unsigned()));
            records.push(Record {
                seq: seq.cast_unsigned(),
                at,
                at_ms: at_ms.cast_unsigned(),
                deploy,
                event,
            });
        }
        Ok(records)
    }

    fn apps(&self) -> Result<Vec<AppName>, EffectError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT DISTINCT app FROM records ORDER BY app")
            .map_err(|e| self.failed("read", e))?;
        let names = statement
            .query_map([], |row| row.get::<_, String>(0))
            .map_err(|e| self.failed("read", e))?;
        let mut apps = Vec::new();
        for name in names {
            let name = name.map_err(|e| self.failed("read", e))?;
            apps.push(AppName::new(name).map_err(|e| self.failed("read", e))?);
        }
        Ok(apps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alcedo_core::event::Event;

    fn record(seq: u64) -> Record {
        Record {
            seq,
            at: "2026-11-20T00:00:00Z".to_owned(),
            at_ms: seq,
            deploy: None,
            event: Event::Booted { boot: "b".to_owned() },
        }
    }

    #[test]
    fn records_come_back_in_order_and_by_app() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = SqliteJournal::open(&dir.path().join("j.db")).expect("a journal");
        let app = AppName::new("shop").expect("a name");
        for seq in 1..=3 {
            journal.append(&app, &record(seq)).expect("an append");
        }
        assert_eq!(
            journal.read(&app).expect("records").iter().map(|r| r.seq).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(journal.apps().expect("apps"), std::slice::from_ref(&app));
        assert!(
            journal.append(&app, &record(3)).is_err(),
            "a sequence number cannot be written twice"
        );
    }

    #[test]
    fn newer_foreign_and_damaged_files_are_refused_and_left_as_they_are() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("j.db");
        let journal = SqliteJournal::open(&path).expect("a journal");
        let app = AppName::new("shop").expect("a name");
        for seq in 1..=200 {
            journal.append(&app, &record(seq)).expect("an append");
        }
        journal.lock().pragma_update(None, "user_version", FORMAT + 1).expect("a pragma");
        drop(journal);
        assert!(
            matches!(SqliteJournal::open(&path), Err(OpenError::Newer { found, .. }) if found == FORMAT + 1)
        );

        let foreign = dir.path().join("f.db");
        Connection::open(&foreign)
            .expect("a database")
            .execute_batch("CREATE TABLE t (x)")
            .expect("a table");
        assert!(matches!(SqliteJournal::open(&foreign), Err(OpenError::Foreign { .. })));

        let garbage = dir.path().join("g.db");
        let bytes = vec![7_u8; 8192];
        std::fs::write(&garbage, &bytes).expect("a write");
        assert!(matches!(
            SqliteJournal::open(&garbage),
            Err(OpenError::Sqlite { .. } | OpenError::Damaged { .. })
        ));
        assert_eq!(std::fs::read(&garbage).expect("bytes"), bytes);
    }
}
