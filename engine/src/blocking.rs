//! Work that blocks or takes whole milliseconds of CPU, kept off the runtime's own threads.

use crate::error::{Error, Result};

/// Runs `work` on a thread where blocking is allowed. `what` names it in the error.
///
/// # Errors
/// The error of `work`; `Internal` when it panicked or the runtime is going down.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal(format!("{what} was interrupted")).with_source(error)),
    }
}
