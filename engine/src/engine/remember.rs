//! The ids of the events of the last days, out of the tables: for a write-ahead log that is new while the tables are not,
//! as after a restore.

use super::Engine;
use crate::blocking::blocking;
use crate::clock::{DAY_MICROS, Micros};
use crate::error::Result;
use crate::event::Column;
use crate::limits;
use crate::project::ProjectId;
use crate::store::flush::{instants, texts};
use crate::store::verify::projects_in;
use crate::store::{Table, TableKind, compact};
use crate::wal::EventKey;
use arrow::datatypes::{Field, Schema};
use futures::TryStreamExt;
use std::sync::Arc;

/// Keys written at once: each write is an fsync.
const KEYS_AT_ONCE: usize = 100_000;

impl Engine {
    /// Makes the ids of all events that the tables received within the last days known as stored, so that SDKs which send
    /// them again do not double them. Returns their number.
    ///
    /// # Errors
    /// `Storage` when a table cannot be read or the ids cannot be written.
    pub async fn remember_event_ids(&self) -> Result<u64> {
        let since = self.clock().now_micros() - i64::from(limits::DEDUP_DAYS) * DAY_MICROS;
        let mut count = 0;
        for project in projects_in(&self.shared.store).await? {
            count += self.remember(&project, since).await?;
        }
        Ok(count)
    }

    async fn remember(&self, project: &ProjectId, since: Micros) -> Result<u64> {
        let column = |column: Column| Field::new(column.name(), column.kind().data_type(), true);
        let schema = Arc::new(Schema::new(vec![column(Column::EventId), column(Column::ReceivedAt)]));
        let table = Table::open(&self.shared.store, project, TableKind::Events).await?;
        // What was received since was written since.
        let files = table.snapshot().files.iter();
        let files = files.filter(|file| file.modified_millis.saturating_mul(1000) >= since);
        let mut keys = Vec::new();
        let mut count = 0;
        for file in files {
            let mut batches = compact::rows_of(&self.shared.store, file, &schema).await?;
            while let Some(batch) = batches.try_next().await? {
                let ids = texts(&batch, Column::EventId.name())?;
                let received = instants(&batch, Column::ReceivedAt.name())?;
                let recent = ids.iter().zip(received).filter(|(_, received)| **received >= since);
                keys.extend(recent.filter_map(|(id, _)| Some(EventKey::new(project, id?))));
                if keys.len() >= KEYS_AT_ONCE {
                    count += self.write_keys(&mut keys).await?;
                }
            }
        }
        Ok(count + self.write_keys(&mut keys).await?)
    }

    async fn write_keys(&self, keys: &mut Vec<EventKey>) -> Result<u64> {
        let (keys, wal) = (std::mem::take(keys), Arc::clone(&self.shared.wal));
        blocking("writing event ids", move || {
            wal.write(Vec::new(), &keys)?;
            Ok(keys.len() as u64)
        })
        .await
    }
}
