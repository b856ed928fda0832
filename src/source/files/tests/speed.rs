//! How fast a capture is without a vault. Ignored: run by hand on an idle machine, optimised.
//!
//! `cargo test --release --lib speed -- --ignored --nocapture`, on the tree named by STRONGROOM_SPEED_TREE.

use std::time::Instant;

use super::*;

/// Cuts as the vault does, unkeyed.
struct Cut;

impl Cutter for Cut {
    fn cut(&self, bytes: &[u8], last: bool) -> Option<usize> {
        let (minimum, average, most) = (256 << 10, 1 << 20, 4 << 20);
        let (_, length) = fastcdc::v2020::FastCDC::new(bytes, minimum, average, most).cut(0, bytes.len());
        (length < bytes.len() || bytes.len() >= most || last).then_some(length)
    }

    fn minimum(&self) -> usize {
        256 << 10
    }

    fn salt(&self) -> u64 {
        0
    }
}

/// Counts, and keeps only what a second capture needs.
#[derive(Default)]
struct Counter {
    bytes: u64,
    repeated: usize,
    recall: Vec<Known>,
}

impl EntrySink for Counter {
    fn content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        _: Access,
    ) -> Result<Content, Explained> {
        content_of(pieces, |chunk| self.bytes += chunk.bytes().len() as u64)
    }

    fn pages(
        &mut self,
        _: &EntryPath,
        _: usize,
        _: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained> {
        Ok(Content::default())
    }
    fn rows(
        &mut self,
        _: &EntryPath,
        _: &EntryPath,
        _: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained> {
        Ok(Default::default())
    }

    fn database(&mut self, _: Database) {}

    fn entry(&mut self, entry: &Entry, fingerprint: Option<Fingerprint>) -> Result<(), Explained> {
        let line = serde_json::to_vec(entry).unwrap();
        self.recall.push(Known { path: entry.path.clone(), fingerprint, database: false, line });
        Ok(())
    }

    fn repeat(&mut self, _: &Known) -> Result<(), Explained> {
        self.repeated += 1;
        Ok(())
    }

    fn skip(&mut self, _: Skip) {}
}

/// Processor time of this process so far, in seconds, and its largest memory in MiB.
fn used() -> (f64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    (ticks / 100.0, peak.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024)
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_first_and_of_an_unchanged_capture() {
    let Some(tree) = std::env::var_os("STRONGROOM_SPEED_TREE").map(PathBuf::from) else { return };
    let mut report = String::new();
    let mut recall = Vec::new();
    for round in ["first", "first again", "unchanged", "unchanged again"] {
        let known = if round.starts_with("first") { Vec::new() } else { recall.clone() };
        let capture = Capture {
            cutter: Arc::new(Cut),
            recall: Box::new(known.into_iter()),
            control: Arc::default(),
            rescan: Default::default(),
            check: true,
            own: Default::default(),
        };
        let mut sink = Counter::default();
        let (before, start) = (used().0, Instant::now());
        FilesSource::new(options(&tree)).unwrap().capture(capture, &mut sink).unwrap();
        let (wall, (after, peak)) = (start.elapsed().as_secs_f64(), used());
        let (bytes, repeated) = (sink.bytes, sink.repeated);
        report += &format!(
            "{round}: {wall:.3} s wall, {:.2} s of cores, {bytes} bytes, {repeated} repeated, peak {peak} MiB\n",
            after - before
        );
        if round.starts_with("first") {
            recall = sink.recall;
        }
    }
    fs::write(tree.with_extension("speed"), report).unwrap();
}
