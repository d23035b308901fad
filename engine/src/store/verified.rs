//! Reading data files so that no damaged byte gets into an answer or into a merged file.
//!
//! The footer is verified before anybody parses it, once for a file and process; the rows by blocks, each time. A file
//! without checksums, which another program wrote, is read as it is.

use super::checksum::{Blocks, Checksums, damaged};
use super::remembered::Remembered;
use super::snapshot::DataFile;
use bytes::Bytes;
use datafusion::common::Result as PlanResult;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Files remembered as having a right footer.
const FOOTERS_MAX: usize = 100_000;

/// The files whose footers were right. Files never change, so once is enough.
#[derive(Debug)]
pub struct ProvedFooters(Remembered<Path>);

impl Default for ProvedFooters {
    fn default() -> Self {
        Self(Remembered::new(FOOTERS_MAX))
    }
}

impl ProvedFooters {
    /// Forgets the files that are not among `live`.
    pub fn retain(&self, live: &HashSet<Path>) {
        self.0.retain(|path| live.contains(path));
    }
}

/// The file as DataFusion names it, with what is needed to verify it.
pub fn partitioned(file: &Arc<DataFile>) -> PartitionedFile {
    PartitionedFile::new_from_meta(file.object_meta()).with_extension(Arc::clone(file))
}

/// Readers that verify what another factory's readers read.
#[derive(Debug)]
pub struct VerifyingReaderFactory {
    inner: Arc<dyn ParquetFileReaderFactory>,
    footers: Arc<ProvedFooters>,
}

impl VerifyingReaderFactory {
    /// Wraps `inner`. Its files must come from [`partitioned`].
    pub fn new(inner: Arc<dyn ParquetFileReaderFactory>, footers: Arc<ProvedFooters>) -> Self {
        Self { inner, footers }
    }
}

impl ParquetFileReaderFactory for VerifyingReaderFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> PlanResult<Box<dyn AsyncFileReader + Send>> {
        let known = file.extension::<Arc<DataFile>>().cloned();
        let inner = self.inner.create_reader(partition, file, metadata_size_hint, metrics)?;
        let checksums = known.as_ref().and_then(|file| file.checksums.clone());
        let (Some(file), Some(checksums)) = (known, checksums) else {
            return Ok(inner);
        };
        Ok(Box::new(VerifyingReader {
            inner,
            file,
            checksums,
            footers: Arc::clone(&self.footers),
            blocks: None,
        }))
    }
}

struct VerifyingReader {
    inner: Box<dyn AsyncFileReader + Send>,
    file: Arc<DataFile>,
    checksums: Checksums,
    footers: Arc<ProvedFooters>,
    blocks: Option<Blocks>,
}

impl VerifyingReader {
    fn damaged(&self, what: &str) -> ParquetError {
        ParquetError::External(Box::new(damaged(&self.file.path, what)))
    }

    async fn verify_footer(&mut self) -> Result<()> {
        if self.footers.0.contains(&self.file.path) {
            return Ok(());
        }
        let range = self.checksums.footer_start..self.file.size_bytes;
        if range.is_empty() {
            return Err(self.damaged("the log says that it has no footer"));
        }
        let footer = self.inner.get_bytes(range).await?;
        if blake3::hash(&footer) != self.checksums.footer {
            return Err(self.damaged("its footer has other bytes than were written"));
        }
        self.footers.0.insert(self.file.path.clone());
        Ok(())
    }

    async fn metadata(&mut self, options: Option<&ArrowReaderOptions>) -> Result<Arc<ParquetMetaData>> {
        self.verify_footer().await?;
        let metadata = self.inner.get_metadata(options).await?;
        if self.blocks.is_none() {
            let blocks = Blocks::read(&metadata, self.checksums.footer_start);
            self.blocks = Some(blocks.ok_or_else(|| self.damaged("its footer lacks the blocks' checksums"))?);
        }
        Ok(metadata)
    }

    async fn ranges(&mut self, ranges: Vec<Range<u64>>) -> Result<Vec<Bytes>> {
        let blocks = match &self.blocks {
            Some(blocks) => blocks.clone(),
            None => {
                self.metadata(None).await?;
                self.blocks
                    .clone()
                    .ok_or_else(|| self.damaged("its blocks are unknown"))?
            }
        };
        let wide = joined(ranges.iter().map(|range| blocks.around(range)).collect());
        let read = self.inner.get_byte_ranges(wide.clone()).await?;
        for (range, bytes) in wide.iter().zip(&read) {
            if bytes.len() as u64 != range.end - range.start {
                return Err(self.damaged("it is shorter than it was written"));
            }
            if let Some(block) = blocks.first_damaged(range.start, bytes) {
                let what = format!("its bytes {} to {} are not those written", block.start, block.end);
                return Err(self.damaged(&what));
            }
        }
        let cut = |range: &Range<u64>| {
            let at = wide.partition_point(|wide| wide.end < range.end);
            let (wide, bytes) = wide.get(at).zip(read.get(at))?;
            let start = usize::try_from(range.start.checked_sub(wide.start)?).ok()?;
            let end = usize::try_from(range.end.checked_sub(wide.start)?).ok()?;
            (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
        };
        ranges
            .iter()
            .map(|range| cut(range).ok_or_else(|| self.damaged("a wanted range lies outside of it")))
            .collect()
    }
}

impl AsyncFileReader for VerifyingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move {
            let read = self.ranges(vec![range]).await?;
            // One range was asked for, so there is one answer.
            Ok(read.into_iter().next().unwrap_or_default())
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.ranges(ranges).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.metadata(options).boxed()
    }
}

/// Ranges in order, those that touch made one.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
