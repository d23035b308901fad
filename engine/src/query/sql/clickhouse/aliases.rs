//! ClickHouse lets every clause of a SELECT use the names that its list gives: `SELECT ts AS at, toDate(at) AS day … WHERE
//! day > …`. The engine knows them in `GROUP BY`, `HAVING` and `ORDER BY` only, so elsewhere the expression takes the
//! name's place.

use crate::error::{Error, Result};
use crate::functions::build;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, VisitMut, VisitorMut};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Expressions put in the place of names in one SELECT. Names of names can multiply.
const EXPANSIONS_MAX: usize = 2_000;

/// Puts the expressions of `select`'s names in their places.
///
/// # Errors
/// `Model` when names refer to one another in a circle or multiply.
pub(super) fn expand(select: &mut Select) -> Result<()> {
    let named = select.projection.iter().filter_map(|item| match item {
        // A bare column under another name is expanded too; one under its own name needs nothing.
        SelectItem::ExprWithAlias { expr, alias } if !is_column(expr, alias) => {
            Some((alias.value.clone(), expr.clone()))
        }
        _ => None,
    });
    let aliases: HashMap<String, Expr> = named.collect();
    if aliases.is_empty() {
        return Ok(());
    }
    let mut expander = Expander {
        aliases,
        open: Vec::new(),
        depth: 0,
        left: EXPANSIONS_MAX,
    };
    for item in &mut select.projection {
        match item {
            SelectItem::ExprWithAlias { expr, alias } => {
                expander.open.push(alias.value.clone());
                finished(expr.visit(&mut expander))?;
                expander.open.pop();
            }
            SelectItem::UnnamedExpr(expr) if !matches!(expr, Expr::Identifier(_)) => {
                finished(expr.visit(&mut expander))?;
            }
            _ => {}
        }
    }
    for clause in [&mut select.prewhere, &mut select.selection].into_iter().flatten() {
        finished(clause.visit(&mut expander))?;
    }
    Ok(())
}

fn is_column(expr: &Expr, alias: &Ident) -> bool {
    match expr {
        Expr::Identifier(column) => column.value == alias.value,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|last| last.value == alias.value),
        _ => false,
    }
}

fn finished(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Expander {
    aliases: HashMap<String, Expr>,
    /// The names whose expressions are being looked at: inside its own expression a name is the column.
    open: Vec<String>,
    /// Subqueries around the node: they have names of their own.
    depth: usize,
    left: usize,
}

impl VisitorMut for Expander {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Identifier(name) = &*expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 || self.open.contains(&name.value) {
            return ControlFlow::Continue(());
        }
        let Some(found) = self.aliases.get(&name.value) else {
            return ControlFlow::Continue(());
        };
        if self.left == 0 {
            return ControlFlow::Break(Error::model(format!(
                "the names that `{}` is made of multiply",
                name.value
            )));
        }
        self.left -= 1;
        let (name, mut inner) = (name.value.clone(), found.clone());
        self.open.push(name);
        let flow = inner.visit(self);
        self.open.pop();
        *expr = build::nested(inner);
        flow
    }
}
