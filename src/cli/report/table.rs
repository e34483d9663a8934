//! Tables of text.

use comfy_table::{CellAlignment, Table, presets};
use conniver::columns::{columns, shorten_middle};

/// Spaces between two columns, where there is room.
const GAP: usize = 2;

/// With less for the first column, columns stand closer.
const ENOUGH: usize = 24;

/// The first column is not shortened to less, even if the table gets wider than the terminal.
const LEAST: usize = 8;

/// Rows under their headings, in lines of at most `width` columns. The first column is shortened to fit;
/// it and the columns in `left` are aligned left, all others right.
pub(super) fn table(heads: &[&str], left: &[usize], rows: &[Vec<String>], width: usize) -> String {
    let widths = heads.iter().enumerate().map(|(at, head)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| columns(cell));
        cells.chain([columns(head)]).max().unwrap_or_default()
    });
    let widths: Vec<usize> = widths.collect();
    let room = |gap: usize| {
        let others: usize = widths.iter().skip(1).map(|column| column + gap).sum();
        width.saturating_sub(others)
    };
    let first = widths.first().copied().unwrap_or_default();
    let gap = if room(GAP) < first.min(ENOUGH) { 1 } else { GAP };
    let room = room(gap).max(LEAST);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.to_vec());
    for row in rows {
        let cells = row.iter().enumerate().map(|(at, cell)| match at {
            0 => shorten_middle(cell, room).into_owned(),
            _ => cell.clone(),
        });
        table.add_row(cells);
    }
    let last = heads.len().saturating_sub(1);
    for (at, column) in table.column_iter_mut().enumerate() {
        let gap = if at == last { 0 } else { u16::try_from(gap).unwrap_or_default() };
        column.set_padding((0, gap));
        if at != 0 && !left.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
