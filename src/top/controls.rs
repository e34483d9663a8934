//! What keys change: order, filter, selection, pause.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::connection::Key;
use super::order::Sort;

/// What the screen shows of the records, as set by options and keys.
#[derive(Debug, Default)]
pub(super) struct Controls {
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    /// A filter is being typed; this one held before.
    pub(super) edited_from: Option<String>,
    pub(super) selected: Option<Key>,
    /// Where the selected connection was in the list, for when it is gone.
    pub(super) place: usize,
    /// First row of the list that is shown.
    pub(super) offset: usize,
    /// Shown instead of the list.
    pub(super) page: Page,
    pub(super) is_paused: bool,
}

/// What takes the place of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    List,
    /// One connection.
    Detail(Key),
    /// The keys.
    Help,
}

impl Controls {
    /// Takes a key; returns whether to go on. `list` has the connections as they were shown, `height` the
    /// rows that there is room for.
    pub(super) fn press(&mut self, key: KeyEvent, list: &[Key], height: usize) -> bool {
        if key.kind == KeyEventKind::Release {
            return true;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return false,
            _ if self.edited_from.is_some() => self.edit(key.code, is_control),
            KeyCode::Char(_) if is_control => {}
            KeyCode::Char('q') => return false,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?' | 'h') => {
                self.page = if self.page == Page::Help { Page::List } else { Page::Help };
            }
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            _ if self.page == Page::Help => self.page = Page::List,
            KeyCode::Enter => self.enter(),
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('/') => {
                self.page = Page::List;
                self.edited_from = Some(self.filter.clone());
            }
            code => self.move_by(code, list, height),
        }
        true
    }

    fn edit(&mut self, code: KeyCode, is_control: bool) {
        match code {
            KeyCode::Enter => self.edited_from = None,
            KeyCode::Esc => self.filter = self.edited_from.take().unwrap_or_default(),
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char('u') if is_control => self.filter.clear(),
            KeyCode::Char(c) if !is_control && !c.is_control() => self.filter.push(c),
            _ => {}
        }
        self.offset = 0;
    }

    /// One step towards the plain list.
    fn back(&mut self) {
        match self.page {
            Page::List if self.selected.is_some() => {
                self.selected = None;
                self.offset = 0;
            }
            Page::List => self.filter.clear(),
            Page::Detail(_) | Page::Help => self.page = Page::List,
        }
    }

    fn enter(&mut self) {
        self.page = match (self.page, self.selected) {
            (Page::List, Some(key)) => Page::Detail(key),
            _ => Page::List,
        };
    }

    fn move_by(&mut self, code: KeyCode, list: &[Key], height: usize) {
        let page = height.saturating_sub(1).max(1);
        let place = self.selected.map(|_| self.place);
        let last = list.len().saturating_sub(1);
        let place = match (code, place) {
            (KeyCode::Down | KeyCode::Char('j'), None) => self.offset,
            (KeyCode::Down | KeyCode::Char('j'), Some(place)) => place + 1,
            (KeyCode::Up | KeyCode::Char('k'), place) => place.unwrap_or(0).saturating_sub(1),
            (KeyCode::PageDown, place) => place.unwrap_or(self.offset) + page,
            (KeyCode::PageUp, place) => place.unwrap_or(0).saturating_sub(page),
            (KeyCode::Home | KeyCode::Char('g'), _) => 0,
            (KeyCode::End | KeyCode::Char('G'), _) => last,
            _ => return,
        };
        self.place = place.min(last);
        self.selected = list.get(self.place).copied();
        if let (Page::Detail(_), Some(key)) = (self.page, self.selected) {
            self.page = Page::Detail(key);
        }
    }

    /// Finds the selection in the list that is about to be shown, and scrolls to it.
    pub(super) fn settle(&mut self, list: &[Key], height: usize) {
        if let Some(selected) = self.selected {
            match list.iter().position(|&key| key == selected) {
                Some(place) => self.place = place,
                // It ended, or the filter hides it: the one that took its place.
                None if !matches!(self.page, Page::Detail(_)) => {
                    self.place = self.place.min(list.len().saturating_sub(1));
                    self.selected = list.get(self.place).copied();
                }
                None => {}
            }
            self.offset = self.offset.min(self.place).max((self.place + 1).saturating_sub(height));
        }
        self.offset = self.offset.min(list.len().saturating_sub(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(numbers: std::ops::Range<u64>) -> Vec<Key> {
        numbers.map(|seq| Key { run: uuid::Uuid::nil(), seq }).collect()
    }

    fn press(controls: &mut Controls, codes: &[KeyCode], list: &[Key]) -> bool {
        codes.iter().all(|&code| controls.press(code.into(), list, 5))
    }

    fn keys(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn the_selection_stays_with_its_connection_and_is_scrolled_to() {
        let mut controls = Controls::default();
        let all = list(0..20);
        press(&mut controls, &[KeyCode::Down, KeyCode::PageDown, KeyCode::PageDown], &all);
        controls.settle(&all, 5);
        assert_eq!((controls.selected, controls.offset), (Some(all[8]), 4));
        // The list turns around.
        let turned: Vec<Key> = all.iter().rev().copied().collect();
        controls.settle(&turned, 5);
        assert_eq!((controls.selected, controls.offset), (Some(all[8]), 7));
        // It is gone: the next one is selected.
        let without: Vec<Key> = turned.iter().filter(|key| key.seq != 8).copied().collect();
        controls.settle(&without, 5);
        assert_eq!(controls.selected, Some(all[7]));
        controls.settle(&[], 5);
        assert_eq!((controls.selected, controls.offset), (None, 0));
    }

    #[test]
    fn a_filter_is_typed_kept_and_given_up() {
        let mut controls = Controls::default();
        press(&mut controls, &keys("/sqx"), &[]);
        press(&mut controls, &[KeyCode::Backspace, KeyCode::Enter], &[]);
        assert_eq!(controls.filter, "sq");
        press(&mut controls, &keys("/l"), &[]);
        assert_eq!(controls.filter, "sql");
        press(&mut controls, &[KeyCode::Esc], &[]);
        assert_eq!((&*controls.filter, controls.edited_from.is_some()), ("sq", false));
        press(&mut controls, &[KeyCode::Esc], &[]);
        assert_eq!(controls.filter, "");
    }

    #[test]
    fn quitting_takes_q_or_control_c_and_a_filter_may_have_a_q() {
        let mut controls = Controls::default();
        assert!(press(&mut controls, &keys("/q"), &[]));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!controls.press(interrupt, &[], 5));
        press(&mut controls, &[KeyCode::Enter], &[]);
        assert!(!press(&mut controls, &keys("q"), &[]));
    }

    #[test]
    fn enter_shows_a_connection_and_leads_back() {
        let mut controls = Controls::default();
        let all = list(0..3);
        press(&mut controls, &[KeyCode::Enter], &all);
        assert_eq!(controls.page, Page::List);
        press(&mut controls, &[KeyCode::Down, KeyCode::Enter, KeyCode::Down], &all);
        assert_eq!(controls.page, Page::Detail(all[1]));
        // It ends while it is looked at.
        controls.settle(&all[..1], 5);
        assert_eq!(controls.page, Page::Detail(all[1]));
        press(&mut controls, &[KeyCode::Esc], &all);
        assert_eq!(controls.page, Page::List);
    }
}
