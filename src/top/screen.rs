//! The screen on a terminal: draws, and waits for keys.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::backend::Backend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{self, Event};

use super::Options;
use super::controls::{Controls, Page};
use super::feed::{Feed, Source, Unreadable};
use super::model::Model;
use super::print;
use super::view::{self, Scene, Shown};

/// Longest wait for a key: the end of the records and a request to stop are noticed after it.
const PACE: Duration = Duration::from_millis(100);

/// How the screen ended.
#[derive(Debug)]
pub enum Ended {
    /// By a key, or by a request to stop.
    Quit,
    /// The records ended, or there are none: the last screen as text, and why reading failed, if it did.
    Records(String, Option<Unreadable>),
}

/// A thread has panicked: ratatui's hook has restored the terminal before the message. To restore it again
/// would move the cursor to where it was before, and what follows would be written over the message.
static IS_RESTORED: AtomicBool = AtomicBool::new(false);

/// Leaves the terminal as it was, whatever happens.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        if !IS_RESTORED.load(Ordering::Acquire) {
            ratatui::restore();
        }
    }
}

fn note_panics() {
    let restore = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        IS_RESTORED.store(true, Ordering::Release);
        restore(panic);
    }));
}

/// Shows the records of `source` until a key or `should_stop` ends it, or the records end; a paused screen
/// stays beyond their end. Keys are read from the terminal, even if standard input is a pipe.
///
/// # Errors
///
/// The terminal cannot be used.
pub fn show(
    source: Source,
    options: &Options,
    should_stop: impl Fn() -> bool,
) -> io::Result<Ended> {
    let feed = source.start()?;
    let restore = Restore;
    let terminal = ratatui::try_init()?;
    note_panics();
    let mut screen = Screen::new(feed, options, terminal);
    let is_quit = screen.run(options.interval, should_stop)?;
    drop(restore);
    if is_quit {
        return Ok(Ended::Quit);
    }
    Ok(Ended::Records(screen.last_text()?, screen.feed.take_error()))
}

struct Screen<'o> {
    feed: Feed,
    options: &'o Options,
    terminal: DefaultTerminal,
    controls: Controls,
    shown: Shown,
    drawn: Buffer,
    /// What a paused screen shows, and its time.
    frozen: Option<Box<(Model, i64)>>,
}

impl<'o> Screen<'o> {
    fn new(feed: Feed, options: &'o Options, terminal: DefaultTerminal) -> Self {
        let controls = Controls::from(options);
        let (shown, drawn) = (Shown::default(), Buffer::default());
        Self { feed, options, terminal, controls, shown, drawn, frozen: None }
    }

    /// Returns whether it was asked to quit, rather than that the records ended.
    fn run(&mut self, interval: Duration, should_stop: impl Fn() -> bool) -> io::Result<bool> {
        let mut due = Instant::now();
        let mut repaint_due = due;
        loop {
            if should_stop() {
                return Ok(true);
            }
            let has_nothing = self.feed.has_nothing();
            let is_ended = (self.feed.is_ended() || has_nothing) && !self.controls.is_paused;
            if is_ended || IS_RESTORED.load(Ordering::Acquire) {
                return Ok(false);
            }
            if Instant::now() >= due {
                self.draw()?;
                if Instant::now() >= repaint_due {
                    self.repaint()?;
                    repaint_due = Instant::now() + interval;
                }
                // The first lines are shown when they come.
                due = Instant::now() + if self.feed.is_empty() { PACE } else { interval };
            }
            let wait = due.saturating_duration_since(Instant::now()).min(PACE);
            let mut is_ready = event::poll(wait)?;
            while is_ready {
                due = Instant::now();
                if let Event::Key(key) = event::read()?
                    && !self.controls.press(key, &self.shown.list, self.shown.height)
                {
                    return Ok(true);
                }
                is_ready = event::poll(Duration::ZERO)?;
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let Self { feed, options, terminal, controls, shown, drawn, frozen } = self;
        let pinned = match controls.page {
            Page::Detail(key) => Some(key),
            Page::List | Page::Help => None,
        };
        feed.with(|model, _| model.pin(pinned));
        match (controls.is_paused, &frozen) {
            (true, None) => *frozen = Some(Box::new(feed.with(|model, now| (model.clone(), now)))),
            (false, Some(_)) => *frozen = None,
            _ => {}
        }
        let (name, theme, is_recorded) = (&*feed.name, options.theme, feed.is_recorded);
        let silence = feed.silence();
        let frame = terminal.draw(|frame| {
            let buffer = frame.buffer_mut();
            let mut draw = |model: &Model, now| {
                let scene =
                    Scene { model, now, name, theme, silence, is_recorded, is_printed: false };
                view::draw(&scene, controls, buffer)
            };
            *shown = match frozen.as_deref() {
                Some((model, now)) => draw(model, *now),
                None => feed.with(|model, now| draw(model, now)),
            };
        })?;
        drawn.clone_from(frame.buffer);
        Ok(())
    }

    /// Writes every cell, not only what has changed: a proxy in the same pipeline writes its messages to the
    /// same terminal.
    fn repaint(&mut self) -> io::Result<()> {
        let area = self.drawn.area;
        // A private character, which no cell has.
        let other = Buffer::filled(area, Cell::new("\u{e000}"));
        let backend = self.terminal.backend_mut();
        backend.draw(other.diff(&self.drawn).into_iter())?;
        Backend::flush(backend)
    }

    /// What is known at the end, as text that fits the terminal.
    fn last_text(&mut self) -> io::Result<String> {
        let size = self.terminal.size()?;
        let height = size.height.saturating_sub(1);
        if self.feed.has_nothing() {
            return Ok(String::new());
        }
        let silence = self.feed.silence();
        Ok(self.feed.with(|model, now| {
            let scene = Scene {
                model,
                now,
                name: &self.feed.name,
                theme: self.options.theme,
                silence,
                is_recorded: self.feed.is_recorded,
                is_printed: true,
            };
            print::text(&scene, &mut self.controls, size.width, height)
        }))
    }
}

impl From<&Options> for Controls {
    fn from(options: &Options) -> Self {
        Self {
            sort: options.sort,
            is_reversed: options.is_reversed,
            filter: options.filter.clone(),
            ..Self::default()
        }
    }
}
