//! Funnels: ordered steps within a conversion window.

use super::Location;

/// How a visitor's events are matched to the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FunnelRule {
    /// The longest chain of distinct events in non-decreasing time, all within the window of its own first step, over
    /// all possible entries; foreign events are ignored. Counts are cumulative.
    #[default]
    Ordered,
    /// As `Ordered`, but between two steps of a chain no other page view of the visitor may lie.
    Strict,
    /// GitLab 17.1 to 17.3: ClickHouse `windowFunnel` with `strict_order` on whole seconds, over all events, cumulative.
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
