use super::*;
use arrow::array::Float64Array;

/// Every window by itself, from its rows.
fn naive(values: &[Option<f64>], ranges: &[Range<usize>], merge: Merge) -> Vec<Option<f64>> {
    let of = |range: &Range<usize>| {
        let values = values[range.clone()].iter().flatten().copied();
        match merge {
            Merge::Sum => values.reduce(|a, b| a + b),
            Merge::Min => values.reduce(f64::min),
            Merge::Max => values.reduce(f64::max),
        }
    };
    ranges.iter().map(of).collect()
}

#[test]
fn folds_agree_with_each_window_by_itself() {
    let mut state = 7_u64;
    let mut roll = |sides: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % sides
    };
    for _ in 0..500 {
        let count = roll(30);
        let values: Vec<Option<f64>> = (0..count)
            .map(|_| (roll(4) > 0).then(|| f64::from(u32::try_from(roll(100)).unwrap())))
            .collect();
        let (mut from, mut to) = (0, 0);
        let mut ranges = Vec::new();
        for _ in 0..20 {
            from = (from + roll(4)).min(count);
            to = (to.max(from) + roll(5)).min(count);
            ranges.push(from..to);
        }
        let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
        for merge in [Merge::Sum, Merge::Min, Merge::Max] {
            let got = folded(&column, merge, &ranges).unwrap();
            let expected: Vec<ScalarValue> = naive(&values, &ranges, merge)
                .into_iter()
                .map(ScalarValue::Float64)
                .collect();
            assert_eq!(got, expected, "{values:?} {ranges:?} {merge:?}");
        }
    }
}

#[test]
fn nothing_of_a_large_value_is_left() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![1e18, 0.1, 0.2]));
    let got = folded(&column, Merge::Sum, &[0..2, 1..2, 1..3, 3..3]).unwrap();
    let expected = [Some(1e18 + 0.1), Some(0.1), Some(0.1 + 0.2), None].map(ScalarValue::Float64);
    assert_eq!(got, expected);
}
