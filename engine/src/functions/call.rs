//! A function call as a model's author wrote it.

use crate::error::{Error, Result};
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    NullTreatment, OrderByExpr, WindowType,
};

/// A call, its arguments rewritten already.
#[derive(Debug, Clone)]
pub struct Call {
    /// The name as written.
    pub name: String,
    /// `(0.9)` of `quantile(0.9)(x)`.
    pub params: Vec<Expr>,
    /// The arguments; none for `count(*)`.
    pub args: Vec<Expr>,
    /// `DISTINCT` before the arguments.
    pub distinct: bool,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expr>,
    /// `OVER …`.
    pub over: Option<WindowType>,
    /// `IGNORE NULLS` or `RESPECT NULLS`.
    pub null_treatment: Option<NullTreatment>,
    /// `ORDER BY` inside the arguments.
    pub order_by: Vec<OrderByExpr>,
}

impl Call {
    /// The parts of a parsed call.
    ///
    /// # Errors
    /// `Model` when it has parts that no function of ClickHouse takes.
    pub fn new(function: Function) -> Result<Self> {
        let Function {
            name,
            parameters,
            args,
            filter,
            null_treatment,
            over,
            within_group,
            ..
        } = function;
        if !within_group.is_empty() {
            return Err(Error::model(format!("`{name}` with WITHIN GROUP is not ClickHouse's")));
        }
        let mut call = Self {
            name: name
                .0
                .last()
                .and_then(|part| part.as_ident())
                .map_or_else(|| name.to_string(), |ident| ident.value.clone()),
            params: Vec::new(),
            args: Vec::new(),
            distinct: false,
            filter: filter.map(|filter| *filter),
            over,
            null_treatment,
            order_by: Vec::new(),
        };
        if name.0.len() > 1 {
            call.name = name.to_string();
        }
        call.params = call.arguments(parameters)?;
        call.args = call.arguments(args)?;
        Ok(call)
    }

    /// A call of `name` on `args` and nothing more.
    pub fn plain(name: &str, args: Vec<Expr>) -> Self {
        Self {
            name: name.to_owned(),
            params: Vec::new(),
            args,
            distinct: false,
            filter: None,
            over: None,
            null_treatment: None,
            order_by: Vec::new(),
        }
    }

    fn arguments(&mut self, arguments: FunctionArguments) -> Result<Vec<Expr>> {
        let list = match arguments {
            FunctionArguments::None => return Ok(Vec::new()),
            FunctionArguments::Subquery(_) => {
                return Err(Error::model(format!(
                    "`{}` takes no subquery without parentheses",
                    self.name
                )));
            }
            FunctionArguments::List(list) => list,
        };
        self.distinct |= matches!(list.duplicate_treatment, Some(DuplicateTreatment::Distinct));
        for clause in list.clauses {
            match clause {
                FunctionArgumentClause::OrderBy(order) => self.order_by = order,
                FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => self.null_treatment = Some(treatment),
                other => return Err(Error::model(format!("`{}` takes no `{other}`", self.name))),
            }
        }
        let mut found = Vec::with_capacity(list.args.len());
        for argument in list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => found.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard)
                    if self.name.to_ascii_lowercase().starts_with("count") => {}
                other => return Err(Error::model(format!("`{}` takes no `{other}`", self.name))),
            }
        }
        Ok(found)
    }

    /// Exactly `N` arguments.
    ///
    /// # Errors
    /// `Model` when there are more or fewer.
    pub fn exactly<const N: usize>(self) -> Result<[Expr; N]> {
        let (name, found) = (self.name, self.args.len());
        self.args
            .try_into()
            .map_err(|_| Error::model(format!("`{name}` takes {N} arguments, not {found}")))
    }

    /// Checks the number of arguments.
    ///
    /// # Errors
    /// `Model` when there are too many or too few.
    pub fn count(&self, least: usize, most: usize) -> Result<()> {
        let found = self.args.len();
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let takes = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(Error::model(format!(
            "`{}` takes {takes} arguments, not {found}",
            self.name
        )))
    }
}
