use super::*;

const BEAT: Duration = Duration::from_millis(5);

#[test]
fn names_are_words_of_a_path_and_differ() {
    let mut names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    for name in &names {
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[tokio::test]
async fn an_answer_tells_how_far_it_is_and_ends_with_what_came_of_it() {
    let (progress, told) = Progress::new();
    let running = tokio::spawn(async move {
        progress.tell("half");
        tokio::time::sleep(BEAT * 20).await;
        Ok(json!({ "n": 1 }))
    });
    let lines: Vec<Bytes> = progress_lines(running, told, BEAT)
        .map(|line| line.unwrap())
        .collect()
        .await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(lines.first(), Some(&json!({ "progress": "half" })));
    assert!(lines.len() >= 3, "silence is filled: {lines:?}");
    assert_eq!(lines.last(), Some(&json!({ "result": { "n": 1 } })));
}

#[tokio::test]
async fn a_panic_is_an_error() {
    let (progress, told) = Progress::new();
    let running = tokio::spawn(async move {
        drop(progress);
        panic!("a defect");
    });
    let lines: Vec<Bytes> = progress_lines(running, told, BEAT)
        .map(|line| line.unwrap())
        .collect()
        .await;
    let last: Value = serde_json::from_slice(lines.last().unwrap()).unwrap();
    assert!(last["error"].as_str().unwrap().contains("panic"), "{last}");
}
