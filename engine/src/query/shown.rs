//! A plan as text for people: SQL where it can be written so, else an outline.

#[cfg(test)]
mod tests;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::Dialect;

/// The plan as SQL, or as an outline where it has no form in SQL.
pub fn text(plan: &LogicalPlan) -> String {
    let sql = Unparser::new(&Quoting).plan_to_sql(plan);
    sql.map_or_else(|_| plan.display_indent().to_string(), |statement| statement.to_string())
}

/// The library's own dialect, which makes a regular expression for every name it looks at: most of the time that a
/// query's text took.
struct Quoting;

impl Dialect for Quoting {
    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        let is_plain = identifier.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
            && identifier
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        // A word that SQL does not reserve in practice, and the name of most keys.
        // The parser searches its list in the same way.
        let is_word = || ALL_KEYWORDS.binary_search(&identifier.to_ascii_uppercase().as_str());
        let is_keyword = || identifier != "id" && is_word().is_ok();
        (!is_plain || is_keyword()).then_some('"')
    }
}
