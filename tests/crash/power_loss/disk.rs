//! A disk that loses power: what was synced is there, and of the rest each page and each name is there or not.
//!
//! What is assumed of the disk is what POSIX promises and no more. A page of 4 KiB holds any of the contents it had since
//! it was synced, or one torn at a sector of 512 bytes; a file's length is any it had; each change of a folder's names
//! happened or not, by itself. That a rename takes one name and gives the other in one step is the only thing that holds
//! without a sync.

use super::trace::{Inode, Step};
use crate::support::Random;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;
const SECTOR: u64 = 512;

/// What survives that was not synced.
pub enum Unsynced<'a> {
    /// Everything: the process was killed and the machine goes on.
    Kept,
    /// Each piece by chance.
    Chance(&'a mut Random),
}

/// One change of a page: bytes from a place in it, or zeros from there to its end.
struct PageChange<'a> {
    step: usize,
    from: usize,
    bytes: Option<&'a [u8]>,
}

/// A file's content at the crash.
#[derive(Default)]
struct Content {
    length: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

/// The disk after the first `crash` steps: files below `to`, where `root` was.
pub fn rebuild(steps: &[Step], crash: usize, mut unsynced: Unsynced<'_>, root: &Path, to: &Path) {
    let steps = &steps[..crash];
    let names = names(steps, &mut unsynced, root);
    let contents = contents(steps, &mut unsynced);
    for folder in &names.folders {
        std::fs::create_dir_all(to.join(folder.strip_prefix(root).unwrap())).unwrap();
    }
    for (path, inode) in &names.files {
        // A file whose folder is gone is gone with it.
        let target = to.join(path.strip_prefix(root).unwrap());
        if !target.parent().unwrap().is_dir() {
            continue;
        }
        let Some(content) = contents.get(inode) else {
            std::fs::write(&target, []).unwrap();
            continue;
        };
        let file = std::fs::File::create(&target).unwrap();
        file.set_len(content.length).unwrap();
        for (page, bytes) in &content.pages {
            let room = content.length.saturating_sub(page * PAGE).min(PAGE) as usize;
            file.write_all_at(&bytes[..room], page * PAGE).unwrap();
        }
    }
}

#[derive(Default)]
struct Names {
    files: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
}

/// The names that survive. A rename of a folder moves what is in it, whatever the fate of that was.
fn names(steps: &[Step], unsynced: &mut Unsynced<'_>, root: &Path) -> Names {
    let folders = folders(steps);
    // For each folder, up to which step its names are on the disk.
    let mut synced: HashMap<usize, usize> = HashMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Step::SyncFolder { begun, .. } = step {
            let upto = synced.entry(folders[at]).or_default();
            *upto = (*upto).max(*begun);
        }
    }
    let mut names = Names::default();
    names.folders.insert(root.to_owned());
    for (at, step) in steps.iter().enumerate() {
        if changed(step).is_none() {
            continue;
        }
        let is_synced = synced.get(&folders[at]).is_some_and(|upto| at < *upto);
        let survives = is_synced
            || match unsynced {
                Unsynced::Kept => true,
                Unsynced::Chance(random) => random.below(2) == 0,
            };
        if survives {
            names.apply(step);
        }
    }
    // Without its own name a folder has nothing in it.
    let is_there = |path: &Path| {
        let mut parts = path.ancestors().take_while(|part| part.starts_with(root));
        parts.all(|part| names.folders.contains(part))
    };
    let folders: BTreeSet<PathBuf> = names.folders.iter().filter(|path| is_there(path)).cloned().collect();
    let files = std::mem::take(&mut names.files);
    let files = files
        .into_iter()
        .filter(|(path, _)| folders.contains(path.parent().unwrap()));
    Names {
        files: files.collect(),
        folders,
    }
}

/// The name that a step gives or takes.
fn changed(step: &Step) -> Option<&Path> {
    match step {
        Step::Link { path, .. } | Step::Unlink { path } | Step::MakeFolder { path } | Step::RemoveFolder { path } => {
            Some(path)
        }
        Step::Rename { to, .. } => Some(to),
        _ => None,
    }
}

