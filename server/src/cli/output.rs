//! Writing for people. A closed pipe (`tally config | head`) ends the output, not the program.

use std::io::{IsTerminal, Write};

/// A line on standard output.
pub(super) fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}");
    let _ = output.flush();
}

/// A line on standard error.
pub(super) fn say_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether a person reads standard output.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether a person reads standard error.
pub(super) fn is_error_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// `text` in the given ANSI style where that can be seen.
pub(super) fn style(text: &str, code: &str) -> String {
    let wanted = is_terminal() && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if wanted {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// How this program was called, for lines that people copy.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tally".to_owned())
}
