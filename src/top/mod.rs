//! The live screen of `conniver top`: what is happening on the connections of a proxy, or on the sockets of a
//! machine, from the lines of `proxy` or `watch`.
//!
//! Not part of the library's interface: the program uses it.

mod connection;
mod controls;
mod feed;
mod line;
mod model;
mod order;
mod print;
#[cfg(test)]
mod samples;
mod screen;
mod tail;
mod text;
mod view;

use std::time::Duration;

pub use feed::{Source, Unreadable};
pub use order::Sort;
pub use print::{Times, print};
pub use screen::{Ended, show};
pub use view::Theme;

/// How the screen begins.
#[derive(Debug, Clone)]
pub struct Options {
    /// The order of the connections.
    pub sort: Sort,
    /// Whether that order is reversed.
    pub is_reversed: bool,
    /// Only connections that have this text in what is shown of them.
    pub filter: String,
    /// Time between two updates.
    pub interval: Duration,
    /// What the terminal can show.
    pub theme: Theme,
}
