//! What a token may be used for: the scopes of Cube's API.

use serde_json::Value;

/// A part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// `/graphql`.
    GraphQl,
    /// `/v1/meta` and what describes the model.
    Meta,
    /// Rows: `/v1/load`, `/v1/subscribe`, `/v1/dry-run`, `/v1/cubesql`.
    Data,
    /// SQL text: `/v1/sql`, `/v1/convert-query`.
    Sql,
    /// Jobs that build rollups.
    Jobs,
}

impl Scope {
    /// All scopes.
    pub const ALL: &'static [Scope] = &[Scope::GraphQl, Scope::Meta, Scope::Data, Scope::Sql, Scope::Jobs];

    /// Its name in settings, tokens and messages.
    pub fn name(self) -> &'static str {
        match self {
            Scope::GraphQl => "graphql",
            Scope::Meta => "meta",
            Scope::Data => "data",
            Scope::Sql => "sql",
            Scope::Jobs => "jobs",
        }
    }

    /// The scope of this name.
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.iter().copied().find(|scope| scope.name() == name)
    }
}

/// The scopes that a claim names: a text with spaces or commas between them, as OAuth has it, or a list. Names of other
/// systems' scopes are passed over. `None` when the claim has another form.
pub fn of_claim(claim: &Value) -> Option<Vec<Scope>> {
    match claim {
        Value::String(text) => Some(text.split([' ', ',']).filter_map(Scope::from_name).collect()),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(|item| Scope::from_name(item.as_str()?))
                .collect(),
        ),
        _ => None,
    }
}
