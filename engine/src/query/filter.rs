//! Filter operators: one table says everything about each of them.

mod lower;

use super::Operator;

/// How many values an operator takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// None; values are ignored.
    None,
    /// The first that is not null; the rest is ignored, as Cube does.
    First,
    /// A range of two.
    Range,
    /// One or more, of which one must hold (or all, for a negated operator).
    Many,
}

/// What an operator compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equality with any type.
    Equality,
    /// Text that holds, begins or ends with a value, ignoring case.
    Text,
    /// Greater and less.
    Order,
    /// Presence.
    Presence,
    /// Instants given as dates.
    Date,
    /// A measure's own filters, for drilling down.
    Drill,
}

/// One row of the table of operators.
#[derive(Debug, Clone, Copy)]
pub struct OperatorRow {
    /// The operator.
    pub operator: Operator,
    /// Its names on the wire; the first is canonical.
    pub names: &'static [&'static str],
    /// How many values it takes.
    pub arity: Arity,
    /// What it compares.
    pub comparison: Comparison,
    /// Whether it is the negation of its kind: all values must fail, and null passes.
    pub negated: bool,
}

const fn row(
    operator: Operator,
    names: &'static [&'static str],
    arity: Arity,
    comparison: Comparison,
    negated: bool,
) -> OperatorRow {
    OperatorRow {
        operator,
        names,
        arity,
        comparison,
        negated,
    }
}

/// All operators. Adding one: a row here, and a lowering when its comparison is new.
pub const OPERATORS: &[OperatorRow] = {
    use Arity::{First, Many, None, Range};
    use Comparison::{Date, Drill, Equality, Order, Presence, Text};
    use Operator as O;
    &[
        row(O::Equals, &["equals", "in"], Many, Equality, false),
        row(O::NotEquals, &["notEquals", "notIn"], Many, Equality, true),
        row(O::Contains, &["contains"], Many, Text, false),
        row(O::NotContains, &["notContains"], Many, Text, true),
        row(O::StartsWith, &["startsWith"], Many, Text, false),
        row(O::NotStartsWith, &["notStartsWith"], Many, Text, true),
        row(O::EndsWith, &["endsWith"], Many, Text, false),
        row(O::NotEndsWith, &["notEndsWith"], Many, Text, true),
        row(O::Gt, &["gt"], First, Order, false),
        row(O::Gte, &["gte"], First, Order, false),
        row(O::Lt, &["lt"], First, Order, false),
        row(O::Lte, &["lte"], First, Order, false),
        row(O::Set, &["set"], None, Presence, false),
        row(O::NotSet, &["notSet"], None, Presence, true),
        row(O::InDateRange, &["inDateRange"], Range, Date, false),
        row(O::NotInDateRange, &["notInDateRange"], Range, Date, true),
        row(O::OnTheDate, &["onTheDate"], Range, Date, false),
        row(O::BeforeDate, &["beforeDate"], First, Date, false),
        row(O::BeforeOrOnDate, &["beforeOrOnDate"], First, Date, false),
        row(O::AfterDate, &["afterDate"], First, Date, false),
        row(O::AfterOrOnDate, &["afterOrOnDate"], First, Date, false),
        row(O::MeasureFilter, &["measureFilter"], None, Drill, false),
    ]
};

impl Operator {
    /// The operator of this wire name.
    pub fn from_name(name: &str) -> Option<Operator> {
        let found = OPERATORS.iter().find(|row| row.names.contains(&name));
        found.map(|row| row.operator)
    }

    /// This operator's row of the table.
    pub fn row(self) -> &'static OperatorRow {
        let found = OPERATORS.iter().find(|row| row.operator == self);
        found.expect("every operator has a row, asserted by a test")
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        self.row().names.first().expect("every row has a name")
    }

    /// Whether a query without values is wrong.
    pub fn needs_values(self) -> bool {
        self.row().arity != Arity::None
    }

    /// Whether the values are dates, to be resolved by [`super::date_range::resolve_filter`].
    pub fn is_date(self) -> bool {
        self.row().comparison == Comparison::Date
    }
}

pub use lower::{Column, instant, instant_type, lower};
pub(crate) use lower::{balanced, cast, escaped, no_instant};
