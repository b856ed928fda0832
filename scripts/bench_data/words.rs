//! Made-up text: numbers that are always the same, a vocabulary drawn with them, and templates it fills.

use std::io::Write as _;

const SEED: u64 = 0x5742_6f6e_6772_6f6d;

pub const STEMS: &[&str] = &[
    "account", "add", "alloc", "apply", "array", "attr", "batch", "block", "bound", "buffer", "build", "bytes",
    "cache", "call", "chain", "check", "child", "chunk", "client", "close", "code", "color", "column", "commit",
    "config", "context", "copy", "count", "create", "cursor", "data", "date", "decode", "default", "delete", "depth",
    "device", "dispatch", "drain", "edge", "emit", "encode", "entry", "error", "event", "expand", "export", "fetch",
    "field", "file", "filter", "find", "flag", "flush", "format", "frame", "group", "handle", "hash", "header",
    "height", "import", "index", "init", "input", "insert", "item", "join", "key", "label", "layout", "length",
    "level", "limit", "line", "link", "list", "load", "local", "lock", "log", "lookup", "map", "mask", "match",
    "merge", "message", "method", "mode", "model", "module", "mount", "name", "next", "node", "notify", "object",
    "offset", "open", "option", "order", "output", "owner", "packet", "page", "param", "parent", "parse", "patch",
    "path", "peer", "poll", "pool", "port", "prefix", "print", "process", "profile", "proxy", "push", "query", "queue",
    "range", "rate", "read", "record", "region", "release", "remote", "render", "reply", "report", "request", "reset",
    "resolve", "result", "retry", "root", "route", "scan", "schema", "scope", "select", "send", "server", "session",
    "shard", "signal", "size", "slot", "socket", "sort", "source", "split", "stack", "start", "state", "status",
    "step", "store", "stream", "string", "sync", "table", "target", "task", "text", "ticket", "time", "token", "total",
    "trace", "tree", "type", "unit", "update", "upload", "user", "value", "vector", "version", "view", "visit", "wait",
    "width", "window", "worker", "wrap", "write", "yield", "zone",
];

const TYPES: &[&str] =
    &["u64", "usize", "i32", "bool", "String", "&str", "Vec<u8>", "PathBuf", "Option<u32>", "Result<()>", "f64"];

/// `$i` identifier, `$T` type-like name, `$t` type, `$w` prose, `$p` recurring prose, `$n` number, `$s` string.
#[rustfmt::skip]
const STATEMENTS: &[&str] = &[
    "let $i = $i.$i($i);", "let $i = $i($i, $n);", "if $i.$i() > $n {", "return $i;", "$i.$i = $i;", "} else {",
    "let mut $i = $T::new($i, $s);", "for $i in $i.$i() {", "// $w", "$i($i, &$i)?;", "$i += $n;", "}", "}",
    "match $i {", "$T::$T => $i($n),", "assert_eq!($i, $i.$i);", "while $i < $n && !$i.$i() {", "",
    "log::debug!($s, $i);", "let $i: $t = $i.$i().$i($i)?;", "// $w $p", "$i.push($T { $i, $i: $n });", "",
    "self.$i.$i($i, $i + $n);", "$i[$n] = $i ^ 0x$x;",
];

#[rustfmt::skip]
const ITEMS: &[&str] = &[
    "/// $w\npub fn $i($i: $t, $i: &$T) -> $t {", "fn $i(&self, $i: $t) -> $t {", "/// $w $w\npub struct $T {",
    "impl $T {", "#[test]\nfn $i() {", "pub const $i: $t = $n;\n\n/// $w $w\nfn $i($i: &mut $T) {",
];

const LICENSES: &[&str] = &[
    "// Copyright (c) The Project Authors. All rights reserved.\n// Use of this source code is governed by a BSD-style \
     licence that can be\n// found in the LICENSE file.\n\n",
    "/*\n * Licensed under the Apache License, Version 2.0 (the \"License\");\n * you may not use this file except in \
     compliance with the License.\n * You may obtain a copy of the License in the file LICENSE.\n *\n * Unless \
     required by applicable law or agreed to in writing, software\n * distributed under the License is distributed \
     on an \"AS IS\" BASIS,\n * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.\n */\n\n",
    "// SPDX-License-Identifier: MIT OR Apache-2.0\n\n",
    "",
];

/// `$h` and `$x` hex digits, `$k` a key, `$v` a word, `$1` `$2` `$3` numbers, the rest as in [`STATEMENTS`].
pub const LOG_LINES: &[&str] = &[
    "INFO  [worker-$1] http: request id=$h user=$k method=GET path=/api/v1/$v/$k status=200 took=$2.$3ms",
    "INFO  [worker-$1] http: request id=$h user=$k method=POST path=/api/v1/$v bytes=$3$n trace=$h took=$2.$3ms",
    "DEBUG [worker-$1] db: query statement=\"select * from $v where $v = ?\" rows=$2 trace=$x took=$1.$3ms",
    "DEBUG [worker-$1] cache: lookup key=$v:$k hit=true trace=$h age=$2s",
    "WARN  [worker-$1] http: slow response id=$h path=/api/v1/$v/$k took=$n.$3ms limit=500ms",
    "INFO  [scheduler] job $v finished in $n ms trace=$x, next run in $2 s, queue length $1",
    "ERROR [worker-$1] store: cannot $v $v: connection reset by peer (attempt $1 of 5) trace=$h, retrying in $2 ms",
    "INFO  [auth] session opened for user $k from 10.$1.$2.$3 with token $h$h",
];

