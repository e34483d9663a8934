//! Options whose hyphens were made dashes, and quotes that are no quotes of a shell, as word processors and
//! web pages make them.

use clap::CommandFactory;

use crate::cli::Cli;

/// Hyphen, non-breaking hyphen, figure dash, en dash, em dash, horizontal bar, minus sign.
const DASHES: [char; 7] =
    ['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', EM_DASH, '\u{2015}', '\u{2212}'];

/// What two hyphens become.
const EM_DASH: char = '\u{2014}';

/// Quotes that a shell takes for letters.
const QUOTES: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '‚', '«'];

/// What to write in place of the first of these words that has such a dash or such quotes.
pub(in crate::cli) fn typography(words: &[&str]) -> Option<String> {
    with_hyphens(words).or_else(|| with_plain_quotes(words))
}

/// What to write in place of the first of these words that begins a value, or ends it, by such a quote.
fn with_plain_quotes(words: &[&str]) -> Option<String> {
    let mut own = words.iter().take_while(|word| **word != "--");
    let found = own.find_map(|word| {
        let value = word.rsplit('=').next().unwrap_or(word);
        let edges = [word.chars().next(), value.chars().next(), word.chars().last()];
        edges.into_iter().flatten().find(|edge| QUOTES.contains(edge))
    });
    // The word may be a secret.
    found.map(|quote| format!("{quote} is a typographic quote; write ' or \""))
}

/// What to write in place of the first of these words that begins with such a dash.
pub(in crate::cli) fn with_hyphens(words: &[&str]) -> Option<String> {
    let mut own = words.iter().take_while(|word| **word != "--");
    let (dashed, name) = own.find_map(|word| {
        // What follows may be a value, and a secret.
        let word = word.split('=').next()?;
        let name = word.strip_prefix(DASHES)?.trim_start_matches(DASHES).trim_start_matches('-');
        name.starts_with(char::is_alphanumeric).then_some((word, name))
    })?;
    let hyphens = if dashed.starts_with(EM_DASH) || is_long(name) { "--" } else { "-" };
    Some(format!("'{dashed}' begins with a typographic dash; write {hyphens}{name}"))
}

/// What to write in place of the first of these words that is a long option behind one hyphen, as Go's
/// and Java's programs take them.
pub(super) fn with_two_hyphens(words: &[&str]) -> Option<String> {
    let mut own = words.iter().take_while(|word| **word != "--");
    let name = own.find_map(|word| {
        let name = word.split('=').next()?.strip_prefix('-')?;
        (name.chars().count() > 1 && is_long(name)).then_some(name)
    })?;
    Some(format!("write --{name}: long options have two hyphens"))
}

/// Whether any subcommand has a long option of this name.
fn is_long(name: &str) -> bool {
    let mut all = Cli::command();
    all.build();
    let mut commands = [&all].into_iter().chain(all.get_subcommands());
    commands.any(|command| command.get_arguments().any(|own| own.get_long() == Some(name)))
}
