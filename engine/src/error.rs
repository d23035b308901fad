//! The one error type of the engine: a closed kind, a message that names the value and the remedy, and a cause.

use std::fmt;

/// What went wrong, as a closed list. The edge maps each kind to one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's request is wrong: an unknown member, a bad date, a limit passed.
    Invalid,
    /// A data model or funnel file is wrong. The message holds every `file:line`.
    Model,
    /// The named thing does not exist (a project, a table, an object).
    NotFound,
    /// The request is allowed in principle but not for this token.
    Forbidden,
    /// A bound is reached (memory, queue, disk). The same request may succeed later.
    Overloaded,
    /// The query took longer than its deadline.
    Timeout,
    /// The query engine failed while running a plan (for instance a cast or an overflow).
    Execution,
    /// The object store does not answer, or answers with errors. The same request may succeed later.
    Unavailable,
    /// Storage failed: the disk, a damaged file.
    Storage,
    /// Another process owns this store; this one must stop writing.
    Fenced,
    /// A defect in Tally itself.
    Internal,
}

impl ErrorKind {
    /// Whether the message may be shown to a client as it is. Storage paths, causes and defects may not.
    pub fn is_client_safe(self) -> bool {
        match self {
            ErrorKind::Invalid
            | ErrorKind::Model
            | ErrorKind::NotFound
            | ErrorKind::Forbidden
            | ErrorKind::Overloaded
            | ErrorKind::Timeout
            | ErrorKind::Unavailable
            | ErrorKind::Fenced
            | ErrorKind::Execution => true,
            ErrorKind::Storage | ErrorKind::Internal => false,
        }
    }

    /// Whether sending the same request again can succeed without a change by the caller.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            ErrorKind::Overloaded | ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Storage
        )
    }
}

/// The error of every public call of the engine.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// `Result` with the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) })*
    };
}

impl Error {
    /// An error of `kind`; `message` is lower case, names the value and what was allowed, and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    constructors! {
        /// The caller's request is wrong.
        invalid => Invalid,
        /// A model file is wrong.
        model => Model,
        /// The named thing does not exist.
        not_found => NotFound,
        /// A bound is reached.
        overloaded => Overloaded,
        /// Storage failed.
        storage => Storage,
        /// A defect in Tally.
        internal => Internal,
    }

    /// The same error with its cause attached, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether a query was refused memory, or room for what it spills.
    pub fn is_out_of_memory(&self) -> bool {
        use datafusion::error::DataFusionError;
        let source = self.source.as_deref().and_then(|source| source.downcast_ref());
        source
            .is_some_and(|error: &DataFusionError| matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)))
    }

    /// Whether the object store could not be reached, or failed in answering: what was asked may succeed later as it is.
    /// Refusals (a wrong key, a bucket that is not there) are no such failures.
    pub fn is_store_silent(&self) -> bool {
        let mut cause = self
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static));
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<object_store::Error>() {
                return matches!(error, object_store::Error::Generic { .. });
            }
            if error.is::<StoreFailure>() {
                return true;
            }
            cause = error.source();
        }
        self.kind == ErrorKind::Unavailable
    }

    /// The message alone, without the cause.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A request that the object store answered with a failure or not at all; the cause of every error that comes of one.
#[derive(Debug)]
pub struct StoreFailure(pub object_store::Error);

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for StoreFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl StoreFailure {
    /// What the text of every error holds that comes of one: some libraries keep no more than the text of a cause.
    pub const TEXT: &'static str = "Generic object store error";

    /// Whether `error` comes of one.
    pub fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<StoreFailure>() {
                return true;
            }
            cause = error.source();
        }
        error.to_string().contains(Self::TEXT)
    }

    /// What clients are told.
    pub(crate) fn told(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let message = "the object store does not answer at the moment; try again in a few seconds";
        Error::new(ErrorKind::Unavailable, message).with_source(source)
    }
}

/// Whether a value could not be computed while a file was read: filters are evaluated by its reader, which passes their
/// errors on as its own.
fn is_computation(error: &datafusion::error::DataFusionError) -> bool {
    use arrow::error::ArrowError;
    let first: &(dyn std::error::Error + 'static) = error;
    let mut causes = std::iter::successors(Some(first), |error| error.source());
    causes.any(|cause| matches!(cause.downcast_ref(), Some(ArrowError::ComputeError(_))))
}

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        if StoreFailure::is_behind(&error) {
            return StoreFailure::told(error);
        }
        // An error of ours that went through the query engine, of a damaged file for instance, is told in its own words.
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            if let Some(ours) = cause.downcast_ref::<Error>() {
                return Error::new(ours.kind, ours.message.clone()).with_source(error);
            }
            next = cause.source();
        }
        let kind = match error.find_root() {
            D::ResourcesExhausted(_) => ErrorKind::Overloaded,
            D::ParquetError(_) if is_computation(&error) => ErrorKind::Execution,
            D::ObjectStore(_) | D::IoError(_) | D::ParquetError(_) => ErrorKind::Storage,
            D::Internal(_) => ErrorKind::Internal,
            D::External(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.kind,
                None => ErrorKind::Execution,
            },
            _ => ErrorKind::Execution,
        };
        let message = match error.find_root() {
            // What the query engine says around it is about settings that nobody has here.
            D::ResourcesExhausted(why) => format!(
                "the query needs more memory than there is: ask for less (a shorter range, fewer dimensions) or give the \
                 server more by `memory`; {why}"
            ),
            _ => error.strip_backtrace(),
        };
        Error::new(kind, message).with_source(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::new(ErrorKind::Execution, error.to_string()).with_source(error)
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        if StoreFailure::is_behind(&error) {
            return StoreFailure::told(error);
        }
        let kind = match &error {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Storage,
        };
        Error::new(kind, format!("object store: {error}")).with_source(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::new(ErrorKind::Storage, error.to_string()).with_source(error)
    }
}
