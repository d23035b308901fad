use super::*;

/// A batch as the store writes it: items of a key and a value, uncompressed.
fn batch(number: u64, items: &[(&[u8], &[u8])]) -> Vec<u8> {
    let items: Vec<_> = items.iter().map(|(key, value)| (7, *key, *value)).collect();
    batch_of(number, &items)
}

/// The same of items with their keyspace.
fn batch_of(number: u64, items: &[(u64, &[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (keyspace, key, value) in items {
        body.extend([ITEM, 0, 0]);
        body.extend(keyspace.to_le_bytes());
        body.extend((key.len() as u16).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend((value.len() as u32).to_le_bytes());
        body.extend(*key);
        body.extend(*value);
    }
    let mut bytes = vec![START];
    bytes.extend((items.len() as u32).to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend(&body);
    bytes.push(END);
    bytes.extend(xxhash_rust::xxh3::xxh3_64(&body).to_le_bytes());
    bytes.extend(TRAILER);
    bytes
}

fn group(number: u64, last_seq: Seq, record: &[u8]) -> Vec<u8> {
    batch(
        number,
        &[
            (&last_seq.to_be_bytes(), record),
            (LAST_SEQ_KEY.as_bytes(), &last_seq.to_be_bytes()),
        ],
    )
}

struct Journal {
    folder: tempfile::TempDir,
}

impl Journal {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("3.jnl"), content).unwrap();
        Self { folder }
    }

    fn content(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("3.jnl")).unwrap()
    }

    fn settled(content: &[u8]) -> Vec<u8> {
        let journal = Self::new(content);
        settle(journal.folder.path(), &Persisted::default()).unwrap();
        journal.content()
    }
}

fn two_groups() -> (Vec<u8>, Vec<u8>) {
    (group(10, 1, &[7; 9_000]), group(11, 2, &[8; 9_000]))
}

#[test]
fn a_whole_journal_stays_as_it_is_with_the_zeros_it_was_made_with() {
    let (first, second) = two_groups();
    let content = [&first[..], &second, &[0; 100_000]].concat();
    assert_eq!(Journal::settled(&content), content);
    assert!(Journal::settled(&[]).is_empty());
    assert_eq!(Journal::settled(&[0; 1_000]), [0; 1_000]);
}

#[test]
fn a_last_group_cut_anywhere_is_cut_off() {
    let (first, second) = two_groups();
    for length in (1..second.len()).step_by(97).chain([second.len() - 1]) {
        let content = [&first[..], &second[..length], &[0; 9_000]].concat();
        assert_eq!(Journal::settled(&content), first, "{length} bytes of it");
    }
}

#[test]
fn a_last_group_without_one_of_its_pages_is_cut_off() {
    let (first, second) = two_groups();
    for hole in (0..second.len()).step_by(512) {
        let mut torn = second.clone();
        let end = (hole + 4096).min(torn.len());
        torn[hole..end].fill(0);
        let content = [&first[..], &torn].concat();
        assert_eq!(Journal::settled(&content), first, "a hole at {hole}");
    }
}

#[test]
fn a_damaged_byte_before_a_whole_group_is_an_error_that_names_the_place() {
    let (first, second) = two_groups();
    for at in (0..first.len()).step_by(61) {
        let mut content = [&first[..], &second].concat();
        content[at] ^= 0x10;
        let journal = Journal::new(&content);
        let error = settle(journal.folder.path(), &Persisted::default()).unwrap_err();
        let text = error.message();
        assert!(
            text.contains("3.jnl is damaged at byte 0"),
            "a flipped bit at {at}: {text}"
        );
        assert!(text.contains(&format!("follow at byte {}", first.len())), "{text}");
        assert_eq!(journal.content(), content, "nothing is lost by looking");
    }
}

#[test]
fn rewriting_leaves_out_what_was_not_acknowledged() {
    let (first, second) = two_groups();
    let content = [&first[..], &second, &[0; 50_000]].concat();
    for (acknowledged, expected) in [
        (Some(0), vec![]),
        (Some(1), first.clone()),
        (Some(2), [&first[..], &second].concat()),
        (None, [&first[..], &second].concat()),
    ] {
        let journal = Journal::new(&content);
        rewrite(journal.folder.path(), acknowledged).unwrap();
        assert_eq!(journal.content(), expected, "{acknowledged:?}");
        let files = std::fs::read_dir(journal.folder.path()).unwrap().count();
        assert_eq!(files, 1, "no copy is left");
    }
}

#[test]
fn batches_that_are_no_groups_are_kept() {
    let name = batch(1, &[(b"writer", b"tally-1")]);
    let content = [&name[..], &group(2, 5, b"x")].concat();
    let journal = Journal::new(&content);
    rewrite(journal.folder.path(), Some(4)).unwrap();
    assert_eq!(journal.content(), name);
}

#[test]
fn a_length_beyond_the_file_is_no_batch_and_takes_no_memory() {
    let mut content = group(1, 1, b"record");
    // The stored length of the first item.
    content[START_BYTES + 17..START_BYTES + 21].fill(0xff);
    assert!(Journal::settled(&content).is_empty());
}

#[test]
fn a_journal_cut_where_it_is_keeps_every_byte_before() {
    let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    for end in [0, 1, 65_535, 65_536, 65_537, 199_999, 200_000] {
        let journal = Journal::new(&content);
        cut_in_place(&journal.folder.path().join("3.jnl"), end as u64).unwrap();
        assert_eq!(journal.content(), content[..end]);
    }
}

#[test]
fn what_the_store_would_skip_is_taken_out() {
    const RECORD: &[u8] = &[9; 3_000];
    // Keyspace 2 has numbers up to 20 in its files, 5 has no file, and 4 is gone.
    let persisted = || Persisted::new(&[(0, None), (2, Some(20)), (5, None)]).eager();
    let content = [
        batch_of(19, &[(4, b"k", RECORD), (2, b"id", b"hour")]),
        batch_of(20, &[(4, b"l", RECORD), (2, b"id2", b"hour"), (5, b"m", b"record")]),
        batch_of(21, &[(4, b"n", RECORD), (2, b"id3", b"hour")]),
        batch_of(22, &[(4, b"o", RECORD)]),
        batch_of(23, &[(5, b"p", b"record")]),
    ]
    .concat();
    let expected = [
        batch_of(20, &[(5, b"m", b"record")]),
        batch_of(21, &[(2, b"id3", b"hour")]),
        batch_of(23, &[(5, b"p", b"record")]),
    ]
    .concat();
    let torn = batch_of(24, &[(4, b"q", RECORD), (5, b"q", b"record")]);
    for end in [&[][..], &[0; 70_000], &torn[..torn.len() - 1]] {
        let journal = Journal::new(&[&content[..], end].concat());
        // A process was killed at this work, on this journal and on one that is gone.
        for left in ["3.new", "2.new"] {
            std::fs::write(journal.folder.path().join(left), &content[..5_000]).unwrap();
        }
        settle(journal.folder.path(), &persisted()).unwrap();
        assert_eq!(journal.content(), expected);
        let files = std::fs::read_dir(journal.folder.path()).unwrap().count();
        assert_eq!(files, 1, "no copy is left");
        // Again, there is nothing to take out.
        settle(journal.folder.path(), &persisted()).unwrap();
        assert_eq!(journal.content(), expected);
    }

    let little = Journal::new(&content);
    settle(little.folder.path(), &Persisted::new(&[(2, Some(20)), (5, None)])).unwrap();
    assert_eq!(little.content(), content, "so little is left alone");
    let unknown = Journal::new(&content);
    settle(unknown.folder.path(), &Persisted::default().eager()).unwrap();
    assert_eq!(unknown.content(), content, "nothing is known of its keyspaces");
}

#[test]
fn where_it_does_not_pay_or_cannot_be_done_a_journal_stays() {
    let persisted = || Persisted::new(&[(5, None)]).eager();
    let skipped = batch_of(1, &[(4, b"k", &[9; 3_000])]);
    let long = batch_of(2, &[(5, b"k", &[9; 5_000])]);
    let content = [&skipped[..], &long].concat();
    let journal = Journal::new(&content);
    settle(journal.folder.path(), &persisted()).unwrap();
    assert_eq!(
        journal.content(),
        content,
        "more would be written than it takes to skip the rest"
    );

    // Nothing is known of what a clear means for the others.
    let mut body = vec![CLEAR];
    body.extend(4u64.to_le_bytes());
    let mut clear = vec![START];
    clear.extend(1u32.to_le_bytes());
    clear.extend(2u64.to_le_bytes());
    clear.extend(&body);
    clear.push(END);
    clear.extend(xxhash_rust::xxh3::xxh3_64(&body).to_le_bytes());
    clear.extend(TRAILER);
    let content = [&skipped[..], &clear].concat();
    let journal = Journal::new(&content);
    settle(journal.folder.path(), &persisted()).unwrap();
    assert_eq!(journal.content(), content);

    // A folder has the name of the copy.
    let journal = Journal::new(&skipped);
    std::fs::create_dir(journal.folder.path().join("3.new")).unwrap();
    settle(journal.folder.path(), &persisted()).unwrap();
    assert_eq!(journal.content(), skipped);
    std::fs::remove_dir(journal.folder.path().join("3.new")).unwrap();
    settle(journal.folder.path(), &persisted()).unwrap();
    assert!(journal.content().is_empty());
}
