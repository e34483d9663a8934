//! Writing a proxy's own bytes.

use std::io;

use tokio::net::TcpStream;

use super::Meter;
use crate::clock::CompactInstant;

/// Writes a proxy's own bytes and counts them as such.
pub(crate) async fn write_own(
    stream: &TcpStream,
    meter: &mut Meter,
    bytes: &[u8],
) -> io::Result<()> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.writable().await.and_then(|()| stream.try_write(rest)) {
            Ok(count) => {
                written += count;
                meter.tx.count(count, CompactInstant::now());
                meter.own_tx += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                meter.tx.note_error(&error);
                return Err(error);
            }
        }
    }
    Ok(())
}
