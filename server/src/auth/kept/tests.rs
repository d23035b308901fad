use super::*;
use crate::auth::{Projects, Secrets};
use engine::ProjectId;
use engine::clock::DAY_MICROS;

const AT: &str = "2026-01-01T00:00:00Z";
const NOON: i64 = 20_000 * DAY_MICROS + DAY_MICROS / 2;

fn id(text: &str) -> ProjectId {
    ProjectId::new(text).unwrap()
}

/// A machine with a disk of its own, and the store in a folder that all share.
struct Machine {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Machine {
    fn new(store: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            wal: Wal::Store,
            store: Some(url::Url::from_directory_path(store).unwrap().into()),
            data_dir: folder.path().to_owned(),
            ..Settings::default()
        };
        Self { folder, settings }
    }

    async fn open(&self) -> Arc<Kept> {
        Kept::open(&self.settings).await.unwrap().unwrap()
    }

    fn projects(&self) -> Projects {
        Projects::open(self.folder.path()).unwrap()
    }

    fn secrets(&self) -> Secrets {
        Secrets::open(&self.settings).unwrap()
    }
}

#[tokio::test]
async fn another_machine_finds_projects_secret_and_salt() {
    let store = tempfile::tempdir().unwrap();
    let first = Machine::new(store.path());
    let kept = first.open().await;
    let project = first.projects().add(&id("shop"), "Shop", &[], AT).unwrap();
    let salt = first.secrets().daily_salt(NOON).unwrap();
    kept.sync().await.unwrap();
    let second = Machine::new(store.path());
    let kept_there = second.open().await;
    assert_eq!(second.projects().list(), [project]);
    assert_eq!(second.secrets().signing(), first.secrets().signing());
    assert_eq!(second.secrets().daily_salt(NOON).unwrap(), salt);
    // What is added there is seen here, and yesterday's salt is nowhere any more.
    second.projects().add(&id("blog"), "Blog", &[], AT).unwrap();
    second.secrets().daily_salt(NOON + DAY_MICROS).unwrap();
    kept_there.sync().await.unwrap();
    kept.sync().await.unwrap();
    assert_eq!(first.projects().list().len(), 2);
    let salts = std::fs::read_dir(store.path().join("server/salt")).unwrap().count();
    assert_eq!(salts, 1);
}

#[tokio::test]
async fn additions_of_two_machines_at_once_are_put_together() {
    let store = tempfile::tempdir().unwrap();
    let (first, second) = (Machine::new(store.path()), Machine::new(store.path()));
    let (here, there) = (first.open().await, second.open().await);
    first.projects().add(&id("a"), "A", &["k1".into()], AT).unwrap();
    second.projects().add(&id("a"), "A", &["k2".into()], AT).unwrap();
    second.projects().add(&id("b"), "B", &["k3".into()], AT).unwrap();
    let (one, two) = tokio::join!(here.sync(), there.sync());
    one.unwrap();
    two.unwrap();
    here.sync().await.unwrap();
    there.sync().await.unwrap();
    assert_eq!(first.projects().list(), second.projects().list());
    for key in ["k1", "k2", "k3"] {
        assert!(first.projects().by_write_key(key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn a_folder_that_was_used_before_is_taken_into_the_store() {
    let store = tempfile::tempdir().unwrap();
    let old = Machine::new(store.path());
    old.projects().add(&id("shop"), "Shop", &["key".into()], AT).unwrap();
    let secret = old.secrets().signing().clone();
    old.open().await;
    let new = Machine::new(store.path());
    new.open().await;
    assert_eq!(new.projects().by_write_key("key"), Some(id("shop")));
    assert_eq!(*new.secrets().signing(), secret);
}

#[tokio::test]
async fn a_follower_puts_nothing_into_the_store() {
    let store = tempfile::tempdir().unwrap();
    let mut follower = Machine::new(store.path());
    follower.settings.read_only = true;
    follower.projects().add(&id("mine"), "Mine", &[], AT).unwrap();
    follower.open().await;
    assert_eq!(std::fs::read_dir(store.path()).unwrap().count(), 0);
    let error = Secrets::open(&follower.settings).unwrap_err();
    assert!(error.to_string().contains("api_secret"), "{error}");
}
