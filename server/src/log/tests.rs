use super::file::{OLD_FILES, RotatingFile};
use super::limit::{LeftOut, Limit, Places};
use super::*;
use std::io::Write;
use tracing_subscriber::fmt::MakeWriter;

/// Keeps what is written.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<parking_lot::Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;
    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}

#[test]
fn lines_that_repeat_are_counted_and_not_written() {
    let (kept, places) = (Kept::default(), Arc::new(Places::default()));
    let output = tracing_subscriber::fmt::layer()
        .with_writer(kept.clone())
        .with_ansi(false);
    let subscriber = tracing_subscriber::registry()
        .with(output)
        .with(Limit::of(&places))
        .with(filter("debug"));
    tracing::subscriber::with_default(subscriber, || {
        for n in 0..100_000 {
            tracing::warn!(n, "the store failed");
        }
        for n in 0..50 {
            tracing::debug!(n, "asked for");
        }
        tracing::warn!("something else");
    });
    let text = String::from_utf8(kept.0.lock().clone()).unwrap();
    let count = |part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(
        (count("the store failed"), count("asked for"), count("something else")),
        (20, 50, 1)
    );
    let left_out = places.left_out();
    let [LeftOut { place, lines }] = left_out.as_slice() else {
        panic!("{left_out:?}")
    };
    assert!(place.starts_with("server::log::tests:"), "{place}");
    assert_eq!(*lines, 100_000 - 20);
    assert!(places.left_out().is_empty());
}

#[test]
fn a_log_file_is_bounded_and_ends_with_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs").join("tally.log");
    let line = |n: usize| format!("line {n} {}\n", "x".repeat(n % 50));
    for part in 0..4 {
        let mut file = RotatingFile::open(&path, 1_000).unwrap();
        for n in part * 100..part * 100 + 100 {
            file.write_all(line(n).as_bytes()).unwrap();
        }
    }
    let mut files: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), OLD_FILES as usize + 1, "{files:?}");
    let mut last = 400;
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        assert!(text.len() <= 1_000 && text.ends_with('\n'), "{}", file.display());
        let first = last - text.lines().count();
        let expected: String = (first..last).map(line).collect();
        assert_eq!(text, expected, "{}", file.display());
        last = first;
    }
}
