//! What is wrong with a model file, and where.

use super::Location;
use std::fmt;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file is not used; its last good version is, if there is one.
    Error,
    /// The file is used, but something in it has no effect or is not answered yet.
    Warning,
}

/// One finding in a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub location: Location,
    /// How bad.
    pub severity: Severity,
    /// What, and what to do; Cube's own wording where Cube has one.
    pub message: String,
}

impl Problem {
    /// An error.
    pub fn error(location: Location, message: impl Into<String>) -> Problem {
        Problem {
            location,
            severity: Severity::Error,
            message: message.into(),
        }
    }

    /// A warning.
    pub fn warning(location: Location, message: impl Into<String>) -> Problem {
        Problem {
            location,
            severity: Severity::Warning,
            message: message.into(),
        }
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `file:line: message`, as compilers print it; warnings say so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.location, self.message)
    }
}
