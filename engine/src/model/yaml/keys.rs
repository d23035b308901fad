//! The keys of every kind of object in model files, and what is done with each.

use super::snake_case;

/// What is done with a key that Cube knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Use {
    /// It has its meaning.
    Answered,
    /// It is accepted; it has nothing to do here or answers are right without it.
    Accepted,
    /// Answers would be wrong without it, so the member (or the cube's every member) says that it is not answered yet.
    Unanswered,
}

/// The keys of one kind of object, in snake case.
pub(in super::super) struct Keys {
    /// What the object is called in messages.
    pub object: &'static str,
    /// The keys with their use.
    pub keys: &'static [(&'static str, Use)],
}

impl Keys {
    /// The use of a key, in either spelling.
    pub fn find(&self, key: &str) -> Option<(&'static str, Use)> {
        let snake = snake_case(key);
        self.keys.iter().find(|(name, _)| *name == snake).copied()
    }

    /// The known key that is nearest to a misspelled one.
    pub fn nearest(&self, key: &str) -> Option<&'static str> {
        let snake = snake_case(key);
        let snake = snake.trim_matches('_');
        // No key is as long as that; comparing a hostile one with all of them would take its time.
        if snake.chars().count() > 40 {
            return None;
        }
        let near = self
            .keys
            .iter()
            .map(|(name, _)| (strsim::levenshtein(name, snake), *name));
        near.filter(|(far, name)| *far <= 2 && *far < name.len())
            .min()
            .map(|(_, name)| name)
    }
}

use Use::{Accepted, Answered, Unanswered};

/// Keys of a file of cubes and views.
pub(in super::super) const FILE_KEYS: Keys = Keys {
    object: "file",
    keys: &[
        ("cubes", Answered),
        ("views", Answered),
        ("view_groups", Answered),
        ("funnels", Answered),
    ],
};

