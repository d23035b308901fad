//! Every bound of the engine, with its unit in the name and the reason beside it.

use std::time::Duration;

/// Bytes of a rejected event that are kept: enough to see what it was, small enough that an attacker cannot fill a disk.
pub const REJECTED_RAW_BYTES_MAX: usize = 16 * 1024;

/// Bytes that are reserved for a request before any of its body has come: nearly all requests with one event. As many
/// connections as the server takes, each with a body that never comes, hold 16 MiB.
pub const REQUEST_BYTES_FIRST: usize = 4 * 1024;

/// Bytes of one row of text that is imported. More is a file with other line ends than expected.
pub const IMPORT_ROW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows of one Parquet row group: small enough to prune by visitor and time, large enough to compress.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Members (measures, dimensions, time dimensions, segments) of one query.
pub const QUERY_MEMBERS_MAX: usize = 200;
/// Filter leaves of one query.
pub const QUERY_FILTERS_MAX: usize = 500;
/// Nesting of `and`/`or` in one query's filters. Deeper trees can overflow the planner's stack.
pub const QUERY_FILTER_DEPTH_MAX: usize = 16;
/// Values of one filter.
pub const QUERY_FILTER_VALUES_MAX: usize = 10_000;
/// Bytes of one value of a filter: no event, and so no value of one, is longer.
pub const QUERY_FILTER_VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one value of a text operator such as `contains`: it becomes a pattern, which takes hundreds of times its size.
pub const QUERY_FILTER_PATTERN_BYTES_MAX: usize = 8 * 1024;
/// Rows of one answer when the query names no limit, as Cube.
pub const QUERY_LIMIT_ROWS_DEFAULT: u64 = 10_000;
/// Rows of one answer at the most, as Cube.
pub const QUERY_LIMIT_ROWS_MAX: u64 = 50_000;
/// Bytes of a client's SQL. What tools write has a few kilobytes.
pub const SQL_API_BYTES_MAX: usize = 128 * 1024;
/// Words and signs of a client's SQL, for lists of some thousand values.
pub const SQL_API_TOKENS_MAX: usize = 25_000;
/// Keywords and operators of a client's SQL: a chain of them makes a tree as deep as it is long.
pub const SQL_API_OPERATORS_MAX: usize = 2_000;
/// Nodes of the plan of a client's SQL. A `WITH` that names another twice, which names another twice, doubles them.
pub const SQL_API_PLAN_NODES_MAX: usize = 1_000;

/// Buckets of a series of time, as Cube.
pub const QUERY_BUCKETS_MAX: usize = 50_000;
/// Rows that the windows of one query may give before they are sorted and cut: each takes some ten bytes and more, all at once.
pub const QUERY_WINDOW_ROWS_MAX: usize = 20_000_000;
/// Buckets that one query may look at for all its combinations of dimensions: some seconds' work.
pub const QUERY_WINDOW_STEPS_MAX: usize = 1_000_000_000;
/// Parts that a query with windows and multi-stage measures is split into: uses of uses can multiply.
pub const QUERY_STAGES_MAX: usize = 200;
/// Time that a query has, its waiting for others included, where nothing else is set.
pub const QUERY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// How long a thread for blocking work waits for more before it ends. Steady work wakes all of them in turn, so that with a
/// wait of ten seconds a hundred threads of one busy moment stay for good, each with a cache of the allocator.
pub const BLOCKING_THREAD_IDLE: Duration = Duration::from_secs(1);

/// Steps of one funnel: an event's steps are the bits of a 32-bit integer, whose last bit is needed for something else.
pub const FUNNEL_STEPS_MAX: usize = 31;

/// Days an event id is remembered. A duplicate that comes later than this is stored again until compaction meets it.
pub const DEDUP_DAYS: u32 = 7;

/// Bytes of one model file. A hundred times what a large model of cubes takes.
pub const MODEL_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Model files in one folder: each is looked at once a second while queries come.
pub const MODEL_FILES_MAX: usize = 5_000;
/// Folders within folders that are searched for model files, so that a loop of links ends.
pub const MODEL_FOLDER_DEPTH_MAX: usize = 8;
/// Microseconds between two looks at the model folder.
pub const MODEL_CHECK_INTERVAL_MICROS: i64 = 1_000_000;
/// Steps of a template in a model file: some seconds of loops at the most.
pub const MODEL_TEMPLATE_FUEL: u64 = 2_000_000;
/// Macros and templates that call one another; more could overflow the stack.
pub const MODEL_TEMPLATE_DEPTH_MAX: usize = 64;
/// Nesting of a model file's YAML; more could overflow the parser's stack.
pub const MODEL_YAML_DEPTH_MAX: usize = 32;
/// Nodes of a model file's YAML, replayed aliases included.
pub const MODEL_YAML_NODES_MAX: usize = 200_000;
/// Members that refer to one another in a chain; more could overflow the planner's stack.
pub const MODEL_REFERENCE_DEPTH_MAX: usize = 32;
/// Bytes of a member's SQL after the SQL of the members it refers to is put in: each step of a chain may double it.
pub const MODEL_SQL_BYTES_MAX: usize = 256 * 1024;

