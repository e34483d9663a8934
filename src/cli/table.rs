//! Tables: columns as wide as what stands in them, the first one fitted to what the terminal has left.

use anstyle::Style;
use conniver::columns::{columns, shorten_middle};

/// Spaces between two columns, where there is room.
pub(super) const GAP: usize = 2;

/// With less for the first column, there is no room for the table.
const ENOUGH: usize = 24;

/// The first column is not shortened to less than its mark and a port, even if the table gets wider than the
/// terminal.
const LEAST: usize = 7;

/// The side of its column at which a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// `text` in at least `width` columns.
pub(super) fn padded(text: &str, width: usize, align: Align) -> String {
    let padding = " ".repeat(width.saturating_sub(columns(text)));
    match align {
        Align::Left => format!("{text}{padding}"),
        Align::Right => format!("{padding}{text}"),
    }
}

/// What stands in one place of a table.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::new() }
    }

    /// The style ends where the text does.
    fn padded(&self, width: usize, align: Align) -> String {
        let Self { text, style } = self;
        // Styles take no room.
        let padding = padded("", width.saturating_sub(columns(text)), align);
        match align {
            Align::Left => format!("{style}{text}{style:#}{padding}"),
            Align::Right => format!("{padding}{style}{text}{style:#}"),
        }
    }
}

/// Rows under their heads.
#[derive(Debug)]
pub(super) struct Table {
    aligns: Vec<Align>,
    /// The heads, and the rows below.
    lines: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows: the head of each column, and how it is aligned.
    pub(super) fn new<H: Into<String>>(columns: impl IntoIterator<Item = (H, Align)>) -> Self {
        let (heads, aligns) =
            columns.into_iter().map(|(head, align)| (Cell::plain(head), align)).unzip();
        Self { aligns, lines: vec![heads] }
    }

    /// Adds a row, with a cell for each column.
    pub(super) fn add(&mut self, row: Vec<Cell>) {
        self.lines.push(row);
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |at: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| columns(&cell.text)).max().unwrap_or_default()
        };
        (0..self.aligns.len()).map(widest).collect()
    }

    /// What lines of `width` columns have for the first column.
    fn room(&self, width: usize, gap: usize) -> usize {
        let others: usize = self.widths().iter().skip(1).map(|column| column + gap).sum();
        width.saturating_sub(others)
    }

    /// Whether lines of `width` columns have enough for the first column.
    pub(super) fn fits(&self, width: usize, gap: usize) -> bool {
        let first = self.widths().first().copied().unwrap_or_default();
        self.room(width, gap) >= first.min(ENOUGH)
    }

    /// The lines, without line feeds. What stands in the first column is shortened until they have at most
    /// `width` columns.
    pub(super) fn lines(mut self, width: usize, gap: usize) -> Vec<String> {
        let room = self.room(width, gap).max(LEAST);
        for first in self.lines.iter_mut().skip(1).filter_map(|line| line.first_mut()) {
            first.text = shorten_middle(&first.text, room).into_owned();
        }
        let widths = self.widths();
        let line = |cells: &Vec<Cell>| {
            let columns = cells.iter().zip(self.aligns.iter().zip(&widths));
            let cells = columns.map(|(cell, (align, width))| cell.padded(*width, *align));
            cells.collect::<Vec<_>>().join(&" ".repeat(gap)).trim_end().to_owned()
        };
        self.lines.iter().map(line).collect()
    }
}
