//! Who asks: the project a verified token belongs to. It cannot be made without a project, so a query without a tenant
//! cannot be written.

use super::jwt::AuthError;
use engine::ProjectId;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Claims that tell tokens of the same person apart. Nobody's rows depend on them, and answers are shared between
/// requests whose contexts are equal, so they are no part of a context.
const PER_TOKEN: &[&str] = &["iat", "exp", "nbf", "jti"];

/// The project a request acts for, and the claims of its token. It never changes after verification: whoever answers,
/// caches or shares an answer takes this and nothing else for the identity of the asker.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityContext {
    project: ProjectId,
    /// An object.
    claims: Arc<Value>,
}

/// Which claims of a token name the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectClaims {
    /// Claim names in the order they are tried; `appId` first by default, which is what GitLab and Cube's own guides use.
    pub names: Vec<String>,
    /// Whether a token without any of these claims acts for the only project, as single-tenant Cube installations
    /// expect. It never chooses between projects: as soon as there are two, such tokens are refused.
    pub single_project_default: bool,
}

impl Default for ProjectClaims {
    fn default() -> Self {
        Self {
            names: vec!["appId".to_owned()],
            single_project_default: true,
        }
    }
}

impl SecurityContext {
    /// A context for `project`.
    pub fn new(project: ProjectId, mut claims: Map<String, Value>) -> Self {
        claims.retain(|name, _| !PER_TOKEN.contains(&name.as_str()));
        Self {
            project,
            claims: Arc::new(Value::Object(claims)),
        }
    }

    /// Finds the project in verified `claims`. `only_project` is asked for the single existing project, `None` when
    /// there is none or more than one.
    ///
    /// # Errors
    /// [`AuthError::NoProject`] when no claim names a project and no default applies.
    pub fn from_claims(
        claims: Map<String, Value>,
        rules: &ProjectClaims,
        only_project: impl FnOnce() -> Option<ProjectId>,
    ) -> Result<Self, AuthError> {
        let claims = merge_legacy_user(claims);
        if let Some(text) = rules
            .names
            .iter()
            .find_map(|name| claim_text(claims.get(name.as_str())?))
        {
            let project = ProjectId::new(&text).map_err(|_| AuthError::NoProject)?;
            return Ok(Self::new(project, claims));
        }
        let default = rules.single_project_default.then(only_project).flatten();
        let project = default.ok_or(AuthError::NoProject)?;
        Ok(Self::new(project, claims))
    }

    /// The project.
    pub fn project(&self) -> &ProjectId {
        &self.project
    }

    /// The token's claims as an object, with those of a legacy `u` object laid over them and without those that differ
    /// from token to token (`iat`, `exp`, `nbf`, `jti`).
    pub fn claims(&self) -> &Arc<Value> {
        &self.claims
    }

    /// Everything that an answer may depend on, as text: equal for two requests only when they may share an answer.
    pub fn identity(&self) -> String {
        format!("{}\n{}", self.project, self.claims)
    }
}

/// Old Cube clients put the context into an object `u`; its members win over those of the same name outside.
fn merge_legacy_user(mut claims: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(user)) = claims.get("u").cloned() {
        claims.extend(user);
    }
    claims
}

/// Text and whole numbers can be project ids; other values cannot.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}
