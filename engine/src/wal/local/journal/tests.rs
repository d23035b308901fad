use super::*;

/// A batch as the store writes it: items of a key and a value, uncompressed.
fn batch(number: u64, items: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in items {
        body.extend([ITEM, 0, 0]);
        body.extend(7u64.to_le_bytes());
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
        settle(journal.folder.path()).unwrap();
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
        let error = settle(journal.folder.path()).unwrap_err();
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
