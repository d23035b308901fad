//! Funnels: ordered steps within a conversion window.

use super::Location;

/// How a visitor's events are matched to the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FunnelRule {
    /// The longest chain of distinct events in non-decreasing time, all within the window of its own first step, over
    /// all possible entries; foreign events are ignored. Counts are cumulative.
    #[default]
    Ordered,
    /// As `Ordered`, but all page views of the visitor count, and a foreign one clears the progress: what was reached up
    /// to a step lives on only when the next page view is of the step after it, within the window, or of the same step
    /// again. Evaluation goes on, so that a later attempt may succeed. Page views of the same microsecond that match
    /// different steps have no order: they are taken in the order of the steps, none twice in a chain, and the foreign
    /// ones among them clear nothing. (PostHog's strict order.) Counts are cumulative.
    Strict,
    /// GitLab 17.1 to 17.3: ClickHouse `windowFunnel` with `strict_order` on whole seconds, over all events; after step 1 a
    /// foreign event, or a step before its turn, ends the evaluation. Counts are cumulative.
    Gitlab,
    /// GitLab 15.9 to 17.0: ClickHouse `windowFunnel` default mode on whole seconds, over all events; the answer holds
    /// one row per level including level 0 with the visitors whose furthest level is exactly that.
    GitlabG2,
}

impl FunnelRule {
    /// All rules with their names in YAML.
    pub const ALL: &'static [(&'static str, FunnelRule)] = &[
        ("ordered", FunnelRule::Ordered),
        ("strict", FunnelRule::Strict),
        ("gitlab", FunnelRule::Gitlab),
        ("gitlab_g2", FunnelRule::GitlabG2),
    ];
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunnelStep {
    /// Unique slug.
    pub name: String,
    /// The page path that must be viewed.
    pub target: String,
}

/// A funnel definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funnel {
    /// Name, in lower snake case; also the cube's name.
    pub name: String,
    /// Conversion window in seconds, from the first step of a chain to its last.
    pub seconds_to_convert: u32,
    /// The steps in order.
    pub steps: Vec<FunnelStep>,
    /// The matching rule.
    pub rule: FunnelRule,
    /// Where it was written.
    pub location: Location,
}
