//! What is printed: Markdown tables.

use crate::beside;
use crate::stats::{median, median_interval, ratios};
use crate::work::{Measured, Work};

/// One row a figure, one column a proxy.
pub(crate) fn print_medians(measured: &Measured, works: &[Work], names: &[&str]) {
    print!("\n| median |");
    names.iter().for_each(|name| print!(" {name} |"));
    print!("\n|---|");
    names.iter().for_each(|_| print!("---|"));
    println!();
    for &work in works {
        for &figure in work.figures() {
            print!("| {} {} |", work.name(), figure.name);
            for name in names {
                match measured.get(work, name, figure) {
                    [] => print!(" - |"),
                    values => print!(" {} |", short(median(values))),
                }
            }
            println!();
        }
    }
}

/// The first proxy over each of the others, within rounds; with the median's interval where there
/// are rounds enough for one.
pub(crate) fn print_ratios(measured: &Measured, works: &[Work], names: &[&str]) {
    let Some((ours, others)) = names.split_first() else { return };
    print!("\n| {ours} / … | better |");
    others.iter().for_each(|name| print!(" {name} |"));
    print!("\n|---|---|");
    others.iter().for_each(|_| print!("---|"));
    println!();
    for &work in works {
        for &figure in work.figures() {
            let better = if figure.more_is_better { "> 1" } else { "< 1" };
            print!("| {} {} | {better} |", work.name(), figure.name);
            for name in others {
                let ratios =
                    ratios(measured.get(work, ours, figure), measured.get(work, name, figure));
                match (ratios.is_empty(), median_interval(&ratios)) {
                    (true, _) => print!(" - |"),
                    (_, None) => print!(" {:.2} |", median(&ratios)),
                    (_, Some((low, high))) => {
                        print!(" {:.3} ({low:.3}–{high:.3}) |", median(&ratios))
                    }
                }
            }
            println!();
        }
    }
}

/// What the program beside the first proxy used meanwhile.
pub(crate) fn print_companion(measured: &Measured, works: &[Work], name: &str) {
    println!("\n| beside {name} | {} |\n|---|---|", beside::SHARE.name);
    for &work in works {
        let shares = measured.get(work, name, beside::SHARE);
        println!("| {} | {} |", work.name(), short(median(shares)));
    }
}

/// Three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v.is_nan() => "-".to_owned(),
        v if v.is_infinite() || v == 0.0 => format!("{value}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