/// The first instant an event can have, 0001-01-01: before it, a day has no four-digit name to be a partition.
pub const TS_MICROS_MIN: i64 = -62_135_596_800_000_000;
/// The last instant an event can have, the end of 9999-12-31.
pub const TS_MICROS_MAX: i64 = 253_402_300_799_999_999;

/// Block cache of the write-ahead log's store. Most look-ups are answered by filters, so little is enough.
pub const WAL_CACHE_BYTES: u64 = 8 * 1024 * 1024;
/// Files that the write-ahead log's store holds open. It lets go of those of dropped segments only to make room for others.
pub const WAL_OPEN_FILES_MAX: usize = 64;
/// Journals of the write-ahead log's store on disk; also what a restart has to read.
pub const WAL_JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// Memory of the event-id index before it goes to a file: some 80,000 ids.
pub const WAL_EVENTS_MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
/// Memory of one segment of records before it goes to a file. A segment that is flushed before it is full never does.
pub const WAL_SEGMENT_MEMTABLE_BYTES: u64 = 32 * 1024 * 1024;
/// Memory of the log's own few values.
pub const WAL_META_MEMTABLE_BYTES: u64 = 1024 * 1024;
/// Segments of the write-ahead log after which its store is opened anew: for each the store keeps three small files, their
/// tables in memory and now and then an open file. Against that stand some tenths of a second in which groups wait.
pub const WAL_SEGMENTS_BEGUN_MAX: u64 = 200;
/// The same when the store has been open for [`WAL_RENEW_MS`]: that in ten minutes is little.
pub const WAL_SEGMENTS_BEGUN: u64 = 32;
/// Milliseconds after which fewer segments are enough.
pub const WAL_RENEW_MS: u64 = 10 * 60 * 1_000;
/// Bytes of journals beyond which the store is opened anew another time: it reads all of them, and groups wait.
pub const WAL_RENEW_JOURNAL_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// First wait between two tries to open a failed write-ahead log again, in milliseconds; doubles with each.
pub const WAL_HEAL_MS: u64 = 100;
/// Longest such wait, in milliseconds: when a full disk has room again, clients should not notice for long.
pub const WAL_HEAL_MS_MAX: u64 = 1_000;

/// Milliseconds between two looks at the free space of the data folder's disk: even a fast disk takes more than a second
/// to fill its reserve.
pub const DISK_LOOK_MS: u64 = 200;
/// Bytes of a disk reserve that is told as a share: on a large disk a share is more than Tally needs to get itself out.
pub const DISK_RESERVE_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Tries of a put-if-absent before a start gives up, some ten seconds. A write of the log does not give up.
pub const PUT_TRIES_MAX: u32 = 10;
/// Tries to take a table over from an earlier writer, each against one commit of its that was on its way.
pub const CLAIM_TRIES_MAX: u32 = 20;
/// Tries of a commit, each against another one that came first: one of this process that had been given up for lost, or
/// another program's.
pub const COMMIT_TRIES_MAX: u32 = 5;
/// Milliseconds between two looks whether another process has taken over as the writer, while nothing is committed.
pub const FENCE_CHECK_MS: u64 = 10_000;

/// Tries to end the log of an earlier writer, each against one group of its that was on its way.
pub const SEAL_TRIES_MAX: u32 = 100;
/// Groups of a log in the store that are read at once at start, when the memory for reading ahead allows it.
pub const WAL_READS_AT_ONCE: usize = 8;
/// What the reading of one group costs a start besides its bytes, in bytes that could be read meanwhile: a request takes
/// some tens of milliseconds, and eight are made at once.
pub const WAL_READ_COST_BYTES: u64 = 256 * 1024;
/// Objects of event ids that are read at once at start: each may have 16 MiB.
pub const WAL_IDS_READS_AT_ONCE: usize = 4;
/// Event ids in one object: 16 MiB.
pub const WAL_IDS_OBJECT_KEYS_MAX: usize = 1024 * 1024;
/// Objects of ids of the running hour before they are merged into one.
pub const WAL_IDS_OBJECTS_MAX: usize = 32;
/// Event ids in memory that are in no object of ids yet: 4 MiB.
pub const WAL_IDS_UNSAVED_MAX: usize = 256 * 1024;
/// Milliseconds that a stop waits for a store that does not take the last group. What was not acknowledged may be lost.
pub const WAL_STOP_WAIT_MS: u64 = 10_000;
/// Milliseconds after which a request whose events are still on their way to the store is told to come again.
pub const APPEND_WAIT_MS_MAX: u64 = 30_000;
/// Looks for new commits without any after which a follower asks whether the log was cut above the version it knows.
pub const FOLLOW_QUIET_LOOKS: u32 = 10;
/// Projects whose new commits a follower looks for at once.
pub const FOLLOW_PROJECTS_AT_ONCE: usize = 8;

