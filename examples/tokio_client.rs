//! A tokio client that tells what TCP did: `cargo run --example tokio_client -- example.com:80`.

use conniver::Conn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).ok_or("usage: tokio_client HOST:PORT")?;
    let stream = TcpStream::connect(&target).await?;
    let mut conn = Conn::builder().on_close(|report| eprintln!("{report}")).wrap(stream);

    let request = format!("HEAD / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    conn.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await?;
    print!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}
