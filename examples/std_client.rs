//! A blocking client that tells what TCP did: `cargo run --example std_client -- example.com:80`.

use std::io::{Read, Write};
use std::net::TcpStream;

use conniver::{Conn, TcpInfo};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = std::env::args().nth(1).ok_or("usage: std_client HOST:PORT")?;
    let mut conn = Conn::new(TcpStream::connect(&target)?);

    let request = format!("HEAD / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    conn.write_all(request.as_bytes())?;
    let mut answer = String::new();
    conn.read_to_string(&mut answer)?;
    print!("{answer}");

    // Any socket can be asked directly, a wrapped one as well.
    let info = TcpInfo::of(&conn)?;
    println!("now: RTT {:?}, congestion window {:?} segments", info.rtt, info.tx_c_window_segs);
    println!("{}", serde_json::to_string(&conn.close())?);
    Ok(())
}