/// Encoded bytes of one group commit: large enough that the fsync is cheap per event, small enough that the next group
/// does not wait long.
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests that wait for the group commit. More wait at the queue's end, bounded by ingest's memory.
pub const GROUP_QUEUE_REQUESTS_MAX: usize = 1024;
/// Rows of one Arrow batch of the buffer, and of one step when files are written.
pub const BUFFER_BATCH_ROWS: usize = 8 * 1024;
/// Memory of the rows of one Arrow batch of the buffer, in bytes: a text column cannot hold more than 2 GiB.
pub const BUFFER_BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of records in a segment of the write-ahead log before a background flush starts another: a new segment costs
/// some ten fsyncs, an old one at most a tenth of a second of reading after a crash.
pub const WAL_SEGMENT_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Projects whose tables are written at the same time. Each needs memory for its sort and its file.
pub const FLUSH_PROJECTS_AT_ONCE: usize = 2;
/// Rows from which a flush is worth its file: some hundred kilobytes, ten times the footer.
pub const FLUSH_ROWS_WORTHWHILE: usize = 1_000;
/// Bytes in memory from which a flush is worth its file, for few but wide rows.
pub const FLUSH_BYTES_WORTHWHILE: usize = 512 * 1024;
/// Flushes of fewer rows in one flush interval, all projects together: two a second at the usual interval, however many
/// projects there are.
pub const FLUSH_SMALL_PER_INTERVAL: usize = 64;
/// Flush intervals that a quiet project's rows wait at the most: an hour at the usual interval.
pub const FLUSH_INTERVALS_MAX: i64 = 120;
/// Bytes of the log beyond which whatever holds its older half is flushed: what a restart reads in two seconds.
pub const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// First wait after a failed flush, in milliseconds; doubles with each failure.
pub const FLUSH_RETRY_MS: u64 = 1_000;
/// Longest wait after a failed flush, in milliseconds.
pub const FLUSH_RETRY_MS_MAX: u64 = 60_000;
/// Bytes from which a file is large enough to be left alone: some ten million events, one request to open.
pub const COMPACTED_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Level of zstd for compacted files: higher ones take several times as long for a few per cent.
pub const COMPACTED_ZSTD_LEVEL: i32 = 3;
/// Level of zstd for columns of random ids: a longer search finds repetitions by chance and makes them larger.
pub const COMPACTED_IDS_ZSTD_LEVEL: i32 = 1;
/// Encoded bytes of a row group that is being merged, so that wide rows do not take more memory than narrow ones.
pub const COMPACTION_ROW_GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Files merged at once. Each is open and holds a batch of rows.
pub const COMPACTION_FILES_MAX: usize = 64;
/// Milliseconds without a new file after which a day is merged into one file.
pub const COMPACTION_QUIET_MS: u64 = 60 * 60 * 1000;
/// Milliseconds between two looks for files to merge.
pub const COMPACTION_INTERVAL_MS: u64 = 2_000;
/// Milliseconds between two looks for days that are past their time.
pub const RETENTION_INTERVAL_MS: u64 = 60 * 60 * 1000;
/// Milliseconds a file stays after the table let go of it, unless set otherwise: queries that began before may still read
/// it, and so may those that ask for the past.
pub const REMOVED_FILE_KEEP_MS: u64 = 60 * 60 * 1000;
/// Milliseconds between two looks for files that no table holds.
pub const SWEEP_INTERVAL_MS: u64 = 10 * 60 * 1000;
/// Bytes of a text bound in a file's statistics. Longer texts are cut (lower bound) or left out (upper bound).
pub const STATS_TEXT_BYTES_MAX: usize = 128;
/// Milliseconds between two looks at what is kept of files that are gone.
pub const TIDY_INTERVAL_MS: u64 = 60 * 1000;
/// Commits between two checkpoints of a table's log: the library's default.
pub const CHECKPOINT_COMMITS: u64 = 100;
/// Milliseconds that entries of a table's log stay at least. A busy table has some three thousand a day, and a folder is read
/// whole at each commit.
pub const LOG_KEEP_MS: u64 = 24 * 60 * 60 * 1000;
/// Milliseconds a project's table log stays in memory without being asked for.
pub const PROJECT_IDLE_MS: u64 = 10 * 60 * 1000;
/// Milliseconds after which a store that answers nothing makes the server not ready: shorter outages are ridden out.
pub const STORE_DOWN_MS: u64 = 60 * 1000;
/// Milliseconds after which a failure of the store that nobody met again is taken for over.
pub const STORE_TROUBLE_KEEP_MS: u64 = 5 * 60 * 1000;
/// Milliseconds within which the client of a remote store repeats a failed request. Longer outages are waited out by those
/// who ask: flushes come again by themselves, queries tell their client.
pub const STORE_RETRY_MS_MAX: u64 = 15 * 1000;
/// Repeats of a failed request within that time.
pub const STORE_RETRIES_MAX: usize = 6;
/// Bytes of a block of a remote file in the cache: a column's pages of one visitor fit, and a request fetches several.
pub const CACHE_BLOCK_BYTES: u64 = 256 * 1024;
/// Blocks fetched with one request: enough that its answer's bytes take longer than the wait for them.
pub const CACHE_RUN_BLOCKS_MAX: u64 = 32;
