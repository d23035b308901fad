//! Who asks: the project a verified token belongs to. It cannot be made without a project, so a query without a tenant
//! cannot be written.

use super::jwt::AuthError;
use super::scopes::{self, Scope};
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
    groups: Arc<[String]>,
    roles: Arc<[String]>,
    scopes: Vec<Scope>,
}

/// What the claims of a token mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextRules {
    /// Claims that name the project, in the order they are tried; `appId` first by default, which is what GitLab and
    /// Cube's own guides use.
    pub project: Vec<String>,
    /// Whether a token without any of these claims acts for the only project, as single-tenant Cube installations
    /// expect. It never chooses between projects: as soon as there are two, such tokens are refused.
    pub single_project_default: bool,
    /// The claim that is the security context; without it all claims are.
    pub namespace: Option<String>,
    /// The claim that lists the groups which access policies name, with dots between the names of nested claims.
    pub groups: String,
    /// The claim that lists the roles which access policies name.
    pub roles: String,
    /// Scopes of a token that does not list its own.
    pub scopes: Vec<Scope>,
    /// The claim that lists a token's scopes, if any does.
    pub scopes_claim: Option<String>,
}

impl Default for ContextRules {
    fn default() -> Self {
        Self {
            project: vec!["appId".to_owned()],
            single_project_default: true,
            namespace: None,
            groups: "groups".to_owned(),
            roles: "roles".to_owned(),
            scopes: vec![Scope::GraphQl, Scope::Meta, Scope::Data, Scope::Sql],
            scopes_claim: None,
        }
    }
}

impl SecurityContext {
    /// A context for `project` with what the default rules make of `claims`.
    pub fn new(project: ProjectId, claims: Map<String, Value>) -> Self {
        let rules = ContextRules::default();
        let scopes = rules.scopes.clone();
        Self::with_rules(project, claims, &rules, scopes)
    }

    fn with_rules(
        project: ProjectId,
        mut claims: Map<String, Value>,
        rules: &ContextRules,
        scopes: Vec<Scope>,
    ) -> Self {
        claims.retain(|name, _| !PER_TOKEN.contains(&name.as_str()));
        Self {
            project,
            groups: names(&claims, &rules.groups),
            roles: names(&claims, &rules.roles),
            claims: Arc::new(Value::Object(claims)),
            scopes,
        }
    }

    /// Finds the project in verified `claims`. `only_project` is asked for the single existing project, `None` when
    /// there is none or more than one.
    ///
    /// # Errors
    /// [`AuthError::NoProject`] when no claim names a project and no default applies.
    pub fn from_claims(
        payload: Map<String, Value>,
        rules: &ContextRules,
        only_project: impl FnOnce() -> Option<ProjectId>,
    ) -> Result<Self, AuthError> {
        let claims = match &rules.namespace {
            Some(namespace) => match payload.get(namespace) {
                Some(Value::Object(claims)) => claims.clone(),
                _ => Map::new(),
            },
            None => merge_legacy_user(payload.clone()),
        };
        let own_scopes = rules.scopes_claim.as_ref().and_then(|name| {
            let claim = claims.get(name).or_else(|| payload.get(name))?;
            // A claim that cannot be read grants nothing.
            Some(scopes::of_claim(claim).unwrap_or_default())
        });
        let scopes = own_scopes.unwrap_or_else(|| rules.scopes.clone());
        // With a namespace the provider may still name the project beside it.
        let text = |name: &String| claim_text(claims.get(name).or_else(|| payload.get(name))?);
        let project = match rules.project.iter().find_map(text) {
            Some(text) => ProjectId::new(&text).map_err(|_| AuthError::NoProject)?,
            None => {
                let default = rules.single_project_default.then(only_project).flatten();
                default.ok_or(AuthError::NoProject)?
            }
        };
        Ok(Self::with_rules(project, claims, rules, scopes))
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

    /// The groups that access policies name.
    pub fn groups(&self) -> &Arc<[String]> {
        &self.groups
    }

    /// The roles that access policies name.
    pub fn roles(&self) -> &Arc<[String]> {
        &self.roles
    }

    /// Whether the token may be used for `scope`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Everything that an answer may depend on, as text: equal for two requests only when they may share an answer.
    /// Groups and roles are made of the claims.
    pub fn identity(&self) -> String {
        format!("{}\n{}", self.project, self.claims)
    }

    /// Who asks, as access policies see it.
    pub fn asker(&self) -> engine::model::Asker<'_> {
        engine::model::Asker {
            context: &self.claims,
            groups: &self.groups,
            roles: &self.roles,
        }
    }
}

/// Old Cube clients put the context into an object `u`; its members win over those of the same name outside.
fn merge_legacy_user(mut claims: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(user)) = claims.get("u").cloned() {
        claims.extend(user);
    }
    claims
}

/// The names that the claim at `path` lists: a list of texts, or one text.
fn names(claims: &Map<String, Value>, path: &str) -> Arc<[String]> {
    let mut steps = path.split('.');
    let first = steps.next().and_then(|name| claims.get(name));
    let found = claims
        .get(path)
        .or_else(|| steps.try_fold(first?, |value, name| value.get(name)));
    match found {
        Some(Value::String(name)) if !name.is_empty() => Arc::from([name.clone()]),
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect(),
        _ => Arc::from([]),
    }
}

/// Text and whole numbers can be project ids; other values cannot.
fn claim_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}
