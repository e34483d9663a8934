//! Tables of text.

use comfy_table::{CellAlignment, Table, presets};

use crate::cli::terminal::shorten_middle;

/// Spaces between two columns.
const GAP: usize = 2;

/// The first column is not shortened to less, even if the table gets wider than the terminal.
const LEAST: usize = 8;

/// Rows under their headings, in lines of at most `width` columns. The first column is shortened to fit;
/// it and the columns in `left` are aligned left, all others right.
pub(super) fn table(heads: &[&str], left: &[usize], rows: &[Vec<String>], width: usize) -> String {
    let width_of = |text: &str| text.chars().count();
    let columns = heads.iter().enumerate().map(|(at, head)| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| width_of(cell));
        cells.chain([width_of(head)]).max().unwrap_or_default()
    });
    let others: usize = columns.skip(1).map(|column| column + GAP).sum();
    let room = width.saturating_sub(others).max(LEAST);
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
        let gap = if at == last { 0 } else { u16::try_from(GAP).unwrap_or_default() };
        column.set_padding((0, gap));
        if at != 0 && !left.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
