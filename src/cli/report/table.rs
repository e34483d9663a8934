//! The tables of a report.

use crate::cli::table::{Align, Cell, GAP, Table};

/// Rows under their heads, in lines of at most `width` columns. The first column is shortened to fit; it and
/// the columns in `left` are aligned left, all others right.
pub(super) fn table(heads: &[&str], left: &[usize], rows: &[Vec<String>], width: usize) -> String {
    let align = |at: usize| if at == 0 || left.contains(&at) { Align::Left } else { Align::Right };
    let heads = heads.iter().enumerate().map(|(at, head)| (*head, align(at)));
    let mut table = Table::new(heads);
    for row in rows {
        table.add(row.iter().map(Cell::plain).collect());
    }
    let gap = if table.fits(width, GAP) { GAP } else { 1 };
    table.lines(width, gap).join("\n")
}
