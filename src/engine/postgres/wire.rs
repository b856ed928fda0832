//! A connection on which the rows of a COPY come in messages of one size.
//!
//! The server sends each row as a message of its own, and a client holds a message whole: a row of 100 MB takes that much
//! memory in every connection, and ten million short ones are handled one by one. Here rows are handed on as they arrive,
//! many or a part of one together, which means the same. Nothing else is changed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at once, and rows are handed on in messages no longer than it.
const AT_ONCE: usize = 128 << 10;
/// The kind of a message of rows.
const COPY_DATA: u8 = b'd';
/// A kind, and a length that counts itself.
const HEADER: usize = 5;

/// Passes on what comes, with the borders between rows taken out.
pub struct Gathered<S> {
    inner: S,
    messages: Messages,
    read: Box<[u8]>,
    /// What is handed on, and how much of it has been.
    out: Vec<u8>,
    given: usize,
}

impl<S> Gathered<S> {
    pub fn new(inner: S) -> Self {
        let read = vec![0; AT_ONCE].into_boxed_slice();
        Self { inner, messages: Messages::new(), read, out: Vec::new(), given: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.given == this.out.len() {
            if matches!(this.messages.expect, Expect::Sealed) {
                return Pin::new(&mut this.inner).poll_read(context, to);
            }
            // What encrypts the rest must find all of it.
            let most = if matches!(this.messages.expect, Expect::Beginning) { 1 } else { AT_ONCE };
            let mut read = ReadBuf::new(&mut this.read[..most]);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.out.clear();
            this.given = 0;
            this.messages.pass(read.filled(), &mut this.out);
        }
        let next = &this.out[this.given..];
        let next = &next[..next.len().min(to.remaining())];
        to.put_slice(next);
        this.given += next.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// One of two kinds of connection.
pub enum Either<A, B> {
    One(A),
    Other(B),
}

impl<A: AsyncRead + Unpin, B: AsyncRead + Unpin> AsyncRead for Either<A, B> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::One(stream) => Pin::new(stream).poll_read(context, to),
            Self::Other(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl<A: AsyncWrite + Unpin, B: AsyncWrite + Unpin> AsyncWrite for Either<A, B> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::One(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Other(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::One(stream) => Pin::new(stream).poll_flush(context),
            Self::Other(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::One(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Other(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// What the bytes that come next are.
enum Expect {
    /// The answer to the question whether to encrypt, one byte, or the first message.
    Beginning,
    /// A message's header, as far as it has come.
    Header { bytes: [u8; HEADER], have: usize },
    /// So much of a message, of rows or not.
    Body { left: usize, rows: bool },
    /// Nothing that could be understood: encrypted.
    Sealed,
}

/// Knows where messages begin.
struct Messages {
    expect: Expect,
    /// Where the message of rows begins that is being gathered.
    gathering: Option<usize>,
}

impl Messages {
    fn new() -> Self {
        Self { expect: Expect::Beginning, gathering: None }
    }

    fn pass(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let taken = self.step(bytes, out);
            bytes = &bytes[taken..];
        }
        self.close(out);
    }

    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        match &mut self.expect {
            Expect::Beginning => {
                // Neither letter begins what a server says first of all, unless it was asked whether to encrypt.
                match bytes[0] {
                    b'S' => self.expect = Expect::Sealed,
                    b'N' => self.expect = Expect::Header { bytes: [0; HEADER], have: 0 },
                    first => {
                        self.expect = Expect::Header { bytes: [first, 0, 0, 0, 0], have: 1 };
                        return 1;
                    }
                }
                out.push(bytes[0]);
                1
            }
            Expect::Header { bytes: header, have } => {
                let taken = bytes.len().min(HEADER - *have);
                header[*have..*have + taken].copy_from_slice(&bytes[..taken]);
                *have += taken;
                if *have == HEADER {
                    let header = *header;
                    self.begin(header, out);
                }
                taken
            }
            Expect::Body { left, .. } => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                let is_over = *left == 0;
                // In the middle of rows at the beginning of what was read: they need a header again.
                self.announce(out);
                out.extend_from_slice(&bytes[..taken]);
                if is_over {
                    self.expect = Expect::Header { bytes: [0; HEADER], have: 0 };
                }
                taken
            }
            Expect::Sealed => {
                out.extend_from_slice(bytes);
                bytes.len()
            }
        }
    }

    fn begin(&mut self, header: [u8; HEADER], out: &mut Vec<u8>) {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let left = length.saturating_sub(4);
        let rows = header[0] == COPY_DATA;
        if !rows {
            self.close(out);
            out.extend_from_slice(&header);
        }
        self.expect = match left {
            0 => Expect::Header { bytes: [0; HEADER], have: 0 },
            left => Expect::Body { left, rows },
        };
    }

    /// Rows that are about to be handed on get a header, whose length is filled in later.
    fn announce(&mut self, out: &mut Vec<u8>) {
        if matches!(self.expect, Expect::Body { rows: true, .. }) && self.gathering.is_none() {
            self.gathering = Some(out.len());
            out.extend_from_slice(&[COPY_DATA, 0, 0, 0, 0]);
        }
    }

    fn close(&mut self, out: &mut [u8]) {
        if let Some(start) = self.gathering.take() {
            let length = (out.len() - start - 1) as u32;
            out[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    /// Everything that is handed on, read so many bytes at a time.
    fn passed(bytes: &[u8], step: usize) -> Vec<u8> {
        let (mut messages, mut passed) = (Messages::new(), Vec::new());
        for part in bytes.chunks(step) {
            let mut out = Vec::new();
            messages.pass(part, &mut out);
            passed.extend(out);
        }
        passed
    }

    /// The messages of a stream; rows that follow each other as one.
    fn joined(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
        while let [kind, a, b, c, d, rest @ ..] = bytes {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
            match found.last_mut() {
                Some((COPY_DATA, rows)) if *kind == COPY_DATA => rows.extend_from_slice(&rest[..length]),
                _ => found.push((*kind, rest[..length].to_vec())),
            }
            bytes = &rest[length..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn a_long_row_comes_in_parts_and_short_ones_together() {
        let long = message(COPY_DATA, &vec![b'x'; 1 << 20]);
        let short: Vec<u8> = (0..1000).flat_map(|_| message(COPY_DATA, b"1\n")).collect();
        let stream = [message(b'R', &[0; 4]), long, short].concat();
        let passed = passed(&stream, AT_ONCE);
        assert!(joined(&passed) == joined(&stream));
        let headers = passed.len() - (1 << 20) - 2000 - 9;
        assert!(headers <= HEADER * 12, "{headers} bytes of headers");
    }

    #[test]
    fn what_is_encrypted_is_passed_on_as_it_is() {
        let sealed = [b"S".to_vec(), vec![b'd'; 100]].concat();
        assert_eq!(passed(&sealed, 7), sealed);
        let refused = [b"N".to_vec(), message(b'R', &[0; 4]), message(b'd', b"1\n")].concat();
        assert_eq!(passed(&refused, 1000), refused);
    }

    proptest! {
        #[test]
        fn the_messages_stay_the_same_however_they_arrive(
            messages in proptest::collection::vec(
                (prop_oneof![3 => Just(COPY_DATA), 1 => Just(b'C'), 1 => Just(b'Z')], proptest::collection::vec(any::<u8>(), 0..40)), 0..40),
            step in 1usize..200,
        ) {
            let mut stream = message(b'R', &[0; 4]);
            messages.iter().for_each(|(kind, body)| stream.extend(message(*kind, body)));
            // Rows without anything in them are no rows.
            let kept = |found: Vec<(u8, Vec<u8>)>| found.into_iter().filter(|(kind, body)| *kind != COPY_DATA || !body.is_empty()).collect::<Vec<_>>();
            prop_assert_eq!(kept(joined(&passed(&stream, step))), kept(joined(&stream)));
        }
    }
}
