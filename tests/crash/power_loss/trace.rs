//! What a process did to the files of one folder, read from a log of `strace`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The system calls that change files, bring them to the disk, or carry answers.
pub const CALLS: &str = "openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,syncfs,\
rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,truncate,ftruncate,fallocate,mkdir,mkdirat,close,lseek,dup,dup2,\
dup3,fcntl,sendto,sendmsg,copy_file_range,sendfile,mmap";

/// The text by which an answer to posted events is known; the number behind it tells the batch.
const ACKNOWLEDGED: &[u8] = b"\"stored\":";

/// A file, whatever its names are.
pub type Inode = usize;

/// One step, in the order of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A name is given to a file (a new one, or a further name).
    Link { path: PathBuf, inode: Inode },
    /// A name is taken away.
    Unlink { path: PathBuf },
    /// A name is moved; what had the new name loses it.
    Rename { from: PathBuf, to: PathBuf },
    /// A folder is made.
    MakeFolder { path: PathBuf },
    /// An empty folder is removed.
    RemoveFolder { path: PathBuf },
    /// Bytes are written.
    Write { inode: Inode, offset: u64, bytes: Vec<u8> },
    /// A file gets this length.
    Resize { inode: Inode, length: u64 },
    /// Everything that was done to the file before step `begun` is on the disk.
    Sync { inode: Inode, begun: usize },
    /// The names in the folder, as they were before step `begun`, are on the disk.
    SyncFolder { path: PathBuf, begun: usize },
    /// A client was told that this many events are stored.
    Acknowledge { stored: u64 },
}

/// How the end of a file's number begins.
const CLOSE: &str = "close(";

/// An open file or folder.
#[derive(Debug, Clone)]
struct Open {
    target: Target,
    is_append: bool,
    /// Shared by duplicates.
    offset: Arc<Mutex<u64>>,
}

#[derive(Debug, Clone)]
enum Target {
    File(Inode),
    Folder(PathBuf),
}

/// An argument of a call.
#[derive(Debug, Clone, PartialEq)]
enum Argument {
    Text(String),
    Bytes(Vec<u8>),
}

/// The steps of one or several processes after one another on the same folder.
#[derive(Debug, Default)]
pub struct Recorder {
    root: PathBuf,
    names: HashMap<PathBuf, Inode>,
    inodes: Inode,
    open: HashMap<u64, Open>,
    /// Calls that have begun, by thread.
    begun: HashMap<u64, (String, usize)>,
    pub steps: Vec<Step>,
}

impl Recorder {
    /// A recorder of what happens below `root`, an absolute path. `names` are the files that are there.
    pub fn new(root: &Path, names: &[PathBuf]) -> Self {
        let mut recorder = Self {
            root: root.to_owned(),
            ..Self::default()
        };
        for name in names {
            recorder.names.insert(name.clone(), recorder.inodes);
            recorder.inodes += 1;
        }
        recorder
    }