/// The folder that each step changes or syncs, as a number that stays with it when it is renamed.
fn folders(steps: &[Step]) -> Vec<usize> {
    let mut known: HashMap<PathBuf, usize> = HashMap::new();
    let mut next = 0;
    let mut numbers = Vec::with_capacity(steps.len());
    for step in steps {
        let folder = match step {
            Step::SyncFolder { path, .. } => Some(path.as_path()),
            step => changed(step).and_then(Path::parent),
        };
        let number = folder.map(|folder| {
            *known.entry(folder.to_owned()).or_insert_with(|| {
                next += 1;
                next
            })
        });
        numbers.push(number.unwrap_or(0));
        match step {
            Step::Rename { from, to } => {
                let below = |path: &PathBuf| path.strip_prefix(from).ok().map(|rest| to.join(rest));
                let moved: Vec<_> = known
                    .iter()
                    .filter_map(|(path, number)| Some((path.clone(), below(path)?, *number)))
                    .collect();
                for (path, new, number) in moved {
                    known.remove(&path);
                    // `join` of nothing leaves a slash at the end, which paths do not compare.
                    known.insert(new.components().collect(), number);
                }
            }
            // A folder that is made where another was is another one.
            Step::MakeFolder { path } => drop(known.remove(path)),
            _ => {}
        }
    }
    numbers
}

impl Names {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Link { path, inode } => drop(self.files.insert(path.clone(), *inode)),
            Step::Unlink { path } => drop(self.files.remove(path)),
            Step::MakeFolder { path } => drop(self.folders.insert(path.clone())),
            Step::RemoveFolder { path } => {
                self.folders.remove(path);
                self.files.retain(|file, _| !file.starts_with(path));
                self.folders.retain(|folder| !folder.starts_with(path));
            }
            Step::Rename { from, to } => {
                let moved = |path: &PathBuf| {
                    let rest = path.strip_prefix(from).ok()?;
                    Some(if rest.as_os_str().is_empty() {
                        to.clone()
                    } else {
                        to.join(rest)
                    })
                };
                let files: Vec<_> = self
                    .files
                    .iter()
                    .filter_map(|(path, inode)| Some((moved(path)?, *inode)))
                    .collect();
                let folders: Vec<_> = self.folders.iter().filter_map(moved).collect();
                self.files.retain(|path, _| !path.starts_with(from));
                self.folders.retain(|path| !path.starts_with(from));
                self.files.extend(files);
                self.folders.extend(folders);
            }
            _ => {}
        }
    }
}

fn contents(steps: &[Step], unsynced: &mut Unsynced<'_>) -> HashMap<Inode, Content> {
    let mut synced: HashMap<Inode, usize> = HashMap::new();
    let mut lengths: HashMap<Inode, Vec<(usize, u64)>> = HashMap::new();
    let mut changes: BTreeMap<(Inode, u64), Vec<PageChange<'_>>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Sync { inode, begun } => {
                let upto = synced.entry(*inode).or_default();
                *upto = (*upto).max(*begun);
            }
            Step::Write { inode, offset, bytes } => {
                let history = lengths.entry(*inode).or_default();
                let before = history.last().map_or(0, |(_, length)| *length);
                let end = offset + bytes.len() as u64;
                history.push((at, before.max(end)));
                for page in offset / PAGE..end.div_ceil(PAGE) {
                    let (from, until) = (offset.max(&(page * PAGE)).to_owned(), end.min((page + 1) * PAGE));
                    changes.entry((*inode, page)).or_default().push(PageChange {
                        step: at,
                        from: (from - page * PAGE) as usize,
                        bytes: Some(&bytes[(from - offset) as usize..(until - offset) as usize]),
                    });
                }
            }
            Step::Resize { inode, length } => {
                lengths.entry(*inode).or_default().push((at, *length));
                for ((_, page), history) in changes.range_mut((*inode, length / PAGE)..(*inode + 1, 0)) {
                    history.push(PageChange {
                        step: at,
                        from: length.saturating_sub(page * PAGE).min(PAGE) as usize,
                        bytes: None,
                    });
                }
            }
            _ => {}
        }
    }
    let mut contents: HashMap<Inode, Content> = HashMap::new();
    let upto = |inode: &Inode| synced.get(inode).copied().unwrap_or(0);
    let mut inodes: Vec<_> = lengths.keys().copied().collect();
    inodes.sort_unstable();
    for inode in inodes {
        let history = &lengths[&inode];
        let certain = history.iter().filter(|(step, _)| *step < upto(&inode)).count();
        let chosen = choose(certain, history.len(), unsynced);
        contents.entry(inode).or_default().length = chosen.checked_sub(1).map_or(0, |last| history[last].1);
    }
    for ((inode, page), history) in &changes {
        let certain = history.iter().filter(|change| change.step < upto(inode)).count();
        let chosen = choose(certain, history.len(), unsynced);
        let mut bytes = vec![0; PAGE as usize];
        history[..chosen]
            .iter()
            .for_each(|change| change.apply(&mut bytes, 0..PAGE as usize));
        if let (Some(change), Unsynced::Chance(random)) = (history.get(chosen), &mut *unsynced)
            && random.below(4) == 0
        {
            // Torn: some sectors of the next change have arrived.
            let sector = (random.below(PAGE / SECTOR) * SECTOR) as usize;
            let part = if random.below(2) == 0 {
                0..sector
            } else {
                sector..PAGE as usize
            };
            change.apply(&mut bytes, part);
        }
        contents.get_mut(inode).unwrap().pages.insert(*page, bytes);
    }
    contents
}

