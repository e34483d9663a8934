//! Colours and characters that the terminal has.

use std::borrow::Cow;

use ratatui::style::{Color, Modifier, Style};

use crate::record::Awaited;
use crate::top::connection::Activity;
use crate::top::text::to_ascii;

/// What may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    /// Colours, besides bold, dim and reversed text.
    pub has_colours: bool,
    /// Characters beyond ASCII.
    pub has_unicode: bool,
}

impl Theme {
    /// The text, or its ASCII characters.
    pub(super) fn text(self, text: &str) -> Cow<'_, str> {
        if self.has_unicode { Cow::Borrowed(text) } else { to_ascii(text) }
    }

    /// The marks of the two directions: to the upstream, to the client.
    pub(super) fn arrows(self) -> [&'static str; 2] {
        if self.has_unicode { ["↑", "↓"] } else { ["up", "dn"] }
    }

    /// The arrow of a network, which is waited for; nothing for others.
    pub(super) fn direction(self, activity: Activity) -> &'static str {
        let [up, down] = self.arrows();
        match activity {
            Activity::WaitsFor(Awaited::NetworkUpstream, _) => up,
            Activity::WaitsFor(Awaited::NetworkClient, _) => down,
            _ => "",
        }
    }

    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn heading(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn dim(self) -> Style {
        self.coloured(Color::DarkGray, Modifier::DIM)
    }

    pub(super) fn notice(self) -> Style {
        self.coloured(Color::Yellow, Modifier::BOLD)
    }

    pub(super) fn failure(self) -> Style {
        self.coloured(Color::Red, Modifier::empty())
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn activity(self, activity: Activity) -> Style {
        match activity {
            Activity::WaitsFor(Awaited::Upstream, _) => {
                self.coloured(Color::Yellow, Modifier::BOLD)
            }
            Activity::WaitsFor(Awaited::Client, _) => self.coloured(Color::Magenta, Modifier::BOLD),
            Activity::WaitsFor(..) => self.coloured(Color::Red, Modifier::BOLD),
            Activity::Moves => self.coloured(Color::Green, Modifier::empty()),
            Activity::Quiet(_) | Activity::Idle(_) | Activity::Unknown => self.dim(),
        }
    }

    /// A colour; without colours a modifier.
    fn coloured(self, colour: Color, modifier: Modifier) -> Style {
        match self.has_colours {
            true => Style::new().fg(colour),
            false => Style::new().add_modifier(modifier),
        }
    }
}