    /// Reads the log of one process.
    pub fn read(&mut self, log: &str) {
        self.open.clear();
        self.begun.clear();
        for line in log.lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let (thread, rest) = (thread.parse().unwrap(), rest.trim_start());
            if rest.starts_with("+++") || rest.starts_with("---") {
                continue;
            }
            if let Some(rest) = rest.strip_prefix("<... ") {
                let (_, end) = rest.split_once(" resumed>").unwrap();
                let (start, begun) = self.begun.remove(&thread).unwrap();
                if !start.starts_with(CLOSE) {
                    self.call(&format!("{start}{end}"), begun);
                }
            } else if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
                self.acknowledged(start);
                // From here on another thread may be given the number for a file of its own.
                if start.starts_with(CLOSE) {
                    self.call(&format!("{start}) = 0"), self.steps.len());
                }
                self.begun.insert(thread, (start.to_owned(), self.steps.len()));
            } else {
                self.acknowledged(rest);
                self.call(rest, self.steps.len());
            }
        }
    }

    /// An answer counts from the moment its bytes are given away.
    fn acknowledged(&mut self, text: &str) {
        if !["sendto(", "sendmsg(", "write(", "writev("]
            .iter()
            .any(|call| text.starts_with(call))
        {
            return;
        }
        for argument in arguments(text.split_once('(').unwrap().1) {
            let Argument::Bytes(bytes) = argument else { continue };
            let found = bytes
                .windows(ACKNOWLEDGED.len())
                .position(|window| window == ACKNOWLEDGED);
            if let Some(at) = found {
                let digits = bytes[at + ACKNOWLEDGED.len()..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let digits: String = digits.map(|byte| char::from(*byte)).collect();
                let stored = digits.parse().unwrap();
                self.steps.push(Step::Acknowledge { stored });
            }
        }
    }

    fn path(&self, folder: &Argument, name: &Argument) -> Option<PathBuf> {
        let Argument::Bytes(name) = name else {
            panic!("no path in {name:?}")
        };
        let name = PathBuf::from(String::from_utf8(name.clone()).unwrap());
        let full = match folder {
            _ if name.is_absolute() => name,
            Argument::Text(text) if text == "AT_FDCWD" => return None,
            folder => match self.open.get(&number(folder)).map(|open| &open.target) {
                Some(Target::Folder(folder)) => folder.join(name),
                _ => return None,
            },
        };
        full.starts_with(&self.root).then_some(full)
    }

    /// One completed call.
    fn call(&mut self, text: &str, begun: usize) {
        let Some((call, rest)) = text.split_once('(') else {
            return;
        };
        let Some((inside, result)) = rest.rsplit_once(" = ") else {
            return;
        };
        let Some(result) = result.split(' ').next().and_then(|number| number.parse::<u64>().ok()) else {
            // It failed, or the process ended in it.
            return;
        };
        let inside = inside.trim_end();
        let arguments = arguments(inside.strip_suffix(')').unwrap_or(inside));
        let cwd = Argument::Text("AT_FDCWD".to_owned());
        let at = |index: usize| &arguments[index];
        match call {
            "openat" => self.opened(at(0), at(1), at(2), result),
            "open" => self.opened(&cwd, at(0), at(1), result),
            "creat" => panic!("creat is not modelled: {text}"),
            "close" => drop(self.open.remove(&number(at(0)))),
            "dup" | "dup2" | "dup3" => self.duplicated(at(0), result),
            "fcntl" if matches!(at(1), Argument::Text(text) if text.starts_with("F_DUPFD")) => {
                self.duplicated(at(0), result)
            }
            "lseek" => {
                if let Some(open) = self.open.get(&number(at(0))) {
                    *open.offset.lock().unwrap() = result;
                }
            }
            "write" | "writev" => self.written(&arguments, None, result),
            "pwrite64" | "pwritev" | "pwritev2" => {
                let texts = |argument: &&Argument| matches!(argument, Argument::Text(_));
                let offset = arguments[1..].iter().rfind(texts).map(number);
                self.written(&arguments, offset, result);
            }
            "ftruncate" => {
                if let Some(Target::File(inode)) = self.target(at(0)) {
                    self.steps.push(Step::Resize {
                        inode,
                        length: number(at(1)),
                    });
                }
            }
            "fsync" | "fdatasync" => match self.target(at(0)) {
                Some(Target::File(inode)) => self.steps.push(Step::Sync { inode, begun }),
                Some(Target::Folder(path)) => self.steps.push(Step::SyncFolder { path, begun }),
                None => {}
            },
            "rename" => self.renamed(self.path(&cwd, at(0)), self.path(&cwd, at(1))),
            "renameat" | "renameat2" => self.renamed(self.path(at(0), at(1)), self.path(at(2), at(3))),
            "link" => self.linked(self.path(&cwd, at(0)), self.path(&cwd, at(1))),
            "linkat" => self.linked(self.path(at(0), at(1)), self.path(at(2), at(3))),
            "unlink" => self.unlinked(self.path(&cwd, at(0)), false),
            "unlinkat" => {
                let is_folder = matches!(at(2), Argument::Text(text) if text.contains("AT_REMOVEDIR"));
                self.unlinked(self.path(at(0), at(1)), is_folder);
            }
            "rmdir" => self.unlinked(self.path(&cwd, at(0)), true),
            "mkdir" => self.made(self.path(&cwd, at(0))),
            "mkdirat" => self.made(self.path(at(0), at(1))),
            "mmap" => assert!(
                !(text.contains("MAP_SHARED") && text.contains("PROT_WRITE") && self.target(at(4)).is_some()),
                "a file is written through memory, which is not modelled: {text}"
            ),
            "truncate" | "fallocate" | "sync_file_range" | "syncfs" | "copy_file_range" | "sendfile" => {
                let is_ours = (0..arguments.len()).any(|index| self.target(at(index)).is_some());
                assert!(!is_ours && call != "truncate", "{call} is not modelled: {text}");
            }
            _ => {}
        }
    }

    fn target(&self, file: &Argument) -> Option<Target> {
        let Argument::Text(text) = file else { return None };
        self.open.get(&text.parse().ok()?).map(|open| open.target.clone())
    }

    fn duplicated(&mut self, file: &Argument, copy: u64) {
        if let Some(open) = self.open.get(&number(file)).cloned() {
            self.open.insert(copy, open);
        }
    }

    fn opened(&mut self, folder: &Argument, name: &Argument, flags: &Argument, file: u64) {
        self.open.remove(&file);
        let Some(path) = self.path(folder, name) else { return };
        let Argument::Text(flags) = flags else {
            panic!("no flags")
        };
        let has = |flag: &str| flags.split('|').any(|found| found == flag);
        let target = match self.names.get(&path) {
            _ if has("O_DIRECTORY") => Target::Folder(path),
            Some(inode) => Target::File(*inode),
            None if has("O_CREAT") => {
                let inode = self.inodes;
                self.inodes += 1;
                self.names.insert(path.clone(), inode);
                self.steps.push(Step::Link { path, inode });
                Target::File(inode)
            }
            // A folder, opened to be synced.
            None => Target::Folder(path),
        };
        if let (Target::File(inode), true) = (&target, has("O_TRUNC")) {
            self.steps.push(Step::Resize {
                inode: *inode,
                length: 0,
            });
        }
        let open = Open {
            target,
            is_append: has("O_APPEND"),
            offset: Arc::default(),
        };
        self.open.insert(file, open);
    }

    fn written(&mut self, arguments: &[Argument], offset: Option<u64>, result: u64) {
        let Some(open) = self.open.get(&number(&arguments[0])) else {
            return;
        };
        let Target::File(inode) = open.target else { return };
        let mut bytes = Vec::new();
        for argument in arguments {
            if let Argument::Bytes(part) = argument {
                bytes.extend(part);
            }
        }
        bytes.truncate(result as usize);
        let offset = match offset {
            Some(offset) => offset,
            None if open.is_append => self.length(inode),
            None => {
                let mut offset = open.offset.lock().unwrap();
                let at = *offset;
                *offset += result;
                at
            }
        };
        self.steps.push(Step::Write { inode, offset, bytes });
    }

    /// The length of a file after all steps so far.
    fn length(&self, inode: Inode) -> u64 {
        let mut length = 0;
        for step in &self.steps {
            match step {
                Step::Write {
                    inode: of,
                    offset,
                    bytes,
                } if *of == inode => {
                    length = length.max(offset + bytes.len() as u64);
                }
                Step::Resize { inode: of, length: to } if *of == inode => length = *to,
                _ => {}
            }
        }
        length
    }

    fn renamed(&mut self, from: Option<PathBuf>, to: Option<PathBuf>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        let below = |path: &PathBuf| {
            path.strip_prefix(&from).ok().map(|rest| {
                if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                }
            })
        };
        let moved: Vec<_> = self
            .names
            .iter()
            .filter_map(|(path, inode)| Some((path.clone(), below(path)?, *inode)))
            .collect();
        for (path, new, inode) in moved {
            self.names.remove(&path);
            self.names.insert(new, inode);
        }
        for open in self.open.values_mut() {
            if let Target::Folder(path) = &mut open.target
                && let Some(new) = below(path)
            {
                *path = new;
            }
        }
        self.steps.push(Step::Rename { from, to });
    }

    fn linked(&mut self, from: Option<PathBuf>, to: Option<PathBuf>) {
        let (Some(from), Some(path)) = (from, to) else { return };
        let inode = self.names[&from];
        self.names.insert(path.clone(), inode);
        self.steps.push(Step::Link { path, inode });
    }

    fn unlinked(&mut self, path: Option<PathBuf>, is_folder: bool) {
        let Some(path) = path else { return };
        if is_folder {
            self.steps.push(Step::RemoveFolder { path });
        } else {
            self.names.remove(&path);
            self.steps.push(Step::Unlink { path });
        }
    }

    fn made(&mut self, path: Option<PathBuf>) {
        if let Some(path) = path {
            self.steps.push(Step::MakeFolder { path });
        }
    }
}

