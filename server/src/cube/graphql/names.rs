//! How cubes are called in GraphQL: the types as Ruby's `camelize` writes them, the fields with a small first letter.

/// `web_traffic` → `WebTraffic`: the stem of a cube's types.
pub(super) fn type_stem(cube: &str) -> String {
    let words = cube.split('_').enumerate();
    words
        .map(|(at, word)| match at {
            0 => with_first(word, char::to_uppercase),
            _ => with_first(&word.to_lowercase(), char::to_uppercase),
        })
        .collect()
}

/// `TrackedEvents` → `trackedEvents`: a cube's field.
pub(super) fn field(cube: &str) -> String {
    with_first(cube, char::to_lowercase)
}

fn with_first<I: Iterator<Item = char>>(word: &str, change: fn(char) -> I) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(first) => change(first).chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_cube() {
        let cases = [
            ("TrackedEvents", "TrackedEvents", "trackedEvents"),
            ("web_traffic", "WebTraffic", "web_traffic"),
            ("orders", "Orders", "orders"),
            ("A_bC", "ABc", "a_bC"),
        ];
        for (cube, stem, name) in cases {
            assert_eq!((type_stem(cube).as_str(), field(cube).as_str()), (stem, name));
        }
    }
}
