use super::*;
use crate::ErrorKind;
use futures::TryStreamExt;
use object_store::MultipartUpload;

fn path(name: &str) -> Path {
    Path::from(name)
}

#[tokio::test]
async fn a_put_syncs_the_file_before_its_name_and_the_folder_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    let before = store.sync_count();
    store.put(&path("a/b/c"), "one".into()).await.unwrap();
    // Two new folders (each recorded in its parent), the file, and its name.
    assert_eq!(store.sync_count() - before, 4);
    let before = store.sync_count();
    store.put(&path("a/b/d"), "two".into()).await.unwrap();
    assert_eq!(store.sync_count() - before, 2);
    let names: Vec<_> = store
        .list(None)
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(names.len(), 2, "no staging file is left or shown: {names:?}");
}

#[tokio::test]
async fn creating_twice_is_refused_and_keeps_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    let create = || PutOptions::from(PutMode::Create);
    store.put_opts(&path("x"), "first".into(), create()).await.unwrap();
    let second = store.put_opts(&path("x"), "second".into(), create()).await;
    assert!(
        matches!(second, Err(object_store::Error::AlreadyExists { .. })),
        "{second:?}"
    );
    let read = store.get(&path("x")).await.unwrap().bytes().await.unwrap();
    assert_eq!(read, "first");
    let entries = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1, "the refused put leaves no staging file");
}

#[tokio::test]
async fn multipart_rename_and_copy_are_synced_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    let mut upload = store.put_multipart(&path("m/big")).await.unwrap();
    let parts = [upload.put_part("abc".into()), upload.put_part("def".into())];
    for part in parts.into_iter().rev() {
        part.await.unwrap();
    }
    let before = store.sync_count();
    upload.complete().await.unwrap();
    assert_eq!(store.sync_count() - before, 2);
    assert_eq!(
        store.get(&path("m/big")).await.unwrap().bytes().await.unwrap(),
        "abcdef"
    );
    let before = store.sync_count();
    store.copy(&path("m/big"), &path("m/copy")).await.unwrap();
    assert_eq!(store.sync_count() - before, 2);
    let before = store.sync_count();
    store.rename(&path("m/copy"), &path("m/moved")).await.unwrap();
    assert_eq!(store.sync_count() - before, 3);
}

#[tokio::test]
async fn lists_are_sorted_as_those_of_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    for n in [7, 3, 19, 0, 12, 5, 1] {
        store
            .put(&path(&format!("log/{n:020}.json")), "x".into())
            .await
            .unwrap();
    }
    for list in [
        store.list(Some(&path("log"))),
        store.list_with_offset(Some(&path("log")), &path("log/0")),
    ] {
        let names: Vec<_> = list.map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(names.len(), 7);
        assert!(names.is_sorted(), "{names:?}");
    }
}

#[tokio::test]
async fn a_folder_deleted_behind_its_back_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    store.put(&path("a/b"), "one".into()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("a")).unwrap();
    store.put(&path("a/b"), "two".into()).await.unwrap();
    assert_eq!(store.get(&path("a/b")).await.unwrap().bytes().await.unwrap(), "two");
}

#[tokio::test]
async fn urls_choose_their_backend_or_say_what_is_possible() {
    assert!(open("memory:", &[]).await.is_ok());
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(folder.path()).unwrap();
    assert!(open(url.as_str(), &[]).await.is_ok());
    for wrong in ["ftp://host/path", "no url", "http://host/x"] {
        let error = open(wrong, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("s3://bucket/prefix"), "{error}");
    }
    let typo = [("aws_regoin".to_owned(), "x".to_owned())];
    let error = open("s3://bucket/prefix", &typo).await.unwrap_err();
    assert!(error.message().contains("aws_regoin"), "{error}");
}

/// A store that breaks one promise.
#[derive(Debug)]
struct Careless {
    inner: InMemory,
    breaks: Promise,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Promise {
    PutIfAbsent,
    ListAfterPut,
    Delete,
    None,
}

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Careless {
    async fn put_opts(
        &self,
        location: &Path,
        payload: object_store::PutPayload,
        opts: PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        match self.breaks {
            Promise::PutIfAbsent => self.inner.put(location, payload).await,
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }
    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }
    async fn get_opts(
        &self,
        location: &Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.inner.get_opts(location, options).await
    }
    fn delete_stream(
        &self,
        locations: futures::stream::BoxStream<'static, object_store::Result<Path>>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<Path>> {
        match self.breaks {
            Promise::Delete => locations,
            _ => self.inner.delete_stream(locations),
        }
    }
    fn list(
        &self,
        prefix: Option<&Path>,
    ) -> futures::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        match self.breaks {
            Promise::ListAfterPut => Box::pin(futures::stream::empty()),
            _ => self.inner.list(prefix),
        }
    }
    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<object_store::ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: object_store::CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_breaks_a_promise_is_refused_with_the_reason() {
    let careless = |breaks| -> Arc<dyn ObjectStore> {
        let inner = InMemory::new();
        Arc::new(Careless { inner, breaks })
    };
    for (breaks, reason) in [
        (Promise::PutIfAbsent, "If-None-Match"),
        (Promise::ListAfterPut, "does not list"),
        (Promise::Delete, "still shows"),
    ] {
        let error = probe(&careless(breaks), "s3://careless").await.unwrap_err();
        assert!(error.message().contains(reason), "{breaks:?}: {error}");
        assert!(error.message().contains("s3://careless"), "{error}");
    }
    let careful = careless(Promise::None);
    probe(&careful, "s3://careful").await.unwrap();
    let left: Vec<_> = careful.list(None).try_collect().await.unwrap();
    assert!(left.is_empty(), "the probe cleans up");
}

#[tokio::test]
async fn a_log_that_another_process_wrote_is_synced_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let entry = path("t/_delta_log/00000000000000000000.json");
    DurableLocal::new(folder.path())
        .unwrap()
        .put(&entry, "x".into())
        .await
        .unwrap();
    for by_list in [false, true] {
        let store = DurableLocal::new(folder.path()).unwrap();
        let before = store.sync_count();
        for _ in 0..3 {
            if by_list {
                let list = store.list(Some(&path("t/_delta_log")));
                assert_eq!(list.try_collect::<Vec<_>>().await.unwrap().len(), 1);
            } else {
                store.get(&entry).await.unwrap();
            }
            assert_eq!(store.sync_count() - before, 1, "once, before the first look");
        }
        store.get(&path("t/_delta_log/1.json")).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_object_in_doubt_is_not_read_as_if_it_were_sure() {
    let folder = tempfile::tempdir().unwrap();
    let store = DurableLocal::new(folder.path()).unwrap();
    let entry = path("t/x");
    store.put(&entry, "x".into()).await.unwrap();
    store.hold_in_doubt(&entry);
    let error = store.get(&entry).await.unwrap_err();
    assert!(error.to_string().contains("repair the disk"), "{error}");
}