/// SplitMix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(stream: u64, index: usize) -> Rng {
        let mut rng = Rng(SEED ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        rng.0 = rng.next().wrapping_add((index as u64).wrapping_mul(0xa076_1d64_78bd_642f));
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A rank below `n`, with a frequency of about 1/rank (Zipf).
    pub fn zipf(&mut self, n: usize) -> usize {
        (((n as f64).ln() * self.unit()).exp() as usize - 1).min(n - 1)
    }

    /// A rank below `n`, with the low ones favoured.
    pub fn skewed(&mut self, n: usize) -> usize {
        if self.chance(35) { self.zipf(n) } else { self.below(n) }
    }

    /// A size around `median`, log-normal with spread `sigma`, within `min..=max`.
    pub fn size(&mut self, median: f64, sigma: f64, min: f64, max: f64) -> usize {
        let normal = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        (median * (sigma * normal).exp()).clamp(min, max) as usize
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    pub fn fill(&mut self, out: &mut [u8]) {
        for word in out.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }
}

/// Names and sentences to fill templates with.
#[derive(Default)]
pub struct Vocabulary {
    pub names: Vec<String>,
    sentences: Vec<String>,
}

impl Vocabulary {
    pub fn new() -> Vocabulary {
        let mut rng = Rng::new(1, 0);
        let names = (0..5000).map(|_| name(&mut rng)).collect();
        let sentences = (0..3000).map(|_| sentence(&mut rng)).collect();
        Vocabulary { names, sentences }
    }

    /// The names one source file uses: some are its folder's own, some everybody's.
    pub fn for_file(&self, folder: usize, size: usize, rng: &mut Rng) -> Vec<String> {
        let mut own = Rng::new(2, folder);
        let own: Vec<String> = (0..60).map(|_| name(&mut own)).collect();
        let draw = |_| match rng.chance(55) {
            true => own[rng.below(own.len())].clone(),
            false => self.names[rng.zipf(self.names.len())].clone(),
        };
        (0..16 + size / 60).map(draw).collect()
    }

    /// Appends `template` to `out`, each `$x` replaced by something of its kind.
    pub fn write(&self, template: &str, names: &[String], rng: &mut Rng, out: &mut Vec<u8>) {
        let mut parts = template.split('$');
        out.extend(parts.next().unwrap_or_default().bytes());
        for part in parts {
            let (kind, rest) = part.split_at(1);
            let filled = match kind {
                "i" if rng.chance(57) => out.write_all(name(rng).as_bytes()),
                "i" => out.write_all(names[rng.skewed(names.len())].as_bytes()),
                "T" => out.write_all(camel(&names[rng.skewed(names.len())]).as_bytes()),
                "v" => out.write_all(rng.pick(STEMS).as_bytes()),
                "t" => out.write_all(TYPES[rng.zipf(TYPES.len())].as_bytes()),
                "p" => out.write_all(self.sentences[rng.zipf(self.sentences.len())].as_bytes()),
                "w" => out.write_all(sentence(rng).as_bytes()),
                "s" => write!(out, "\"{} {}\"", rng.pick(STEMS), rng.pick(STEMS)),
                "n" => write!(out, "{}", if rng.chance(60) { rng.zipf(10) } else { rng.zipf(5000) }),
                "x" => write!(out, "{:08x}", rng.next() as u32),
                "h" => write!(out, "{:016x}", rng.next()),
                "k" => write!(out, "{}", 10_007 * rng.zipf(30_000) % 99_991),
                "1" => write!(out, "{}", rng.below(16)),
                "2" => write!(out, "{}", rng.zipf(100)),
                _ => write!(out, "{}", rng.below(1000)),
            };
            filled.expect("writing to memory succeeds");
            out.extend(rest.bytes());
        }
    }
}

pub fn name(rng: &mut Rng) -> String {
    let words = [1, 2, 2, 2, 3, 3][rng.below(6)];
    (0..words).map(|_| rng.pick(STEMS)).collect::<Vec<_>>().join("_")
}

fn sentence(rng: &mut Rng) -> String {
    (0..3 + rng.below(7)).map(|_| rng.pick(STEMS)).collect::<Vec<_>>().join(" ")
}

fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// A source file of about `size` bytes: licence, imports, then items of indented statements.
pub fn source_file(vocabulary: &Vocabulary, folder: usize, size: usize, rng: &mut Rng) -> Vec<u8> {
    let names = vocabulary.for_file(folder, size, rng);
    let mut out = LICENSES[rng.below(LICENSES.len())].as_bytes().to_vec();
    out.truncate(size / 2);
    for _ in 0..(size / 400).min(12) {
        vocabulary.write("use crate::$i::{$T, $T};\n", &names, rng, &mut out);
    }
    while out.len() < size {
        out.push(b'\n');
        vocabulary.write(rng.pick(ITEMS), &names, rng, &mut out);
        let mut depth = 1;
        for _ in 0..3 + rng.zipf(40) {
            let statement = rng.pick(STATEMENTS);
            depth -= usize::from(statement.starts_with('}') && depth > 1);
            write!(out, "\n{:1$}", "", 4 * depth).expect("writing to memory succeeds");
            vocabulary.write(statement, &names, rng, &mut out);
            depth += usize::from(statement.ends_with('{') && depth < 6);
        }
        out.extend(b"\n}\n");
    }
    out
}
