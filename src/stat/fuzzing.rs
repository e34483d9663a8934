//! What the fuzz target in `fuzz/` runs.

/// A Content-Disposition field: whatever it says, the file's name leads nowhere else.
pub fn content_disposition(bytes: &[u8]) {
    super::save::check(&String::from_utf8_lossy(bytes));
}
