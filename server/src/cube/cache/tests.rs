use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn asked(version: u64, now: Micros) -> Asked {
    Asked {
        key: [7; 32],
        version: DataVersion::from_number(version),
        now,
        anew: false,
    }
}

struct Bench {
    answers: Answers,
    metrics: Arc<Metrics>,
    computed: AtomicUsize,
}

impl Bench {
    fn new(memory_bytes: usize) -> Self {
        let metrics = Arc::new(Metrics::default());
        Self {
            answers: Answers::new(memory_bytes, Duration::from_secs(10), Arc::clone(&metrics)),
            metrics,
            computed: AtomicUsize::new(0),
        }
    }

    /// Asks for `bytes` bytes and tells how many answers were computed so far.
    async fn ask(&self, asked: Asked, bytes: usize, reads_clock: bool) -> usize {
        let body = self
            .answers
            .answer(asked, || {
                self.computed.fetch_add(1, Ordering::SeqCst);
                let body = Bytes::from(vec![b'x'; bytes]);
                let lasting = match reads_clock {
                    true => Lasting::Moments,
                    false => Lasting::WhileRowsStay,
                };
                async move { Ok(Written { body, lasting }) }
            })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(body.len(), bytes);
        self.computed.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_answer_is_used_until_the_rows_change() {
    let bench = Bench::new(64 << 20);
    for (version, computed) in [(0, 1), (0, 1), (1, 2), (1, 2), (2, 3), (1, 4)] {
        assert_eq!(bench.ask(asked(version, 0), 10, false).await, computed, "{version}");
    }
    assert_eq!(bench.metrics.answers_cached.get(), 2);
    assert_eq!(bench.metrics.answers_computed.get(), 4);
}

#[tokio::test]
async fn an_answer_that_reads_the_clock_is_used_for_ten_seconds() {
    let bench = Bench::new(64 << 20);
    let times = [(0, 1), (9_999_999, 1), (10_000_000, 2), (19_999_999, 2), (5_000_000, 3)];
    for (now, computed) in times {
        assert_eq!(bench.ask(asked(0, now), 10, true).await, computed, "{now}");
    }
}

#[tokio::test]
async fn no_cache_computes_and_renews() {
    let bench = Bench::new(64 << 20);
    let anew = Asked {
        anew: true,
        ..asked(0, 0)
    };
    assert_eq!(bench.ask(anew, 10, false).await, 1);
    assert_eq!(bench.ask(anew, 20, false).await, 2);
    assert_eq!(bench.ask(asked(0, 0), 20, false).await, 2);
}

#[tokio::test]
async fn errors_are_not_kept() {
    let bench = Bench::new(64 << 20);
    let refusal = super::super::error::ApiError::bad_request("no");
    let refused = refusal.clone();
    let answer = bench.answers.answer(asked(0, 0), || async move { Err(refused) }).await;
    assert_eq!(answer, Err(refusal));
    assert_eq!(bench.ask(asked(0, 0), 10, false).await, 1);
}

#[tokio::test]
async fn memory_is_bounded() {
    let memory = 16 << 20;
    let bench = Bench::new(memory);
    for number in 0..2_000_u32 {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        bench.ask(Asked { key, ..asked(0, 0) }, 10_000, false).await;
    }
    assert!(bench.answers.kept.weight() <= (memory / BUDGET_PART) as u64);
    assert!(bench.answers.kept.len() > 50, "{}", bench.answers.kept.len());
    // One that would take the place of many is not kept at all.
    let large = memory / BUDGET_PART / 2;
    let key = [9; 32];
    let computed = bench.ask(Asked { key, ..asked(0, 0) }, large, false).await;
    assert_eq!(
        bench.ask(Asked { key, ..asked(0, 0) }, large, false).await,
        computed + 1
    );
}