fn number(argument: &Argument) -> u64 {
    match argument {
        Argument::Text(text) => text.parse().unwrap_or(u64::MAX),
        Argument::Bytes(_) => panic!("{argument:?} is no number"),
    }
}

/// The arguments of a call. Strings are in hexadecimal, so no comma or quote of theirs is in the way; the strings of an
/// iovec become arguments of their own.
fn arguments(text: &str) -> Vec<Argument> {
    let mut found = Vec::new();
    for part in text.split(", ") {
        match part.split_once('"') {
            None => found.push(Argument::Text(part.trim().to_owned())),
            Some((_, rest)) => {
                let (hex, after) = rest.split_once('"').unwrap();
                assert!(
                    !after.starts_with("..."),
                    "strace cut a string: {} bytes are not enough",
                    hex.len() / 4
                );
                let bytes = hex
                    .split("\\x")
                    .skip(1)
                    .map(|digits| u8::from_str_radix(digits, 16).unwrap());
                found.push(Argument::Bytes(bytes.collect()));
            }
        }
    }
    found
}

#[test]
fn a_log_is_read_as_steps() {
    let hex = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let log = [
        format!(
            "7 openat(AT_FDCWD, \"{}\", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3",
            hex("/d/a")
        ),
        format!("7 write(3, \"{}\", 3) = 3", hex("abc")),
        format!(
            "8 openat(AT_FDCWD, \"{}\", O_WRONLY|O_CREAT, 0666) = 4",
            hex("/elsewhere")
        ),
        format!("8 write(4, \"{}\", 3) = 3", hex("xyz")),
        "7 fdatasync(3 <unfinished ...>".to_owned(),
        format!(
            "8 sendto(9, \"{}\", 20, MSG_NOSIGNAL, NULL, 0) = 20",
            hex("HTTP {\"stored\":12}")
        ),
        format!("9 pwrite64(3, \"{}\", 2, 8) = 2", hex("zz")),
        "7 <... fdatasync resumed>) = 0".to_owned(),
        format!(
            "7 renameat2(AT_FDCWD, \"{}\", AT_FDCWD, \"{}\", 0) = 0",
            hex("/d/a"),
            hex("/d/b")
        ),
        format!("7 unlink(\"{}\") = -1 ENOENT (No such file or directory)", hex("/d/a")),
        format!("7 openat(AT_FDCWD, \"{}\", O_RDONLY|O_CLOEXEC) = 5", hex("/d")),
        "7 fsync(5) = 0".to_owned(),
        format!(
            "7 writev(9, [{{iov_base=\"{}\", iov_len=4}}, {{iov_base=\"{}\", iov_len=12}}], 2) = 16",
            hex("HTTP"),
            hex("{\"stored\":13}")
        ),
        "7 +++ exited with 0 +++".to_owned(),
    ];
    let mut recorder = Recorder::new(Path::new("/d"), &[]);
    recorder.read(&log.join("\n"));
    let (a, b) = (PathBuf::from("/d/a"), PathBuf::from("/d/b"));
    let expected = [
        Step::Link {
            path: a.clone(),
            inode: 0,
        },
        Step::Write {
            inode: 0,
            offset: 0,
            bytes: b"abc".to_vec(),
        },
        Step::Acknowledge { stored: 12 },
        Step::Write {
            inode: 0,
            offset: 8,
            bytes: b"zz".to_vec(),
        },
        Step::Sync { inode: 0, begun: 2 },
        Step::Rename { from: a, to: b },
        Step::SyncFolder {
            path: PathBuf::from("/d"),
            begun: 6,
        },
        Step::Acknowledge { stored: 13 },
    ];
    assert_eq!(recorder.steps, expected);
}

#[test]
fn a_number_belongs_to_the_next_file_as_soon_as_its_close_begins() {
    let hex = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let open = |name: &str| format!("openat(AT_FDCWD, \"{}\", O_WRONLY|O_CREAT, 0666) = 3", hex(name));
    let log = [
        format!("7 {}", open("/d/a")),
        "7 close(3 <unfinished ...>".to_owned(),
        format!("8 {}", open("/d/b")),
        "7 <... close resumed>) = 0".to_owned(),
        format!("8 write(3, \"{}\", 3) = 3", hex("abc")),
        "8 close(3) = 0".to_owned(),
        format!("8 write(3, \"{}\", 3) = 3", hex("xyz")),
    ];
    let mut recorder = Recorder::new(Path::new("/d"), &[]);
    recorder.read(&log.join("\n"));
    let write = Step::Write {
        inode: 1,
        offset: 0,
        bytes: b"abc".to_vec(),
    };
    assert_eq!(recorder.steps.len(), 3);
    assert_eq!(recorder.steps.last(), Some(&write));
}
