//! Progress on standard error: a spinner or bar on a terminal, plain lines elsewhere.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Console;
use super::view::one_line;

/// A spinner appears only when the work takes longer than this.
const PATIENCE: Duration = Duration::from_millis(300);
/// Without a terminal, the longest silence between lines.
const SILENCE: Duration = Duration::from_secs(10);

/// Shows how far some work has come.
pub struct Progress<'a> {
    console: &'a Console,
    bar: Option<ProgressBar>,
    begun: Instant,
    last: Mutex<(String, Instant)>,
}

impl std::fmt::Debug for Progress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl<'a> Progress<'a> {
    /// Begins; `total` of 0 is unknown.
    pub fn new(console: &'a Console, title: &str, total: u64) -> Self {
        let bar = console.animate.then(|| {
            let bar = if total == 0 {
                ProgressBar::new_spinner()
            } else {
                ProgressBar::new(total)
            };
            let form = if total == 0 {
                "{spinner} {prefix} {wide_msg}"
            } else {
                "{spinner} {prefix} [{bar:20}] {pos}/{len} {per_sec} {wide_msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(one_line(title));
            bar.set_draw_target(ProgressDrawTarget::hidden());
            bar
        });
        Self {
            console,
            bar,
            begun: Instant::now(),
            last: Mutex::new((String::new(), Instant::now())),
        }
    }

    /// Tells the count and what goes on now.
    pub fn set(&self, done: u64, total: u64, text: &str) {
        self.set_with(done, total, text, "");
    }

    /// Tells the count, what goes on now, and besides what is otherwise each time.
    pub fn set_with(&self, done: u64, total: u64, text: &str, besides: &str) {
        if let Some(bar) = &self.bar {
            if self.begun.elapsed() >= PATIENCE && bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
            if total > 0 {
                bar.set_length(total);
                bar.set_position(done);
            }
            bar.set_message(one_line(&format!("{text}{besides}")));
            return;
        }
        let line = match total {
            total if total > 0 && done == total => return,
            0 => format!("{text}{besides}"),
            _ => format!("[{done}/{total}] {text}{besides}"),
        };
        if let Ok(mut last) = self.last.lock() {
            // One line for each thing that goes on, and one every ten seconds so that a log shows
            // life; not one for each of a thousand tenants.
            if last.0 != text || last.1.elapsed() >= SILENCE {
                self.console.status(&line);
                *last = (text.to_owned(), Instant::now());
            }
        }
    }

    /// Tells that the work lives; with no news a spinner turns and a log gets a line at times.
    pub fn tick(&self) {
        if let Some(bar) = &self.bar {
            if self.begun.elapsed() >= PATIENCE && bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(Duration::from_millis(120));
            }
        } else if let Ok(mut last) = self.last.lock()
            && last.1.elapsed() >= SILENCE
        {
            let seconds = self.begun.elapsed().as_secs();
            self.console.status(format!("{} (for {seconds} s)", last.0));
            last.1 = Instant::now();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
