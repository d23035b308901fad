use super::*;
use engine::clock::DAY_MICROS;

fn settings(folder: &Path) -> Settings {
    Settings {
        data_dir: folder.to_owned(),
        ..Settings::default()
    }
}

#[test]
fn a_secret_is_made_once_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Secrets::open(&settings(folder.path())).unwrap();
    let again = Secrets::open(&settings(folder.path())).unwrap();
    assert_eq!(first.signing(), again.signing());
    assert_eq!(first.signing().expose().len(), 64);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join("secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_secret_of_the_settings_wins_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.api_secret = Some(Secret::new("from-env"));
    settings.api_secrets_previous = vec![Secret::new("old")];
    let secrets = Secrets::open(&settings).unwrap();
    let all: Vec<_> = secrets.verifying().map(Secret::expose).collect();
    assert_eq!(all, ["from-env", "old"]);
    assert!(!folder.path().join("secret").exists());
}

#[test]
fn the_salt_survives_a_restart_and_changes_with_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Secrets::open(&settings(folder.path())).unwrap();
    let secrets = open();
    let noon = 20_000 * DAY_MICROS + DAY_MICROS / 2;
    let salt = secrets.daily_salt(noon).unwrap();
    assert_eq!(salt, open().daily_salt(noon + 1).unwrap());
    let next = secrets.daily_salt(noon + DAY_MICROS).unwrap();
    assert_ne!(salt, next);
    assert_ne!(salt, secrets.daily_salt(noon).unwrap(), "yesterday's salt is gone");
}
