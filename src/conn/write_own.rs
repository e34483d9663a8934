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
    let mut said = 0;
    while let Some(rest) = bytes.get(said..).filter(|rest| !rest.is_empty()) {
        match stream.writable().await.and_then(|()| stream.try_write(rest)) {
            Ok(taken) => {
                said += taken;
                meter.tx.count(taken, CompactInstant::now());
                meter.own_tx += taken as u64;
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
