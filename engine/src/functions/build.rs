//! Pieces of the engine's SQL, for what takes a call's place.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, NullTreatment, ObjectName, OrderByExpr, UnaryOperator, Value,
    WindowType,
};

/// An identifier that keeps its case.
pub fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}

/// A call of a function of the engine, by its exact name.
pub fn function(name: &str, args: Vec<Expr>) -> Expr {
    Aggregate::new(name, args).build()
}

/// A call by a name of ClickHouse's, to be rewritten in its turn.
pub fn function_named(name: &str, args: Vec<Expr>) -> Expr {
    match function(name, args) {
        Expr::Function(mut function) => {
            function.name = ObjectName::from(vec![Ident::new(name)]);
            Expr::Function(function)
        }
        other => other,
    }
}

/// A call of an aggregate of the engine.
#[derive(Debug, Clone)]
pub struct Aggregate {
    name: String,
    args: Vec<Expr>,
    /// Only distinct values.
    pub distinct: bool,
    /// Only rows that meet this.
    pub filter: Option<Expr>,
    /// As a window function.
    pub over: Option<WindowType>,
    /// The order of the rows.
    pub order_by: Vec<OrderByExpr>,
    /// Whether NULLs are skipped.
    pub null_treatment: Option<NullTreatment>,
}

impl Aggregate {
    /// `name` over `args`.
    pub fn new(name: &str, args: Vec<Expr>) -> Self {
        Self {
            name: name.to_owned(),
            args,
            distinct: false,
            filter: None,
            over: None,
            order_by: Vec::new(),
            null_treatment: None,
        }
    }

    /// The call.
    pub fn build(self) -> Expr {
        let clauses = match self.order_by.is_empty() {
            true => Vec::new(),
            false => vec![FunctionArgumentClause::OrderBy(self.order_by)],
        };
        let args = self
            .args
            .into_iter()
            .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
        Expr::Function(Function {
            name: ObjectName::from(vec![quoted(&self.name)]),
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args: FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: self.distinct.then_some(DuplicateTreatment::Distinct),
                args: args.collect(),
                clauses,
            }),
            filter: self.filter.map(Box::new),
            null_treatment: self.null_treatment,
            over: self.over,
            within_group: Vec::new(),
        })
    }
}

/// A text.
pub fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

/// A whole number.
pub fn number(value: i64) -> Expr {
    let digits = Expr::Value(Value::Number(value.unsigned_abs().to_string(), false).into());
    match value < 0 {
        true => Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(digits),
        },
        false => digits,
    }
}

/// True or false.
pub fn boolean(value: bool) -> Expr {
    Expr::Value(Value::Boolean(value).into())
}

/// NULL.
pub fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// In parentheses.
pub fn nested(expr: Expr) -> Expr {
    match expr {
        plain @ (Expr::Nested(_)
        | Expr::Value(_)
        | Expr::Identifier(_)
        | Expr::CompoundIdentifier(_)
        | Expr::Function(_)) => plain,
        other => Expr::Nested(Box::new(other)),
    }
}

/// `left op right`.
pub fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(nested(left)),
        op,
        right: Box::new(nested(right)),
    }
}

/// `left AND right`.
pub fn and(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::And, right)
}

/// `left OR right`.
pub fn or(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::Or, right)
}

/// `NOT expr`.
pub fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(nested(expr)),
    }
}

/// `expr`, or its opposite.
pub fn maybe_not(negated: bool, expr: Expr) -> Expr {
    if negated { not(expr) } else { expr }
}

/// `expr IS NULL`.
pub fn is_null(expr: Expr) -> Expr {
    Expr::IsNull(Box::new(nested(expr)))
}

/// `expr IS NOT NULL`.
pub fn is_not_null(expr: Expr) -> Expr {
    Expr::IsNotNull(Box::new(nested(expr)))
}

/// `CASE WHEN … THEN … ELSE … END`; a condition may be a number.
pub fn case(branches: Vec<(Expr, Expr)>, otherwise: Option<Expr>) -> Expr {
    let conditions = branches.into_iter().map(|(condition, result)| CaseWhen {
        condition: truth(condition),
        result,
    });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: conditions.collect(),
        else_result: otherwise.map(Box::new),
    }
}

/// An expression as a condition: a number is true when it is not 0.
pub fn truth(expr: Expr) -> Expr {
    if is_condition(&expr) {
        expr
    } else {
        function(super::TRUTH, vec![expr])
    }
}

/// Whether the expression is a condition by its form.
fn is_condition(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_condition(inner),
        Expr::BinaryOp { op, .. } => matches!(
            op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
                | BinaryOperator::And
                | BinaryOperator::Or
        ),
        Expr::UnaryOp {
            op: UnaryOperator::Not, ..
        }
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::Exists { .. } => true,
        Expr::Value(value) => matches!(value.value, Value::Boolean(_)),
        _ => false,
    }
}
