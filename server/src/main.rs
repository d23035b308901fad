//! The `tally` binary.

/// Returns memory to the system sooner than the system's allocator under the bursts of queries.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    server::cli::main()
}
