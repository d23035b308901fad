//! Write keys: what an SDK is configured with. They are public (they stand in pages), give no right to read, and only
//! choose the project an event goes to.

/// Bytes of a key at the most; longer ones are refused before they are looked up.
pub const WRITE_KEY_BYTES_MAX: usize = 255;

/// A new random key of 32 letters and digits behind `wk_`.
///
/// # Errors
/// When the system gives no random bytes.
pub fn generate() -> std::io::Result<String> {
    let mut bytes = [0_u8; 16];
    super::secrets::fill_random(&mut bytes)?;
    Ok(format!("wk_{}", super::secrets::hex(&bytes)))
}

/// Whether `key` can be a write key: 1 to 255 printable ASCII characters without spaces. Dialects have their own forms
/// (`js.abc.def`, a UUID, a domain), so nothing more is asked.
///
/// # Errors
/// What is wrong with it.
pub fn check(key: &str) -> Result<(), String> {
    if key.is_empty() || key.len() > WRITE_KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!(
            "`{key}` is no write key: it must be 1 to {WRITE_KEY_BYTES_MAX} printable ASCII characters without spaces"
        ));
    }
    Ok(())
}
