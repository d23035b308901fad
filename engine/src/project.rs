//! The tenant: a project. Its id is a folder name, so only harmless characters are allowed.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A project's id: 1 to 64 characters of `A-Z a-z 0-9 _ -`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectId(Arc<str>);

impl ProjectId {
    /// Checks and wraps `id`.
    ///
    /// # Errors
    /// `Invalid` when the id is empty, too long or holds another character.
    pub fn new(id: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if id.is_empty() || id.len() > 64 || !id.chars().all(allowed) {
            return Err(Error::invalid(format!(
                "`{id}` is no project id: it must be 1 to 64 letters, digits, `_` or `-`"
            )));
        }
        Ok(Self(Arc::from(id)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ProjectId {
    type Error = Error;
    fn try_from(id: String) -> Result<Self> {
        Self::new(&id)
    }
}

impl From<ProjectId> for String {
    fn from(id: ProjectId) -> String {
        id.0.to_string()
    }
}
