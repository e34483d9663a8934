//! A stream whose bytes are counted by the end that sent and received them.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Payload bytes of one end, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }
}

pub(super) struct Counted {
    stream: TcpStream,
    pub(super) count: Count,
    buffer: Vec<u8>,
}

impl Counted {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, count: Count::default(), buffer: vec![0; 16 * 1024] }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.count.sent += bytes.len() as u64;
        Ok(())
    }

    /// So many bytes of anything.
    pub(super) async fn send_some(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let sent = self.stream.write(&self.buffer[..most]).await?;
            self.count.sent += sent as u64;
            left -= sent as u64;
        }
        Ok(())
    }

    /// At least one byte, at most so many; none at the end of stream.
    pub(super) async fn receive(&mut self, most: usize) -> io::Result<&[u8]> {
        let most = most.min(self.buffer.len());
        let received = self.stream.read(&mut self.buffer[..most]).await?;
        self.count.received += received as u64;
        Ok(&self.buffer[..received])
    }

    pub(super) async fn receive_exactly(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let received = self.receive(most).await?.len() as u64;
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= received;
        }
        Ok(())
    }

    /// Up to the empty line that ends a head of HTTP; no byte beyond it is taken.
    pub(super) async fn receive_head(&mut self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match *self.receive(1).await? {
                [byte] => head.push(byte),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(head)
    }

    pub(super) async fn receive_to_the_end(&mut self) -> io::Result<()> {
        while !self.receive(usize::MAX).await?.is_empty() {}
        Ok(())
    }

    pub(super) async fn end(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    pub(super) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO))
    }

    /// Waits for the other side's reset.
    pub(super) async fn wait_for_reset(&mut self) -> io::Result<()> {
        match self.receive(usize::MAX).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
            Ok(bytes) => {
                let text = format!("{} bytes instead of a reset", bytes.len());
                Err(io::Error::other(text))
            }
        }
    }
}
