//! The log of a process that only reads: there is none.

use super::{EncodedRecord, EventKey, Seq, Wal};
use crate::error::{Error, ErrorKind, Result};

/// Takes nothing and holds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoWal;

impl Wal for NoWal {
    fn writer_id(&self) -> &str {
        ""
    }

    fn contains(&self, _: &EventKey) -> Result<bool> {
        Ok(false)
    }

    fn write(&self, _: Vec<Vec<u8>>, _: &[EventKey]) -> Result<Seq> {
        Err(Error::new(
            ErrorKind::Fenced,
            "this process only reads; it takes no events",
        ))
    }

    fn rotate(&self, _: u64) -> Result<()> {
        Ok(())
    }

    fn trim(&self, _: Seq) -> Result<()> {
        Ok(())
    }

    fn replay_encoded(&self, _: &mut dyn FnMut(Seq, EncodedRecord) -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}