/// How many of `all` changes in a row have happened, of which `certain` are sure.
fn choose(certain: usize, all: usize, unsynced: &mut Unsynced<'_>) -> usize {
    match unsynced {
        Unsynced::Kept => all,
        Unsynced::Chance(random) => certain + random.below((all - certain + 1) as u64) as usize,
    }
}

impl PageChange<'_> {
    fn apply(&self, page: &mut [u8], part: std::ops::Range<usize>) {
        let end = self.bytes.map_or(page.len(), |bytes| self.from + bytes.len());
        for at in self.from.max(part.start)..end.min(part.end) {
            page[at] = self.bytes.map_or(0, |bytes| bytes[at - self.from]);
        }
    }
}

/// Batches that a client was told of within the first `crash` steps, by their numbers of events.
pub fn acknowledged(steps: &[Step], crash: usize) -> HashSet<u64> {
    let stored = |step: &Step| match step {
        Step::Acknowledge { stored } => Some(*stored),
        _ => None,
    };
    steps[..crash].iter().filter_map(stored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(inode: Inode, offset: u64, text: &str) -> Step {
        Step::Write {
            inode,
            offset,
            bytes: text.into(),
        }
    }

    fn link(path: &str, inode: Inode) -> Step {
        Step::Link {
            path: path.into(),
            inode,
        }
    }

    /// Every outcome that 200 seeds find, as name and content.
    fn outcomes(steps: &[Step]) -> BTreeSet<Vec<(String, String)>> {
        let outcome = |seed| {
            let folder = tempfile::tempdir().unwrap();
            let mut random = Random::new(seed);
            rebuild(
                steps,
                steps.len(),
                Unsynced::Chance(&mut random),
                Path::new("/d"),
                folder.path(),
            );
            let entries = std::fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let mut files: Vec<_> = entries
                .filter(|path| path.is_file())
                .map(|path| {
                    (
                        path.file_name().unwrap().to_string_lossy().into_owned(),
                        std::fs::read_to_string(&path).unwrap(),
                    )
                })
                .collect();
            files.sort();
            files
        };
        (0..200).map(outcome).collect()
    }

    fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    #[test]
    fn what_is_synced_is_always_there() {
        let folder = PathBuf::from("/d");
        let steps = [
            link("/d/a", 0),
            write(0, 0, "abc"),
            Step::Sync { inode: 0, begun: 2 },
            Step::SyncFolder { path: folder, begun: 3 },
        ];
        assert_eq!(outcomes(&steps), BTreeSet::from([files(&[("a", "abc")])]));
    }

    #[test]
    fn a_name_a_length_and_a_page_are_lost_by_themselves() {
        let steps = [link("/d/a", 0), write(0, 0, "abc")];
        let expected = [
            files(&[]),
            files(&[("a", "")]),
            files(&[("a", "\0\0\0")]),
            files(&[("a", "abc")]),
        ];
        assert_eq!(outcomes(&steps), BTreeSet::from(expected));
    }

    #[test]
    fn a_sync_covers_only_what_was_there_when_it_began() {
        let folder = PathBuf::from("/d");
        let steps = [
            link("/d/a", 0),
            Step::SyncFolder { path: folder, begun: 1 },
            write(0, 0, "a"),
            write(0, 1, "b"),
            Step::Sync { inode: 0, begun: 3 },
        ];
        let expected = [files(&[("a", "a")]), files(&[("a", "ab")]), files(&[("a", "a\0")])];
        assert_eq!(outcomes(&steps), BTreeSet::from(expected));
    }

    #[test]
    fn a_rename_is_one_step_and_a_folder_takes_its_content_along() {
        let root = PathBuf::from("/d");
        let steps = [
            Step::MakeFolder { path: "/d/new".into() },
            link("/d/new/a", 0),
            Step::SyncFolder {
                path: "/d/new".into(),
                begun: 2,
            },
            Step::SyncFolder {
                path: root.clone(),
                begun: 3,
            },
            Step::Rename {
                from: "/d/new".into(),
                to: "/d/x".into(),
            },
        ];
        let found: HashSet<Vec<PathBuf>> = (0..50)
            .map(|seed| {
                let mut random = Random::new(seed);
                names(&steps, &mut Unsynced::Chance(&mut random), &root)
                    .files
                    .into_keys()
                    .collect()
            })
            .collect();
        assert_eq!(found, HashSet::from([vec!["/d/new/a".into()], vec!["/d/x/a".into()]]));
    }
}
