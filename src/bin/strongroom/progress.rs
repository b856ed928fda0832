//! One line of progress on a terminal: bytes, rate, files, time left. Nothing when nobody watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use strongroom::base::control::Control;
use strongroom::base::text::{count, printable, size};

use crate::context::Context;

/// Shows progress until it is dropped, then leaves no trace.
pub struct Progress<'c> {
    context: &'c Context,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<'c> Progress<'c> {
    /// `verb` says what is going on; `noun` what the items are.
    pub fn start(context: &'c Context, verb: &'static str, noun: &'static str) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        if !context.interactive() {
            return Self { context, done, thread: None };
        }
        let (stop, control) = (done.clone(), context.control.clone());
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        context.shows(Some(bar.clone()));
        Self { context, done, thread: Some(std::thread::spawn(move || show(&bar, &control, &stop, verb, noun))) }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
            self.context.shows(None);
        }
    }
}

fn show(bar: &ProgressBar, control: &Control, done: &AtomicBool, verb: &str, noun: &str) {
    bar.set_style(ProgressStyle::with_template("  {wide_msg}").expect("BUG: the template is valid"));
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        bar.set_message(line(control, start.elapsed(), verb, noun));
        std::thread::park_timeout(Duration::from_millis(120));
    }
    bar.finish_and_clear();
}

fn line(control: &Control, elapsed: Duration, verb: &str, noun: &str) -> String {
    if control.stopped() {
        return "stopping; what is stored stays".to_owned();
    }
    if let Some(what) = control.waits_for() {
        return format!("{verb}  {}", printable(&what));
    }
    let (bytes, items) = (control.bytes.get(), control.items.get());
    let (bytes_expected, items_expected) = (control.bytes_expected.get(), control.items_expected.get());
    let rate = bytes as f64 / elapsed.as_secs_f64().max(0.001);
    let of = |expected: u64, text: String| if expected > 0 { format!(" of {text}") } else { String::new() };
    let mut line = format!(
        "{verb}  {}{}  {}/s  {}{} {noun}",
        size(bytes),
        of(bytes_expected, size(bytes_expected)),
        size(rate as u64),
        count(items),
        of(items_expected, count(items_expected)),
    );
    if bytes_expected > bytes && rate > 1.0 && elapsed > Duration::from_secs(1) {
        line.push_str(&format!("  {} left", duration((bytes_expected - bytes) as f64 / rate)));
    }
    line
}

/// `41 s`, `3 min`, `2 h 10 min`.
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
