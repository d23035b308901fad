//! `tally flush` and `tally compact`: the tables as a whole.

use super::operate::operate;
use super::output::say;
use super::{Context, Outcome};
use serde_json::json;

/// `tally flush`.
pub(super) fn flush(context: &Context) -> Outcome {
    let done = operate(context, "flush", &json!({}))?;
    say(&format!("{} rows written to the tables", done["rows"]));
    Ok(())
}

/// `tally compact`.
pub(super) fn compact(context: &Context) -> Outcome {
    let done = operate(context, "compact", &json!({}))?;
    say(&format!("{} merges done", done["merges"]));
    Ok(())
}
