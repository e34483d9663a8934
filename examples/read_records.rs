//! Reads the proxy's records, of any detail, and shows the slowest: `cargo run --example read_records -- FILE`.

use conniver::record::{self, BriefLine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: read_records FILE")?;
    let mut slowest = Vec::new();
    for line in record::read_brief(std::fs::File::open(file)?) {
        match line {
            Ok(BriefLine::Close(pair)) => slowest.push((pair.phases.connect, pair.target)),
            Ok(_) => {}
            Err(error) => eprintln!("{error}"),
        }
    }
    slowest.sort();
    for (connect, target) in slowest.iter().rev().take(10) {
        println!(
            "{:>12?} to connect to {}",
            connect.unwrap_or_default(),
            target.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}