/// Keys of a cube.
pub(in super::super) const CUBE_KEYS: Keys = Keys {
    object: "cube",
    keys: &[
        ("name", Answered),
        ("sql", Answered),
        ("sql_table", Answered),
        ("extends", Answered),
        ("aliases", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("measures", Answered),
        ("dimensions", Answered),
        ("segments", Answered),
        ("joins", Answered),
        ("sql_alias", Answered),
        ("data_source", Answered),
        ("dialect", Answered),
        ("refresh_key", Answered),
        ("pre_aggregations", Answered),
        ("hierarchies", Answered),
        ("rewrite_queries", Accepted),
        ("access_policy", Answered),
        ("calendar", Answered),
    ],
};

/// Keys of a measure.
pub(in super::super) const MEASURE_KEYS: Keys = Keys {
    object: "measure",
    keys: &[
        ("name", Answered),
        ("type", Answered),
        ("sql", Answered),
        ("filters", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("drill_members", Answered),
        ("drill_filters", Accepted),
        ("mask", Answered),
        ("aliases", Accepted),
        ("rolling_window", Answered),
        ("multi_stage", Answered),
        ("group_by", Answered),
        ("reduce_by", Answered),
        ("add_group_by", Answered),
        ("time_shift", Answered),
        ("order_by", Answered),
        ("filter", Answered),
        ("grain", Answered),
        ("case", Unanswered),
    ],
};

/// Keys of a dimension.
pub(in super::super) const DIMENSION_KEYS: Keys = Keys {
    object: "dimension",
    keys: &[
        ("name", Answered),
        ("type", Answered),
        ("sql", Answered),
        ("case", Answered),
        ("latitude", Answered),
        ("longitude", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("primary_key", Answered),
        ("suggest_filter_values", Answered),
        ("granularities", Answered),
        ("propagate_filters_to_sub_query", Answered),
        ("values_as_segments", Accepted),
        ("mask", Answered),
        ("order", Answered),
        ("key", Answered),
        ("links", Answered),
        ("aliases", Accepted),
        ("sub_query", Answered),
        ("multi_stage", Unanswered),
        ("time_shift", Unanswered),
        ("values", Answered),
    ],
};

/// Keys of a segment.
pub(in super::super) const SEGMENT_KEYS: Keys = Keys {
    object: "segment",
    keys: &[
        ("name", Answered),
        ("sql", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("aliases", Accepted),
    ],
};

/// Keys of a join.
pub(in super::super) const JOIN_KEYS: Keys = Keys {
    object: "join",
    keys: &[("name", Answered), ("sql", Answered), ("relationship", Answered)],
};

/// Keys of a custom granularity.
pub(in super::super) const GRANULARITY_KEYS: Keys = Keys {
    object: "granularity",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("interval", Answered),
        ("origin", Answered),
        ("offset", Answered),
        ("sql", Answered),
    ],
};

/// Keys of a view.
pub(in super::super) const VIEW_KEYS: Keys = Keys {
    object: "view",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("description", Answered),
        ("public", Answered),
        ("shown", Answered),
        ("meta", Answered),
        ("extends", Answered),
        ("cubes", Answered),
        ("measures", Answered),
        ("dimensions", Answered),
        ("segments", Answered),
        ("folders", Answered),
        ("default_filters", Answered),
        ("access_policy", Answered),
        ("view_group", Answered),
        ("view_groups", Answered),
    ],
};

/// Keys of an element of a view's `cubes`.
pub(in super::super) const VIEW_CUBE_KEYS: Keys = Keys {
    object: "cubes",
    keys: &[
        ("join_path", Answered),
        ("includes", Answered),
        ("excludes", Answered),
        ("prefix", Answered),
        ("alias", Answered),
        ("split", Answered),
    ],
};

/// Keys of an element of a view's `includes`.
pub(in super::super) const INCLUDED_MEMBER_KEYS: Keys = Keys {
    object: "includes",
    keys: &[
        ("name", Answered),
        ("alias", Answered),
        ("title", Answered),
        ("description", Answered),
        ("format", Answered),
        ("currency", Answered),
        ("meta", Answered),
    ],
};

/// Keys of a folder.
pub(in super::super) const FOLDER_KEYS: Keys = Keys {
    object: "folder",
    keys: &[("name", Answered), ("includes", Answered)],
};

/// Keys of a condition that holds by default.
pub(in super::super) const DEFAULT_FILTER_KEYS: Keys = Keys {
    object: "default_filters",
    keys: &[
        ("member", Answered),
        ("operator", Answered),
        ("values", Answered),
        ("unless", Answered),
    ],
};

/// Keys of a view group.
pub(in super::super) const VIEW_GROUP_KEYS: Keys = Keys {
    object: "view group",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("description", Answered),
        ("views", Answered),
        ("includes", Answered),
    ],
};

/// Keys of a hierarchy.
pub(in super::super) const HIERARCHY_KEYS: Keys = Keys {
    object: "hierarchy",
    keys: &[
        ("name", Answered),
        ("title", Answered),
        ("public", Answered),
        ("levels", Answered),
    ],
};

/// Keys of a funnel.
pub(in super::super) const FUNNEL_KEYS: Keys = Keys {
    object: "funnel",
    keys: &[
        ("name", Answered),
        ("seconds_to_convert", Answered),
        ("steps", Answered),
        ("rule", Answered),
    ],
};

/// Keys of a funnel's step.
pub(in super::super) const STEP_KEYS: Keys = Keys {
    object: "step",
    keys: &[("name", Answered), ("target", Answered), ("action", Answered)],
};

/// Keys of an access policy.
pub(in super::super) const POLICY_KEYS: Keys = Keys {
    object: "accessPolicy",
    keys: &[
        ("group", Answered),
        ("groups", Answered),
        ("role", Answered),
        ("conditions", Answered),
        ("member_level", Answered),
        ("member_masking", Answered),
        ("row_level", Answered),
    ],
};

/// Keys of a condition of an access policy.
pub(in super::super) const POLICY_CONDITION_KEYS: Keys = Keys {
    object: "condition",
    keys: &[("if", Answered)],
};

/// Keys of `member_level` and `member_masking`.
pub(in super::super) const MEMBER_RULE_KEYS: Keys = Keys {
    object: "memberLevel",
    keys: &[("includes", Answered), ("excludes", Answered)],
};

/// Keys of `row_level`.
pub(in super::super) const ROW_LEVEL_KEYS: Keys = Keys {
    object: "rowLevel",
    keys: &[("filters", Answered), ("allow_all", Answered)],
};

/// Keys of a filter of `row_level`.
pub(in super::super) const POLICY_FILTER_KEYS: Keys = Keys {
    object: "filter",
    keys: &[
        ("member", Answered),
        ("operator", Answered),
        ("values", Answered),
        ("and", Answered),
        ("or", Answered),
    ],
};

/// Keys of a pre-aggregation.
pub(in super::super) const PRE_AGGREGATION_KEYS: Keys = Keys {
    object: "pre_aggregation",
    keys: &[
        ("name", Answered),
        ("type", Answered),
        ("measures", Answered),
        ("dimensions", Answered),
        ("segments", Answered),
        ("time_dimension", Answered),
        ("granularity", Answered),
        ("time_dimensions", Answered),
        ("rollups", Answered),
        ("partition_granularity", Answered),
        ("refresh_key", Answered),
        ("build_range_start", Answered),
        ("build_range_end", Answered),
        ("refresh_range_start", Answered),
        ("refresh_range_end", Answered),
        ("indexes", Answered),
        ("scheduled_refresh", Answered),
        ("external", Answered),
        ("unique_key_columns", Answered),
        ("allow_non_strict_date_range_match", Answered),
        ("read_only", Answered),
        ("stream_offset", Answered),
        ("output_column_types", Answered),
        ("use_original_sql_pre_aggregations", Answered),
        ("sql_alias", Answered),
        ("union_with_source_data", Answered),
        ("max_pre_aggregations", Answered),
    ],
};

/// Keys of a link of a dimension.
pub(in super::super) const LINK_KEYS: Keys = Keys {
    object: "link",
    keys: &[
        ("name", Answered),
        ("label", Answered),
        ("url", Answered),
        ("dashboard", Answered),
        ("icon", Answered),
        ("target", Answered),
        ("primary", Answered),
        ("params", Answered),
    ],
};

/// Operators of filters in model files, in Cube's order. Those of a view may also be `measureFilter`.
pub(in super::super) const FILTER_OPERATORS: &[&str] = &[
    "equals",
    "notEquals",
    "contains",
    "notContains",
    "startsWith",
    "notStartsWith",
    "endsWith",
    "notEndsWith",
    "in",
    "notIn",
    "gt",
    "gte",
    "lt",
    "lte",
    "set",
    "notSet",
    "inDateRange",
    "notInDateRange",
    "onTheDate",
    "beforeDate",
    "beforeOrOnDate",
    "afterDate",
    "afterOrOnDate",
];
